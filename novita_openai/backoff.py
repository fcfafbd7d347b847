"""How long to wait before a request is sent again, and how many requests may be sent again."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio

__all__ = ["Backoff", "RetryBudget", "no_wait", "sleep_async", "unless_skipped"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double from ``initial`` to ``maximum`` seconds, each spread by ``jitter`` (a share) either way."""

    initial: float
    maximum: float
    jitter: float = 0.25

    def __post_init__(self) -> None:
        if not 0 <= self.initial <= self.maximum < math.inf:
            raise ValueError(f"{self}: initial and maximum are seconds, 0 <= initial <= maximum")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"{self}: jitter is a share from 0 to 1")

    def delay(self, attempt: int, *, random: float = 0.5) -> float:
        """Return the seconds to wait after the given attempt (from 1); ``random`` in [0, 1) places it in the jitter."""
        doubled = self.initial * 2.0 ** min(attempt - 1, 100)
        return min(min(doubled, self.maximum) * (1 + self.jitter * (2 * random - 1)), self.maximum)


class RetryBudget:
    """Tokens for retries, so that an outage is not met with a multiple of the load.

    It starts full. Every call puts in ``share`` of a token, every retry takes one out; where none is left a retry is
    refused, never delayed. A call that the service puts off (429) takes none out, as it costs the service no work. One
    budget serves all calls of a policy, hence of a client and of its copies.
    """

    def __init__(self, tokens: float = 10, share: float = 0.1) -> None:
        if not (tokens >= 0 and 0 <= share <= 1):
            raise ValueError(f"RetryBudget(tokens={tokens}, share={share}): tokens >= 0 and 0 <= share <= 1")
        self.capacity, self.share = tokens, share
        self._tokens, self._lock = tokens, threading.Lock()

    def __reduce__(self) -> tuple[type[RetryBudget], tuple[float, float]]:
        return RetryBudget, (self.capacity, self.share)  # a lock cannot be copied; in another process it starts full

    def __repr__(self) -> str:
        return f"RetryBudget(tokens={self.capacity}, share={self.share})"

    @property
    def tokens(self) -> float:
        """The tokens that are left."""
        return self._tokens

    def deposit(self) -> None:
        """Count a call."""
        if self._tokens < self.capacity:  # a full budget needs no lock
            with self._lock:
                self._tokens = min(self.capacity, self._tokens + self.share)

    def withdraw(self) -> bool:
        """Take a token for a retry; False where none is left."""
        with self._lock:
            granted = self._tokens >= 1
            self._tokens -= granted
            return granted


_without_waiting = 0


def unless_skipped(seconds: float) -> float:
    """Return the given seconds between attempts, or 0 inside :func:`no_wait`."""
    return 0.0 if _without_waiting else seconds


async def sleep_async(seconds: float) -> None:
    """Wait, in asyncio or trio."""
    await anyio.sleep(seconds)


@contextmanager
def no_wait() -> Iterator[None]:
    """Skip every wait between attempts inside the ``with``, in all threads; for tests of programs that meet errors.

    A batch sends its rows again at once, and still slows down for a service that refuses them.
    """
    global _without_waiting  # noqa: PLW0603 - a switch for the whole process, so that threads see it too
    _without_waiting += 1
    try:
        yield
    finally:
        _without_waiting -= 1
