"""The proof that a draft writes what its template writes, on chats that it was not taken from.

Each check writes a chat with both. Where they differ, the draft loses what the check was about: the system message, an
ending, or some texts, which its format then refuses. What it must not lose are plain chats.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.engine.losses import FINAL_REPLY
from novita_openai.prompts.engine.separators import Ending
from novita_openai.prompts.errors import TemplateError
from novita_openai.prompts.templates.draft import Draft, Turn
from novita_openai.prompts.templates.probe import chat_roles

if TYPE_CHECKING:
    from novita_openai.prompts.templates.probe import Probe

__all__ = ["prove"]

Chat = tuple[Turn, ...]
History = tuple[tuple[str, ...], str]
"""The roles of a chat, and how it ends."""

Text = Callable[[str, int], str]
"""A text by its role and its place in a chat."""

_ROLES: Final = ("system", "user", "assistant")
_CLOSED_ROLES: Final = ("user", "assistant", "user", "assistant")
_FINAL_PLACE: Final = len(_CLOSED_ROLES) - 1
_HALVES: Final = (range(2), range(2, 4))
"""The places of a history's first messages and of its last ones, of which each half has one of the user."""

_PLAIN: Final = (
    "Wie heißt die Hauptstadt?\n\nBitte kurz: 東京 oder Kyōto? 🙂",
    '```python\ndef answer():\n    return {"a": [1, 2]}\n```\n\n1. Yes.\n2. "No" & <b>maybe</b>.',
    "x < y && y > z; see https://example.org/?q=1#top, 100 % sure\n- one\n\n- two",
    "# Title\n\nText with \\n a backslash, a tab\there and {braces}, {{ more }}, {% such %}.",
    "I said: e\u0301, \u200d, \U0001f469\u200d\U0001f4bb and 'quotes' done",
)
_EDGES: Final = (" ", "\n", "\t", "\n", " ", "\n\n", " \n ")
_WORD: Final = "Qw0xZ"


@dataclass
class _Proof:
    """A template, the draft of it, and what the template wrote so far."""

    probe: Probe
    draft: Draft
    written: dict[tuple[Chat, bool], str | None] = field(default_factory=dict)

    def holds(self, chat: Chat, ending: str = Ending.REPLY) -> bool:
        """Tell whether the draft writes a chat as the template does, or refuses it."""
        return self._verdict(chat, ending) is not False

    def _verdict(self, chat: Chat, ending: str) -> bool | None:
        """Return whether the draft writes what the template does, None where it refuses the chat."""
        ours = self.draft.write(chat, ending)
        return None if ours is None else ours == self._theirs(chat, reply=ending == Ending.REPLY)

    def _theirs(self, chat: Chat, *, reply: bool) -> str | None:
        """Return what the template writes, None where it refuses the chat."""
        if (chat, reply) not in self.written:
            self.written[chat, reply] = self._ask(chat, reply=reply)
        return self.written[chat, reply]

    def _ask(self, chat: Chat, *, reply: bool) -> str | None:
        try:
            return self.probe.prompt(chat, reply=reply)
        except TemplateError as error:
            if error.property == "unbounded":
                raise
            return None

    def failing(self, text: Text, roles: Sequence[str] = _ROLES) -> list[str]:
        """Return those of the roles whose texts are neither kept nor refused, in some place of a history."""
        failing: list[str] = []
        for history, tried in product((self.open_history, self.closed_history), self._tried(text)):
            failing += self.failing_in(history, tried, [role for role in roles if role not in failing])
        return failing

    def _tried(self, text: Text) -> Sequence[Text]:
        """Return the texts, at once; or the first messages' and the last ones' apart where no two may be the same."""
        return [partial(_only, text, places) for places in _HALVES] if self.draft.repeats else [text]

    @property
    def open_history(self) -> History:
        """The roles of a history that asks for a reply, with a system message where there can be one."""
        return (*("system",) * self.draft.has_system, "user", "assistant", "user"), Ending.REPLY

    @property
    def closed_history(self) -> History:
        """The roles of a history without a system message, closed where it can be."""
        if Ending.CLOSED in self.draft.lost_endings:
            return ("user", "assistant", "user"), Ending.REPLY
        return _CLOSED_ROLES, Ending.CLOSED

    def failing_in(self, history: History, text: Text, roles: Sequence[str]) -> list[str]:
        """Return the roles that fail in one history; all whose texts are not refused are tried together first."""
        shape, ending = history
        roles = [role for role in roles if role in shape]
        verdict = self._verdict(_texts(shape, roles, text), ending) if roles else True
        if verdict is None:
            roles = [role for role in roles if self.draft.write(_texts(shape, [role], text), ending) is not None]
            verdict = self._verdict(_texts(shape, roles, text), ending) if roles else True
        if verdict:
            return []
        *others, last = roles
        failing = [role for role in others if not self.holds(_texts(shape, [role], text), ending)]
        if verdict is False and not failing:
            return [last]  # as nothing else fails
        return failing if self.holds(_texts(shape, [last], text), ending) else [*failing, last]


