"""The white space that a format strips from the texts of messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.engine.separators import START, Segment

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn

__all__ = ["Trim", "Trims", "keep", "trim_for", "trimmed", "trimmed_turns"]

Trims = Mapping[str | tuple[str, str], str]
"""The sides that are stripped, by role, or by (previous role, role) where it matters what stands before."""

Trim = Callable[[str], str]


def keep(text: str) -> str:
    """Return the text as it is."""
    return text


def _without_first_newlines(text: str) -> str:
    return text.lstrip("\n")


_TRIMS: Final[Mapping[str, Trim]] = {
    "none": keep,
    "left": str.lstrip,
    "right": str.rstrip,
    "both": str.strip,
    "newlines": _without_first_newlines,
}


def trim_for(trims: Trims, previous: str, role: str) -> Trim:
    """Return the function that strips the texts of a role after another role."""
    return _TRIMS[trims.get((previous, role), trims.get(role, "none"))]


def trimmed(trims: Trims, segments: Sequence[Segment]) -> list[Segment]:
    """Return the segments of a prompt with their texts stripped."""
    pairs = pairwise([START, *(role for role, _ in segments)])
    return [(role, trim_for(trims, *pair)(text)) for pair, (role, text) in zip(pairs, segments, strict=True)]


def trimmed_turns(trims: Trims, turns: Sequence[ChatTurn]) -> list[ChatTurn]:
    """Return the turns of a history with their texts stripped."""
    segments = trimmed(trims, [(turn.role, turn.text) for turn in turns])
    return [turn.with_text(text) for turn, (_, text) in zip(turns, segments, strict=True)]
