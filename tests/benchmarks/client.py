"""What our clients cost against the raw SDK's: a call, a streamed chunk, the import, an outage; and a paced call.

Ours and theirs take turns, call by call, so that the noise of the machine meets both; the figures are medians, and
the ratio that counts is the median over the rounds. Exits with 1 where a bound is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from statistics import median
from typing import Any, Final

import openai
from structlog.testing import capture_logs

import novita_openai

from .report import Comparison, table
from .server import CHUNKS, Server, serving

CALL_BOUND: Final = 1.03
PACED_BOUND: Final = 1.03
CHUNK_BOUND: Final = 1.07
IMPORT_BOUND: Final = 1.05
OUTAGE_BOUND: Final = 0.40
OUTAGE_CALLS: Final = 200
WARM_UP_CALLS: Final = 200
CALLS_OF_A_STREAM: Final = 20
"""Calls that take as long as a streamed one, so that rounds are alike."""

_PEER: Final = f"openai {openai.__version__}"
_CHAT: Final[Any] = {
    "model": "meta-llama/llama-3.1-8b-instruct",
    "messages": [{"role": "user", "content": "How do I make pasta?"}],
    "max_tokens": 512,
}
# Timed inside, as the start of the interpreter would only flatter the ratio.
_IMPORT: Final = (
    "import time; start = time.perf_counter(); from {} import OpenAI; print(1000 * (time.perf_counter() - start))"
)

Pair = tuple[float, float]


def compare_calls(server: Server, rounds: int, calls: int) -> Comparison:
    """Time calls of the sync clients over connections that are kept alive."""
    ours = novita_openai.OpenAI(api_key="sk_test", base_url=server.url("whole"))
    theirs = openai.OpenAI(api_key="sk_test", base_url=server.url("whole"))
    with ours, theirs:
        _alternate(ours, theirs, WARM_UP_CALLS)
        times = [_alternate(ours, theirs, calls) for _ in range(rounds)]
    return Comparison("call", _PEER, "ms", times, CALL_BOUND)


async def compare_async_calls(server: Server, rounds: int, calls: int) -> Comparison:
    """Time calls of the async clients, one at a time, within one event loop."""
    ours = novita_openai.AsyncOpenAI(api_key="sk_test", base_url=server.url("whole"))
    theirs = openai.AsyncOpenAI(api_key="sk_test", base_url=server.url("whole"))
    async with ours, theirs:
        await _alternate_async(ours, theirs, WARM_UP_CALLS)
        times = [await _alternate_async(ours, theirs, calls) for _ in range(rounds)]
    return Comparison("async call", _PEER, "ms", times, CALL_BOUND)


def compare_paced_calls(server: Server, rounds: int, calls: int) -> Comparison:
    """Time calls of our sync client that have a pace, with nothing to wait for, beside those that have none."""
    ours = novita_openai.OpenAI(api_key="sk_test", base_url=server.url("whole"), pace=True)
    theirs = novita_openai.OpenAI(api_key="sk_test", base_url=server.url("whole"))
    with ours, theirs:
        _alternate(ours, theirs, WARM_UP_CALLS)
        times = [_alternate(ours, theirs, calls) for _ in range(rounds)]
    return Comparison("paced call", "without a pace", "ms", times, PACED_BOUND)


async def compare_paced_async_calls(server: Server, rounds: int, calls: int) -> Comparison:
    """Time those of the async client, one at a time, within one event loop."""
    ours = novita_openai.AsyncOpenAI(api_key="sk_test", base_url=server.url("whole"), pace=True)
    theirs = novita_openai.AsyncOpenAI(api_key="sk_test", base_url=server.url("whole"))
    async with ours, theirs:
        await _alternate_async(ours, theirs, WARM_UP_CALLS)
        times = [await _alternate_async(ours, theirs, calls) for _ in range(rounds)]
    return Comparison("paced async call", "without a pace", "ms", times, PACED_BOUND)


def compare_streams(server: Server, rounds: int, calls: int, *, resume: bool = False) -> Comparison:
    """Time whole streams of the sync clients, per chunk; with ``resume``, of one that would go on where they broke."""
    ours = novita_openai.OpenAI(api_key="sk_test", base_url=server.url("stream"), resume_streams=resume)
    theirs = openai.OpenAI(api_key="sk_test", base_url=server.url("stream"))
    with ours, theirs:
        _alternate(ours, theirs, 2, _stream)
        times = [_alternate(ours, theirs, calls // CALLS_OF_A_STREAM, _stream) for _ in range(rounds)]
    return Comparison(
        "resumable chunk" if resume else "streamed chunk",
        _PEER,
        "us",
        [_per_chunk(pair) for pair in times],
        CHUNK_BOUND,
    )


async def compare_async_streams(server: Server, rounds: int, calls: int) -> Comparison:
    """Time whole streams of the async clients, per chunk."""
    ours = novita_openai.AsyncOpenAI(api_key="sk_test", base_url=server.url("stream"))
    theirs = openai.AsyncOpenAI(api_key="sk_test", base_url=server.url("stream"))
    async with ours, theirs:
        await _alternate_async(ours, theirs, 2, _stream_async)
        counts = calls // CALLS_OF_A_STREAM
        times = [await _alternate_async(ours, theirs, counts, _stream_async) for _ in range(rounds)]
    return Comparison("async chunk", _PEER, "us", [_per_chunk(pair) for pair in times], CHUNK_BOUND)


def compare_imports(rounds: int, imports: int) -> Comparison:
    """Time ``from ... import OpenAI`` in fresh interpreters; the first, which may have to compile, do not count."""
    _alternate_imports(1)
    return Comparison("import", _PEER, "ms", [_alternate_imports(imports) for _ in range(rounds)], IMPORT_BOUND)


def compare_outages(server: Server) -> Comparison:
    """Count what the sync clients send while every answer is that the model is not available."""
    counts = []
    for kind in (novita_openai.OpenAI, openai.OpenAI):
        before = server.requests()
        with kind(api_key="sk_test", base_url=server.url("outage")) as client:
            for _ in range(OUTAGE_CALLS):
                with suppress(openai.InternalServerError):
                    client.chat.completions.create(**_CHAT)
        counts.append(server.requests() - before)
    return Comparison("outage", _PEER, "requests", [(counts[0], counts[1])], OUTAGE_BOUND)


def _call(client: openai.OpenAI) -> None:
    client.chat.completions.create(**_CHAT)


def _stream(client: openai.OpenAI) -> None:
    for _ in client.chat.completions.create(**_CHAT, stream=True):
        pass


async def _call_async(client: openai.AsyncOpenAI) -> None:
    await client.chat.completions.create(**_CHAT)


async def _stream_async(client: openai.AsyncOpenAI) -> None:
    async for _ in await client.chat.completions.create(**_CHAT, stream=True):
        pass


def _per_chunk(milliseconds: Pair) -> Pair:
    ours, theirs = (1000 * each / CHUNKS for each in milliseconds)
    return ours, theirs


def _alternate(
    ours: openai.OpenAI, theirs: openai.OpenAI, calls: int, work: Callable[[openai.OpenAI], None] = _call
) -> Pair:
    def milliseconds(client: openai.OpenAI) -> float:
        start = time.perf_counter()
        work(client)
        return 1000 * (time.perf_counter() - start)

    with _without_gc():
        return _medians([(milliseconds(ours), milliseconds(theirs)) for _ in range(calls)])


async def _alternate_async(
    ours: openai.AsyncOpenAI,
    theirs: openai.AsyncOpenAI,
    calls: int,
    work: Callable[[openai.AsyncOpenAI], Awaitable[None]] = _call_async,
) -> Pair:
    async def milliseconds(client: openai.AsyncOpenAI) -> float:
        start = time.perf_counter()
        await work(client)
        return 1000 * (time.perf_counter() - start)

    with _without_gc():
        return _medians([(await milliseconds(ours), await milliseconds(theirs)) for _ in range(calls)])


def _alternate_imports(imports: int) -> Pair:
    # Installed packages come compiled, so the one in the working directory must be allowed to be.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def milliseconds(module: str) -> float:
        command = [sys.executable, "-c", _IMPORT.format(module)]
        return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)

    return _medians([(milliseconds("novita_openai"), milliseconds("openai")) for _ in range(imports)])


def _medians(pairs: list[Pair]) -> Pair:
    return median(ours for ours, _ in pairs), median(theirs for _, theirs in pairs)


@contextmanager
def _without_gc() -> Iterator[None]:
    """Keep the collector, whose turn comes at random, out of the figures of both."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def main() -> int:
    """Run everything, print the table, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of calls and of imports (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=600, help="of each client in a round (default: %(default)s)")
    parser.add_argument("--imports", type=int, default=4, help="of each package in a round (default: %(default)s)")
    options = parser.parse_args()
    with serving() as server, novita_openai.retry.no_wait(), capture_logs():
        comparisons = [
            compare_calls(server, options.rounds, options.calls),
            asyncio.run(compare_async_calls(server, options.rounds, options.calls)),
            compare_paced_calls(server, options.rounds, options.calls),
            asyncio.run(compare_paced_async_calls(server, options.rounds, options.calls)),
            compare_streams(server, options.rounds, options.calls),
            compare_streams(server, options.rounds, options.calls, resume=True),
            asyncio.run(compare_async_streams(server, options.rounds, options.calls)),
            compare_imports(options.rounds, options.imports),
            compare_outages(server),
        ]
    print(table(comparisons))
    return 0 if all(comparison.is_kept for comparison in comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
