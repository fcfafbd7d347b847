"""Compares what a draft writes with what its template writes, on chats that the draft was not taken from.

Where they differ, the draft is restricted: its format will refuse the system message, the ending or the texts that the
comparison was about. A draft that fails on plain chats is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.engine.losses import FINAL_REPLY
from novita_openai.prompts.engine.separators import PromptEnding, Segment
from novita_openai.prompts.errors import TemplateError
from novita_openai.prompts.templates.probe import chat_roles

if TYPE_CHECKING:
    from novita_openai.prompts.templates.draft import Draft
    from novita_openai.prompts.templates.probe import Probe

__all__ = ["verify_draft"]

Chat = tuple[Segment, ...]

Outline = tuple[tuple[str, ...], str]
"""The roles of a chat, and how its prompt ends."""

MakeText = Callable[[str, int], str]
"""Makes the text of a message from its role and its place in a chat."""

_ROLES: Final = ("system", "user", "assistant")
_CLOSED_ROLES: Final = ("user", "assistant", "user", "assistant")
_FINAL_PLACE: Final = len(_CLOSED_ROLES) - 1
_HALVES: Final = (range(2), range(2, 4))
"""The places of a chat's first messages and of its last ones; each half has a message of the user."""

_PLAIN: Final = (
    "Wie heißt die Hauptstadt?\n\nBitte kurz: 東京 oder Kyōto? 🙂",
    '```python\ndef answer():\n    return {"a": [1, 2]}\n```\n\n1. Yes.\n2. "No" & <b>maybe</b>.',
    "x < y && y > z; see https://example.org/?q=1#top, 100 % sure\n- one\n\n- two",
    "# Title\n\nText with \\n a backslash, a tab\there and {braces}, {{ more }}, {% such %}.",
    "I said: e\u0301, \u200d, \U0001f469\u200d\U0001f4bb and 'quotes' done",
)
_EDGES: Final = (" ", "\n", "\t", "\n", " ", "\n\n", " \n ")
_WORD: Final = "Qw0xZ"

_MOST_WRITTEN: Final = 4_000_000
"""Characters of prompts that are kept."""


def verify_draft(probe: Probe, draft: Draft) -> None:
    """Restrict a draft to what its template writes too; raise TemplateError if even plain chats differ."""
    verification = _Verification(probe, draft)
    _verify_plain_chats(verification)
    _verify_repeats(verification)
    _verify_white_space(verification)
    _verify_literals(verification)
    _verify_literals_together(verification)


@dataclass
class _Verification:
    """A template, the draft of it, and what the template has written lately, of ``size`` characters."""

    probe: Probe
    draft: Draft
    written: dict[tuple[Chat, bool], str | None] = field(default_factory=dict)
    size: int = 0

    def holds(self, chat: Chat, ending: str = PromptEnding.REPLY) -> bool:
        """Tell whether the draft writes a chat as the template does, or refuses it."""
        return self._is_same(chat, ending) is not False

    def _is_same(self, chat: Chat, ending: str) -> bool | None:
        """Tell whether the draft writes what the template does; None if it refuses the chat."""
        self.probe.template.look_at_clock()
        ours = self.draft.write(chat, ending)
        return None if ours is None else ours == self._theirs(chat, reply=ending == PromptEnding.REPLY)

    def _theirs(self, chat: Chat, *, reply: bool) -> str | None:
        """Return what the template writes; None if it refuses the chat."""
        if (chat, reply) not in self.written:
            if self.size > _MOST_WRITTEN:
                self.written.clear()
                self.size = 0
            self.written[chat, reply] = self._ask(chat, reply=reply)
        return self.written[chat, reply]

    def _ask(self, chat: Chat, *, reply: bool) -> str | None:
        try:
            prompt = self.probe.prompt(chat, reply=reply)
        except TemplateError as error:
            if error.property == "unbounded":
                raise
            return None
        self.size += len(prompt)
        return prompt

    def failing(self, text: MakeText, roles: Sequence[str] = _ROLES) -> list[str]:
        """Return those of the roles whose texts are neither kept nor refused in some place of a chat."""
        failing: list[str] = []
        for outline, tried in product((self._open, self._closed), self._tried(text)):
            failing += self._failing_in(outline, tried, [role for role in roles if role not in failing])
        return failing

    def _tried(self, text: MakeText) -> Sequence[MakeText]:
        """Return the texts for all places, or for each half if the last text may not be the same as another."""
        return [partial(_only, text, places) for places in _HALVES] if self.draft.repeats else [text]

    @property
    def _open(self) -> Outline:
        """A chat that asks for a reply, with a system message if there can be one."""
        return (*("system",) * self.draft.has_system, "user", "assistant", "user"), PromptEnding.REPLY

    @property
    def _closed(self) -> Outline:
        """A chat without a system message, closed if it can be."""
        if PromptEnding.CLOSED in self.draft.endings:
            return ("user", "assistant", "user"), PromptEnding.REPLY
        return _CLOSED_ROLES, PromptEnding.CLOSED

    def _failing_in(self, outline: Outline, text: MakeText, roles: Sequence[str]) -> list[str]:
        """Return the roles that fail in one chat; all roles whose texts are not refused are tried together first."""
        shape, ending = outline
        roles = [role for role in roles if role in shape]
        is_same = self._is_same(_chat(shape, roles, text), ending) if roles else True
        if is_same is None:
            roles = [role for role in roles if self.draft.write(_chat(shape, [role], text), ending) is not None]
            is_same = self._is_same(_chat(shape, roles, text), ending) if roles else True
        if is_same:
            return []
        *others, last = roles
        failing = [role for role in others if not self.holds(_chat(shape, [role], text), ending)]
        if is_same is False and not failing:
            return [last]  # one of them must fail, and none of the others does
        return failing if self.holds(_chat(shape, [last], text), ending) else [*failing, last]


