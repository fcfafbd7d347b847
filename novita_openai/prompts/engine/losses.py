"""What a published template loses or changes, and the format therefore refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.engine.separators import PromptEnding, Segment
from novita_openai.prompts.engine.trimming import Trims, trimmed_turns
from novita_openai.prompts.errors import PromptError

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn

__all__ = ["FINAL_REPLY", "Losses", "refuse_losses", "refuse_white_space"]

FINAL_REPLY: Final = "final"
"""In ``edges``: the assistant's message that ends a history for which no reply is asked."""


@dataclass(frozen=True)
class Losses:
    """The texts, by role, and the endings that a published template does not write as they are.

    ``markers`` are texts that it removes from a message, or that change how it writes one; ``ends`` do so only at the
    start or end of a message. ``blanks`` are the roles whose messages it drops if they have no text, and ``edges``
    those whose texts may lose white space at their ends. It cannot write the ``endings``. With ``repeats`` it takes
    an earlier message for the last one if both have the same text.
    """

    markers: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    ends: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    blanks: AbstractSet[str] = frozenset()
    edges: AbstractSet[str] = frozenset()
    endings: AbstractSet[str] = frozenset()
    repeats: bool = False

    def first_problem(self, segments: Sequence[Segment], ending: str) -> tuple[int, str] | None:
        """Return the place of the first message that is lost or changed, and how; None if there is none."""
        last = len(segments) - 1
        if ending in self.endings:
            return last, f"the published template cannot write a history with this ending ({ending})"
        if self.repeats and any(text == segments[last][1] for _, text in segments[:last]):
            return last, "the published template changes the last message where an earlier one has the same text"
        if self._keeps_all(segments):
            return None
        for place, (role, text) in enumerate(segments):
            is_final = place == last and role == "assistant" and ending != PromptEnding.REPLY
            problem = self._problem(role, text, is_final=is_final)
            if problem is not None:
                return place, problem
        return None

    def _keeps_all(self, segments: Sequence[Segment]) -> bool:
        """Tell, the quick way, whether no text can be lost: whether none is blank, and none holds a marker."""
        joined = "\n".join([text for role, text in segments if role in self._marked])
        if any(marker in joined for marker in self._all_markers):
            return False
        if not (self.edges or self.blanks):
            return True
        texts = [text for _, text in segments]
        bare = [*map(str.strip, texts)]
        return (not self.edges or bare == texts) and (not self.blanks or all(bare))

    @cached_property
    def _marked(self) -> frozenset[str]:
        return frozenset((*self.markers, *self.ends))

    @cached_property
    def _all_markers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(chain.from_iterable((*self.markers.values(), *self.ends.values()))))

    def _problem(self, role: str, text: str, *, is_final: bool) -> str | None:
        bare = text.strip()
        if not bare and role in self.blanks:
            return "the published template drops this message, as its text is blank"
        lost = [marker for marker in self.markers.get(role, ()) if marker in text]
        lost += [marker for marker in self.ends.get(role, ()) if _has_at_an_end(marker, text, bare)]
        if lost:
            return f"the published template does not keep {lost[0]!r} in this text"
        if bare != text and (role in self.edges or (is_final and FINAL_REPLY in self.edges)):
            return "the published template does not keep the white space at the ends of this text"
        return None


def _has_at_an_end(marker: str, *texts: str) -> bool:
    return any(text.startswith(marker) or text.endswith(marker) for text in texts)


def refuse_losses(losses: Losses | None, trims: Trims, turns: Sequence[ChatTurn], ending: str) -> None:
    """Raise PromptError for turns, as they were given, that the published template loses or changes."""
    if losses is None:
        return
    problem = losses.first_problem([(turn.role, turn.text) for turn in trimmed_turns(trims, turns)], ending)
    if problem is not None:
        raise PromptError(problem[1], index=turns[problem[0]].index)


def refuse_white_space(trims: Trims, turns: Sequence[ChatTurn]) -> None:
    """Raise PromptError for a system text that brought white space into the user's message that it was moved into."""
    for turn, stripped in zip(turns, trimmed_turns(trims, turns), strict=True):
        if turn != stripped:
            problem = "the system text goes into this message, where white space at its ends is lost: strip it"
            raise PromptError(problem, index=turn.index)
