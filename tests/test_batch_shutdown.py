"""How a run ends early, and how it waits: what each cause leaves, in no real time."""

from __future__ import annotations

import asyncio
import errno
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from novita_openai.batch.shutdown import DRAIN, GO_ON, Shutdown
from novita_openai.batch.waking import TICK, Alarm, Ticker


class Watched:
    """A shutdown with a clock that stands, and a count of its notices."""

    def __init__(self) -> None:
        self.now, self.notices = 100.0, 0
        self.shutdown = Shutdown(lambda: self.now, self._notice)

    def _notice(self) -> None:
        self.notices += 1


def stop(shutdown: Shutdown) -> None:
    shutdown.stop("no credit")


def stop_writing(shutdown: Shutdown) -> None:
    shutdown.stop_writing(OSError(28, "No space left on device", "results.jsonl"))


def interrupt(shutdown: Shutdown) -> None:
    shutdown.interrupt()


def fail(shutdown: Shutdown) -> None:
    shutdown.fail(ZeroDivisionError("first"))


FULL = "cannot write results.jsonl: No space left on device"


def test_requests_in_flight_have_the_seconds_that_are_given() -> None:
    shutdown = Shutdown(lambda: 100.0, lambda: None, drain=3.0)
    shutdown.interrupt()
    assert shutdown.remaining == 3.0


def test_a_full_disk_needs_a_change_and_another_error_does_not(tmp_path: Path) -> None:
    full, broken, gone = Watched().shutdown, Watched().shutdown, Watched().shutdown
    (tmp_path / "a.jsonl").touch()
    full.stop_writing(OSError(errno.EDQUOT, "Quota exceeded", str(tmp_path / "a.jsonl")))
    broken.stop_writing(OSError(errno.EIO, "Input/output error", str(tmp_path / "a.jsonl")))
    gone.stop_writing(OSError(errno.ENOSPC, "No space left on device", "a temporary file"))
    assert (full.needs_change, full.way) == (True, f"free some space on {tmp_path}, then start the same again")
    assert (broken.needs_change, broken.way) == (False, GO_ON)
    assert gone.way == "free some space on the disk of the results, then start the same again"


@pytest.mark.parametrize("needs_change", [False, True])
def test_the_first_reason_says_whether_something_must_change(*, needs_change: bool) -> None:
    shutdown = Watched().shutdown
    shutdown.stop("first", needs_change=needs_change)
    shutdown.stop("second", needs_change=not needs_change)
    assert (shutdown.stopped, shutdown.needs_change) == ("first", needs_change)


@pytest.mark.parametrize(
    ("causes", "stopped", "interrupted", "remaining"),
    [
        ([], None, False, math.inf),
        ([stop], "no credit", False, DRAIN),
        ([stop_writing], FULL, False, DRAIN),
        ([stop, stop_writing], "no credit", False, DRAIN),
        ([interrupt], None, True, DRAIN),
        ([interrupt, stop], None, True, DRAIN),
        ([stop, interrupt], "no credit", True, DRAIN),
        ([interrupt, interrupt], None, True, 0.0),
        ([stop, interrupt, interrupt], "no credit", True, 0.0),
        ([fail], None, False, 0.0),
        ([stop, fail], "no credit", False, 0.0),
        ([fail, stop], None, False, 0.0),
    ],
)
def test_the_first_cause_begins_a_shutdown_and_a_second_signal_ends_it(
    causes: list[Callable[[Shutdown], None]], stopped: str | None, *, interrupted: bool, remaining: float
) -> None:
    watched = Watched()
    for cause in causes:
        cause(watched.shutdown)
    shutdown = watched.shutdown
    assert (shutdown.stopped, shutdown.interrupted, shutdown.remaining) == (stopped, interrupted, remaining)
    assert shutdown.has_begun == bool(causes)
    assert (shutdown.error is not None) == (fail in causes)


def test_what_comes_later_gives_no_more_time() -> None:
    watched = Watched()
    stop(watched.shutdown)
    watched.now += 5
    for cause in (stop, interrupt):
        cause(watched.shutdown)
    assert watched.shutdown.remaining == DRAIN - 5
    assert watched.notices == 1


def test_the_first_error_is_the_one_that_is_raised() -> None:
    shutdown = Watched().shutdown
    fail(shutdown)
    shutdown.fail(KeyError("second"))
    assert isinstance(shutdown.error, ZeroDivisionError)


def test_a_sleep_ends_when_its_time_is_over_or_the_alarm_rings() -> None:
    async def sleeps() -> None:
        alarm, loop = Alarm(), asyncio.get_running_loop()
        await alarm.sleep(0.01)
        loop.call_soon(alarm.ring)
        await alarm.sleep(math.inf)
        loop.call_soon(alarm.ring)
        await alarm.sleep(600)

    asyncio.run(asyncio.wait_for(sleeps(), 60))


@pytest.mark.parametrize(("seconds", "is_rung"), [(0.0, False), (-1.0, False), (600.0, True)])
def test_every_sleep_lets_the_event_loop_turn(seconds: float, *, is_rung: bool) -> None:
    async def sleep() -> list[str]:
        turned: list[str] = []
        alarm = Alarm()
        asyncio.get_running_loop().call_soon(turned.append, "turned")
        if is_rung:
            alarm.ring()
        await alarm.sleep(seconds)
        return turned

    assert asyncio.run(sleep()) == ["turned"]


def test_a_tick_comes_at_once_and_then_at_its_time() -> None:
    now, ticks = 100.0, []
    ticker = Ticker(lambda: ticks.append(now))
    assert ticker.tick(lambda: now) == TICK
    now += TICK / 2
    assert ticker.tick(lambda: now) == TICK / 2
    now += TICK
    assert ticker.tick(lambda: now) == TICK
    assert ticks == [100.0, 100.0 + 1.5 * TICK]
