"""What the service's answers mean for a part: pure decisions.

A create that was not answered may have been taken, and then a second one would be paid twice. So whatever does not say
that it was refused leaves the part unknown, and the lists decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING, Final

from novita_openai.error_replies import NOT_JSON
from novita_openai.errors import Action

if TYPE_CHECKING:
    from novita_openai.errors import Failure

__all__ = [
    "ENDED",
    "KNOWN",
    "Verdict",
    "needs_change",
    "on_asked",
    "on_created",
    "on_sought",
    "poll_delay",
    "search_delays",
    "wait_delay",
]

ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})
KNOWN: Final = ENDED | {"validating", "in_progress", "finalizing", "cancelling"}
"""The words for a batch's status, as the client folds them; others are waited for, and told."""
FIRST_POLL: Final = 5.0
LONGEST_POLL: Final = 60.0
POLL_GROWTH: Final = 1.5
JITTER: Final = 0.2
SEARCH: Final = 600.0
"""Seconds for which a batch is looked for that may have been created."""
SEARCH_PAUSE: Final = 30.0
FIRST_SEARCH: Final = 1.0
YOUNG: Final = 600.0
"""Seconds for which the service may not know yet what it has just made."""
LONGEST_RETRY: Final = 60.0

_SETTINGS: Final = (401, 404)
_NOT_TAKEN: Final = frozenset({"MODEL_NOT_AVAILABLE", "SERVICE_NOT_AVAILABLE"})
"""The service's words, with a status of 5xx, by which it says that it did not take a request."""
_SERVER_ERROR: Final = 500
_NOT_FOUND: Final = 404
_ODD: Final = (408, 409)
"""Statuses that say nothing on whether a request was taken."""


class Verdict(Enum):
    """What to do after a failure."""

    AGAIN = "again"
    """Ask again later: nothing was taken."""
    UNKNOWN = "unknown"
    """Find out whether it was taken."""
    REFUSED = "refused"
    """It was not taken and never will be."""
    GONE = "gone"
    """The service does not have it any more."""
    STOP = "stop"
    """Nothing else can be done before somebody has changed something, or later."""


def on_created(failure: Failure) -> Verdict:
    """Return what a failure to create something means."""
    status = failure.status
    if _stops(failure):
        return Verdict.STOP
    if status is None:
        return Verdict.UNKNOWN if failure.is_ambiguous else Verdict.AGAIN
    if failure.rule.action is Action.WAIT or failure.reason in _NOT_TAKEN:
        return Verdict.AGAIN
    if status >= _SERVER_ERROR or status in _ODD or status < 400:  # noqa: PLR2004 - an answer that nobody can read
        return Verdict.UNKNOWN
    return Verdict.REFUSED


def on_asked(failure: Failure, age: float) -> Verdict:
    """Return what a failure to see something means that is so many seconds old."""
    if failure.status == _NOT_FOUND and failure.reason != NOT_JSON:
        return Verdict.AGAIN if age < YOUNG else Verdict.GONE
    return on_sought(failure)


def on_sought(failure: Failure) -> Verdict:
    """Return what a failure to list something means: the service is asked again, unless it refuses the key."""
    return Verdict.STOP if _stops(failure) else Verdict.AGAIN


def _stops(failure: Failure) -> bool:
    """Tell whether everything else would fail alike: the key or the credit is refused, or there is no such address."""
    return failure.rule.stops_batch or (failure.status == _NOT_FOUND and failure.reason == NOT_JSON)


def needs_change(failure: Failure) -> bool:
    """Tell whether what stops the job would do so again until somebody has changed the key or the address."""
    return failure.rule.status in _SETTINGS


def poll_delay(first: float, count: int, *, random: float) -> float:
    """Return the seconds before the next look at a batch, of which ``count`` were taken; ``random`` is in [0, 1)."""
    grown = min(first * POLL_GROWTH ** min(count, 100), max(first, LONGEST_POLL))
    return grown * (1 + JITTER * (2 * random - 1))


def wait_delay(count: int, asked: float | None, *, random: float) -> float:
    """Return the seconds before something is asked for again that was refused ``count`` times."""
    grown = min(2.0 ** min(count, 100), LONGEST_RETRY) * (1 + JITTER * (2 * random - 1))
    return grown if asked is None else max(asked, grown)


def search_delays(elapsed: float) -> Iterator[float]:
    """Yield the seconds before each look for a batch that may have been asked for ``elapsed`` seconds ago.

    At first a list is likely to show it soon; then it is read every 30 s, for 10 minutes in all, and at least once.
    """
    yield 0.0
    waited, pause = max(0.0, elapsed), FIRST_SEARCH
    while waited < SEARCH:
        yield min(pause, SEARCH_PAUSE)
        waited += min(pause, SEARCH_PAUSE)
        pause *= 2
