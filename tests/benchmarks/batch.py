"""What a batch costs against a bare aiohttp loop and the naive way: ``python -m tests.benchmarks.batch``.

The server of fixed replies has a core of its own and the client another. Ours and theirs take turns; the ratio that
counts is the median over the rounds: without latency, and with many in flight at 200 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from statistics import median
from typing import Any, Final

import aiohttp
import openai

from novita_openai import batch, create_async_client

from .server import serving

MODEL: Final = "meta-llama/llama-3.1-8b-instruct"
OF_BARE: Final = 0.60
OF_NAIVE: Final = 6.0
OF_BARE_WITH_LATENCY: Final = 0.70
MANY: Final = 1_000
"""Requests in flight with latency."""

Peer = Callable[[str, int, int, Path], Coroutine[Any, Any, None]]


def requests(path: Path, count: int) -> None:
    """Write so many requests."""
    with path.open("w") as file:
        for number in range(count):
            file.write(json.dumps({"custom_id": f"row-{number}", "url": "/v1/chat/completions", "body": body(number)}))
            file.write("\n")


def body(number: int) -> dict[str, Any]:
    """Return the body of a row."""
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
                    async with session.post(f"{url}/chat/completions", json=body(number)) as response:
                        answer = json.loads(await response.read())
                    file.write(json.dumps({"custom_id": f"row-{number}", "response": answer}).encode() + b"\n")

            await asyncio.gather(*(work() for _ in range(in_flight)))


async def naive(url: str, count: int, in_flight: int, path: Path) -> None:
    """Send with ``AsyncOpenAI`` and a semaphore, and write at the end."""
    semaphore = asyncio.Semaphore(in_flight)
    async with openai.AsyncOpenAI(api_key="sk_test", base_url=url) as client:

        async def one(number: int) -> Any:
            async with semaphore:
                return await client.chat.completions.create(**body(number))

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


def rates(url: str, count: int, in_flight: int, *peers: Peer) -> dict[str, float]:
    """Return rows a second of each peer and of ours, in turns."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        requests(Path(folder) / "requests.jsonl", count)
        for peer in (*peers, ours):
            started = time.perf_counter()
            asyncio.run(peer(url, count, in_flight, Path(folder) / f"{peer.__name__}.jsonl"))
            found[peer.__name__] = count / (time.perf_counter() - started)
    return found


def compare(title: str, rounds: list[dict[str, float]], bounds: dict[str, float]) -> bool:
    """Print the rows a second of each, and ours as a share of theirs; tell whether all bounds are kept."""
    speeds = ", ".join(f"{name} {median(found[name] for found in rounds):.0f}" for name in rounds[0])
    shares = {peer: median(found["ours"] / found[peer] for found in rounds) for peer in bounds}
    told = "; ".join(f"{share:.3f} of {peer}{_at_least(bounds.get(peer))}" for peer, share in shares.items())
    print(f"{title}, rows/s: {speeds}; ours: {told}", flush=True)
    return all(shares[peer] >= bound for peer, bound in bounds.items())


def _at_least(bound: float | None) -> str:
    return "" if bound is None else f" (at least {bound})"


def main() -> int:
    """Run everything, print the figures, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=4_000, help="without latency; 2.5 times as many with it")
    options = parser.parse_args()
    os.sched_setaffinity(0, {0})
    with serving() as server:
        os.sched_setaffinity(0, {1})
        at_once, slow, turns = server.url("whole"), server.url("slow"), range(options.rounds)
        kept = [
            compare(
                "no latency, 64 in flight",
                [rates(at_once, options.rows, 64, bare, naive) for _ in turns],
                {"bare": OF_BARE, "naive": OF_NAIVE},
            ),
            compare(
                f"200 ms, {MANY} in flight",
                [rates(slow, options.rows * 5 // 2, MANY, bare) for _ in turns],
                {"bare": OF_BARE_WITH_LATENCY},
            ),
        ]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
