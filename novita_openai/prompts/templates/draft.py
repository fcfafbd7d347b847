"""A prompt format in the making: what is known of a template, less what turned out not to hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Final

from novita_openai.prompts.engine.losses import Losses
from novita_openai.prompts.engine.separators import ASKED, END, REPLY, START, Ending, last_key
from novita_openai.prompts.errors import TemplateError
from novita_openai.prompts.format import PromptFormat

__all__ = ["Draft", "Turn"]

Turn = tuple[str, str]
"""A role and its text."""

_STRIP: Final[Mapping[str, Callable[[str], str]]] = {
    "none": str,
    "left": str.lstrip,
    "right": str.rstrip,
    "both": str.strip,
}


@dataclass
class Draft:
    """What a template writes around the texts, and what it does not keep; the fields are those of ``PromptFormat``.

    With ``asks`` it may write another header before the user's message that asks for the reply.
    """

    asks: bool = False
    separators: dict[tuple[str, str], str] = field(default_factory=dict)
    bos: str = ""
    trim: dict[str | tuple[str, str], str] = field(default_factory=dict)
    joins: dict[tuple[str, str], str] = field(default_factory=dict)
    system_in: str = ""
    markers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ends: dict[str, tuple[str, ...]] = field(default_factory=dict)
    blanks: set[str] = field(default_factory=set)
    edges: set[str] = field(default_factory=set)
    lost_endings: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._lost = self._losses(repeats=False)

    def _losses(self, *, repeats: bool) -> Losses:
        """Return what the template does not keep, as it is now and as it will be."""
        return Losses(self.markers, self.ends, self.blanks, self.edges, self.lost_endings, repeats)

    @property
    def repeats(self) -> bool:
        """Tell whether a last message is refused that says what another says."""
        return self._lost.repeats

    def lose_repeats(self) -> None:
        """Refuse histories whose last message says what another says."""
        self._lost = self._losses(repeats=True)

    @property
    def has_system(self) -> bool:
        """Tell whether the format has a place for a system message."""
        return bool(self.system_in) or (START, "system") in self.separators

    @property
    def losses(self) -> Losses | None:
        """Return what the template does not keep, None where it keeps everything."""
        losses = Losses(
            markers=dict(self.markers),
            ends=dict(self.ends),
            blanks=frozenset(self.blanks),
            edges=frozenset(self.edges),
            endings=frozenset(self.lost_endings),
            repeats=self.repeats,
        )
        return None if losses == Losses() else losses

    def put(self, pair: tuple[str, str], text: str) -> None:
        """Note what stands between two roles; raise TemplateError where something else did."""
        previous, role = pair
        known = self.separators.setdefault(pair, text)
        begins = self.separators.get((previous, "user"), "") if role == ASKED else ""
        if known != text or not text.startswith(begins):
            problem = f"from {previous} to {role} it writes {known!r}, but also {text!r}"
            raise TemplateError("position-dependent", problem)

    def note(self, roles: Sequence[str], gaps: Sequence[str], ending: str = REPLY) -> None:
        """Note what stands around the texts of a chat."""
        pairs = [*pairwise((START, *roles, ending))]
        if self.asks and ending == REPLY:
            pairs[-2] = pairs[-2][0], ASKED
        for pair, gap in zip(pairs, gaps, strict=True):
            self.put(pair, gap)

    def pieces(self, roles: Sequence[str], ending: str = Ending.REPLY) -> list[str]:
        """Return what stands around the texts of a chat; raise KeyError where the format has no such order."""
        *pairs, last, tail = pairwise([START, *roles, REPLY if ending == Ending.REPLY else END])
        special = last[0], last_key(last[1], ending)
        return [self._between(pair) for pair in (*pairs, special if special in self.separators else last, tail)]

    def _between(self, pair: tuple[str, str]) -> str:
        """Return what stands between two roles, before and after a folded system message too."""
        if self.system_in and "system" in pair:
            return self.joins.get(pair, self.separators.get((START, "user"), ""))
        return self.separators[pair]

    def drop_system(self) -> None:
        """Leave the system message out: the format refuses it."""
        self.system_in = ""
        self.separators = {pair: text for pair, text in self.separators.items() if "system" not in pair}
        self.joins = {}

    def lose_endings(self) -> None:
        """Refuse histories that ask for no reply."""
        self.lost_endings |= {Ending.CLOSED, Ending.PREFILL}

    def loses(self, role: str, marker: str) -> bool:
        """Tell whether texts of a role that hold a marker are refused, somewhere at least."""
        return marker in self.markers.get(role, ()) or marker in self.ends.get(role, ())

    def lose_marker(self, role: str, marker: str) -> None:
        """Refuse texts of a role that hold a marker."""
        self.markers[role] = (*self.markers.get(role, ()), marker)

    def lose_end(self, role: str, marker: str) -> None:
        """Refuse texts of a role that start or end with a marker."""
        self.ends[role] = (*self.ends.get(role, ()), marker)

    def format(self, name: str, stop: tuple[str, ...]) -> PromptFormat:
        """Return the format; raise TemplateError where its texts run into each other."""
        try:
            return PromptFormat(
                name,
                dict(self.separators),
                bos=self.bos,
                trim=dict(self.trim),
                joins=dict(self.joins),
                system_in=self.system_in,
                losses=self.losses,
                stop=stop,
            )
        except ValueError as error:
            raise TemplateError("not readable", str(error)) from None

    def take_bos(self, token: str) -> None:
        """Set the BOS apart, where every prompt starts with it, once."""
        starts = {pair: text for pair, text in self.separators.items() if pair[0] == START}
        rests = {pair: text.removeprefix(token) for pair, text in starts.items()}
        if token and all(starts[pair] == token + rest and not rest.startswith(token) for pair, rest in rests.items()):
            self.bos = token
            self.separators |= rests

    def write(self, chat: Sequence[Turn], ending: str) -> str | None:
        """Return the prompt of a chat, with the BOS; None where the format refuses it."""
        roles = [role for role, _ in chat]
        texts = [
            _STRIP[self._trim(pair)](text) for pair, (_, text) in zip(pairwise([START, *roles]), chat, strict=True)
        ]
        if self._lost.first_problem([*zip(roles, texts, strict=True)], ending) is not None:
            return None
        if self.system_in == "last" and roles[0] == "system":
            if roles[-1] != "user":
                return None
            roles, texts = roles[1:], [*texts[1:-1], f"{texts[0]}{self.joins['system', 'user']}{texts[-1]}"]
        return self._joined(roles, texts, ending)

    def _trim(self, pair: tuple[str, str]) -> str:
        return self.trim.get(pair, self.trim.get(pair[1], "none"))

    def _joined(self, roles: Sequence[str], texts: Sequence[str], ending: str) -> str | None:
        try:
            pieces = self.pieces(roles, ending)
        except KeyError:
            return None
        return self.bos + "".join(chain.from_iterable(zip(pieces, [*texts, ""], strict=True)))
