"""What a chat template writes around the messages, found by rendering histories of words that it cannot know.

Between two such words stands what the template itself wrote. That must depend on nothing but the roles on either side;
where it does not, ``TemplateError`` says so, or the order of roles is left out and so refused by the format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.engine.separators import END, FINAL, REPLY, START
from novita_openai.prompts.errors import TemplateError
from novita_openai.prompts.templates.draft import Draft, Turn

if TYPE_CHECKING:
    from novita_openai.prompts.templates.chat_template import ChatTemplate

__all__ = ["Probe", "chat_roles", "observe"]

_LEFT: Final = "\n \t"
_RIGHT: Final = "\t \n"
_TRIMS: Final = {(False, False): "none", (True, False): "left", (False, True): "right", (True, True): "both"}


@dataclass(frozen=True)
class Probe:
    """A template, asked in the way that it wants contents: as text, or as a list of one text part."""

    template: ChatTemplate
    wants_parts: bool = False

    def prompt(self, turns: Iterable[Turn], *, reply: bool = True) -> str:
        """Return what the template writes."""
        return self.template.render([self._message(*turn) for turn in turns], reply=reply)

    def _message(self, role: str, text: str) -> Mapping[str, Any]:
        return {"role": role, "content": [{"type": "text", "text": text}] if self.wants_parts else text}

    def gaps(self, roles: Sequence[str], *, reply: bool = True, left: str = "", right: str = "") -> list[str]:
        """Return what stands before, between and after the words, one for each role, in the order given."""
        words = [f"Qz{place}xW" for place in range(len(roles))]
        turns = [(role, f"{left}{word}{right}") for role, word in zip(roles, words, strict=True)]
        return _cut(self.prompt(turns, reply=reply), words, roles)


def _cut(prompt: str, words: Sequence[str], roles: Sequence[str]) -> list[str]:
    places = [-1]
    for word, role in zip(words, roles, strict=True):
        count = prompt.count(word)
        if count != 1:
            property = "content lost" if not count else "content repeated"  # noqa: A001 - the public word for it
            raise TemplateError(
                "system dropped" if role == "system" and not count else property,
                f"the {role} message stands {count} times in the prompt",
            )
        places.append(prompt.find(word))
    if places != sorted(places):
        raise TemplateError("content moved", "the messages stand in another order")
    ends = [0, *(place + len(word) for place, word in zip(places[1:], words, strict=True))]
    return [prompt[end:start] for end, start in zip(ends, [*places[1:], len(prompt)], strict=True)]


def observe(probe: Probe) -> Draft:
    """Return what the template writes for the usual orders of roles; raise TemplateError if not even a chat works."""
    draft = _observe_chats(probe)
    _observe_system(probe, draft)
    _observe_endings(probe, draft)
    _observe_trims(probe, draft)
    return draft


def _observe_chats(probe: Probe) -> Draft:
    """Return what is written around users' and assistants' texts; the last user's header may go on where others end."""
    try:
        return _noted(probe, Draft(), 5)
    except TemplateError as error:
        if error.property != "position-dependent":
            raise
        return _noted(probe, Draft(asks=True), 7)


def _noted(probe: Probe, draft: Draft, most: int) -> Draft:
    for count in (most, 1):
        draft.note(chat_roles(count), probe.gaps(chat_roles(count)))
    return draft


