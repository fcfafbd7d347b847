"""Cores: the few strings of which every separator of a table holds one, so that counting them guards a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from novita_openai.prompts.engine.separators import REPLY, Way

__all__ = ["cores_of", "doubtful_parts", "shared_start"]

_CORE_LENGTHS: Final = (4, 6, 10, 16, 26, 40)
_LONGEST_CORE: Final = _CORE_LENGTHS[-1]


def cores_of(separators: Iterable[str]) -> tuple[str, ...]:
    """Return few strings of which each separator holds at least one, as long and as strange as possible."""
    left, cores = sorted({*separators}, key=len), []
    while left:
        parts = [part for part in {*_parts(left[0])} if _is_strange(part)]
        core = max(parts, key=lambda part: (sum(part in other for other in left), len(part), part), default=None)
        core = core or _telling(left[0], from_end=False)
        cores.append(core)
        left = [separator for separator in left if core not in separator]
    return tuple(cores)


def shared_start(separators: Iterable[str]) -> str:
    """Return what separators start with in common, if it is rare and stands nowhere else in them; else nothing.

    Nor may one end with the beginning of it, which would seem to start there if the text after it goes on so.
    """
    known = [*separators]
    first, last = min(known, default=""), max(known, default="")
    size = next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    start = first[:size]
    beginnings = tuple(start[:length] for length in range(1, size))
    alone = all(text.count(start) == 1 and not text.endswith(beginnings) for text in known)
    return start if alone and _is_strange(start) else ""


def _parts(text: str) -> Iterator[str]:
    """Yield parts of a text, of a few lengths, from near its ends: a long one has little that is strange between."""
    starts = [start for start in range(len(text)) if min(start, len(text) - start) <= _LONGEST_CORE]
    for length in _CORE_LENGTHS:
        yield from (text[start : start + length] for start in starts if start + length <= len(text))


def _is_strange(text: str) -> bool:
    """Tell whether ordinary text seldom holds it, and two of it cannot overlap."""
    letters = sum(map(str.isalnum, text))
    return letters < len(text) - 1 and not _can_overlap(text)


def _can_overlap(text: str) -> bool:
    return any(place and text.startswith(text[place:]) for place in _places(text[0], text))


def doubtful_parts(ways: Sequence[Way], exits: Sequence[Way], cores: Sequence[str]) -> Iterator[str]:
    """Yield what is to be counted besides: of the separators of which the cores do not tell where they stand.

    Given that each core stands in a written separator, a way could be mistaken only if, laid over a written one with
    two cores together, it agrees with it and starts earlier, or at the same place and is longer. Nothing follows the
    separator that asks for the reply, so there none can be longer.
    """
    for way in ways:
        for written in exits:
            shifts = {shift for core in cores for shift in _shifts(way.separator, written.separator, core)}
            winning = [shift for shift in shifts if _would_win(way.separator, written, shift)]
            yield from (_telling(way.separator, from_end=shift == 0) for shift in winning)


def _telling(separator: str, *, from_end: bool) -> str:
    """Return the longest part of a separator, up to its end or from its start, two of which cannot overlap."""
    sizes = range(len(separator), 0, -1)
    parts = (separator[-size:] if from_end else separator[:size] for size in sizes)
    return next(part for part in parts if not _can_overlap(part))


def _shifts(way: str, written: str, core: str) -> Iterator[int]:
    """Yield where ``way`` starts, counted from the start of ``written``, with a core of each in one place."""
    for mine in _places(core, way):
        for theirs in _places(core, written):
            yield theirs - mine


def _places(part: str, text: str) -> Iterator[int]:
    place = text.find(part)
    while place >= 0:
        yield place
        place = text.find(part, place + 1)


def _would_win(way: str, written: Way, shift: int) -> bool:
    """Tell whether ``way`` would be read where ``written`` stands."""
    end = len(way) + shift
    if shift > 0 or (shift == 0 and (end <= len(written.separator) or written.role == REPLY)):
        return False
    both = min(end, len(written.separator))
    return way[-shift : both - shift] == written.separator[:both]
