"""The end of a batch on standard error: a table at a terminal, elsewhere lines, and an event for programs."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from novita_openai.cli.reports import details, sums
from novita_openai.cli.terminal import is_terminal, printable, tell, writes_json

if TYPE_CHECKING:
    from novita_openai.batch import BatchReport

__all__ = ["facts_of", "tell_report"]


def tell_report(report: BatchReport, errors: str, code: int, *, can_go_on: bool) -> None:
    """Tell a report and the exit code; ``errors`` names the file of the failed rows, "" where there is none."""
    short, long = sums(report, errors, can_go_on=can_go_on), details(report, can_go_on=can_go_on)
    if is_terminal(sys.stderr) and not writes_json():
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for fact in (*short, *long):
            table.add_row(Text(fact.name, style=fact.style), Text(printable(fact.words, sys.stderr)))
        Console(stderr=True).print(table)
        return
    lines = "; ".join(fact.words for fact in short), *(fact.words for fact in long)
    tell("\n".join(lines), event="batch.done", exit_code=code, **facts_of(report))


def facts_of(report: BatchReport) -> dict[str, object]:
    """Return what a program reads of a report, under the names of its fields."""
    return {**asdict(report), "unfinished": report.unfinished}
