"""What a batch has come to, in words: the facts that a person reads at its end, and how far it is in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from novita_openai.cli.failures import in_the_shell
from novita_openai.prices import counted, dollars

if TYPE_CHECKING:
    from novita_openai.batch import BatchReport, BatchStatus

__all__ = ["ESTIMATE", "Fact", "described_status", "details", "failures", "in_words", "sums"]

USUAL_ENDS: Final = ("stop", "tool_calls", "function_call")
"""Finish reasons of answers that are as long as the model wanted them to be."""
ENDS: Final = {
    "length": "cut at its max_tokens, or at the model's longest answer",
    "content_filter": "held back by the service",
}
"""What other finish reasons mean."""
MOST_MODELS: Final = 20
EMPTY: Final = "empty"
"""The code of rows of a table that were not sent, so that no file has them."""
ESTIMATE: Final = "an estimate: half of the listed prices"


class Fact(NamedTuple):
    """What is said of a job: a ``name`` for it, ``words`` that say it without that too, and the name's style."""

    name: str
    words: str
    style: str = "dim"


def sums(report: BatchReport, errors: str, *, can_go_on: bool) -> Iterator[Fact]:
    """Yield what a report sums up; ``errors`` names the file of the failed rows, "" where there is none."""
    of_all, place = counted(report.total, "row"), f" ({errors})" if errors and _has_failed_rows(report) else ""
    told = f"{report.succeeded:,} of {of_all} succeeded, {report.failed:,} failed{place}"
    yield Fact("rows", told, "red" if report.failed else "green")
    if report.unfinished:
        again = ": start the same again to go on" if can_go_on and not report.stopped else ""
        how = "interrupted with " if report.interrupted else ""
        yield Fact("unfinished", f"{how}{counted(report.unfinished, 'row')} to do{again}", "red")
    if report.resumed:
        yield Fact("before", f"{report.resumed:,} done by earlier starts")
    retries = f", {report.retries:,} of them {'a retry' if report.retries == 1 else 'retries'}"
    yield Fact("requests", f"{counted(report.sent, 'request')} sent{retries if report.retries else ''}")
    if report.deduplicated:
        yield Fact("equal rows", f"{report.deduplicated:,} not sent, as equal rows were")
    yield Fact("tokens", counted(report.tokens, "token"))
    if report.cost is not None or report.unpriced:
        yield Fact("cost", in_words(report.cost, report.unpriced, is_estimate=report.cost_is_estimate))
    rows = report.succeeded + report.failed - report.resumed
    rate = f", {rows / report.elapsed:,.1f} rows/s" if rows and report.elapsed else ""
    yield Fact("time", f"{report.elapsed:.1f} s{rate}")


def details(report: BatchReport, *, can_go_on: bool) -> Iterator[Fact]:
    """Yield what there is to know besides: why rows have failed, answers that were cut, and each model by itself."""
    for code, count, example, words in failures(report):
        such = f", such as {example}" if example else ""
        yield Fact("failed", f"{count:,} failed with {code}{such}{f': {words}' if words else ''}", "red")
    if can_go_on and _has_failed_rows(report):
        yield Fact("", "when that is put right: --retry-failed sends the failed rows again")
    odd = {reason: count for reason, count in report.finish_reasons.items() if reason not in USUAL_ENDS}
    for reason, count in odd.items():
        meaning = f": {ENDS[reason]}" if reason in ENDS else ""
        yield Fact("answers", f"{counted(count, 'answer')} ended with {reason}{meaning}", "yellow")
    if len(report.models) > 1:
        yield from _by_model(report)


def failures(report: BatchReport) -> Iterator[tuple[str, int, str, str]]:
    """Yield the code of failed rows, how many have it, the custom_id of one, and what was said and what it means."""
    from novita_openai.batch.explanations import explained

    for code, count in sorted(report.errors.items(), key=lambda each: -each[1]):
        said, meaning = report.said.get(code, ""), in_the_shell(explained(code))
        dot = "" if said.endswith((".", "!", "?", "...")) or not meaning else "."
        yield code, count, report.examples.get(code, ""), f"{said}{dot} {meaning}".strip() if said else meaning


def in_words(cost: float | None, unpriced: int, *, is_estimate: bool = False) -> str:
    """Return a sum of dollars, as far as it is known; what the service does not list is an estimate, and says so."""
    if cost is None:
        return f"{counted(unpriced, 'answer')} of unknown cost"
    known = f"about {dollars(cost)} ({ESTIMATE})" if is_estimate else dollars(cost)
    return f"{known}, without {counted(unpriced, 'answer')} of unknown cost" if unpriced else known


def described_status(status: BatchStatus) -> Iterator[str]:
    """Yield the lines of how far a job is."""
    of_all, tokens = counted(status.total, "row"), counted(status.tokens, "token")
    yield f"{status.succeeded:,} of {of_all} succeeded, {status.failed:,} failed, {status.unfinished:,} to do"
    cost = in_words(status.cost, status.unpriced)
    yield f"spent on finished rows: {counted(status.requests, 'request')}, {tokens}, {cost}"
    if status.errors:
        yield f"failed rows: {_listed(status.errors)}"
    for part in status.at_service:
        yield f"at the service: {part}"


def _has_failed_rows(report: BatchReport) -> bool:
    """Tell whether the file of failed rows has some."""
    return report.failed > report.errors.get(EMPTY, 0)


def _by_model(report: BatchReport) -> Iterator[Fact]:
    ranked = sorted(report.models.items(), key=lambda each: -each[1].rows)
    for model, each in ranked[:MOST_MODELS]:
        cost = f", {in_words(each.cost, each.unpriced)}" if each.cost is not None or each.unpriced else ""
        yield Fact("model", f"{model}: {counted(each.rows, 'row')}, {counted(each.tokens, 'token')}{cost}")
    if len(ranked) > MOST_MODELS:
        more = counted(len(ranked) - MOST_MODELS, "more model")
        yield Fact("", f"and {more} (--json lists all)")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} x {name}" for name, count in counts.items())
