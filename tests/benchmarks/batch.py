"""What a batch costs against a bare aiohttp loop and the naive way: ``python -m tests.benchmarks.batch``.

The server of fixed replies has a core of its own and the client another. Ours and theirs take turns; the ratio that
counts is the median over the rounds. Memory is the peak of a process that runs a job of so many rows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import aiohttp
import openai

from novita_openai import batch, create_async_client

from .server import serving

MODEL: Final = "meta-llama/llama-3.1-8b-instruct"
OF_BARE: Final = 0.20
OF_NAIVE: Final = 3.0
MEGABYTES: Final = 250

Peer = Callable[[str, int, int, Path], Awaitable[None]]


def requests(path: Path, count: int) -> None:
    """Write so many requests."""
    with path.open("w") as file:
        for number in range(count):
            file.write(json.dumps({"custom_id": f"row-{number}", "url": "/v1/chat/completions", "body": _body(number)}))
            file.write("\n")


def _body(number: int) -> dict[str, Any]:
    content = f"How do I make pasta? {number}"
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 512}


async def bare(url: str, count: int, in_flight: int, path: Path) -> None:
    """Send over aiohttp itself, and write lines: no checks, no retries, no resume."""
    numbers = iter(range(count))
    headers = {"Authorization": "Bearer sk_test"}
    with path.open("ab", buffering=0) as file:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight), headers=headers) as session:

            async def work() -> None:
                for number in numbers:
                    async with session.post(f"{url}/chat/completions", json=_body(number)) as response:
                        answer = json.loads(await response.read())
                    file.write(json.dumps({"custom_id": f"row-{number}", "response": answer}).encode() + b"\n")

            await asyncio.gather(*(work() for _ in range(in_flight)))


async def naive(url: str, count: int, in_flight: int, path: Path) -> None:
    """Send with ``AsyncOpenAI`` and a semaphore, and write at the end."""
    semaphore = asyncio.Semaphore(in_flight)
    async with openai.AsyncOpenAI(api_key="sk_test", base_url=url) as client:

        async def one(number: int) -> Any:
            async with semaphore:
                return await client.chat.completions.create(**_body(number))

        answers = await asyncio.gather(*(one(number) for number in range(count)))
    lines = (answer.model_dump_json() + "\n" for answer in answers)
    path.write_text("".join(lines))  # noqa: ASYNC240 - all have come


async def ours(url: str, count: int, in_flight: int, path: Path) -> None:
    """Run a batch, from the first look at its input to the report."""
    report = await batch.arun(
        path.with_name("requests.jsonl"),
        path,
        client=create_async_client(api_key="sk_test", base_url=url),
        concurrency=in_flight,
    )
    assert report.succeeded == count


def rates(url: str, count: int, in_flight: int) -> dict[str, float]:
    """Return rows a second of each, in turns."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        requests(Path(folder) / "requests.jsonl", count)
        for peer in (bare, naive, ours):
            started = time.perf_counter()
            asyncio.run(peer(url, count, in_flight, Path(folder) / f"{peer.__name__}.jsonl"))
            found[peer.__name__] = count / (time.perf_counter() - started)
    return found


def peak(url: str, count: int) -> float:
    """Return the peak memory of a process that runs so many rows, in MB."""
    command = [sys.executable, "-m", "tests.benchmarks.batch", "--memory-of", str(count), "--url", url]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def _run_for_memory(url: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        requests(Path(folder) / "requests.jsonl", count)
        asyncio.run(ours(url, count, 64, Path(folder) / "results.jsonl"))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> int:
    """Run everything, print the figures, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--memory-rows", type=int, default=50_000, help="of the larger of the two jobs")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        _run_for_memory(options.url, options.memory_of)
        return 0
    os.sched_setaffinity(0, {0})
    with serving() as server:
        os.sched_setaffinity(0, {1})
        url = server.url("whole")
        rounds = [rates(url, options.rows, 64) for _ in range(options.rounds)]
        small, large = peak(url, options.memory_rows // 10), peak(url, options.memory_rows)
    of_bare = median(found["ours"] / found["bare"] for found in rounds)
    of_naive = median(found["ours"] / found["naive"] for found in rounds)
    for name in ("bare", "naive", "ours"):
        print(f"{name}: {median(found[name] for found in rounds):.0f} rows/s")
    slope = (large - small) * 2**20 / (options.memory_rows * 0.9)
    million = large + slope * (1_000_000 - options.memory_rows) / 2**20
    print(f"of bare: {of_bare:.3f} (at least {OF_BARE}); of naive: {of_naive:.2f} (at least {OF_NAIVE})")
    print(f"memory: {small:.0f} and {large:.0f} MB, {slope:.0f} bytes a row: {million:.0f} MB for a million rows")
    return 0 if of_bare >= OF_BARE and of_naive >= OF_NAIVE and million <= MEGABYTES else 1


if __name__ == "__main__":
    sys.exit(main())
