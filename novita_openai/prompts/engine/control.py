r"""Control strings: the texts that open, end or separate the turns, calls, results and thoughts of a format.

The law: each occurrence of a control string in a prompt stands where the format wrote it. Every separator holds one, so
where the law holds, separators stand only where they were written, and the prompt reads back as it was meant.

- A token, such as ``<|im_end|>``, is a control string for every role, with whatever it stands. The tokens are those of
  the separators and of the stop strings, and those that end generation, but for those that only begin a sequence: a
  BOS between turns opens them.
- Tags of words, such as ``<think>`` and ``<tool_call>``, are so in the texts of the roles in which the format reads
  them, and ordinary text in others.
- A separator of plain words is so from its beginning: ``"\nUSER:"``, or ``" USER: "`` where nothing tells the line.
- Where a text before or after one separator would make another one of it, that other one is a control string too.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from novita_openai.prompts.engine.description import MOST_STOPS
from novita_openai.prompts.engine.separators import (
    END,
    REASONED,
    REPLY,
    START,
    Separators,
    Transition,
    can_overlap,
    exits_of,
    is_heading,
    transitions_of,
)
from novita_openai.prompts.tokens import is_beginning, is_special, named_roles, tokens_in

if TYPE_CHECKING:
    from novita_openai.prompts.engine.description import Description

__all__ = ["Control", "control_of", "longer_headings", "needles_of", "stops_of"]

_RARE: Final = "<[]{｜"
"""Characters that most control strings start with and ordinary text seldom holds."""

_LONGEST_CORE: Final = 20
"""Characters; Python counts short strings faster."""

_TOOLS: Final = frozenset({"tool", "calls", "declared"})


class Control(NamedTuple):
    """A control string, and the roles in whose messages it counts; none stands for every role."""

    text: str
    roles: frozenset[str] = frozenset()

    def is_read_in(self, role: str) -> bool:
        """Tell whether the string counts in messages of a role."""
        return not self.roles or ("assistant" if role == REASONED else role) in self.roles

    def count(self, prompt: str) -> int:
        """Return how often the string stands in a prompt, overlapping ones too; a heading not in a longer run."""
        first, rest = re.escape(self.text[0]), re.escape(self.text[1:])
        alone = f"(?<!{first})" if is_heading(self.text) else ""
        return len(re.findall(f"{alone}{first}(?={rest})", prompt))

    @property
    def core(self) -> str:
        """A beginning, not long, that cannot start inside of itself, so that ``str.count`` misses none."""
        sizes = range(min(len(self.text), _LONGEST_CORE), 0, -1)
        return next(self.text[:size] for size in sizes if not can_overlap(self.text[:size]))


def needles_of(controls: Iterable[Control], separators: Separators) -> tuple[str, ...]:
    """Return short strings of which each control string holds one: where these are not more, it is not there more."""
    controls = [*controls]
    runs = (text[: len(text) - len(text.lstrip(text[0]))] for text in longer_headings(controls))
    return tuple(dict.fromkeys((*(_needle(each, separators) for each in controls), *runs)))


def _is_lent(text: str, place: int, separators: Separators) -> bool:
    """Tell whether a separator can lend the character at a place of a control string to the text beside it."""
    before = tuple(text[:size] for size in range(place + 1, len(text)))
    after = tuple(text[start:] for start in range(1, place + 1))
    return any(
        separator.endswith(before) or separator.startswith(after) or (separator in text and text[place] in separator)
        for separator in separators.values()
        if separator != text
    )


def longer_headings(controls: Iterable[Control]) -> tuple[str, ...]:
    """Return the headings among control strings with one more of their mark, which none of them may be made to."""
    return tuple(each.text[0] + each.core for each in controls if is_heading(each.text))


def _needle(control: Control, separators: Separators) -> str:
    """Return a string that is quickly counted, and that a text must hold which makes the control string."""
    text, core = control.text, control.core
    for place, char in enumerate(text):
        if char in _RARE and not _is_lent(text, place, separators):
            return char
    word = core.lstrip()
    rests = tuple(core[size:] for size in range(1, len(core) - len(word) + 1))
    later = [separator for (previous, _), separator in separators.items() if previous != START]
    is_made_of_start = can_overlap(word) or any(separator.startswith(rests) for separator in later)
    return word if word and not is_made_of_start else core


def stops_of(separators: Separators) -> tuple[str, ...]:
    """Return what ends a reply: of the texts that stand after one, the first token, or the words of a new line."""
    after = (separators.get(("assistant", role), "") for role in ("user", END))
    return tuple(dict.fromkeys(stop for text in after if (stop := _stop_in(text))))[:MOST_STOPS]


def _stop_in(text: str) -> str:
    """Return the string at which a reply ends that this text follows; "" if an ordinary reply could hold it."""
    first = next(iter(tokens_in(text)), "")
    if first and text.lstrip().startswith(first):
        return first
    line = text.lstrip().partition("\n")[0]
    before = text[: text.index(line)]
    return f"{before}{line.rstrip()}" if line and before.endswith("\n") else ""


def control_of(description: Description, tags: Iterable[tuple[str, str]] = ()) -> tuple[Control, ...]:
    """Return the control strings of a format; ``tags`` are those of tool calls, each with the role it is read in."""
    tokens = chain(_separator_tokens(description), _other_tokens(description))
    roles = {token: _roles_of(token, description) for token in dict.fromkeys(tokens)}
    for role, text in tags:
        roles.setdefault(text, frozenset() if is_special(text) else frozenset({role}))
    for end in description.ends:
        roles.setdefault(end, frozenset())
    for mark in description.marks:
        roles.setdefault(mark, named_roles(mark) or frozenset())
    controls = [Control(text, found) for text, found in roles.items()]
    controls += map(Control, dict.fromkeys(_words(description, controls)))
    return (*controls, *map(Control, dict.fromkeys(_doubtful(description, controls))))


def _separator_tokens(description: Description) -> Iterator[str]:
    """Yield the tokens between two messages and right before a system message, but not those that begin a sequence."""
    elements = _elements(description)
    for (previous, role), text in description.separators.items():
        tokens = [token for token in _turn_tokens(text, elements) if token != description.bos or is_special(token)]
        if "declared" in (previous, role):  # the fixed text around declarations describes tags, and uses none
            yield from (token for token in tokens if previous != START and is_special(token))
        elif previous != START:
            yield from tokens
        elif role == "system":
            yield from (token for token in tokens[-1:] if not is_beginning(token))


def _elements(description: Description) -> frozenset[str]:
    """Return the tags of elements, such as ``<response>`` and ``</response>``, which stand around parts of a turn."""
    thought = () if description.thought is None else description.thought.tags
    texts = (*description.separators.values(), *thought)
    tags = {token for text in texts for token in tokens_in(text) if not is_special(token)}
    starts = [tag for tag in tags if named_roles(tag) is None and f"</{tag[1:]}" in tags and tag != "<s>"]
    return frozenset([*starts, *(f"</{tag[1:]}" for tag in starts)])


def _turn_tokens(text: str, elements: Container[str]) -> list[str]:
    """Return the tokens of a text, but for the tags of elements that stand in it beside a token."""
    tokens = tokens_in(text)
    return [token for token in tokens if token not in elements] if any(map(is_special, tokens)) else tokens


def _other_tokens(description: Description) -> Iterator[str]:
    """Yield the tokens that end a reply, and the tags of thoughts."""
    for text in description.stop:
        yield from tokens_in(text)
    for text in () if description.thought is None else description.thought.tags:
        yield from (token for token in tokens_in(text) if is_special(token) or named_roles(token) is not None)


def _roles_of(token: str, description: Description) -> frozenset[str]:
    """Return the roles in which a token is read: all, but for tags of thoughts, of calls, and of results."""
    if is_special(token):
        return frozenset()
    named = named_roles(token)
    if named is not None:
        return named
    pairs = [pair for pair, text in description.separators.items() if pair[0] != START and token in text]
    if not pairs or not all(_TOOLS.intersection(pair) for pair in pairs):
        return frozenset()
    return frozenset({"tool", "user"} if any(map(description.is_in_user_turn, pairs)) else {"tool"})


def _words(description: Description, controls: Sequence[Control]) -> Iterator[str]:
    """Yield the beginnings of separators that hold no control string otherwise."""
    words = {
        text
        for (previous, role), text in description.separators.items()
        if text and previous != START and role != END
        if not any(each.text in text and each.is_read_in(previous) for each in controls)
    }
    words |= _system_words(description, words)
    for text in sorted(words):
        if not any(other in text for other in words - {text}):
            yield text.rstrip() if text.startswith("\n") and text.strip() else text


def _system_words(description: Description, words: Container[str]) -> set[str]:
    """Return how a system message would begin later in a prompt, if it begins with plain words as the user's does."""
    system, user = (description.separators.get(pair, "") for pair in ((START, "system"), ("system", "user")))
    if user not in words or not system.strip() or tokens_in(system):
        return set()
    return {user[: len(user) - len(user.lstrip())] + system}


