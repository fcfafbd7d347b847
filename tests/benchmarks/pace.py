"""A hundred calls at once, on the first tier of the service: ``python -m tests.benchmarks.pace``.

The emulator takes 30 requests a minute, 30 or 1 at once, and answers or refuses after 2 seconds; its clock and that of
the pace run 60 times as fast. Callers are tasks, 32 threads, or both at once. The raw SDK and a client without a pace
stand beside it; they give up within seconds, and run at the speed of the machine. The time is that from the first
request to the last, as a share of what the limit forces. Each emulator is a process of its own. Exits with 1 where a
bar is missed. It takes about half an hour with 20 seeds, which are drawn anew each time, and wants a quiet machine: a
delay of 20 ms counts as more than a second.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import mean
from typing import Any, Final, cast

import openai

from novita_openai import AsyncOpenAI, OpenAI, Pace
from novita_openai.emulator import Emulator

from .report import columns

CALLS: Final = 100
RPM: Final = 30
LATENCY: Final = (1.9, 2.1)
CLOCK: Final = 60.0
THREADS: Final = 32
MODEL: Final = "meta-llama/llama-3.1-8b-instruct"


@dataclass(frozen=True)
class Bar:
    """A pace, how many requests the service takes at once, and the most that may come of it."""

    name: str
    pace: Callable[[], Pace]
    burst: int
    refused: int
    time: float


BARS: Final = (
    Bar("Pace(rpm=30)", lambda: Pace(rpm=RPM), 30, 0, 1.45),
    Bar("Pace(rpm=30)", lambda: Pace(rpm=RPM), 1, 3, 1.15),
    Bar("pace=True", Pace, 30, 25, 1.10),
    Bar("pace=True", Pace, 1, 25, 1.30),
)


@dataclass(frozen=True)
class Result:
    """What a run came to; ``time`` in ideal times."""

    answers: int
    refused: int
    time: float


def serve(pipe: Any, settings: dict[str, Any]) -> None:
    """Run an emulator until something comes through the pipe; say how many requests came, and in how many seconds."""
    with Emulator(**settings) as server:
        pipe.send(server.base_url)
        pipe.recv()
        times = [request.time for request in server.requests]
        pipe.send((server.request_count, times[-1] - times[0]))


@contextmanager
def emulator(**settings: Any) -> Iterator[tuple[str, Callable[[], tuple[int, float]]]]:
    """Give the address of an emulator in a process of its own, and what ends it and says what came."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, settings))
    process.start()

    def count() -> tuple[int, float]:
        ours.send(None)
        return cast("tuple[int, float]", ours.recv())

    yield ours.recv(), count
    process.join()


def body(number: int) -> Any:
    """Return the request of a call."""
    return {"model": MODEL, "messages": [{"role": "user", "content": f"Question {number}"}], "max_tokens": 8}


def tasks(client: Any, numbers: range) -> int:
    """Ask in as many tasks, and return how many answers came."""

    async def ask(open_client: Any, number: int) -> bool:
        try:
            await open_client.chat.completions.create(**body(number))
        except openai.RateLimitError:
            return False
        return True

    async def gather() -> int:
        async with client() as opened:
            return sum(await asyncio.gather(*(ask(opened, number) for number in numbers)))

    return asyncio.run(gather())


def threads(client: Any, numbers: range) -> int:
    """Ask in 32 threads, and return how many answers came."""
    with client() as opened, ThreadPoolExecutor(THREADS) as pool:

        def ask(number: int) -> bool:
            try:
                opened.chat.completions.create(**body(number))
            except openai.RateLimitError:
                return False
            return True

        return sum(pool.map(ask, numbers))


def both(sync: Any, loop: Any, numbers: range) -> int:
    """Ask half of it in threads and half in tasks, at the same time."""
    half = len(numbers) // 2
    with ThreadPoolExecutor(2) as pool:
        parts = pool.submit(threads, sync, numbers[:half]), pool.submit(tasks, loop, numbers[half:])
        return sum(part.result() for part in parts)


def call(kinds: tuple[Any, Any], way: str, **options: Any) -> int:
    """Make the calls in one of the ways, with clients of two kinds, sync and async."""
    sync, loop = (lambda kind=kind: kind(api_key="sk_test", **options) for kind in kinds)
    if way == "both":
        return both(sync, loop, range(CALLS))
    return tasks(loop, range(CALLS)) if way == "tasks" else threads(sync, range(CALLS))


def measure(bar: Bar, way: str, seed: int) -> Result:
    """Run paced calls against a fresh emulator."""
    with emulator(rpm=RPM, burst=bar.burst, latency=LATENCY, clock=CLOCK, seed=seed) as (url, count):
        pace = bar.pace()
        pace.clock.speed = CLOCK
        answers = call((OpenAI, AsyncOpenAI), way, base_url=url, pace=pace)
        requests, seconds = count()
        return Result(answers, requests - answers, seconds * CLOCK / ideal(bar.burst))


def ideal(burst: int) -> float:
    """Return the seconds that the limit forces, from the first request to the last."""
    return (CALLS - burst) * 60 / RPM


def peers(way: str, burst: int) -> Iterator[tuple[str, ...]]:
    """Yield the rows of those without a pace."""
    for name, kinds in (("the raw SDK", (openai.OpenAI, openai.AsyncOpenAI)), ("no pace", (OpenAI, AsyncOpenAI))):
        with emulator(rpm=RPM, burst=burst, latency=LATENCY) as (url, count):
            answers = call(kinds, way, base_url=url)
            yield name, way, f"{burst}", f"{answers}", f"{count()[0] - answers}", "", "", ""


def row(bar: Bar, way: str, results: list[Result]) -> tuple[str, ...]:
    """Return the row of a bar: the fewest answers, the mean and the most refused, the mean and the longest time."""
    refused, times = [each.refused for each in results], [each.time for each in results]
    is_kept = min(each.answers for each in results) == CALLS and max(refused) <= bar.refused and max(times) <= bar.time
    return (
        bar.name,
        way,
        f"{bar.burst}",
        f"{min(each.answers for each in results)}",
        f"{mean(refused):.1f}, {max(refused)}",
        f"{mean(times):.2f}, {max(times):.2f}",
        f"{bar.refused}, {bar.time:.2f}",
        "" if is_kept else "FAIL",
    )


def main() -> int:
    """Run everything, print the table, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--ways", nargs="+", default=["tasks", "threads", "both"])
    options = parser.parse_args()
    logging.disable()
    rows: list[tuple[str, ...]] = [
        ("client", "callers", "burst", "answers", "refused: mean, most", "time: mean, most", "bars", "")
    ]
    for way in options.ways:
        for burst in (30, 1):
            rows += peers(way, burst)
        for bar in BARS:
            seeds = [int.from_bytes(os.urandom(3)) for _ in range(options.seeds)]
            rows.append(row(bar, way, [measure(bar, way, seed) for seed in seeds]))
            print(*rows[-1], file=sys.stderr, flush=True)
    print(columns(rows))
    return any(each[-1] == "FAIL" for each in rows)


if __name__ == "__main__":
    sys.exit(main())
