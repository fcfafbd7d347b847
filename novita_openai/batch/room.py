"""How much memory the rows of a run take, so that it takes no more than there is, however large they are.

A row that waits to be sent again counts as its body. A row in flight counts as its body and the longest answer of its
model so far. Before a model's first answer nobody knows how long these are: at most ``FIRST_WAVE`` of its rows are in
flight, and each counts ``FIRST_ANSWER`` bytes besides its body.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Room", "Share"]

MOST: Final = 256 * 1024 * 1024
"""Bytes from which on no row starts."""
FIRST_WAVE: Final = 32
FIRST_ANSWER: Final = 64 * 1024


@dataclass(slots=True)
class Room:
    """The ``bytes`` that all rows in flight count together, and those ``waiting`` to be sent again."""

    bytes: int = 0
    waiting: int = 0

    @property
    def is_full(self) -> bool:
        """Tell whether no row should start."""
        return self.bytes >= MOST

    @property
    def is_crowded(self) -> bool:
        """Tell whether no row should be taken that was not in memory before."""
        return self.bytes + self.waiting >= MOST

    def share(self) -> Share:
        """Return the share of one model."""
        return Share(self)


@dataclass(slots=True)
class Share:
    """The rows of one model: how many are ``in_flight``; ``longest``: of its answers, in bytes, 0 before the first."""

    room: Room
    in_flight: int = 0
    longest: int = 0

    @property
    def is_full(self) -> bool:
        """Tell whether an answer must come before another row starts."""
        return not self.longest and self.in_flight >= FIRST_WAVE

    def add(self, size: int) -> None:
        """Count a row that starts, with so many bytes."""
        self.in_flight += 1
        self.room.bytes += size + self._answer

    def remove(self, size: int) -> None:
        """Count a row that has ended."""
        self.in_flight -= 1
        self.room.bytes -= size + self._answer

    def learn(self, size: int) -> None:
        """Learn how long an answer was."""
        if size > self.longest:
            before = self._answer
            self.longest = size
            self.room.bytes += self.in_flight * (size - before)

    @property
    def _answer(self) -> int:
        return self.longest or FIRST_ANSWER
