"""A table of whole numbers by digests, in 16 to 40 bytes an entry where a dict takes up to 170, and a set of them.

And a list of the places of lines, in 20 bytes each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

__all__ = ["BITS", "LinePlace", "Numbers", "Places", "States"]

BITS: Final = (1 << 60) - 1
SMALLEST: Final = 1 << 10
FULL: Final = 0.65
"""The share of its slots from which on a table is made larger."""
PAGE: Final = 1 << 10
"""Numbers next to each other of which each has a bit where one of them is in a set."""


class States:
    """States, each a number of 64 bits with its sign, by keys of 60 bits that are spread evenly, as digests are.

    The last bits of a key say where its slot is, or where the search for it begins: it goes on from slot to slot up to
    an empty one, which has the key 0.
    """

    __slots__ = ("_count", "_keys", "_mask", "_states")

    def __init__(self) -> None:
        self._count = 0
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._make(SMALLEST)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: int) -> bool:
        return self._keys[self._slot(key)] != 0

    def __getitem__(self, key: int) -> int:
        slot = self._slot(key)
        if not self._keys[slot]:
            raise KeyError(key)
        return self._states[slot]

    def __setitem__(self, key: int, state: int) -> None:
        slot = self._slot(key)
        self._states[slot] = state
        if not self._keys[slot]:
            self._keys[slot] = key or 1
            self._count += 1
            if self._count > FULL * (self._mask + 1):
                self._grow()

    def get(self, key: int) -> int | None:
        """Return the state of a key, None without one."""
        slot = self._slot(key)
        return self._states[slot] if self._keys[slot] else None

    def setdefault(self, key: int, state: int) -> None:
        """Set the state of a key that has none."""
        if key not in self:
            self[key] = state

    def values(self) -> Iterator[int]:
        """Yield all states."""
        return (state for key, state in zip(self._keys, self._states, strict=True) if key)

    def _make(self, slots: int) -> None:
        self._mask, self._count = slots - 1, 0
        self._keys, self._states = array("Q", bytes(8 * slots)), array("q", bytes(8 * slots))

    def _slot(self, key: int) -> int:
        """Return the slot of a key, or the empty one where it would be."""
        keys, mask, key = self._keys, self._mask, key or 1
        slot = key & mask
        while (found := keys[slot]) and found != key:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        keys, states = self._keys, self._states
        self._make(2 * len(keys))
        for key, state in zip(keys, states, strict=True):
            if key:
                slot = self._slot(key)
                self._keys[slot], self._states[slot] = key, state
                self._count += 1


class Numbers:
    """A set of whole numbers, most of which are near each other: a bit for each."""

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def add(self, number: int) -> None:
        """Add a number."""
        page = self._pages.setdefault(number // PAGE, bytearray(PAGE // 8))
        page[number % PAGE // 8] |= 1 << number % 8

    def __contains__(self, number: int) -> bool:
        page = self._pages.get(number // PAGE)
        return page is not None and bool(page[number % PAGE // 8] & 1 << number % 8)


class LinePlace(NamedTuple):
    """Where a line is: its ``number``, and the position of its ``start``. ``checksum``: of what stands there."""

    number: int
    start: int
    checksum: int


@dataclass(slots=True)
class Places:
    """The places of the pending lines of one model, in numbers that take up little memory."""

    _numbers: array[int] = field(default_factory=lambda: array("Q"))
    _starts: array[int] = field(default_factory=lambda: array("Q"))
    _checksums: array[int] = field(default_factory=lambda: array("I"))

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, position: int) -> LinePlace:
        return LinePlace(self._numbers[position], self._starts[position], self._checksums[position])

    def add(self, place: LinePlace) -> None:
        """Add a line."""
        self._numbers.append(place.number)
        self._starts.append(place.start)
        self._checksums.append(place.checksum)
