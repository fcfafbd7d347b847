"""How much memory a batch takes: ``python -m tests.benchmarks.memory``.

Each figure is the peak of a process of its own that runs one job: rows of 2 MB with answers of 5 MB, many small rows,
and as many that have their results already. Jobs of many rows are run at two lengths, from which a million is told.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from novita_openai import batch, create_async_client
from novita_openai.batch.requests import Reader

from .batch import MODEL, body
from .server import Server, serving

MEGABYTE: Final = 1_048_576
MILLION: Final = 1_000_000
MOST_OF_LARGE: Final = 512
MOST_OF_A_MILLION: Final = 200


def write(path: Path, count: int, size: int = 0, *, named: bool = True) -> None:
    """Write so many requests, each with so many bytes besides those of a question."""
    with path.open("w") as file:
        for number in range(count):
            row: dict[str, Any] = {"url": "/v1/chat/completions", "body": sized(number, size)}
            if named:
                row["custom_id"] = f"row-{number}"
            file.write(json.dumps(row) + "\n")


def sized(number: int, size: int) -> dict[str, Any]:
    """Return the body of a row."""
    asked = body(number)
    asked["messages"][0]["content"] += "x" * size
    return asked


def answer(requests: Path, results: Path) -> None:
    """Write the result of each request, as an earlier run would have."""
    reply = {"status_code": 200, "request_id": None, "body": {"model": MODEL, "choices": [{"text": "word " * 40}]}}
    spent = {"requests": 1, "tokens": 58, "dollars": 0.0}
    with requests.open("rb") as lines, results.open("w") as file:
        for number, line in enumerate(lines, start=1):
            request = Reader().line(number, line)
            row = {"id": f"batch_req_{request.digest}", "custom_id": request.custom_id}
            file.write(json.dumps({**row, "response": reply, "error": None, "spent": spent}) + "\n")


def run(folder: Path, url: str) -> None:
    """Run the job in a folder and print the peak of this process in MB."""
    client = create_async_client(api_key="sk_test", base_url=url)
    report = batch.run(folder / "requests.jsonl", folder / "results.jsonl", client=client)
    assert report.succeeded == report.total
    print(peak())


def peak() -> float:
    """Return megabytes; what ``getrusage`` tells would start from the process that started this one."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def peak_of(url: str, prepare: Callable[[Path], None]) -> float:
    """Return the peak of a process that runs a job in a folder which is prepared for it."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        command = [sys.executable, "-m", "tests.benchmarks.memory", "--run-in", folder, "--url", url]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


@dataclass(frozen=True)
class Case:
    """Jobs of one kind, and the most megabytes that one may take."""

    title: str
    url: str
    most: float
    prepare: Callable[[Path, int], None]

    def is_kept(self, count: int) -> bool:
        """Run a job of so many rows, print its peak, and tell whether that is within the bound."""
        peak = self._peak(count)
        print(f"{self.title}: {peak:.0f} MB for {count} rows (at most {self.most:.0f})", flush=True)
        return peak <= self.most

    def is_kept_at_a_million(self, count: int) -> bool:
        """Run a job of so many rows and one of a tenth, and tell whether a million would be within the bound."""
        if count >= MILLION:
            return self.is_kept(count)
        low, high = self._peak(count // 10), self._peak(count)
        slope = (high - low) / (count - count // 10)
        million = high + slope * (MILLION - count)
        told = f"{slope * MEGABYTE:.0f} bytes a row, {million:.0f} MB for a million (at most {self.most:.0f})"
        print(f"{self.title}: {low:.0f} MB for {count // 10} rows, {high:.0f} MB for {count}: {told}", flush=True)
        return million <= self.most

    def _peak(self, count: int) -> float:
        return peak_of(self.url, lambda folder: self.prepare(folder, count))


def many(folder: Path, count: int) -> None:
    """Prepare small rows."""
    write(folder / "requests.jsonl", count)


def done(folder: Path, count: int) -> None:
    """Prepare small rows that have their results."""
    many(folder, count)
    answer(folder / "requests.jsonl", folder / "results.jsonl")


def unnamed_and_done(folder: Path, count: int) -> None:
    """Prepare rows without a custom_id that have their results."""
    write(folder / "requests.jsonl", count, named=False)
    answer(folder / "requests.jsonl", folder / "results.jsonl")


def of_size(size: int) -> Callable[[Path, int], None]:
    """Return what prepares rows of a size."""
    return lambda folder, count: write(folder / "requests.jsonl", count, size)


def cases(server: Server) -> tuple[list[Case], list[Case]]:
    """Return the cases of large rows, and those of many."""
    small, large = server.url("whole"), server.url("large")
    return [
        Case("rows of 2 MB, small answers", small, MOST_OF_LARGE, of_size(2 * MEGABYTE)),
        Case("small rows, answers of 5 MB", large, MOST_OF_LARGE, of_size(0)),
        Case("rows of 2 MB, answers of 5 MB", large, MOST_OF_LARGE, of_size(2 * MEGABYTE)),
    ], [
        Case("a run", small, MOST_OF_A_MILLION, many),
        Case("all done", small, MOST_OF_A_MILLION, done),
        Case("all done, without custom_ids", small, MOST_OF_A_MILLION, unnamed_and_done),
    ]


def main() -> int:
    """Run everything, print the figures, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000, help="of the longer of the two jobs of many rows")
    parser.add_argument("--large", type=int, default=300, help="rows of 2 MB")
    parser.add_argument("--run-in", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run_in:
        run(options.run_in, options.url)
        return 0
    with serving() as server:
        large, long = cases(server)
        kept = [case.is_kept(options.large) for case in large]
        kept += [case.is_kept_at_a_million(options.rows) for case in long]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
