"""What a batch has come to, as a table at a terminal; elsewhere in lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from novita_openai.cli.failures import in_the_shell
from novita_openai.cli.reports import EMPTY, MOST_MODELS, described, finish_reasons, spent
from novita_openai.cli.terminal import is_terminal, printable, tell, writes_json
from novita_openai.prices import dollars

if TYPE_CHECKING:
    from novita_openai.batch import BatchReport

__all__ = ["tell_report"]


def tell_report(report: BatchReport, errors: str, *, can_go_on: bool) -> None:
    """Tell a report on stderr; ``errors`` names the file of the failed rows, "" where there is none."""
    if not is_terminal(sys.stderr) or writes_json():
        tell("\n".join(described(report, errors, can_go_on=can_go_on)))
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value, style in _lines(report, errors, can_go_on=can_go_on):
        table.add_row(Text(name, style=style), Text(printable(value, sys.stderr)))
    Console(stderr=True).print(table)


def _lines(report: BatchReport, errors: str, *, can_go_on: bool) -> Iterator[tuple[str, str, str]]:
    """Yield what is said of a report: what it is, its value, and the style of its name."""
    yield "succeeded", f"{report.succeeded:,} of {report.total:,} rows", "green"
    if report.failed:
        has_file = errors and report.failed > report.errors.get(EMPTY, 0)
        yield "failed", f"{report.failed:,}, in {errors}" if has_file else f"{report.failed:,}", "red"
        yield from _failures(report)
    if report.unfinished:
        name, again = _unfinished(report), ": start the same again to go on" if can_go_on and not report.stopped else ""
        yield name, f"{report.unfinished:,} rows to do{again}", "red"
    if report.resumed:
        yield "before", f"{report.resumed:,} rows were done by earlier starts", "dim"
    if report.deduplicated:
        yield "not sent", f"{report.deduplicated:,} rows, as equal ones were", "dim"
    yield from _sums(report)
    if len(report.models) > 1:
        yield from _models(report)


def _unfinished(report: BatchReport) -> str:
    return "interrupted" if report.interrupted else "unfinished"


def _failures(report: BatchReport) -> Iterator[tuple[str, str, str]]:
    from novita_openai.batch.explanations import explained

    for code, count in sorted(report.errors.items(), key=lambda each: -each[1]):
        example = report.examples.get(code)
        meaning = report.said.get(code) or in_the_shell(explained(code))
        such = f"such as {example}" if example else ""
        yield f"{count:>9,}", ": ".join(filter(None, (code, such, meaning))), "red"


def _sums(report: BatchReport) -> Iterator[tuple[str, str, str]]:
    retries = f", {report.retries:,} of them retries" if report.retries else ""
    rows = report.succeeded + report.failed - report.resumed
    rate = f", {rows / report.elapsed:,.1f} rows/s" if rows and report.elapsed else ""
    yield "requests", f"{report.sent:,}{retries}", "dim"
    yield "tokens", f"{report.tokens:,}", "dim"
    if report.cost is not None:
        yield "cost", spent(report, report.cost), "dim"
    yield "time", f"{report.elapsed:.1f} s{rate}", "dim"
    if odd := finish_reasons(report):
        yield "cut", f"answers that the model did not end itself: {odd}", "yellow"


def _models(report: BatchReport) -> Iterator[tuple[str, str, str]]:
    ranked = sorted(report.models.items(), key=lambda each: -each[1].rows)
    for model, each in ranked[:MOST_MODELS]:
        cost = "" if each.cost is None else f", {dollars(each.cost)}"
        yield f"{each.rows:>9,}", f"rows of {model}: {each.tokens:,} tokens{cost}", "dim"
    if len(ranked) > MOST_MODELS:
        yield "", f"and {len(ranked) - MOST_MODELS} more models (--json lists all)", "dim"
