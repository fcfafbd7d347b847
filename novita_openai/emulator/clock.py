"""The emulator's time, which may run faster than that of the machine."""

from __future__ import annotations

import time

__all__ = ["Clock"]


class Clock:
    """Seconds since 1970, as they pass in the emulator: ``speed`` of them in each second of the machine."""

    def __init__(self) -> None:
        self._speed = 1.0
        self._set, self._since = time.time(), time.monotonic()

    def run_at(self, speed: float) -> None:
        """Let so many seconds pass from now on in each second of the machine."""
        self._set, self._since = self.now(), time.monotonic()
        self._speed = speed

    def now(self) -> float:
        """Return the time."""
        return self._set + (time.monotonic() - self._since) * self._speed

    def real(self, seconds: float) -> float:
        """Return how long the emulator's seconds take on the machine."""
        return seconds / self._speed
