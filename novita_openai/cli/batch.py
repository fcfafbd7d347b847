"""The command ``batch``: options in, progress to stderr, a summary and an exit code out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from novita_openai.cli.failures import BAD_INPUT, FAILED, INTERRUPTED, STOPPED, in_the_shell, reported
from novita_openai.cli.jobs import ChangedOption, JobOptions  # noqa: TC001 - typer reads the annotations
from novita_openai.cli.options import BaseURLOption, JSONOption, grouped
from novita_openai.cli.reports import described_status
from novita_openai.cli.tables import AskOptions  # noqa: TC001 - the same
from novita_openai.cli.terminal import show, show_lines, tell, write_json
from novita_openai.prices import counted, dollars

if TYPE_CHECKING:
    from novita_openai.batch import BatchEstimate, BatchReport, TableOptions
    from novita_openai.cli.page.writing import Page

__all__ = ["run_batch"]

STANDARD_OUTPUT: Final = "-"


@reported(BAD_INPUT)
@grouped
def run_batch(
    *,
    requests: Annotated[
        str,
        typer.Argument(
            metavar="REQUESTS",
            help="The file of requests: JSON lines (also as .gz), or a .txt file, each line a user's message, or a "
            "table (--prompt); '-': standard input.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The file for the answers; rows that fail go to NAME.errors.jsonl beside it. "
            "'-' prints both to standard output.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check the input and estimate the cost; send none of the requests.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Say what is done, open and spent, by the files of the job; send nothing.")
    ] = False,
    ask: AskOptions,
    options: JobOptions,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE.html",
            help="At the end, write a page to look at: outcomes, rate, refusals, latency, dollars, failed rows.",
        ),
    ] = None,
    base_url: BaseURLOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show neither progress nor summary.")] = False,
    as_json: JSONOption = False,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Write all that goes to standard error as lines of JSON.")
    ] = False,
    prompts: ChangedOption = False,  # noqa: ARG001 - refused where it is given
) -> None:
    """Send a file of requests; killed or stopped, the same command goes on where it was.

    Exit codes: 0 all rows succeeded; 1 some failed; 2 something must be changed first (options, input, a refused key);
    3 the same command may succeed later (network, credit, limits, a second process, rows at the service); 130
    interrupted.
    """
    if output == STANDARD_OUTPUT and as_json:
        raise typer.BadParameter("--json and --output - both print to standard output: leave one out")
    if report is not None and (check or status):
        raise typer.BadParameter("--report: --check and --status send nothing that a page could show; leave one out")
    if log_json:
        write_json()
    given = ask.with_options(options.run_options(base_url))
    if check:
        _estimate(requests, given, as_json=as_json)
    elif output is None:
        raise typer.BadParameter("no output: name the file for the answers (--output results.jsonl)")
    elif status:
        _status(requests, output, given, as_json=as_json)
    else:
        page = None if report is None else _page(report)
        raise typer.Exit(_run(requests, output, given, page=page, quiet=quiet, as_json=as_json))


def _page(path: Path) -> Page:
    from novita_openai.cli.page.writing import Page

    return Page(path)


def _run(requests: str, output: str, options: TableOptions, *, page: Page | None, quiet: bool, as_json: bool) -> int:
    """Run, show what the job came to, and return the exit code."""
    from novita_openai import batch
    from novita_openai.batch.files import is_kept
    from novita_openai.batch.tables.jobs import is_table, journal_of
    from novita_openai.cli.closing import facts_of, tell_report  # these load rich, which help does not need
    from novita_openai.cli.progress import both, progress_display

    kept = str(journal_of(Path(output))) if is_table(requests, options) else output
    if not (is_kept(kept) or quiet):
        place = "standard output" if output == STANDARD_OUTPUT else f"{output}, which keeps nothing"
        tell(f"results go to {place}: if this run is stopped, it cannot be gone on with")
    try:
        with progress_display(quiet=quiet) as display:
            options["on_progress"] = display if page is None else both(display, page.timeline)
            report = batch.run(requests, output, **options)
        code, ended = _code(report), in_the_shell(report.stopped or "")
    except batch.BatchStopped as stop:
        report, code, ended = stop.report, BAD_INPUT if stop.needs_change else STOPPED, in_the_shell(str(stop))
    if ended:
        tell(ended)
    if as_json:
        show(json.dumps(facts_of(report)))
    errors = _errors_beside(kept)
    if not quiet:
        tell_report(report, errors, code, can_go_on=is_kept(kept))
    if page is not None:
        page.write(report, requests=requests, output=output, errors=errors, ended=ended)
        if not quiet:
            tell(f"the report: {page.path}")
    return code


def _errors_beside(output: str) -> str:
    """Return the file of the failed rows, "" where nothing is kept."""
    from novita_openai.batch.files import errors_path, is_kept

    return str(errors_path(Path(output))) if is_kept(output) else ""


def _code(report: BatchReport) -> int:
    """Return the exit code for the report of a run that went as it was to go."""
    if report.interrupted:
        return INTERRUPTED
    if report.unfinished:  # at the service, or taken back from there
        return STOPPED
    return FAILED if report.failed else 0


def _status(requests: str, output: str, options: TableOptions, *, as_json: bool) -> None:
    """Print how far a job is."""
    from novita_openai import batch

    status = batch.status(requests, output, **options)
    known = {**asdict(status), "unfinished": status.unfinished}
    if as_json:
        show(json.dumps(known))
    else:
        show_lines("\n".join(described_status(status)))


def _estimate(requests: str, options: TableOptions, *, as_json: bool) -> None:
    from novita_openai import batch

    estimate = batch.estimate(requests, **options)
    if as_json:
        show(json.dumps(asdict(estimate)))
    else:
        show_lines("\n".join(_described(estimate)))
    if told := (*estimate.problems, *estimate.warnings):
        tell(in_the_shell("\n".join(told)))
    if estimate.problems:
        raise typer.Exit(BAD_INPUT)


def _described(estimate: BatchEstimate) -> Iterator[str]:
    errors = "" if estimate.problems else ": no errors"
    cost = _cost(estimate)
    yield f"{counted(estimate.total, 'request')} to {', '.join(estimate.models)}{errors}"
    sent = counted(estimate.prompt_tokens, "token")
    yield f"about {sent} to send, at most {estimate.answer_tokens:,} in answers; cost: {cost}"
    if estimate.unbounded:
        rows = counted(estimate.unbounded, "request", "have")
        yield f"{rows} no max_tokens, whose answers are in none of these figures: {_bound(estimate)}"


def _bound(estimate: BatchEstimate) -> str:
    """Say what bound holds for answers to requests that set none."""
    if estimate.unbounded_tokens is None:
        return "the models list does not say how long they can be"
    cost = "" if estimate.most_cost is None else f"; with them it costs at most {dollars(estimate.most_cost)}"
    return f"at most {counted(estimate.unbounded_tokens, 'token')}, by the longest that the models give{cost}"


def _cost(estimate: BatchEstimate) -> str:
    """Return the cost as text; "at most" where no answer can be longer than what is counted."""
    if estimate.cost is None or estimate.about_cost is None:
        return "unknown (no prices)"
    about = dollars(estimate.about_cost)
    return f"about {about}" if estimate.unbounded else f"{dollars(estimate.cost)} at most, about {about}"
