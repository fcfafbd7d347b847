"""How soon a rate limit is found, and how many requests that costs: ``python -m tests.benchmarks.pacing``.

The emulator takes 100 requests a second of a model, 10 at once, and answers after 50 ms. A batch runs beside loops of
fixed concurrency, in which the SDK's client retries each row by itself, as long as it is told to wait or with its own
backoff. The ideal time is that of a client that knows the limit. Exits with 1 where a bound is missed. All takes about
11 minutes: each run lasts half a minute or more, and is given up after ``--most`` seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import Final

import openai

from novita_openai import batch, create_async_client
from novita_openai.emulator import Emulator

from .batch import body, requests
from .report import columns

RATE: Final = 100
BURST: Final = 10
TIME_BOUND: Final = 1.10
"""The most ideal times that ours may take."""
STEP: Final = (10.0, 20.0)
"""The seconds between which half as many requests are taken."""

Way = Callable[[str, int, Path], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """What a refusal says of the time to wait, and whether the limit changes for a while."""

    name: str
    _: KW_ONLY
    retry_after: bool | float
    is_step: bool = False

    @property
    def share_bound(self) -> float:
        """Return the share of requests that may be refused."""
        return 0.02 if self.retry_after else 0.05

    def ideal(self, rows: int) -> float:
        """Return the seconds that a client takes which knows the limit."""
        seconds = (rows - BURST) / RATE
        half = STEP[1] - STEP[0]
        return seconds + min(max(0.0, seconds - STEP[0]), half / 2) if self.is_step else seconds


SCENARIOS: Final = (
    Scenario("no Retry-After", retry_after=False),
    Scenario("no Retry-After, step", retry_after=False, is_step=True),
    Scenario("retry-after-ms", retry_after=True),
    Scenario("retry-after-ms, step", retry_after=True, is_step=True),
    Scenario("Retry-After: 1", retry_after=1.0),
    # Missed: each refusal stops the model for a second, of which the burst makes up a tenth, and it takes four or
    # five of them, and a wait before the higher limit is tried, to find the start, the way down and the way back.
    Scenario("Retry-After: 1, step", retry_after=1.0, is_step=True),
)


@dataclass(frozen=True)
class Result:
    """What a run came to: the time in ideal ones, infinite where it was given up, and the share of requests refused."""

    time: float
    share: float

    def cells(self) -> tuple[str, str]:
        """Return the cells of the table."""
        return f"{self.time:.3f}", f"{self.share:.2%}"

    def keeps(self, scenario: Scenario) -> bool:
        """Tell whether the bounds hold."""
        return self.time <= TIME_BOUND and self.share <= scenario.share_bound


async def ours(url: str, rows: int, folder: Path) -> None:
    """Run a batch, which finds the rate."""
    requests(folder / "requests.jsonl", rows)
    async with create_async_client(api_key="sk_test", base_url=url) as client:
        report = await batch.arun(folder / "requests.jsonl", folder / "results.jsonl", client=client)
    assert report.succeeded == rows


async def fixed(url: str, rows: int, _: Path, *, in_flight: int) -> None:
    """Send from so many loops; the SDK retries."""
    numbers = iter(range(rows))
    async with openai.AsyncOpenAI(api_key="sk_test", base_url=url, max_retries=1_000) as client:

        async def work() -> None:
            for number in numbers:
                await client.chat.completions.create(**body(number))

        await asyncio.gather(*(work() for _ in range(in_flight)))


WAYS: Final[dict[str, Way]] = {
    "batch": ours,
    "32 in flight": partial(fixed, in_flight=32),
    "256 in flight": partial(fixed, in_flight=256),
}


async def run(way: Way, scenario: Scenario, rows: int, latency: float, most: float) -> Result:
    """Run rows against an emulator of their own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Emulator(rpm=RATE * 60, burst=BURST, retry_after=scenario.retry_after, latency=latency) as server,
    ):
        loop = asyncio.get_running_loop()
        rates = zip(STEP, (RATE / 2, RATE), strict=True) if scenario.is_step else ()
        timers = [loop.call_later(then, setattr, server, "rpm", rate * 60) for then, rate in rates]
        started = time.perf_counter()
        try:
            await asyncio.wait_for(way(server.base_url, rows, Path(folder)), most)
        except TimeoutError:
            return Result(math.inf, math.nan)
        finally:
            for timer in timers:
                timer.cancel()
        seconds = time.perf_counter() - started
        return Result(seconds / scenario.ideal(rows), server.request_count / rows - 1)


def main() -> int:
    """Run everything, print the table line by line, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before an answer, and before a refusal")
    parser.add_argument("--most", type=float, default=120.0, help="seconds after which a run is given up")
    parser.add_argument("--only", default="", help="run the scenarios whose name contains this")
    parser.add_argument("--ours", action="store_true", help="leave out the loops of fixed concurrency")
    options = parser.parse_args()
    ways = {"batch": ours} if options.ours else WAYS
    rows = [("limit", "client", "time of the ideal", "refused", "load", "")]
    is_kept = True
    for scenario in (each for each in SCENARIOS if options.only in each.name):
        for name, way in ways.items():
            result = asyncio.run(run(way, scenario, options.rows, options.latency, options.most))
            is_missed = way is ours and not result.keeps(scenario)
            is_kept = is_kept and not is_missed
            load = f"{os.getloadavg()[0]:.1f}"
            rows.append((scenario.name, name, *result.cells(), load, "FAIL" if is_missed else ""))
            print(*rows[-1], file=sys.stderr, flush=True)
    print(columns(rows))
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
