"""What refusals say of a service that adds requests to a store at a rate, and takes each request from it."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import Final, NamedTuple

__all__ = ["Descent", "Starts", "Ticket", "Wave"]

REMEMBERED: Final = 4_096
FEWEST: Final = 8
"""Requests from whose times a rate is told, usually: fewer say more of the network than of the service."""
INSTANT: Final = 0.001
"""The least time, in seconds, by which requests are divided."""
CUTS: Final = 16
CALM: Final = 5


class Ticket(NamedTuple):
    """What is known of a request when it starts.

    Its ``number`` among all, its ``time`` and the ``rate`` then; ``is_due``: it had to wait for its turn, so that its
    answer lets the rate grow; how many are ``in_flight`` with it, and ``is_last``: as many as the limit allows; how
    many had been ``refused`` until then; the ``tokens`` reserved for it.
    """

    number: int
    time: float
    rate: float
    is_due: bool
    in_flight: int
    is_last: bool
    refused: int
    tokens: float


class Wave:
    """The refusals from the first one on, until requests that started later are refused.

    They are heard of in any order. ``time``, ``end``: when the first and the last of them had started; ``tried``: the
    rate at that first one. ``rate``: the one that they led to; ``worth``: for how many more answers it holds with each.
    """

    __slots__ = ("_numbers", "end", "rate", "time", "tried", "worth")

    def __init__(self, number: int, time: float, tried: float, rate: float) -> None:
        self._numbers = [number]
        self.time = self.end = time
        self.tried, self.rate, self.worth = tried, rate, 0.0

    @property
    def number(self) -> int:
        """Return the number of the first request that was refused."""
        return self._numbers[0]

    @property
    def is_empty(self) -> bool:
        """Tell whether it stands for the time before any refusal."""
        return self.number < 0

    @property
    def refused(self) -> int:
        """Return how many were."""
        return len(self._numbers)

    def add(self, ticket: Ticket) -> bool:
        """Count a further one; tell whether it had started before all others."""
        is_first = ticket.number < self.number
        if is_first:
            self.time, self.tried = ticket.time, ticket.rate
        elif ticket.number > self._numbers[-1]:
            self.end = ticket.time
        insort(self._numbers, ticket.number)
        return is_first

    def taken(self, number: int | None = None) -> int:
        """Return how many between the first one and another, by default the last, are not known to be refused."""
        others = bisect_left(self._numbers, number) if number is not None else len(self._numbers) - 1
        return (self._numbers[-1] if number is None else number) - self.number - others

    def seconds(self, time: float) -> float:
        """Return the time between the first one and another."""
        return max(time - self.time, INSTANT)


class Starts:
    """When requests started: the last ones, by their numbers."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=REMEMBERED)
        self.count = 0

    @property
    def last(self) -> float:
        """Return when the last one started."""
        return self._times[-1]

    def add(self, now: float) -> int:
        """Count a start; return its number."""
        self._times.append(now)
        self.count += 1
        return self.count - 1

    def least_rate(self, first: int, end: int, saved: float, fewest: int) -> float:
        """Return the least rate of a service that took the requests from ``first`` to before ``end``.

        It had saved up at most so many; the rest was added while they came. So it is for the last of them, be they
        ``fewest`` or many, and the highest rate holds.
        """
        forgotten = self.count - len(self._times)
        times, last = self._times, end - 1 - forgotten
        least, taken = 0.0, min(end - first, last + 1)
        while taken >= fewest and taken > saved:
            least = max(least, (taken - saved) / max(times[last] - times[last - taken + 1], INSTANT))
            taken = taken * 3 // 4
        return least


class Descent:
    """The rates to which refusals have led, one after the other.

    A service may refuse some requests however fast they come, as others use it up. Where ``CUTS`` refusals have halved
    the rate, and fewer than ``CALM`` came after it had grown, slower is no help, and twice the highest of these rates
    is tried; where that is too fast, the next refusals cut it. What comes before the rate has grown at all, as on the
    way down from a first guess, does not count.
    """

    __slots__ = ("_calm", "_cuts", "_has_begun", "_top")

    def __init__(self) -> None:
        self._top = 0.0
        self._cuts = self._calm = 0
        self._has_begun = False

    def cut(self, rate: float, *, had_grown: bool) -> float:
        """Take the rate to which a refusal leads; return that to go on with: this, or twice the highest so far."""
        self._has_begun = self._has_begun or had_grown
        if not self._has_begun:
            return rate
        self._calm += had_grown
        if self._calm >= CALM:
            self._top = self._cuts = self._calm = 0
        self._top, self._cuts = max(self._top, rate), self._cuts + 1
        if self._cuts < CUTS or rate > self._top / 2:
            return rate
        self._cuts = self._calm = 0
        return 2 * self._top
