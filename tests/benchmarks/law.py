"""What the law of pacing reaches in a simulated service, by seeds drawn anew: ``python -m tests.benchmarks.law``.

Jobs of 30 seconds at 100 requests a second, 10 at once, and others; jobs of four minutes at 50 a second, or at half of
that for a minute (``a lower one``), whose refusals are counted from the first minute on; a limit of requests in flight;
a hundred calls of a program to 30 requests a minute; processes that share an account of 30 a minute and 30 at once,
each with a pace of its own, which begin one after the other. The time is that in times of a client that knows the
limit; the mean of all seeds, and the longest. It takes about two minutes, and is not changed by other work on the
machine. With 20 seeds it came to:

    limit                                      time  longest  refused  most
    steady, 10 at once, 0.05 s                 1.00  1.00     1.8%     1.9%
    steady, 10 at once, 0.05 s Retry-After-Ms  1.00  1.00     1.8%     2.0%
    steady, 10 at once, 0.05 s Retry-After     1.16  1.18     1.5%     1.8%
    steady, 10 at once, 0.2 s                  1.01  1.01     2.0%     2.3%
    steady, 10 at once, 0.2 s Retry-After-Ms   1.01  1.01     2.1%     2.4%
    steady, 10 at once, 0.2 s Retry-After      1.17  1.17     1.6%     1.8%
    steady, 10 at once, 1 s                    1.14  1.17     2.9%     4.1%
    steady, 10 at once, 1 s Retry-After-Ms     1.14  1.16     3.2%     4.0%
    steady, 10 at once, 1 s Retry-After        1.35  1.42     2.4%     3.1%
    step, 10 at once, 0.05 s                   1.04  1.05     2.3%     2.4%
    step, 10 at once, 0.05 s Retry-After-Ms    1.03  1.05     2.2%     2.4%
    step, 10 at once, 0.05 s Retry-After       1.23  1.25     1.8%     2.0%
    step, 10 at once, 0.2 s                    1.05  1.07     3.0%     3.3%
    step, 10 at once, 0.2 s Retry-After-Ms     1.05  1.07     3.0%     3.2%
    step, 10 at once, 0.2 s Retry-After        1.25  1.28     2.4%     2.8%
    step, 10 at once, 1 s                      1.22  1.26     6.5%     7.9%
    step, 10 at once, 1 s Retry-After-Ms       1.23  1.27     6.3%     7.2%
    step, 10 at once, 1 s Retry-After          1.50  1.80     4.6%     5.9%
    steady, 1 at once, 0.05 s                  1.10  1.10     2.2%     2.4%
    steady, 1 at once, 0.05 s Retry-After-Ms   1.11  1.12     2.3%     2.5%
    steady, 1 at once, 0.05 s Retry-After      1.28  1.36     1.4%     1.7%
    4 minutes, 1 at once, 1 s                  1.10  1.12     2.0%     2.2%
    4 minutes, 1 at once, 1 s Retry-After      1.18  1.19     0.9%     1.0%
    4 minutes, 10 at once, 1 s                 1.01  1.01     1.2%     1.3%
    4 minutes, 10 at once, 1 s Retry-After     1.08  1.09     0.5%     0.6%
    4 minutes, 100 at once, 1 s                1.00  1.01     1.1%     1.3%
    4 minutes, 100 at once, 1 s Retry-After    1.02  1.02     1.4%     1.5%
    a lower one, 1 at once, 1 s                1.12  1.16     2.9%     3.3%
    a lower one, 1 at once, 1 s Retry-After    1.21  1.27     1.9%     2.1%
    a lower one, 10 at once, 1 s               1.03  1.04     1.8%     2.0%
    a lower one, 10 at once, 1 s Retry-After   1.10  1.16     1.1%     1.3%
    a lower one, 100 at once, 1 s              1.01  1.02     2.0%     2.1%
    a lower one, 100 at once, 1 s Retry-After  1.11  1.13     2.1%     2.3%
    10 in flight, 1 s                          1.02  1.06     2.6%     3.0%
    10 in flight, 1 s Retry-After              1.12  1.16     2.2%     2.3%
    100 in flight, 1 s                         1.03  1.05     0.2%     0.3%
    100 in flight, 1 s Retry-After             1.07  1.09     0.1%     0.1%
    100 calls, pace=True, 30 at once           1.01  1.01     19.9%    24.0%
    100 calls, pace=True, 1 at once            1.16  1.25     7.5%     9.0%
    100 calls, Pace(rpm=30), 30 at once        1.41  1.41     0.0%     0.0%
    100 calls, Pace(rpm=30), 1 at once         1.08  1.09     1.0%     1.0%
    2 processes, pace=True                     1.42  2.23     9.5%     12.2%
    2 processes, Pace(rpm=30 / 2)              1.08  1.08     0.0%     0.0%
    8 processes, pace=True                     1.60  1.85     46.3%    65.8%
    8 processes, Pace(rpm=30 / 8)              1.08  1.08     0.0%     0.0%
    100 processes, pace=True                   1.02  1.03     651.5%   664.5%
    100 processes, Pace(rpm=30 / 100)          1.03  1.03     0.0%     0.0%

Where a refusal stops the model for a second (``Retry-After``), a change of the limit costs several of them, and so does
a start at a second's latency. Two processes that share an account share it by chance: one may begin with a fifth of it,
and takes long to find that the other has ended.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterator, Sequence
from statistics import mean
from typing import Any, Final

from novita_openai.pacing import FEW, SHARE, Pacer

from .report import columns
from .simulation import MINUTE, Asks, Limit, Sender, Service, run, simulate, steady, step

Row = tuple[str, ...]
RATE: Final = 100
LATENCIES: Final = (0.05, 0.2, 1.0)
ASKS: Final[dict[str, Asks]] = {"": None, "Retry-After-Ms": "ms", "Retry-After": "s"}
LONG: Final = 4 * MINUTE
CROWD: Final = 100
"""So many processes take long to simulate."""


def row(name: str, ideal: float, requests: float, runs: Sequence[tuple[float, float]]) -> Row:
    """Return the cells of what all seeds came to: seconds and refusals."""
    times, refused = [seconds / ideal for seconds, _ in runs], [count / requests for _, count in runs]
    return name, f"{mean(times):.2f}", f"{max(times):.2f}", f"{mean(refused):.1%}", f"{max(refused):.1%}"


def jobs(seeds: Sequence[int]) -> Iterator[Row]:
    """Yield what jobs of 30 seconds come to."""
    cases = [(limit, 10.0, latency) for limit in (steady, step) for latency in LATENCIES] + [(steady, 1.0, 0.05)]
    for limit, burst, latency in cases:
        for says, asks in ASKS.items():
            rate, more = limit(RATE)
            ideal = (30 * RATE - burst) / RATE + more + latency
            runs = [
                simulate(Pacer(0.0), Service(rate=rate, burst=burst, latency=latency, asks=asks), 30 * RATE, seed)
                for seed in seeds
            ]
            yield row(f"{limit.__name__}, {burst:g} at once, {latency:g} s {says}", ideal, 30 * RATE, runs)


def lower(now: float) -> float:
    """Return a limit that is half as high for a minute."""
    return 25.0 if 80 <= now < 140 else 50.0


def long_jobs(seeds: Sequence[int]) -> Iterator[Row]:
    """Yield what jobs of four minutes come to, and what is refused after the first."""
    limits: tuple[tuple[str, Limit, float], ...] = (
        ("4 minutes", lambda _: 50, 0.0),
        ("a lower one", lower, MINUTE / 2),
    )
    for name, limit, more in limits:
        for burst in (1.0, 10.0, 100.0):
            for asks in (None, 1.0):
                ideal, rows = LONG + more - burst / 50 + 1.0, 50 * LONG
                runs = [
                    simulate(
                        Pacer(0.0),
                        Service(rate=limit, burst=burst, latency=1.0, asks=asks),
                        rows,
                        seed,
                        since=MINUTE,
                    )
                    for seed in seeds
                ]
                says = "Retry-After" if asks else ""
                yield row(f"{name}, {burst:g} at once, 1 s {says}", ideal, rows * 3 / 4, runs)


def in_flight(seeds: Sequence[int]) -> Iterator[Row]:
    """Yield what a limit of requests in flight comes to."""
    for most in (10, 100):
        for asks in (None, 1.0):
            runs = [
                simulate(
                    Pacer(0.0),
                    Service(burst=math.inf, most=most, latency=1.0, refusal=0.05, asks=asks),
                    200 * most,
                    seed,
                )
                for seed in seeds
            ]
            yield row(f"{most} in flight, 1 s {'Retry-After' if asks else ''}", 200, 200 * most, runs)


def calls(seeds: Sequence[int]) -> Iterator[Row]:
    """Yield what a hundred calls come to: found and known, 30 at once and one, timers 0.1 s late."""
    paces: dict[str, Callable[[], Pacer]] = {
        "pace=True": lambda: Pacer(0.0, first=FEW, share=SHARE),
        "Pace(rpm=30)": lambda: Pacer(0.0, rpm=30),
    }
    for name, pacer in paces.items():
        for burst in (30, 1):
            runs = [
                simulate(pacer(), Service(rate=lambda _: 0.5, burst=burst, latency=2.0), 100, seed, late=0.1)
                for seed in seeds
            ]
            yield row(f"100 calls, {name}, {burst} at once", (100 - burst) * 2 + 2, 100, runs)


def processes(seeds: Sequence[int]) -> Iterator[Row]:
    """Yield what processes come to that share an account."""
    for count, total in ((2, 400), (8, 400), (100, 1_000)):
        known: dict[str, Any] = {"rpm": 30 / count}
        found: dict[str, Any] = {"first": FEW, "share": SHARE}
        for name, options in (("pace=True", found), (f"Pace(rpm=30 / {count})", known)):
            runs = []
            for seed in seeds if count < CROWD else seeds[:5]:
                begins = [2.0 * number for number in range(count)]
                senders = [Sender(Pacer(then, **options), total // count, then) for then in begins]
                seconds = run(senders, Service(rate=lambda _: 0.5, burst=30, latency=2.0), seed, 0.1)
                runs.append((seconds, sum(len(sender.refused) for sender in senders)))
            yield row(f"{count} processes, {name}", (total - 30) * 2 + 2, total, runs)


def main() -> None:
    """Run everything, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    seeds = [int.from_bytes(os.urandom(3)) for _ in range(options.seeds)]
    rows: list[Row] = [("limit", "time", "longest", "refused", "most")]
    for part in (jobs, long_jobs, in_flight, calls, processes):
        rows += part(seeds)
    print(columns(rows))


if __name__ == "__main__":
    main()
