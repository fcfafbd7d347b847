"""What a published template loses, so that a format refuses it instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.engine.table import Ending, Table
from novita_openai.prompts.errors import PromptError

if TYPE_CHECKING:
    from novita_openai.prompts.messages import Turn

__all__ = ["FINAL_REPLY", "Losses", "refuse_blanks", "refuse_losses"]

FINAL_REPLY: Final = "final"
"""In ``edges``: the assistant's message that ends a history for which no reply is asked."""


@dataclass(frozen=True)
class Losses:
    """Texts and endings that a published template does not keep, by role.

    ``markers`` are texts that it takes out of a message or reads as a switch, ``ends`` those that it looks for only at
    either end. ``blanks`` are the roles whose texts may not be blank. ``edges`` are those of whose texts it may take
    some of the white space at either end; ``"final"`` stands for the assistant's message that ends a history.
    ``endings`` are the ways to end a prompt that it does not have. With ``repeats`` it does not tell the last message
    from another that says the same.
    """

    markers: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    ends: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    blanks: AbstractSet[str] = frozenset()
    edges: AbstractSet[str] = frozenset()
    endings: AbstractSet[str] = frozenset()
    repeats: bool = False

    def first(self, rows: Sequence[tuple[str, str]], ending: str) -> tuple[int, str] | None:
        """Return the place of the first message that is not kept, and why; None where all are."""
        last = len(rows) - 1
        if ending in self.endings:
            return last, f"the published template has no history that ends so ({ending})"
        if self.repeats and any(text == rows[last][1] for _, text in rows[:last]):
            return last, "the published template writes it otherwise where another message says the same"
        if not (self.markers or self.ends or self.blanks or self.edges):
            return None
        for place, (role, text) in enumerate(rows):
            is_final = place == last and role == "assistant" and ending != Ending.REPLY
            problem = self._problem(role, text, is_final=is_final)
            if problem is not None:
                return place, problem
        return None

    def _problem(self, role: str, text: str, *, is_final: bool) -> str | None:
        bare = text.strip()
        if not bare and role in self.blanks:
            return "the published template does not write it while it is blank"
        lost = [marker for marker in self.markers.get(role, ()) if marker in text]
        lost += [marker for marker in self.ends.get(role, ()) if _has_at_an_end(marker, text, bare)]
        if lost:
            return f"the published template does not keep {lost[0]!r} here"
        if bare != text and (role in self.edges or (is_final and FINAL_REPLY in self.edges)):
            return "the published template does not keep the white space at its ends"
        return None


def _has_at_an_end(marker: str, *texts: str) -> bool:
    return any(text.startswith(marker) or text.endswith(marker) for text in texts)


def refuse_losses(losses: Losses | None, table: Table, turns: Sequence[Turn], ending: str) -> None:
    """Refuse messages, as they come, that the published template does not keep."""
    if losses is not None:
        lost = losses.first(table.trimmed([(turn.role, turn.text) for turn in turns]), ending)
        if lost is not None:
            raise PromptError(lost[1], index=turns[lost[0]].index)


def refuse_blanks(table: Table, turns: Sequence[Turn]) -> None:
    """Refuse a system text that brings into the user's message, where it is moved, blanks that are not read there."""
    trimmed = table.trimmed([(turn.role, turn.text) for turn in turns])
    for turn, (_, text) in zip(turns, trimmed, strict=True):
        if turn.text != text:
            raise PromptError("the blanks at the end of the system text would not read back", index=turn.index)
