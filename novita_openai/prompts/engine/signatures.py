"""Signatures: a few strings of which every separator of a table holds at least one.

If a prompt holds no more signatures than its separators do, then no text holds one, and each separator stands only
where it was written. So counting a few strings shows that a prompt is safe, without reading it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from novita_openai.prompts.engine.separators import REPLY, Transition

__all__ = ["common_start", "signatures_of"]

_LENGTHS: Final = (4, 6, 10, 16, 26, 40)
_LONGEST: Final = _LENGTHS[-1]


def signatures_of(
    transitions: Mapping[str, Sequence[Transition]], exits: Mapping[str, Sequence[Transition]]
) -> tuple[str, ...]:
    """Return the strings to count, for the transitions from each role, without and with the one to the reply."""
    signatures = _signatures([transition.separator for found in exits.values() for transition in found])
    doubtful = {part for role in exits for part in _doubtful_parts(transitions[role], exits[role], signatures)}
    return *signatures, *sorted(doubtful)


def _signatures(separators: Iterable[str]) -> tuple[str, ...]:
    """Return few strings of which each separator holds at least one, as long and as rare in text as possible."""
    left, signatures = sorted({*separators}, key=len), []
    while left:
        parts = [part for part in {*_parts(left[0])} if _is_rare(part)]
        best = max(parts, key=lambda part: (sum(part in other for other in left), len(part), part), default=None)
        signature = best or _longest_countable(left[0], from_end=False)
        signatures.append(signature)
        left = [separator for separator in left if signature not in separator]
    return tuple(signatures)


def common_start(separators: Iterable[str]) -> str:
    """Return what all separators start with, if it is rare in text and stands nowhere else in them; otherwise "".

    It is "" also where a separator ends with the beginning of the common start: with the text after it, such an end
    could look like the start of another separator.
    """
    known = [*separators]
    first, last = min(known, default=""), max(known, default="")
    size = next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    start = first[:size]
    beginnings = tuple(start[:length] for length in range(1, size))
    is_alone = all(text.count(start) == 1 and not text.endswith(beginnings) for text in known)
    return start if is_alone and _is_rare(start) else ""


def _parts(text: str) -> Iterator[str]:
    """Yield parts of a separator, of a few lengths, from near its ends: the middle of a long one is ordinary text."""
    starts = [start for start in range(len(text)) if min(start, len(text) - start) <= _LONGEST]
    for length in _LENGTHS:
        yield from (text[start : start + length] for start in starts if start + length <= len(text))


def _is_rare(text: str) -> bool:
    """Tell whether ordinary text seldom holds this one, and no two of it can overlap."""
    letters = sum(map(str.isalnum, text))
    return letters < len(text) - 1 and not _can_overlap(text)


def _can_overlap(text: str) -> bool:
    """Tell whether a text can start inside of itself, so that counting would miss some."""
    return any(place and text.startswith(text[place:]) for place in _places(text[0], text))


def _doubtful_parts(
    transitions: Sequence[Transition], exits: Sequence[Transition], signatures: Sequence[str]
) -> Iterator[str]:
    """Yield more strings to count, for separators that could be read at the place of another one.

    Each signature that was counted is part of a written separator. So another separator can be read there only if it
    has a signature at the same place, the characters that both cover agree, and it starts earlier, or starts at the
    same place and is longer. The separator that asks for the reply ends the prompt, so no longer one can be read there.
    """
    for transition in transitions:
        for written in exits:
            other = transition.separator
            shifts = {shift for signature in signatures for shift in _shifts(other, written.separator, signature)}
            winning = [shift for shift in shifts if _would_win(other, written, shift)]
            yield from (_longest_countable(other, from_end=shift == 0) for shift in winning)


def _longest_countable(separator: str, *, from_end: bool) -> str:
    """Return the longest part of a separator, up to its end or from its start, of which no two can overlap."""
    sizes = range(len(separator), 0, -1)
    parts = (separator[-size:] if from_end else separator[:size] for size in sizes)
    return next(part for part in parts if not _can_overlap(part))


def _shifts(other: str, written: str, signature: str) -> Iterator[int]:
    """Yield where ``other`` starts, counted from the start of ``written``, with a signature of each at one place."""
    for mine in _places(signature, other):
        for theirs in _places(signature, written):
            yield theirs - mine


def _places(part: str, text: str) -> Iterator[int]:
    place = text.find(part)
    while place >= 0:
        yield place
        place = text.find(part, place + 1)


def _would_win(other: str, written: Transition, shift: int) -> bool:
    """Tell whether a reader would find ``other`` where ``written`` stands."""
    end = len(other) + shift
    if shift > 0 or (shift == 0 and (end <= len(written.separator) or written.role == REPLY)):
        return False
    both = min(end, len(written.separator))
    return other[-shift : both - shift] == written.separator[:both]