def _doubtful(description: Description, controls: Sequence[Control]) -> Iterator[str]:
    """Yield what must be counted so that no separator can be read at the place of another one of the same role."""
    separators = description.separators
    transitions = transitions_of(separators)
    for role, found in transitions.items():
        if role == START:
            continue
        read = [each for each in controls if each.is_read_in(role)]
        for other in found:
            for written in exits_of(role, transitions, separators):
                yield from _doubt(other.separator, written, read, controls)


def _doubt(other: str, written: Transition, read: Sequence[Control], controls: Sequence[Control]) -> Iterator[str]:
    """Yield the part of a separator that could come about at the place of the one that is written."""
    (start, end), (place, _) = _first(other, read), _first(written.separator, read)
    if not _agree(other[start:], written.separator[place:]):
        return
    more = other[start - place + len(written.separator) :]
    if any(each.text in more and each.is_read_in(written.role) for each in controls):
        return  # which the text after it would have to hold
    if start > place and other[:start].endswith(written.separator[:place]):
        yield other[:end]
    elif start == place and more and written.role != REPLY:
        yield other


def _first(separator: str, controls: Sequence[Control]) -> tuple[int, int]:
    """Return where the first control string of a separator starts and ends; there always is one."""
    start, length = min((separator.index(each.text), len(each.text)) for each in controls if each.text in separator)
    return start, start + length


def _agree(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
