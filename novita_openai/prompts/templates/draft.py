"""A prompt format in the making: what was seen of a template, less what turned out not to hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Final

from novita_openai.prompts.engine.losses import Losses
from novita_openai.prompts.engine.separators import ASKED, END, REPLY, START, PromptEnding, Segment, last_key
from novita_openai.prompts.engine.trimming import trimmed
from novita_openai.prompts.errors import TemplateError
from novita_openai.prompts.templates.derived import Confirms, DerivedFormat

__all__ = ["Draft"]

_KNOWN_BOS: Final = (
    "<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "<｜begin▁of▁sentence｜>", "<BOS_TOKEN>", "]~!b[",
)  # fmt: skip
"""The BOS texts of the named formats."""


@dataclass
class Draft:
    """What a template writes around the texts of a chat, and what it loses, as the fields of ``PromptFormat``.

    The fields from ``markers`` to ``repeats`` are those of ``Losses``. With ``asks`` the header of the user's message
    that asks for the reply may be longer than that of other user messages.
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
    endings: set[str] = field(default_factory=set)
    repeats: bool = False
    marks: tuple[str, ...] = ()

    @property
    def has_system(self) -> bool:
        """Tell whether the format has a place for a system message."""
        return bool(self.system_in) or (START, "system") in self.separators

    @property
    def losses(self) -> Losses:
        """Return what the template loses, as it is known now."""
        blanks, edges, endings = map(frozenset, (self.blanks, self.edges, self.endings))
        return Losses(dict(self.markers), dict(self.ends), blanks, edges, endings, self.repeats)

    def put(self, pair: tuple[str, str], text: str) -> None:
        """Note what stands between two roles; raise TemplateError if something else stood there before."""
        previous, role = pair
        known = self.separators.setdefault(pair, text)
        begins = self.separators.get((previous, "user"), "") if role == ASKED else ""
        if known != text or not text.startswith(begins):
            problem = f"between {previous} and {role} the template writes {known!r}, and elsewhere {text!r}"
            raise TemplateError("position-dependent", problem)

    def note(self, roles: Sequence[str], gaps: Sequence[str], ending: str = REPLY) -> None:
        """Note what stands around the texts of a chat."""
        pairs = [*pairwise((START, *roles, ending))]
        if self.asks and ending == REPLY:
            pairs[-2] = pairs[-2][0], ASKED
        for pair, gap in zip(pairs, gaps, strict=True):
            self.put(pair, gap)

    def drop_reply(self) -> None:
        """Let the format refuse to ask for a reply."""
        self.separators = {pair: text for pair, text in self.separators.items() if pair[1] != REPLY}

    def drop_system(self) -> None:
        """Let the format refuse system messages."""
        self.system_in = ""
        self.separators = {pair: text for pair, text in self.separators.items() if "system" not in pair}
        self.joins = {}

    def lose_endings(self) -> None:
        """Let the format refuse histories that ask for no reply."""
        self.endings |= {PromptEnding.CLOSED, PromptEnding.PREFILL}

    def loses(self, role: str, marker: str) -> bool:
        """Tell whether texts of a role that hold a marker are refused, at least where they start or end with it."""
        return marker in self.markers.get(role, ()) or marker in self.ends.get(role, ())

    def lose_marker(self, role: str, marker: str) -> None:
        """Let the format refuse texts of a role that hold a marker."""
        self.markers[role] = (*self.markers.get(role, ()), marker)

    def lose_end(self, role: str, marker: str) -> None:
        """Let the format refuse texts of a role that start or end with a marker."""
        self.ends[role] = (*self.ends.get(role, ()), marker)

    def take_bos(self, token: str) -> None:
        """Set the BOS apart if every prompt starts with it, once.

        A BOS that was not given is one that the template spells out, and that stands nowhere else in it.
        """
        self._set_apart(token)
        for known in () if token else _KNOWN_BOS:
            if not self.bos and not any(known in text for pair, text in self.separators.items() if pair[0] != START):
                self._set_apart(known)

    def _set_apart(self, token: str) -> None:
        starts = {pair: text for pair, text in self.separators.items() if pair[0] == START}
        rests = {pair: text.removeprefix(token) for pair, text in starts.items()}
        if token and all(starts[pair] == token + rest and not rest.startswith(token) for pair, rest in rests.items()):
            self.bos = token
            self.separators |= rests

    def format(
        self, name: str, stop: tuple[str, ...], ends: tuple[str, ...] = (), probe: Confirms | None = None
    ) -> DerivedFormat:
        """Return the format; raise TemplateError if nothing tells its messages apart."""
        try:
            return DerivedFormat(
                name,
                dict(self.separators),
                bos=self.bos,
                trim=dict(self.trim),
                joins=dict(self.joins),
                system_in=self.system_in,
                losses=None if self.losses == Losses() else self.losses,
                stop=stop,
                ends=ends,
                marks=self.marks,
                probe=probe,
            )
        except ValueError as error:
            raise TemplateError("not readable", str(error)) from None

    def write(self, chat: Sequence[Segment], ending: str) -> str | None:
        """Return the prompt of a chat, with the BOS; None if the format refuses the chat."""
        chat = trimmed(self.trim, chat)
        if self.losses.first_problem(chat, ending) is not None:
            return None
        roles, texts = [role for role, _ in chat], [text for _, text in chat]
        if self.system_in == "last" and roles[0] == "system":
            if roles[-1] != "user":
                return None
            roles, texts = roles[1:], [*texts[1:-1], f"{texts[0]}{self.joins['system', 'user']}{texts[-1]}"]
        try:
            pieces = self.pieces(roles, ending)
        except KeyError:
            return None
        return self.bos + "".join(chain.from_iterable(zip(pieces, [*texts, ""], strict=True)))

    def pieces(self, roles: Sequence[str], ending: str = PromptEnding.REPLY) -> list[str]:
        """Return what stands around the texts of a chat; raise KeyError for an unknown order of roles."""
        *pairs, last, tail = pairwise([START, *roles, REPLY if ending == PromptEnding.REPLY else END])
        special = last[0], last_key(last[1], ending)
        return [self._between(pair) for pair in (*pairs, special if special in self.separators else last, tail)]

    def _between(self, pair: tuple[str, str]) -> str:
        """Return what stands between two roles, one of which may be a system message that is moved."""
        if self.system_in and "system" in pair:
            return self.joins.get(pair, self.separators.get((START, "user"), ""))
        return self.separators[pair]
