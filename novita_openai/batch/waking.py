"""How a run waits: until something happens, or until a time comes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

__all__ = ["Alarm", "Ticker"]

TICK: Final = 0.5


class Alarm:
    """Lets one task sleep until it is woken, or for a number of seconds."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake the task that sleeps, or keep it from falling asleep."""
        self._rung.set()

    async def sleep(self, seconds: float) -> None:
        """Sleep for at most so many seconds; whatever they are, let the event loop turn once."""
        if seconds <= 0 or self._rung.is_set():
            await asyncio.sleep(0)
        else:
            await self._sleep_until_rung(seconds)
        self._rung.clear()

    async def _sleep_until_rung(self, seconds: float) -> None:
        timer = None if seconds == math.inf else self._loop.call_later(seconds, self.ring)
        try:
            await self._rung.wait()
        finally:
            if timer is not None:
                timer.cancel()


class Ticker:
    """Calls a function every ``TICK`` seconds, provided that it is asked so often."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function, self._due = function, -math.inf

    def tick(self, clock: Callable[[], float]) -> float:
        """Call the function if its time has come; return the seconds until the next time."""
        now = clock()
        if now >= self._due:
            self._due = now + TICK
            self._function()
        return self._due - clock()