def chat_roles(count: int) -> tuple[str, ...]:
    """Return the roles of so many messages, users and assistants in turn."""
    return ("user", "assistant") * (count // 2) + ("user",) * (count % 2)


def _observe_system(probe: Probe, draft: Draft) -> None:
    """Note how a system message is written before the first user's; leave it out where it is refused or lost."""
    before = dict(draft.separators)
    try:
        for count in (3, 1):
            draft.note(("system", *chat_roles(count)), probe.gaps(("system", *chat_roles(count))))
    except TemplateError:
        draft.separators = before
        _observe_moved_system(probe, draft)
        return
    if draft.asks and draft.separators[START, "system"] == draft.separators[START, "user"]:
        draft.drop_system()  # two headers go on from its text
    elif draft.separators[START, "system"] == draft.separators[START, "user"]:
        draft.system_in = "first"
        draft.joins["system", "user"] = draft.separators.pop(("system", "user"))
        del draft.separators[START, "system"]


def _observe_moved_system(probe: Probe, draft: Draft) -> None:
    """Note the text between the system text and the last user's, where the template writes it there."""
    words = ("user", "assistant", "system", "user")
    turns = [("system", "Qz2xW"), ("user", "Qz0xW"), ("assistant", "Qz1xW"), ("user", "Qz3xW")]
    try:
        gaps = _cut(probe.prompt(turns), [f"Qz{place}xW" for place in range(4)], words)
    except TemplateError:
        return
    plain = [draft.separators[pair] for pair in pairwise((START, *chat_roles(3), REPLY))]
    if [*gaps[:3], gaps[4]] == plain:
        draft.system_in = "last"
        draft.joins["system", "user"] = gaps[3]


def _observe_endings(probe: Probe, draft: Draft) -> None:
    """Note how histories end that ask for no reply; leave out what depends on more than the last two roles."""
    before = dict(draft.separators)
    try:
        *gaps, last, end = probe.gaps(chat_roles(4), reply=False)
        draft.note(chat_roles(3), [*gaps, last], FINAL)
        draft.put(("assistant", END), end)
    except TemplateError:
        draft.separators = before
        draft.lose_endings()
        return
    if draft.separators["user", FINAL] == draft.separators["user", "assistant"]:
        del draft.separators["user", FINAL]
    _observe_open_question(probe, draft)


def _observe_open_question(probe: Probe, draft: Draft) -> None:
    """Note how a history ends whose last message is the user's."""
    before = dict(draft.separators)
    try:
        draft.note(chat_roles(3), probe.gaps(chat_roles(3), reply=False), END)
    except TemplateError:
        draft.separators = before


def _observe_trims(probe: Probe, draft: Draft) -> None:
    """Note which white space around the texts is not written; refuse it where that cannot be told."""
    kinds: dict[tuple[str, str], str] = {}
    for roles in [chat_roles(3), *([("system", "user")] if draft.has_system else [])]:
        kinds |= _trims_in(probe, draft, roles)
    for role in dict.fromkeys(role for _, role in kinds):
        mine = {pair: kind for pair, kind in kinds.items() if pair[1] == role}
        if "" in mine.values():
            draft.edges.add(role)
        elif len({*mine.values()}) == 1:
            draft.trim[role] = next(iter(mine.values()))
        else:
            draft.trim |= mine
    draft.trim = {key: kind for key, kind in draft.trim.items() if kind != "none"}


def _trims_in(probe: Probe, draft: Draft, roles: Sequence[str]) -> dict[tuple[str, str], str]:
    """Return how each text of a chat is trimmed, keyed by the role before it and its own; "" if it cannot be told."""
    pairs = [*pairwise((START, *roles, REPLY))]
    try:
        gaps = probe.gaps(roles, left=_LEFT, right=_RIGHT)
    except TemplateError:
        return dict.fromkeys(pairs[:-1], "")
    kept = [_kept(separator, gap) for separator, gap in zip(draft.pieces(roles), gaps, strict=True)]
    return {
        pair: "" if before is None or after is None else _TRIMS[not before[1], not after[0]]
        for pair, before, after in zip(pairs, kept, kept[1:], strict=False)
    }


def _kept(separator: str, gap: str) -> tuple[bool, bool] | None:
    """Tell whether the white space before and after a separator is in a gap; None where it is not all or nothing."""
    for right, left in product((False, True), repeat=2):
        if gap == _RIGHT * right + separator + _LEFT * left:
            return right, left
    return None
