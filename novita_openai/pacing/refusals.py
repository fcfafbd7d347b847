"""What refusals say of a service that adds requests to a store at a rate, and takes each request from it."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Descent", "Starts", "Wave"]

REMEMBERED: Final = 4_096
FEWEST: Final = 8
"""Requests from whose times a rate is told: those of fewer say more of the network than of the service."""
INSTANT: Final = 0.001
"""The least time, in seconds, by which requests are divided."""
CUTS: Final = 16
CALM: Final = 3


class Wave:
    """The refusals from the first one on, until requests that started later are refused.

    ``number``, ``time``: which request was refused first, and when it had started; ``others``: how many more were
    refused since. ``rate``: the one that the first one led to; ``worth``: for how many more answers the rate holds
    with each.
    """

    __slots__ = ("number", "others", "rate", "time", "worth")

    def __init__(self, number: int, time: float, rate: float = 0.0, worth: float = 0.0) -> None:
        self.number, self.time, self.rate, self.worth = number, time, rate, worth
        self.others = 0

    def taken(self, number: int) -> int:
        """Return how many requests were taken between the first that was refused and another one."""
        return number - self.number - 1 - self.others

    def seconds(self, time: float) -> float:
        """Return the time between the first that was refused and another one."""
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

    def least_rate(self, first: int, end: int, saved: float) -> float:
        """Return the least rate of a service that took the requests from ``first`` to before ``end``.

        It had saved up at most so many; the rest was added while they came. So it is for the last of them, be they
        few or many, and the highest rate holds.
        """
        forgotten = self.count - len(self._times)
        times, last = self._times, end - 1 - forgotten
        least, taken = 0.0, min(end - first, last + 1)
        while taken >= FEWEST and taken > saved:
            least = max(least, (taken - saved) / max(times[last] - times[last - taken + 1], INSTANT))
            taken = taken * 3 // 4
        return least


class Descent:
    """The rates to which refusals have led, one after the other.

    A service may refuse some requests however fast they come, as others use it up. Where ``CUTS`` refusals have halved
    the rate, and never ``CALM`` in a row came after it had grown, slower is no help, and twice as fast is tried: where
    that is too fast, the next refusal cuts it.
    """

    __slots__ = ("_calm", "_cuts", "_top")

    def __init__(self) -> None:
        self._top = 0.0
        self._cuts = self._calm = 0

    def cut(self, rate: float, *, had_grown: bool) -> float:
        """Take the rate to which a refusal leads; return that to go on with: this, or twice the highest so far."""
        self._calm = self._calm + 1 if had_grown else 0
        if self._calm >= CALM:
            self._top = self._cuts = 0
        self._top, self._cuts = max(self._top, rate), self._cuts + 1
        if self._cuts < CUTS or rate > self._top / 2:
            return rate
        self._cuts, self._top = 0, 2 * self._top
        return self._top
