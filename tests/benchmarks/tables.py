"""What a table costs beside a batch of the same requests: ``python -m tests.benchmarks.tables``.

CPU: the processor time of processes that run the same requests, from a table of CSV and from a file of requests, in
turns. Memory: the peak of a process that runs a table, and of one that finds all of it done; at two lengths, from which
a million rows are told.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from novita_openai import batch, create_async_client

from .batch import MODEL
from .memory import MEGABYTE, MILLION, peak, write
from .report import Comparison, table
from .server import serving

OF_BATCH: Final = 1.3
MEGABYTES: Final = 300


def write_table(path: Path, count: int) -> None:
    """Write a table of so many questions, those of :func:`.memory.write`."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["number", "dish", "note"])
        rows.writerows((number, f"pasta? {number}", "a cell that is asked nothing") for number in range(count))


def run_table(folder: Path, **options: Any) -> batch.BatchReport:
    """Run the table in a folder."""
    return batch.run(
        folder / "questions.csv",
        folder / "answers.csv",
        model=MODEL,
        prompt="How do I make {dish}",
        parameters={"max_tokens": 512},
        **options,
    )


def run_batch(folder: Path, **options: Any) -> batch.BatchReport:
    """Run the requests in a folder."""
    return batch.run(folder / "requests.jsonl", folder / "results.jsonl", **options)


_JOBS: Final[dict[str, Callable[..., batch.BatchReport]]] = {"table": run_table, "batch": run_batch}


def measured(job: str, folder: Path, url: str) -> None:
    """Run a job, and print the seconds of processor time that it took, and the peak of this process in MB."""
    client, started = create_async_client(api_key="sk_test", base_url=url), time.process_time()
    report = _JOBS[job](folder, client=client)
    assert report.succeeded == report.total
    print(time.process_time() - started, peak())


def figures(job: str, folder: str, url: str) -> tuple[float, float]:
    """Return what :func:`measured` prints in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.tables", "--run", job, "--run-in", folder, "--url", url]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(printed[-2]), float(printed[-1])


def seconds(job: str, url: str, count: int) -> float:
    """Return the processor time of a job of so many rows."""
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder) / "questions.csv", count)
        write(Path(folder) / "requests.jsonl", count)
        return figures(job, folder, url)[0]


def peaks(url: str, count: int) -> tuple[float, float]:
    """Return the peaks of a table of so many rows, and of the same started again."""
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder) / "questions.csv", count)
        return figures("table", folder, url)[1], figures("table", folder, url)[1]


def remember(url: str, count: int) -> bool:
    """Print what a table of so many rows needs, and what a million would; tell whether the bound is kept."""
    large, titles = peaks(url, count), ("a run", "started again")
    if count >= MILLION:
        for title, peak_of_all in zip(titles, large, strict=True):
            print(f"memory of {title}: {peak_of_all:.0f} MB for {count} rows (at most {MEGABYTES})", flush=True)
        return max(large) <= MEGABYTES
    millions = [_told(*case, count) for case in zip(titles, peaks(url, count // 10), large, strict=True)]
    return max(millions) <= MEGABYTES


def _told(title: str, low: float, high: float, count: int) -> float:
    """Print the peaks of two lengths, and return that of a million."""
    slope = (high - low) / (count - count // 10)
    million = high + slope * (MILLION - count)
    print(f"memory of {title}: {low:.0f} MB for {count // 10} rows, {high:.0f} MB for {count}:", end=" ")
    print(f"{slope * MEGABYTE:.0f} bytes a row, {million:.0f} MB for a million (at most {MEGABYTES})", flush=True)
    return million


def main() -> int:
    """Run everything, print the figures, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=5_000, help="of the jobs of which the time is taken")
    parser.add_argument("--memory-rows", type=int, default=50_000, help="of the larger of the two tables")
    parser.add_argument("--run", choices=_JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--run-in", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        measured(options.run, options.run_in, options.url)
        return 0
    with serving() as server:
        url, turns = server.url("whole"), range(options.rounds)
        rounds = [(seconds("table", url, options.rows), seconds("batch", url, options.rows)) for _ in turns]
        compared = Comparison(f"a table of {options.rows} rows", "batch.run", "s", rounds, OF_BATCH)
        print(table([compared]), flush=True)
        is_kept = remember(url, options.memory_rows)
    return 0 if is_kept and compared.is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