def _chat(shape: Sequence[str], roles: Sequence[str], text: MakeText) -> Chat:
    """Return a chat of this shape with the texts in messages of some roles, and a word in the others."""
    return tuple((role, text(role, place) if role in roles else f"{_WORD}{place}") for place, role in enumerate(shape))


def _always(content: str) -> MakeText:
    return lambda *_: content


def _only(text: MakeText, places: Container[int], role: str, place: int) -> str:
    """Return the text in some places, and a word in the others."""
    return text(role, place) if place in places else f"{_WORD}{place}"


def _verify_plain_chats(verification: _Verification) -> None:
    """Compare chats of ordinary texts, longer than those that were observed."""

    def holds(count: int, ending: str = PromptEnding.REPLY, *, system: bool = False) -> bool:
        roles = ("system",) * system + chat_roles(count)
        return verification.holds(_chat(roles, roles, _plain), ending)

    if not holds(9):
        raise TemplateError("content altered", "the template changes plain texts")
    if not holds(5, system=True):
        verification.draft.drop_system()
    closed = holds(10, PromptEnding.CLOSED)
    if not (closed and all(holds(count, PromptEnding.CLOSED, system=True) for count in (2, 3))):
        verification.draft.lose_endings()


def _plain(_: str, place: int) -> str:
    return f"{_PLAIN[place % len(_PLAIN)]} {place}"


def _verify_repeats(verification: _Verification) -> None:
    """Compare chats in which messages have the same text, so that a template may take one for another."""

    def holds(roles: Sequence[str], same: int, ending: str = PromptEnding.REPLY) -> bool:
        return verification.holds(_chat(roles, roles, partial(_only, _always(_WORD), range(same))), ending)

    if holds(chat_roles(3), 3) and holds(_CLOSED_ROLES, 4, PromptEnding.CLOSED):
        return
    verification.draft.repeats = True
    if not holds(chat_roles(5), 4):
        problem = "the template writes a message differently where an earlier one has the same text"
        raise TemplateError("position-dependent", problem)


def _verify_white_space(verification: _Verification) -> None:
    """Find the roles whose texts lose white space at their ends in another way than was observed, or are blank."""
    draft = verification.draft
    for shift in (0, 1):
        text = partial(_edged, shift)
        for role in verification.failing(text, [role for role in _ROLES if role not in draft.edges]):
            is_final = role == "assistant" and not verification.failing(_but_final(text), [role])
            draft.edges.add(FINAL_REPLY if is_final else role)
    draft.blanks |= {*verification.failing(_always(""))}
    others = [role for role in _ROLES if role not in draft.blanks | draft.edges]
    draft.blanks |= {*verification.failing(_always(" "), others)}


def _edged(shift: int, _: str, place: int) -> str:
    return f"{_EDGES[place + shift]}{_WORD}{place}{_EDGES[place + shift]}"


def _but_final(text: MakeText) -> MakeText:
    """Return the texts with a word as the reply that ends a closed history."""
    return partial(_only, text, range(_FINAL_PLACE))


def _verify_literals(verification: _Verification) -> None:
    """Find the literals that the template removes, or reacts to, in texts of a role."""
    for literal, content in _contents(verification):
        for role in verification.failing(_always(content)):
            if verification.failing(_always(_row(["", literal, literal, ""])), [role]):
                verification.draft.lose_marker(role, literal)
            else:
                verification.draft.lose_end(role, literal)


def _contents(verification: _Verification) -> Iterator[tuple[str, str]]:
    """Yield the literals that the template may look for, and contents in which it would find them.

    Words are mostly looked for in other things than texts, so they are tried together first.
    """
    found = verification.probe.template.literals
    words = [text for text in found.searched if text.isidentifier()]
    if words and verification.failing(_always(" ".join(words))):
        yield from ((word, f"{word} {_WORD} {word}") for word in words)
    for text in found.searched:
        if text.strip() and not text.isidentifier():
            yield text, _row([text, text, text])
    for start, end in product(found.starts, found.ends):
        yield max(start, end, key=len), _row([start, end])
    for text in found.compared:
        yield text, text


def _row(literals: Sequence[str]) -> str:
    return _WORD.join(literals)


def _verify_literals_together(verification: _Verification) -> None:
    """Find literals that the template reacts to only where a text holds several of them."""
    draft = verification.draft
    searched = [literal for literal in verification.probe.template.literals.searched if literal.strip()]
    for literals in (searched, searched[::-1]):
        kept = {role: [literal for literal in literals if not draft.loses(role, literal)] for role in _ROLES}
        several = [role for role in _ROLES if len(kept[role]) > 1]
        for role in verification.failing(partial(_row_of, kept), several):
            _lose_together(verification, role, kept[role])


def _row_of(literals: Mapping[str, Sequence[str]], role: str, _: int) -> str:
    return _row(literals[role])


def _lose_together(verification: _Verification, role: str, literals: list[str]) -> None:
    """Refuse literals, one after the other, until the rest is kept together."""
    while verification.failing(_always(_row(literals)), [role]):
        lost = max(_fewest(verification, role, literals), key=len)
        verification.draft.lose_marker(role, lost)
        literals.remove(lost)


def _fewest(verification: _Verification, role: str, literals: Sequence[str]) -> list[str]:
    """Return a few of the literals that, together, are still not kept."""
    fewest = [*literals]
    for literal in literals:
        rest = [other for other in fewest if other != literal]
        if rest and verification.failing(_always(_row(rest)), [role]):
            fewest = rest
    return fewest