def prove(probe: Probe, draft: Draft) -> None:
    """Take from a draft what does not hold; raise TemplateError where plain chats do not."""
    proof = _Proof(probe, draft)
    _prove_chats(proof)
    _prove_repeats(proof)
    for shift in (0, 1):
        _prove_edges(proof, partial(_edged, shift))
    draft.blanks |= {*proof.failing(_always(""))}
    draft.blanks |= {*proof.failing(_always(" "), [role for role in _ROLES if role not in draft.blanks | draft.edges])}
    for marker, content in _suspicious(proof):
        for role in proof.failing(_always(content)):
            _lose(proof, role, marker)
    searched = [marker for marker in probe.template.suspects.searched if marker.strip()]
    for markers in (searched, searched[::-1]):
        kept = {role: [marker for marker in markers if not draft.loses(role, marker)] for role in _ROLES}
        several = [role for role in _ROLES if len(kept[role]) > 1]
        for role in proof.failing(_rows(kept), several):
            _lose_together(proof, role, kept[role])


def _always(content: str) -> Text:
    return lambda *_: content


def _edged(shift: int, _: str, place: int) -> str:
    return f"{_EDGES[place + shift]}{_WORD}{place}{_EDGES[place + shift]}"


def _only(text: Text, places: Container[int], role: str, place: int) -> str:
    return text(role, place) if place in places else f"{_WORD}{place}"


def _but_final(text: Text) -> Text:
    """Return the texts with a word as the reply that ends a closed history."""
    return partial(_only, text, range(_FINAL_PLACE))


def _lose(proof: _Proof, role: str, marker: str) -> None:
    """Refuse a marker in texts of a role; only at their ends where it is kept inside."""
    inside = _row(["", marker, marker, ""])
    if proof.failing(inside, [role]):
        proof.draft.lose_marker(role, marker)
    else:
        proof.draft.lose_end(role, marker)


def _texts(shape: Sequence[str], roles: Sequence[str], text: Text) -> Chat:
    """Return a chat of this shape with the texts in messages of some roles, and a word in the others."""
    return tuple((role, text(role, place) if role in roles else f"{_WORD}{place}") for place, role in enumerate(shape))


def _prove_chats(proof: _Proof) -> None:
    """Check chats of ordinary texts, longer than those that were observed."""

    def holds(count: int, ending: str = Ending.REPLY, *, system: bool = False) -> bool:
        roles = ("system",) * system + chat_roles(count)
        return proof.holds(_texts(roles, roles, lambda _, place: f"{_PLAIN[place % len(_PLAIN)]} {place}"), ending)

    if not holds(9):
        raise TemplateError("content altered", "plain texts are not written as they are")
    if not holds(5, system=True):
        proof.draft.drop_system()
    if not (holds(10, Ending.CLOSED) and holds(2, Ending.CLOSED, system=True) and holds(3, Ending.CLOSED, system=True)):
        proof.draft.lose_endings()


def _prove_repeats(proof: _Proof) -> None:
    """Check chats in which messages say the same, which a template may take for one another."""

    def holds(roles: Sequence[str], same: int, ending: str = Ending.REPLY) -> bool:
        return proof.holds(_texts(roles, roles, partial(_only, _always(_WORD), range(same))), ending)

    if holds(chat_roles(3), 3) and holds(_CLOSED_ROLES, 4, Ending.CLOSED):
        return
    proof.draft.lose_repeats()
    if not holds(chat_roles(5), 4):
        raise TemplateError("position-dependent", "a text that stands twice in a chat is not written as others are")


def _prove_edges(proof: _Proof, text: Text) -> None:
    """Find the roles whose texts lose some white space at their ends, in another way than was seen."""
    for role in proof.failing(text, [role for role in _ROLES if role not in proof.draft.edges]):
        is_final = role == "assistant" and not proof.failing(_but_final(text), [role])
        proof.draft.edges.add(FINAL_REPLY if is_final else role)


def _lose_together(proof: _Proof, role: str, markers: list[str]) -> None:
    """Refuse markers until the others are kept together."""
    while proof.failing(_row(markers), [role]):
        lost = max(_fewest(proof, role, markers), key=len)
        proof.draft.lose_marker(role, lost)
        markers.remove(lost)


def _row(markers: Sequence[str]) -> Text:
    return _always(_WORD.join(markers))


def _rows(markers: Mapping[str, Sequence[str]]) -> Text:
    return lambda role, _: _WORD.join(markers[role])


def _fewest(proof: _Proof, role: str, markers: Sequence[str]) -> list[str]:
    """Return few of the markers that are still not kept together."""
    fewest = [*markers]
    for marker in markers:
        rest = [other for other in fewest if other != marker]
        if rest and proof.failing(_row(rest), [role]):
            fewest = rest
    return fewest


def _suspicious(proof: _Proof) -> Iterator[tuple[str, str]]:
    """Yield the texts that the template may look for, and contents in which it would find them.

    Words are mostly looked for in other things than texts, so they are tried together first.
    """
    found = proof.probe.template.suspects
    words = [text for text in found.searched if text.isidentifier()]
    if words and proof.failing(_always(" ".join(words))):
        yield from ((word, f"{word} {_WORD} {word}") for word in words)
    for text in found.searched:
        if text.strip() and not text.isidentifier():
            yield text, text + _WORD + text + _WORD + text
    for start, end in product(found.starts, found.ends):
        yield max(start, end, key=len), start + _WORD + end
    for text in found.compared:
        yield text, text
