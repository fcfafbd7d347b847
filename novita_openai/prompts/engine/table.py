"""A table of separators: writes prompts, and shows for most of them without reading that they will read back.

A prompt is separator, text, separator, text, and so on. A separator is keyed by the roles on either side, the first one
by ``start`` and a role, the last one by a role and ``reply`` or ``end``; a reply that is to be continued has none after
it. Two headers may differ from those of other messages: the one before a reply that ends the history (``final``), and
the one before the user's message that asks for the reply (``asked``).

What was written reads back as it was unless a text holds a part of a separator, so a prompt is checked by counting its
``signatures``. Where counting proves nothing, the prompt is read and compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    Transition,
    last_key,
    transitions_of,
)
from novita_openai.prompts.engine.signatures import signatures_of
from novita_openai.prompts.engine.trimming import Trim, Trims, keep, trim_for
from novita_openai.prompts.errors import PromptError

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

    ``pieces`` has the separators at even places, and places for the texts between them. ``trims`` strip the texts; None
    where nothing is stripped. ``counts`` says how often each signature stands in the separators; None where counting
    cannot show that a prompt is safe. No prompt may start with one of the ``rivals``: longer first separators of other
    sequences, and the BOS. ``lengths`` is 2 for each message, the number of keys of a plain one.
    """

    pieces: tuple[str, ...]
    trims: tuple[Trim, ...] | None
    counts: tuple[tuple[str, int], ...] | None
    rivals: tuple[str, ...]
    lengths: list[int]

    def write(self, texts: Sequence[str]) -> str:
        """Return the prompt."""
        pieces = [*self.pieces]
        pieces[1::2] = texts
        return "".join(pieces)

    def first_stripped(self, texts: list[str]) -> int | None:
        """Return the place of the first text with white space that is stripped; None if there is none."""
        stripped = texts if self.trims is None else [trim(text) for trim, text in zip(self.trims, texts, strict=True)]
        if stripped == texts:
            return None
        return next(place for place, text in enumerate(texts) if text != stripped[place])

    def is_safe(self, prompt: str) -> bool:
        """Tell whether a prompt will read back for certain; if not, it must be read."""
        if self.counts is None or prompt.startswith(self.rivals):
            return False
        for signature, count in self.counts:  # noqa: SIM110 - every render goes this way
            if prompt.count(signature) != count:
                return False
        return True


class Table:
    """The separators and trims of a format, compiled.

    No text may hold one of ``forbidden``, so these are counted as well. Without ``is_countable`` each prompt is read.
    """

    def __init__(
        self,
        separators: Separators,
        trims: Trims,
        *,
        bos: str = "",
        forbidden: Iterable[str] = (),
        is_countable: bool = True,
    ) -> None:
        self.trims = trims
        self._separators, self._bos, self._is_countable = separators, bos, is_countable
        transitions = transitions_of(separators)
        self._starts = transitions[START]
        self._exits = {role: _exits(role, transitions, separators) for role in transitions if role != START}
        signatures = signatures_of(transitions, self._exits)
        self._counted = (*forbidden, *signatures)
        self.scanner = Scanner(separators, transitions)
        self._layouts: dict[tuple[str, ...], Layout] = {}
        self.ready: dict[tuple[str, ...], Layout] = {}
        """The layouts, by roles, of prompts that ask for a reply and can be checked by counting."""

    def layout(self, roles: tuple[str, ...], ending: str = PromptEnding.REPLY) -> Layout:
        """Return how to write the prompts of these roles; raise MissingSeparatorError for an unknown order."""
        key = (*roles, ending)
        layout = self._layouts.get(key)
        if layout is None:
            layout = self._new_layout(roles, ending)
            if len(roles) <= _LONGEST_LAYOUT:
                self._keep(key, layout)
        return layout

    def _keep(self, key: tuple[str, ...], layout: Layout) -> None:
        if len(self._layouts) >= _MOST_LAYOUTS:
            self._layouts.clear()
            self.ready.clear()
        self._layouts[key] = layout
        *roles, _ = key
        if layout.counts is not None and roles[-1] != "assistant":  # reasoning may stand before a last reply
            self.ready[tuple(roles)] = layout

    def _new_layout(self, roles: tuple[str, ...], ending: str) -> Layout:
        separators = [*self._separators_between(roles, ending)]
        trims = tuple(trim_for(self.trims, *pair) for pair in pairwise((START, *roles)))
        first = separators[0]
        rivals = [start.separator for start in self._starts if start.role != roles[0]]
        rivals += [self._bos] if self._bos and not first.startswith(self._bos) else []
        return Layout(
            tuple(chain.from_iterable((separator, "") for separator in separators))[:-1],
            None if all(trim is keep for trim in trims) else trims,
            self._counts(roles, separators) if ending == PromptEnding.REPLY else None,
            tuple(rival for rival in rivals if rival.startswith(first)),
            [2] * len(roles),
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

    def _counts(self, roles: tuple[str, ...], separators: Sequence[str]) -> tuple[tuple[str, int], ...] | None:
        """Return how often each signature stands in the separators; None where that proves nothing."""
        skeleton = "\0".join(separators)  # a prompt whose texts hold nothing of a separator
        if not self._is_countable or self._roles_in(skeleton) != roles:
            return None
        return tuple((signature, skeleton.count(signature)) for signature in self._counted)

    def _roles_in(self, prompt: str) -> tuple[str, ...]:
        try:
            return tuple(role for role, _ in self.scanner.read(prompt, self.scanner.starts(prompt)[0])[0])
        except PromptError:
            return ()

    def marker_in(self, role: str, text: str) -> str | None:
        """Return the separator, or a part of one, that stands in a text of this role; None if there is none."""
        separators = (transition.separator for transition in self._exits.get(role, ()))
        whole = [separator for separator in separators if separator and separator in text]
        return next(iter([*whole, *(part for part in self._counted if part in text)]), None)


def _exits(role: str, transitions: dict[str, list[Transition]], separators: Separators) -> list[Transition]:
    """Return the transitions from a role to another role and to the reply."""
    reply = separators.get((role, REPLY))
    return [*transitions[role], *([Transition(reply, REPLY)] if reply is not None else [])]
