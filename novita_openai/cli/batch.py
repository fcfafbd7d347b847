"""The command ``batch``: options in, progress to stderr, a summary and an exit code out."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Protocol, Self

import openai
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from novita_openai import batch
from novita_openai.batch import BatchEstimate, BatchInputError, BatchProgress, BatchReport, BatchStopped, RunOptions
from novita_openai.batch.files import errors_path
from novita_openai.cli.terminal import FAILED, INTERRUPTED, explain, show, tell
from novita_openai.client import AsyncNovitaOpenAI
from novita_openai.retry import RetryPolicy

__all__ = ["run_batch"]

BAD_INPUT: Final = 2
STOPPED: Final = 3
SECONDS_A_LINE: Final = 10.0
"""Between two lines of progress where there is no terminal."""

Requests = Annotated[
    str, typer.Argument(help="The requests: JSON lines, also as .gz; prompts as .txt; '-' is standard input.")
]
Results = Annotated[
    str | None,
    typer.Option("--output", "-o", help="Where answers go, failed rows to NAME.errors.jsonl beside; '-' prints both."),
]


def run_batch(
    requests: Requests,
    *,
    output: Results = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check the input and estimate the cost; send nothing.")
    ] = False,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="For rows that name none, and for prompts.")
    ] = None,
    prompts: Annotated[bool, typer.Option("--prompts", help="Each line is a prompt, as in a .txt file.")] = False,
    prompt_format: Annotated[
        str | None, typer.Option("--format", help="Each line is a user message; see 'prompt formats'.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest answer to a prompt, in tokens.")] = 512,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="The most requests in flight [default: found by trying].")
    ] = None,
    rpm: Annotated[float | None, typer.Option(min=0.001, help="The most requests a minute and model.")] = None,
    tpm: Annotated[float | None, typer.Option(min=0.001, help="The most tokens a minute and model.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Send rows again that failed before.")] = False,
    max_errors: Annotated[int | None, typer.Option(min=0, help="Stop when more rows than this fail.")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Stop before this run costs more dollars.")] = None,
    ordered: Annotated[bool, typer.Option("--ordered", help="Leave the results in the order of the input.")] = False,
    base_url: Annotated[str | None, typer.Option("--base-url", help="The address [default: Novita's].")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one line of JSON.")] = False,
) -> None:
    """Run a file of requests; killed or stopped, the same command goes on where it was.

    Exit codes: 0 all rows succeeded, 1 some failed, 2 bad usage or input, 3 stopped (can go on), 130 interrupted.
    """
    if output == "-" and as_json:
        raise typer.BadParameter("--json and --output - both print to standard output")
    options = RunOptions(
        concurrency=concurrency,
        rpm=rpm,
        tpm=tpm,
        max_errors=max_errors,
        max_cost=max_cost,
        retry_failed=retry_failed,
        ordered=ordered,
        model=model,
        prompts=prompts,
        format=prompt_format,
        max_tokens=max_tokens,
    )
    with _reported():
        if base_url is not None:
            options["client"] = AsyncNovitaOpenAI(base_url=base_url, policy=RetryPolicy.batch())
        if check:
            _show_estimate(batch.estimate(requests, **options), as_json=as_json)
        elif output is None:
            raise typer.BadParameter("no output: name the file for the answers (--output results.jsonl)")
        else:
            raise typer.Exit(_run(requests, output, options, quiet=quiet, as_json=as_json))


@contextmanager
def _reported() -> Iterator[None]:
    """Turn errors into lines on stderr and an exit code."""
    try:
        yield
    except BatchInputError as error:
        for line in str(error).splitlines():
            tell(line)
        raise typer.Exit(BAD_INPUT) from error
    except openai.OpenAIError as error:
        tell(explain(error))
        raise typer.Exit(BAD_INPUT) from error
    except OSError as error:
        tell(f"{error.filename}: {error.strerror}")
        raise typer.Exit(BAD_INPUT) from error
    except ValueError as error:
        tell(str(error))
        raise typer.Exit(BAD_INPUT) from error
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(INTERRUPTED) from interrupt


def _run(requests: str, output: str, options: RunOptions, *, quiet: bool, as_json: bool) -> int:
    """Run, report, and return the exit code."""
    if output == "-" and not quiet:
        tell("results go to standard output: this run cannot be gone on with")
    try:
        with _display(quiet=quiet) as display:
            options["on_progress"] = display
            report = batch.run(requests, output, **options)
        code = INTERRUPTED if report.interrupted else FAILED if report.failed else 0
    except BatchStopped as stop:
        report, code = stop.report, STOPPED
        for line in str(stop).splitlines():
            tell(line)
    if as_json:
        show(json.dumps(dataclasses.asdict(report)))
    if not quiet:
        tell(_summary(report, output))
    return code


def _summary(report: BatchReport, output: str) -> str:
    failed = f"{report.failed} failed" + (f" ({errors_path(Path(output))})" if report.failed and output != "-" else "")
    parts = [
        f"{report.succeeded} of {report.total} rows succeeded, {failed}",
        *([f"{report.resumed} were done before"] if report.resumed else []),
        f"{report.sent} requests sent, {report.retries} of them again",
        f"{report.tokens} tokens",
        *([] if report.cost is None else [f"${report.cost:.4f}"]),
        f"{report.elapsed:.1f} s",
    ]
    if report.interrupted:
        again = "" if output == "-" else ": start the same again to go on"
        parts.append(f"interrupted with {report.unfinished} rows to do{again}")
    return "; ".join(parts)


def _show_estimate(estimate: BatchEstimate, *, as_json: bool) -> None:
    if as_json:
        show(json.dumps(dataclasses.asdict(estimate)))
        return
    cost = "unknown (no prices)" if estimate.cost is None else f"${estimate.cost:.4f} at most"
    show(f"{estimate.total} requests to {', '.join(estimate.models)}: no errors")
    show(f"about {estimate.prompt_tokens} tokens to send, at most {estimate.answer_tokens} in answers; cost: {cost}")
    if estimate.unbounded:
        show(f"{estimate.unbounded} requests set no max_tokens: their answers are not in these figures")


class Display(Protocol):
    """Shows how far a job is."""

    def __call__(self, progress: BatchProgress) -> None:
        """Show a state."""
        ...


@contextmanager
def _display(*, quiet: bool) -> Iterator[Display]:
    if quiet:
        yield lambda progress: None  # noqa: ARG005 - the name is part of the call
    elif sys.stderr.isatty():
        with _Bar() as bar:
            yield bar
    else:
        yield _Lines()


class _Lines:
    """A line now and then."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def __call__(self, progress: BatchProgress) -> None:
        if time.monotonic() - self._shown >= SECONDS_A_LINE:
            self._shown = time.monotonic()
            done = progress.succeeded + progress.failed
            tell(f"{done} of {progress.total} rows, {_rate(progress):.1f} rows/s, {_details(progress)}")


class _Bar:
    """A bar that is drawn again."""

    def __init__(self) -> None:
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, progress: BatchProgress) -> None:
        description = f"{_rate(progress):.1f} rows/s, {_details(progress)}"
        done = progress.succeeded + progress.failed
        self._bar.update(self._task, total=progress.total, completed=done, description=description)


def _rate(progress: BatchProgress) -> float:
    return (progress.succeeded + progress.failed - progress.resumed) / max(progress.elapsed, 0.001)


def _details(progress: BatchProgress) -> str:
    parts = [f"{progress.in_flight} in flight", f"{progress.tokens} tokens"]
    if progress.cost is not None:
        parts.append(f"${progress.cost:.4f}")
    parts += [f"{count} x {reason}" for reason, count in progress.errors.items()]
    if progress.interrupted:
        parts.append("finishing what is in flight; interrupt again to stop at once")
    return ", ".join(parts)
