"""How a run ends before all of its rows have: stopped for a reason, interrupted by a signal, or broken by an error."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

from novita_openai.batch.disk import free_some, is_full

__all__ = ["DRAIN", "GO_ON", "MORE_COST", "MORE_ERRORS", "NO_LIMIT", "SET_KEY", "Shutdown"]

DRAIN: Final = 8.0
"""Seconds that requests in flight have to end: less than the 10 that containers have between SIGTERM and SIGKILL."""

GO_ON: Final = "start the same again to go on"
PUT_BACK: Final = "put the file back, then start the same again, which else sends and pays again what it held"
MORE_COST: Final = "raise max_cost to go on"
NO_LIMIT: Final = "leave out max_cost to go on"
MORE_ERRORS: Final = "raise max_errors, or start the same again until as many more rows have failed"
SET_KEY: Final = "set the key, then start the same again"


class Shutdown:
    """The early end of a run: once it ``has_begun`` no request is started, and when none are in flight the run is over.

    After ``remaining`` seconds it is over whatever is in flight: ``drain`` at first, 0 after a second signal or an
    error. ``clock`` returns the time in seconds; ``notify`` is called whenever an end is set or comes nearer.

    ``stopped`` holds the reason of :meth:`stop`, and ``needs_change`` whether the same run would stop again until
    somebody has changed something; ``way`` is how to go on, "" where the reason says it; ``interrupted`` says that a
    signal came; ``error`` is what broke the run.
    """

    def __init__(self, clock: Callable[[], float], notify: Callable[[], None], drain: float = DRAIN) -> None:
        self.stopped: str | None = None
        self.needs_change = False
        self.way = GO_ON
        self.interrupted = False
        self.error: Exception | None = None
        self._clock, self._notify, self._drain = clock, notify, drain
        self._deadline = math.inf

    @property
    def has_begun(self) -> bool:
        """Tell whether nothing more may be started."""
        return self._deadline < math.inf

    @property
    def remaining(self) -> float:
        """Return the seconds that requests in flight have left; infinite before the shutdown has begun."""
        return self._deadline - self._clock()

    def stop(self, reason: str, *, needs_change: bool = False, way: str = GO_ON) -> None:
        """Begin, for a reason that is shown to the user, with the way to go on; only the first counts."""
        if not self.has_begun:
            self.stopped, self.needs_change, self.way = reason, needs_change, way
            self._end_within(self._drain)

    def stop_writing(self, error: OSError) -> None:
        """Begin, as rows cannot be kept; the error names their file."""
        is_gone, needs_room = error.errno == errno.ESTALE, is_full(error)
        way = free_some(Path(str(error.filename))) if needs_room else PUT_BACK if is_gone else GO_ON
        self.stop(f"cannot write {error.filename}: {error.strerror}", needs_change=needs_room, way=way)

    def interrupt(self) -> None:
        """Begin, as a signal came; the second time end at once."""
        if self.interrupted:
            self._end_within(0.0)
        elif not self.has_begun:
            self._end_within(self._drain)
        self.interrupted = True

    def fail(self, error: Exception) -> None:
        """End at once, with an error that the run raises; only the first counts."""
        if self.remaining > 0:
            self.error = error
            self._end_within(0.0)

    def _end_within(self, seconds: float) -> None:
        self._deadline = self._clock() + seconds
        self._notify()
