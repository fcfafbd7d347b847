"""A job at the service whose processes are killed again and again: each row is in one batch, and has one result."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from batch_jobs import MODEL, Job, row, until

from novita_openai import AsyncNovitaOpenAI, batch
from novita_openai.backoff import no_wait
from novita_openai.emulator import Emulator

ROUNDS = int(os.environ.get("NOVITA_TEST_KILLS", "3"))
"""Rounds of kills: 100 are run by hand."""
MODELS: Final = (MODEL, "qwen/qwen3-30b-a3b-fp8", "deepseek/deepseek-v3.2")
ROWS: Final = 30
CLOCK: Final = 25.0
LATE: Final = 5.0
"""Seconds of the service after which a new batch is in the list."""
DONE, UNKNOWN, LEFT = 0, 4, 3

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["novita_openai.batch", "novita_openai.client"])


def work(requests: Path, results: Path, url: str, create_again: bool) -> None:
    """Run a job, as a process of its own; say by the exit code how it ended."""
    client = AsyncNovitaOpenAI(api_key="sk_test", base_url=url)
    with no_wait():
        try:
            batch.run(requests, results, client=client, via="batch-api", poll=0.01, create_again=create_again)
        except batch.BatchStopped as stop:
            sys.exit(UNKNOWN if "nobody knows" in str(stop) else LEFT)


@pytest.mark.slow
def test_killed_at_any_moment_every_row_is_billed_and_present_once(tmp_path: Path) -> None:
    killed = [round_of_kills(tmp_path, Random(seed)) for seed in range(ROUNDS)]
    found = sum(each["unknown"] for each in killed)
    again = sum(each["again"] for each in killed)
    kills = sum(each["kills"] for each in killed)
    print(f"{ROUNDS} rounds of {ROWS} rows, {kills} kills; {found} starts did not know, {again} created again")
    assert kills > ROUNDS


def round_of_kills(folder: Path, random: Random) -> Counter[str]:
    """Kill a job at random moments, and when the service has just made a batch; then let it end."""
    said: Counter[str] = Counter()
    options: dict[str, Any] = {"latency": (0.0, 1.0), "clock": CLOCK, "batch_seconds": 4.0, "batch_list_delay": LATE}
    with Emulator(keys={"sk_test": None}, **options) as emulator:
        job = Job(folder, emulator.base_url)
        job.write(row(f"r{number}") | body(number) for number in range(ROWS))
        for path in folder.glob("results*"):
            path.unlink()
        for _ in range(2):
            said["kills"] += killed(job, lambda process: at_work(emulator, process, random.uniform(0.0, 0.3)))
        said["kills"] += killed(job, lambda process: until_created(emulator, process))
        said["kills"] += killed(job, lambda process: at_work(emulator, process, random.uniform(0.0, 0.6)))
        finish(job, said)
        batches = Counter(each.custom_id for made in emulator.batches.values() for each in made.rows)
        assert batches == Counter(f"r{number}" for number in range(ROWS)), said
    job.assert_complete(f"r{number}" for number in range(ROWS))
    return said


def body(number: int) -> dict[str, Any]:
    return {"body": row("")["body"] | {"model": MODELS[number % 3], "messages": [{"role": "user", "content": "Hi"}]}}


def started(job: Job, *, create_again: bool = False) -> Any:
    process = _processes.Process(target=work, args=(job.requests, job.results, job.base_url, create_again))
    process.start()
    return process


def killed(job: Job, when: Callable[[Any], object]) -> int:
    """Run a job and kill it; return 1 where that came before its end, else 0."""
    process = started(job)
    when(process)
    process.kill()
    process.join()
    return int(process.exitcode == -9)


def at_work(emulator: Emulator, process: Any, seconds: float) -> None:
    """Wait for the first request of a process, and then so many seconds."""
    count = emulator.request_count
    until(lambda: emulator.request_count > count or process.exitcode is not None)
    process.join(seconds)


def until_created(emulator: Emulator, process: Any) -> None:
    """Wait until the service has made one more batch, of which the process does not know yet."""
    made = len(emulator.batches)
    until(lambda: len(emulator.batches) > made or process.exitcode is not None)


def finish(job: Job, said: Counter[str]) -> None:
    """Start again, as a person would: a part of which nobody knows is created again once no list can be late."""
    is_late = True
    for _ in range(20):
        process = started(job, create_again=not is_late)
        process.join(60)
        if process.exitcode == DONE:
            return
        assert process.exitcode in (UNKNOWN, LEFT)
        if process.exitcode == UNKNOWN:
            said["unknown"] += 1
            said["again"] += not is_late
            time.sleep(2 * LATE / CLOCK)
            is_late = False
    raise AssertionError("it does not end")
