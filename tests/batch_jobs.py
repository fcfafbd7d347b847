"""What the tests of batches share: inputs, runs against a server, and what the two files of results hold."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novita_openai import AsyncNovitaOpenAI, RetryPolicy, batch
from novita_openai.backoff import Backoff
from novita_openai.errors import Action

MODEL = "meta-llama/llama-3.1-8b-instruct"
PROGRAM = [sys.executable, "-m", "novita_openai", "batch"]
QUICK = {Action.WAIT: Backoff(0.01, 0.05), Action.RETRY: Backoff(0.01, 0.05)}


def body(text: str = "How do I make pasta?", **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 8} | fields


def row(custom_id: str, url: str = "/v1/chat/completions", **fields: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body(custom_id, **fields)}


def rows(count: int) -> list[dict[str, Any]]:
    return [row(f"r{number}") for number in range(count)]


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file, which must be whole."""
    content = path.read_bytes()
    assert content == b"" or content.endswith(b"\n")
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


def policy(attempts: int | None = 3, **options: Any) -> RetryPolicy:
    return RetryPolicy(attempts, backoffs=QUICK, budget=None, **options)


class _Selector(selectors.DefaultSelector):
    """Counts how often the event loop had nothing to do."""

    rests = 0

    def select(self, timeout: float | None = None) -> Any:
        self.rests += timeout is None or timeout > 0
        return super().select(timeout)


class Clock(asyncio.SelectorEventLoop):
    """An event loop of which the time can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        return super().time() + self.ahead


@dataclass
class Job:
    """A job in a folder, against a server."""

    folder: Path
    base_url: str

    @property
    def requests(self) -> Path:
        return self.folder / "requests.jsonl"

    @property
    def results(self) -> Path:
        return self.folder / "results.jsonl"

    @property
    def errors(self) -> Path:
        return self.folder / "results.errors.jsonl"

    def write(self, requests: Iterable[Any]) -> None:
        lines = (line if isinstance(line, str) else json.dumps(line) for line in requests)
        self.requests.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def client(self, **options: Any) -> AsyncNovitaOpenAI:
        defaults: dict[str, Any] = {"api_key": "sk_test", "base_url": self.base_url, "policy": policy()}
        return AsyncNovitaOpenAI(**(defaults | options))

    def run(self, requests: Iterable[Any] | None = None, **options: Any) -> batch.BatchReport:
        if requests is not None:
            self.write(requests)
        defaults: dict[str, Any] = {"client": self.client()}
        return batch.run(self.requests, self.results, **(defaults | options))

    def run_on(self, clock: Clock, **options: Any) -> batch.BatchReport:
        """Run on a clock that the test puts forward."""
        defaults: dict[str, Any] = {"client": self.client()}
        with asyncio.Runner(loop_factory=lambda: clock) as runner:
            return runner.run(batch.arun(self.requests, self.results, **(defaults | options)))

    def answers(self) -> dict[str, dict[str, Any]]:
        return {row["custom_id"]: row for row in read(self.results)}

    def failures(self) -> dict[str, dict[str, Any]]:
        return {row["custom_id"]: row for row in read(self.errors)}

    def assert_complete(self, custom_ids: Iterable[str]) -> None:
        """Every custom_id has exactly one row over both files."""
        found = sorted(row["custom_id"] for path in (self.results, self.errors) for row in read(path))
        assert found == sorted(custom_ids)


def environment(job: Job, **variables: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("NOVITA_", "OPENAI_"))}
    return plain | {"NOVITA_API_KEY": "sk_test", "NOVITA_BASE_URL": job.base_url} | variables


def start(job: Job, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([*PROGRAM, *map(str, arguments)], env=environment(job), text=True, **streams)


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Have the system refuse to write a file beyond a number of bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for a condition; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
