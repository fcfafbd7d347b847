"""A table of separators: writes prompts, and tells which of them hold no more control strings than it wrote.

A prompt is separator, text, separator, text, and so on. A separator is keyed by the roles on either side, the first one
by ``start`` and a role, the last one by a role and ``reply`` or ``end``; a reply that is to be continued has none after
it. Two headers may differ from those of other messages: the one before a reply that ends the history (``final``), and
the one before the user's message that asks for the reply (``asked``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Final

from novita_openai.prompts.engine.scanner import Scanner
from novita_openai.prompts.engine.separators import (
    END,
    REPLY,
    START,
    PromptEnding,
    Separators,
    last_key,
    transitions_of,
)
from novita_openai.prompts.engine.trimming import Trim, Trims, keep, trim_for

__all__ = ["Layout", "MissingSeparatorError", "Table"]

_MOST_LAYOUTS: Final = 512
"""How many layouts a table keeps."""

_LONGEST_LAYOUT: Final = 64
"""The most messages of a layout that is kept."""


class MissingSeparatorError(Exception):
    """The format has no such order of roles; ``position`` is the place of the later role's message."""

    def __init__(self, previous: str, role: str, position: int) -> None:
        where = "at the start" if previous == START else f"after {_article(previous)} message"
        what = {REPLY: "no reply can be asked for", END: "the history cannot be closed"}
        super().__init__(f"{what.get(role, f'{_article(role)} message cannot stand')} {where}")
        self.position = position


def _article(role: str) -> str:
    return f"an {role}" if role == "assistant" else f"a {role}"


@dataclass(frozen=True, slots=True)
class Layout:
    """How to write the prompts of one sequence of roles.

    ``pieces`` are the separators, with "" in the place of each text. ``trims`` are how the texts are stripped, None if
    none is, and ``stripped`` the places of those that are. ``counts`` say how often a string stands in the
    separators: first a few short ones, and then each control string. No prompt may start with one of the ``rivals``:
    longer first separators of other sequences, and the BOS. ``lengths`` is 2 for each message, the number of keys of a
    plain one. ``end`` is what would close the last message, and ``asked`` what would ask for a reply after it;
    ``ends`` are what would ask for one before it, and what would close the history there.
    """

    pieces: tuple[str, ...]
    trims: tuple[Trim, ...] | None
    stripped: tuple[tuple[int, Trim], ...]
    counts: tuple[tuple[tuple[str, int], ...], ...]
    rivals: tuple[str, ...]
    lengths: list[int]
    end: str
    asked: str
    ends: tuple[str, ...]

    def write(self, texts: Sequence[str]) -> str:
        """Return the prompt."""
        pieces = [*self.pieces]
        pieces[1::2] = texts
        return "".join(pieces)

    def trimmed(self, texts: Sequence[str]) -> Sequence[str]:
        """Return the texts with what the format strips from them stripped."""
        if self.trims is None:
            return texts
        if len(self.stripped) == len(texts) and len({*self.trims}) == 1:
            return [*map(self.trims[0], texts)]
        trimmed = [*texts]
        for place, trim in self.stripped:
            trimmed[place] = trim(trimmed[place])
        return trimmed

    def is_safe(self, prompt: str) -> bool:
        """Tell whether a prompt has each control string only in its separators; it may do so if this is False, too."""
        if prompt.startswith(self.rivals):
            return False
        for counts in self.counts:
            for text, count in counts:
                if prompt.count(text) != count:
                    break
            else:
                return True
        return False


class Table:
    """The separators and trims of a format, compiled; ``counted`` are the strings that layouts count."""

    def __init__(
        self, separators: Separators, trims: Trims, *, bos: str = "", counted: Sequence[Sequence[str]] = ()
    ) -> None:
        self.trims = trims
        self._separators, self._bos, self._counted = separators, bos, counted
        transitions = transitions_of(separators)
        self._starts = transitions[START]
        self.scanner = Scanner(separators, transitions)
        self._layouts: dict[tuple[str, ...], Layout] = {}

    def layout(self, roles: tuple[str, ...], ending: str = PromptEnding.REPLY, before: str = "") -> Layout:
        """Return how to write the prompts of these roles; raise MissingSeparatorError for an unknown order.

        ``before`` is a text that the format writes before the last message, which is an assistant's then.
        """
        key = (*roles, ending, before)
        layout = self._layouts.get(key)
        if layout is None:
            layout = self._new_layout(roles, ending, before)
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            if len(roles) <= _LONGEST_LAYOUT:
                self._layouts[key] = layout
        return layout

    def _new_layout(self, roles: tuple[str, ...], ending: str, before: str) -> Layout:
        separators = [*self._separators_between(roles, ending)]
        separators[-2] += before
        messages = (*roles[:-1], "assistant") if before else roles
        trims = tuple(trim_for(self.trims, *pair) for pair in pairwise((START, *messages)))
        first = separators[0]
        rivals = [start.separator for start in self._starts if start.role != roles[0]]
        rivals += [self._bos] if self._bos and not first.startswith(self._bos) else []
        return Layout(
            tuple(chain.from_iterable((separator, "") for separator in separators))[:-1],
            None if all(trim is keep for trim in trims) else trims,
            tuple((place, trim) for place, trim in enumerate(trims) if trim is not keep),
            tuple(_counts(strings, separators) for strings in self._counted),
            tuple(rival for rival in rivals if rival != first and rival.startswith(first)),
            [2] * len(roles),
            self._separators.get((roles[-1], END), ""),
            self._separators.get((roles[-1], REPLY), ""),
            tuple(self._separators.get(((START, *roles)[-2], key), "") for key in (REPLY, END)),
        )

    def _separators_between(self, roles: tuple[str, ...], ending: str) -> Iterator[str]:
        """Yield the separators from the start to the ending."""
        *pairs, last = pairwise((START, *roles))
        for position, pair in enumerate(pairs):
            yield self._separator(*pair, position)
        previous, role = last
        special = self._separators.get((previous, last_key(role, ending)))
        yield self._separator(previous, role, len(pairs)) if special is None else special
        if ending == PromptEnding.PREFILL:
            yield ""
        else:
            yield self._separator(role, REPLY if ending == PromptEnding.REPLY else END, len(roles))

    def _separator(self, previous: str, role: str, position: int) -> str:
        separator = self._separators.get((previous, role))
        if separator is None:
            raise MissingSeparatorError(previous, role, position)
        return separator


def _counts(strings: Sequence[str], separators: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Return how often each string stands in the separators."""
    return tuple((text, sum(separator.count(text) for separator in separators)) for text in strings)
