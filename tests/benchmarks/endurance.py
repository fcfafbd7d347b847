"""A long job among all faults that the emulator has: ``python -m tests.benchmarks.endurance``.

The command runs it in a process of its own, with several models that have prices and an attempt of at most ``TIMEOUT``
seconds; each fault meets ``SHARE`` of the requests. What would end the whole job or a whole model by the service's own
word is left out. In the end each row must have one result, the figures of the report must be those of the files, each
failure must be one that a fault can bring about, and the memory must not have grown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import Any, Final

from novita_openai.emulator import FAULTS, Emulator, Model, Tier
from novita_openai.errors import RULES

SHARE: Final = 0.01
TIMEOUT: Final = 5
GROWTH: Final = 1.1
MEGABYTES: Final = 20.0
"""The peak of the second half may be ``GROWTH`` times that of the first and so many megabytes."""
MODELS: Final = (
    Model("maker/plain", input_token_price_per_m=300, output_token_price_per_m=900),
    Model("maker/cheap", input_token_price_per_m=20, output_token_price_per_m=50),
    Model("maker/tiers", tiers=(Tier(1, 100, 400), Tier(64, 200, 800))),
    Model("maker/free", input_token_price_per_m=0, output_token_price_per_m=0),
    *(Model(f"maker/other-{number}", input_token_price_per_m=100 * number) for number in range(1, 9)),
)
ENDS_MORE_THAN_A_ROW: Final = {
    rule.reason for rule in RULES if rule.stops_batch or (rule.reason == "MODEL_NOT_FOUND" or rule.status == 403)
}
KINDS: Final = tuple(kind for kind in FAULTS if kind not in ENDS_MORE_THAN_A_ROW)
CODES: Final = {
    "timeout": {"stall"},
    "connection_error": {"close", "reset", "garbage", "truncated"},
    "504": {"gateway_timeout", "late_gateway_timeout"},
    "502": {"bad_gateway"},
    "invalid_answer": {"html", "empty", "truncated", "null_list", "empty_list", "malformed", "not_utf8"},
}
"""The code of a failed row that its last fault brings about, where it is no word of the service."""


def body(number: int) -> dict[str, Any]:
    """Return the body of a row; every third one is for completions, and some have a long prompt."""
    model, text = MODELS[number % len(MODELS)].id, f"How do I make pasta? {number} " + "Why? " * (number % 7 * 20)
    asked = {"prompt": text} if number % 3 == 0 else {"messages": [{"role": "user", "content": text}]}
    return {"model": model, "max_tokens": 16, **asked}


def write(path: Path, count: int) -> None:
    """Write so many requests."""
    with path.open("w") as file:
        for number in range(count):
            asked = body(number)
            url = f"/v1/{'completions' if 'prompt' in asked else 'chat/completions'}"
            file.write(json.dumps({"custom_id": f"row-{number}", "method": "POST", "url": url, "body": asked}) + "\n")


@contextmanager
def serving() -> Iterator[str]:
    """Run the emulator in a process of its own, which ends with the block; yield its address."""
    command = [sys.executable, "-m", "tests.benchmarks.endurance", "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()


def serve() -> None:
    """Run the emulator until standard input ends."""
    with Emulator(models=MODELS, faults=dict.fromkeys(KINDS, SHARE), latency=(0.0, 0.05)) as emulator:
        print(emulator.base_url, flush=True)
        sys.stdin.read()


def run(folder: Path, url: str) -> tuple[dict[str, Any], list[float]]:
    """Run the job; return its report, and the megabytes that it had each second."""
    command = [sys.executable, "-m", "novita_openai", "batch", "requests.jsonl", "-o", "results.jsonl", "--json"]
    command += ["--timeout", str(TIMEOUT), "--base-url", url]
    environment = os.environ | {"NOVITA_API_KEY": "sk_test"}
    sizes = []
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            sizes.append(megabytes(process.pid))
            time.sleep(1)
        assert process.stdout
        told = process.stdout.read()
        assert process.returncode == 1, f"exit code {process.returncode}; 1 says that some rows have failed"
        assert told, "no report"
        (folder / "report.json").write_text(told)
        return json.loads(told), sizes[:-1]


def megabytes(process: int) -> float:
    """Return the memory that a process has now."""
    status = Path(f"/proc/{process}/status").read_text()
    return int((status.partition("VmRSS:")[2].split() or ["0"])[0]) / 1024


@dataclass
class Recount:
    """What the files of results say, counted anew; ``problems``: what must not be."""

    succeeded: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    finish_reasons: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    cost: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    unpriced: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, row: dict[str, Any], *, failed: bool) -> None:
        """Count a row of one of the files."""
        name, spent = row["custom_id"], row["spent"]
        model = MODELS[int(name.removeprefix("row-")) % len(MODELS)].id
        self.seen[name] += 1
        self.rows[model] += 1
        self.sent += spent["requests"]
        self.tokens[model] += spent["tokens"]
        self.cost[model] += spent["dollars"] or 0.0
        self.unpriced[model] += spent["dollars"] is None
        if failed:
            self.errors[row["error"]["code"]] += 1
            if not _is_explained(row):
                self.problems.append(f"no fault explains {row['error']} of {name}")
        else:
            self.succeeded += 1
            self.finish_reasons.update(choice["finish_reason"] for choice in row["response"]["body"]["choices"])

    def compare(self, report: dict[str, Any], count: int) -> list[str]:
        """Return what is wrong: rows that are missing or double, and figures of the report that are not those here."""
        once = {f"row-{number}": 1 for number in range(count)}
        models = {model: {"rows": self.rows[model], "tokens": self.tokens[model]} for model in self.rows}
        told = {name: {"rows": each["rows"], "tokens": each["tokens"]} for name, each in report["models"].items()}
        costs = [is_paid(report["models"][model], self.cost[model], self.unpriced[model]) for model in self.rows]
        costs.append(is_paid(report, sum(self.cost.values()), self.unpriced.total()))
        checks = {
            "each row once": self.seen == once,
            "total": report["total"] == count,
            "succeeded": report["succeeded"] == self.succeeded,
            "failed": report["failed"] == self.errors.total(),
            "errors": report["errors"] == self.errors,
            "finish_reasons": report["finish_reasons"] == self.finish_reasons,
            "sent": report["sent"] == self.sent,
            "retries": report["retries"] == self.sent - count,
            "tokens": report["tokens"] == self.tokens.total(),
            "models": told == models,
            "costs": all(costs),
        }
        return [*(f"not as in the files: {name}" for name, holds in checks.items() if not holds), *self.problems]


def is_paid(told: dict[str, Any], cost: float, unpriced: int) -> bool:
    """Tell whether the cost told is that of the rows, of which so many do not say it.

    An answer may be whole, and what it has cost be lost on the way; its row has no cost, though others of its answers
    have one.
    """
    if not unpriced:
        return told["unpriced"] == 0 and isclose(told["cost"], cost, rel_tol=1e-6, abs_tol=1e-9)
    return bool(told["unpriced"] >= unpriced and told["cost"] >= cost * (1 - 1e-6))


def _is_explained(row: dict[str, Any]) -> bool:
    return not {row["error"]["code"], *CODES.get(row["error"]["code"], ())}.isdisjoint(KINDS)


def recounted(folder: Path) -> Recount:
    """Count what the files of results hold."""
    recount = Recount()
    for name in ("results.jsonl", "results.errors.jsonl"):
        with (folder / name).open() as file:
            for line in file:
                recount.add(json.loads(line), failed="errors" in name)
    return recount


def grown(sizes: list[float]) -> list[str]:
    """Return what is wrong with the memory of the run."""
    half = len(sizes) // 2
    first, second = max(sizes[:half], default=0.0), max(sizes[half:], default=0.0)
    print(f"memory: at most {first:.0f} MB in the first half, {second:.0f} MB in the second", flush=True)
    return ["the memory has grown"] if second > first * GROWTH + MEGABYTES else []


def main() -> int:
    """Run the job, print what it came to, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="a new folder, where the files are kept; else they are removed")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return 0
    with tempfile.TemporaryDirectory() as temporary, serving() as url:
        folder = options.folder or Path(temporary) / "job"
        folder.mkdir(parents=True)
        write(folder / "requests.jsonl", options.rows)
        report, sizes = run(folder, url)
        recount = recounted(folder)
    wrong = [*recount.compare(report, options.rows), *grown(sizes)]
    failed = ", ".join(f"{count} x {code}" for code, count in recount.errors.most_common())
    print(f"{options.rows} rows in {report['elapsed']:.0f} s, {recount.sent} requests; failed: {failed}", flush=True)
    print("\n".join(wrong) or "all is well", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
