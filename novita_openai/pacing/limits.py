"""What holds whatever the service says: requests and tokens a minute, spaced evenly, and the requests in flight."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["CATCH_UP", "MINUTE", "HardLimits", "InFlight", "Spacing"]

CATCH_UP: Final = 0.02
"""Seconds that a late start may make good: timers are never exact."""
MINUTE: Final = 60.0


class Spacing:
    """Lets amounts pass evenly; what is late may catch up for a moment."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = -math.inf

    def wait(self, now: float) -> float:
        """Return the seconds until the next may pass."""
        return self._next - now

    def take(self, now: float, seconds: float, late: float = CATCH_UP) -> None:
        """Let one pass that takes so many seconds; up to ``late`` seconds of delay are made good."""
        self._next = (now if self._next == -math.inf else max(self._next, now - late)) + seconds

    def hold(self, then: float) -> None:
        """Let nothing pass before a time."""
        self._next = max(self._next, then)

    def settle(self, seconds: float) -> None:
        """Correct what one takes by so many seconds."""
        self._next += seconds


class HardLimits:
    """The requests and tokens a minute that the user allows, None: any number."""

    __slots__ = ("_requests", "_rpm", "_tokens", "_tpm")

    def __init__(self, rpm: float | None, tpm: float | None) -> None:
        self._rpm, self._tpm = rpm, tpm
        self._requests, self._tokens = Spacing(), Spacing()

    def wait(self, now: float) -> float:
        """Return the seconds until both limits allow a request."""
        return max(self._requests.wait(now), self._tokens.wait(now))

    def take(self, now: float, tokens: float, late: float) -> None:
        """Count a request of so many tokens; ``late`` as for :class:`Spacing`."""
        if self._rpm is not None:
            self._requests.take(now, MINUTE / self._rpm, late)
        if self._tpm is not None:
            self._tokens.take(now, tokens * MINUTE / self._tpm)

    def settle(self, tokens: float) -> None:
        """Correct the count by so many tokens; a negative number if fewer were used than taken."""
        if self._tpm is not None:
            self._tokens.settle(tokens * MINUTE / self._tpm)


class InFlight:
    """The requests in flight: how many there are (``count``), may be now (``limit``) and may ever be (``most``)."""

    __slots__ = ("_round", "count", "limit", "most")

    def __init__(self, limit: int, most: int) -> None:
        self.limit, self.most = limit, most
        self.count = self._round = 0

    @property
    def is_full(self) -> bool:
        """Tell whether no more may start."""
        return self.count >= self.limit

    def count_answer(self, *, to_last: bool, share: float) -> None:
        """Count an answer to a request; those ``to_last`` ones that the limit allowed raise it by a share."""
        self._round += to_last
        if self._round * share >= 1:
            self.limit = min(self.most, self.limit + int(self._round * share))
            self._round = 0

    def halve(self) -> None:
        """Allow half as many."""
        self.limit = max(self.limit // 2, 1)
