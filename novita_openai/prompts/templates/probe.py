"""Observes what a chat template writes around messages, by rendering chats of words that it cannot know.

What stands between two such words is what the template itself wrote. It must depend on nothing but the roles on either
side. Where it depends on more, a TemplateError says so, or the order of roles is left out, and the format refuses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.engine.separators import END, FINAL, REPLY, START, Segment
from novita_openai.prompts.errors import TemplateError
from novita_openai.prompts.templates.draft import Draft

if TYPE_CHECKING:
    from novita_openai.prompts.templates.chat_template import ChatTemplate

__all__ = ["Probe", "chat_roles", "observe"]

LONGEST_GAPS: Final = 50_000
"""Characters; the published templates write up to 6,000 around a chat of a few words."""

_LEFT: Final = "\n \t"
_RIGHT: Final = "\t \n"
_SIDES: Final = {(False, False): "none", (True, False): "left", (False, True): "right", (True, True): "both"}
"""The names of what is stripped, by whether it is stripped on the left and on the right."""


@dataclass(frozen=True)
class Probe:
    """A template, and whether it takes the content of a message as a text or as a list of one text part."""

    template: ChatTemplate
    wants_parts: bool = False

    def prompt(self, chat: Iterable[Segment], *, reply: bool = True) -> str:
        """Return what the template writes."""
        return self.template.render([self.message(*turn) for turn in chat], reply=reply)

    def confirm(self, chat: Sequence[Segment], *, reply: bool) -> str:
        """Return what the template writes for a chat of any length."""
        messages = [self.message(*turn) for turn in chat]
        return self.template.confirm(messages, reply=reply, size=sum(len(text) for _, text in chat))

    def message(self, role: str, text: str) -> Mapping[str, Any]:
        """Return a message as the template takes it."""
        return {"role": role, "content": [{"type": "text", "text": text}] if self.wants_parts else text}

    def gaps(self, roles: Sequence[str], *, reply: bool = True, left: str = "", right: str = "") -> list[str]:
        """Return what stands before, between and after the words of a chat of these roles.

        ``left`` and ``right`` are put around each word, so that they are parts of the gaps where they are kept.
        """
        chat = [(role, f"{left}{_word(place)}{right}") for place, role in enumerate(roles)]
        return _gaps(self.prompt(chat, reply=reply), [(role, _word(place)) for place, role in enumerate(roles)])


def _word(place: int) -> str:
    return f"Qz{place}xW"


def _gaps(prompt: str, words: Sequence[Segment]) -> list[str]:
    """Return what stands around words in a prompt; raise TemplateError if not each stands there once, in this order."""
    places = [-1]
    for role, word in words:
        count = prompt.count(word)
        if count != 1:
            problem = f"the text of the {role} message stands in the prompt {count} times, not once"
            raise TemplateError("content repeated" if count else "content lost", problem)
        places.append(prompt.find(word))
    if places != sorted(places):
        raise TemplateError("content moved", "the template writes the messages in another order")
    ends = [0, *(place + len(word) for place, (_, word) in zip(places[1:], words, strict=True))]
    gaps = [prompt[end:start] for end, start in zip(ends, [*places[1:], len(prompt)], strict=True)]
    if sum(map(len, gaps)) > LONGEST_GAPS:
        raise TemplateError("unbounded", f"the template writes more than {LONGEST_GAPS} characters around a few words")
    return gaps


def observe(probe: Probe) -> Draft:
    """Return what the template writes for the usual orders of roles; raise TemplateError if not even a chat works."""
    draft = _observe_chats(probe)
    _observe_system(probe, draft)
    _observe_endings(probe, draft)
    _observe_trims(probe, draft)
    return draft


def _observe_chats(probe: Probe) -> Draft:
    """Return what is written around users' and assistants' texts; the last user's header may be a longer one."""
    try:
        return _noted(probe, Draft(), 5)
    except TemplateError as error:
        if error.property != "position-dependent":
            raise
        return _noted(probe, Draft(asks=True), 7)


def _noted(probe: Probe, draft: Draft, longest: int) -> Draft:
    for count in (longest, 1):
        draft.note(chat_roles(count), probe.gaps(chat_roles(count)))
    return draft


def chat_roles(count: int) -> tuple[str, ...]:
    """Return the roles of so many messages, user and assistant in turn."""
    return ("user", "assistant") * (count // 2) + ("user",) * (count % 2)


def _observe_system(probe: Probe, draft: Draft) -> None:
    """Note how a system message is written at the start; nothing where it is refused or lost."""
    before = dict(draft.separators)
    try:
        for count in (3, 1):
            roles = ("system", *chat_roles(count))
            draft.note(roles, probe.gaps(roles))
    except TemplateError:
        draft.separators = before
        _observe_moved_system(probe, draft)
        return
    if draft.separators[START, "system"] != draft.separators[START, "user"]:
        return
    if draft.asks:
        draft.drop_system()  # the system text goes into a user's message, which may have either of two headers
        return
    draft.system_in = "first"
    draft.joins["system", "user"] = draft.separators.pop(("system", "user"))
    del draft.separators[START, "system"]


def _observe_moved_system(probe: Probe, draft: Draft) -> None:
    """Note the text between the system text and the last user's, where the template writes it there."""
    user, reply, system, last = words = [
        (role, _word(place)) for place, role in enumerate(("user", "assistant", "system", "user"))
    ]
    try:
        gaps = _gaps(probe.prompt([system, user, reply, last]), words)
    except TemplateError:
        return
    plain = [draft.separators[pair] for pair in pairwise((START, *chat_roles(3), REPLY))]
    if [*gaps[:3], gaps[4]] == plain:
        draft.system_in = "last"
        draft.joins["system", "user"] = gaps[3]


def _observe_endings(probe: Probe, draft: Draft) -> None:
    """Note how histories end that ask for no reply; refuse those that depend on more than the last two roles."""
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
    """Note which white space around the texts is stripped; refuse it where that is not clear."""
    sides: dict[tuple[str, str], str] = {}
    for roles in [chat_roles(3), *([("system", "user")] if draft.has_system else [])]:
        sides |= _stripped_sides(probe, draft, roles)
    for role in dict.fromkeys(role for _, role in sides):
        mine = {pair: side for pair, side in sides.items() if pair[1] == role}
        if "" in mine.values():
            draft.edges.add(role)
        elif len({*mine.values()}) == 1:
            draft.trim[role] = next(iter(mine.values()))
        else:
            draft.trim |= mine
    draft.trim = {key: side for key, side in draft.trim.items() if side != "none"}


def _stripped_sides(probe: Probe, draft: Draft, roles: Sequence[str]) -> dict[tuple[str, str], str]:
    """Return the stripped sides of each text, by the role before it and its own; "" where that is not clear."""
    pairs = [*pairwise((START, *roles, REPLY))]
    try:
        gaps = probe.gaps(roles, left=_LEFT, right=_RIGHT)
    except TemplateError:
        return dict.fromkeys(pairs[:-1], "")
    kept = [_kept(separator, gap) for separator, gap in zip(draft.pieces(roles), gaps, strict=True)]
    return {
        pair: "" if before is None or after is None else _SIDES[not before[1], not after[0]]
        for pair, before, after in zip(pairs, kept, kept[1:], strict=False)
    }


def _kept(separator: str, gap: str) -> tuple[bool, bool] | None:
    """Tell whether a gap has the white space before and after the separator; None if it has a part of it."""
    for right, left in product((False, True), repeat=2):
        if gap == _RIGHT * right + separator + _LEFT * left:
            return right, left
    return None
