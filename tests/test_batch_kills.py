"""A job that is killed again and again, in real processes: each row comes once, and few are paid for twice."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from batch_jobs import Job, rows, start, until

from novita_openai.emulator import Emulator, Fault

ROUNDS = int(os.environ.get("NOVITA_TEST_KILLS", "2"))
"""Rounds of kills: 100 are run by hand."""
ROWS = 2_000
IN_FLIGHT = 16
FAULTS = {"MODEL_NOT_AVAILABLE": 0.02, "reset": 0.01, "close": 0.01, "html": 0.01}


@dataclass(frozen=True)
class Round:
    """What one round came to; ``paid_twice``: answers without a fault beyond one a row."""

    kills: int
    paid_twice: int

    @property
    def bound(self) -> int:
        return IN_FLIGHT * self.kills


@pytest.mark.slow
def test_killed_at_any_moment_every_row_comes_once(tmp_path: Path) -> None:
    rounds = [round_of_kills(tmp_path, Random(seed)) for seed in range(ROUNDS)]
    for each in rounds:
        assert 0 < each.paid_twice <= each.bound, each
    print(f"{ROUNDS} rounds of {ROWS} rows, {sum(each.kills for each in rounds)} kills")
    paid_twice = [each.paid_twice for each in rounds]
    mean, bound = sum(paid_twice) / ROUNDS, sum(each.bound for each in rounds) / ROUNDS
    print(f"paid twice in a round: at most {max(paid_twice)}, {mean:.1f} on average; bound {bound:.1f} on average")


def round_of_kills(folder: Path, random: Random) -> Round:
    """Kill a job in its first moments, then twice in its course, and let it end."""
    answers: Counter[str] = Counter()
    with Emulator(keys={"sk_test": None}, latency=(0.0, 0.02)) as emulator:
        emulator.script.extend(scripted(random, answers))
        job = Job(folder, emulator.base_url)
        job.write(rows(ROWS))
        for path in (job.results, job.errors):
            path.unlink(missing_ok=True)
        kills = killed(job, lambda process: wait(process, random.uniform(0.0, 1.0)))
        for _ in range(2):
            kills += killed(job, partial(until_answers, job, random.randint(1, (ROWS - done(job)) // 2)))
        with run(job) as process:
            assert process.wait(300) == 0
        assert emulator.script, "some answers were not counted"
    job.assert_complete(f"r{number}" for number in range(ROWS))
    assert len(answers) == ROWS
    return Round(kills, answers.total() - ROWS)


def scripted(random: Random, answers: Counter[str]) -> list[Any]:
    """Return faults, and answers that count themselves, more than a round can take."""

    def answer(body: dict[str, Any]) -> str:
        answers[body["messages"][0]["content"]] += 1
        return "Boil water."

    kinds, shares = [None, *FAULTS], [1 - sum(FAULTS.values()), *FAULTS.values()]
    return [answer if kind is None else Fault(kind) for kind in random.choices(kinds, shares, k=2 * ROWS)]


def run(job: Job) -> subprocess.Popen[str]:
    return start(job, job.requests, "-o", job.results, "--quiet", "--concurrency", str(IN_FLIGHT))


def killed(job: Job, when: Callable[[subprocess.Popen[str]], None]) -> int:
    """Run a job and kill it; return 1 where that came before its end, else 0."""
    with run(job) as process:
        when(process)
        process.kill()
    return int(process.returncode == -signal.SIGKILL)


def wait(process: subprocess.Popen[str], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def until_answers(job: Job, more: int, process: subprocess.Popen[str]) -> None:
    """Wait until so many more rows are answered."""
    count = done(job) + more
    until(lambda: done(job) >= count or process.poll() is not None)


def done(job: Job) -> int:
    return job.results.read_bytes().count(b"\n") if job.results.exists() else 0
