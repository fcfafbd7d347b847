"""What a batch has come to, in the lines that a person reads at its end, and how far it is in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from novita_openai.cli.failures import in_the_shell
from novita_openai.prices import dollars

if TYPE_CHECKING:
    from novita_openai.batch import BatchReport, BatchStatus

__all__ = ["EMPTY", "MOST_MODELS", "described", "described_status", "finish_reasons", "spent"]

USUAL_ENDS: Final = ("stop", "tool_calls", "function_call")
"""Finish reasons of answers that are as long as the model wanted them to be."""
MOST_MODELS: Final = 20
EMPTY: Final = "empty"
"""The code of rows of a table that were not sent, so that no file has them."""


def described(report: BatchReport, errors: str, *, can_go_on: bool) -> Iterator[str]:
    """Yield the lines of a report; ``errors`` names the file of the failed rows, "" where there is none."""
    has_file = errors and report.failed > report.errors.get(EMPTY, 0)
    yield "; ".join(_sums(report, f" ({errors})" if has_file else "", can_go_on=can_go_on))
    yield from _failures(report)
    if odd := finish_reasons(report):
        yield f"answers that ended for another reason than the model's own: {odd}"
    if len(report.models) > 1:
        yield from _by_model(report)


def described_status(status: BatchStatus) -> Iterator[str]:
    """Yield the lines of how far a job is."""
    cost = "unknown" if status.cost is None else dollars(status.cost)
    yield f"{status.succeeded} of {status.total} rows succeeded, {status.failed} failed, {status.unfinished} to do"
    yield f"spent on finished rows: {status.requests} requests, {status.tokens} tokens, {cost}"
    if status.errors:
        yield f"failed rows: {_counted(status.errors)}"
    for part in status.at_service:
        yield f"at the service: {part}"


def _sums(report: BatchReport, failures: str, *, can_go_on: bool) -> Iterator[str]:
    yield f"{report.succeeded} of {report.total} rows succeeded, {report.failed} failed{failures}"
    if report.resumed:
        yield f"{report.resumed} were done before"
    yield f"{report.sent} requests sent, {report.retries} of them retries"
    if report.deduplicated:
        yield f"{report.deduplicated} not sent, as equal rows were"
    yield f"{report.tokens} tokens"
    if report.cost is not None:
        yield spent(report, report.cost)
    yield f"{report.elapsed:.1f} s"
    if report.interrupted:
        again = ": start the same again to go on" if can_go_on else ""
        yield f"interrupted with {report.unfinished} rows to do{again}"


def spent(report: BatchReport, cost: float) -> str:
    """Return what a run has cost as text; what the service does not list is an estimate, and says so."""
    amount = dollars(cost)
    return f"about {amount} (an estimate: half of the listed prices)" if report.cost_is_estimate else amount


def finish_reasons(report: BatchReport) -> str:
    """Return how many answers ended for another reason than the model's own, "" where none did."""
    return _counted({reason: count for reason, count in report.finish_reasons.items() if reason not in USUAL_ENDS})


def _failures(report: BatchReport) -> Iterator[str]:
    from novita_openai.batch.explanations import explained

    for code, count in sorted(report.errors.items(), key=lambda each: -each[1]):
        example = report.examples.get(code)
        such = f", such as {example}" if example else ""
        meaning = report.said.get(code) or in_the_shell(explained(code))
        yield f"{count} failed with {code}{such}{f': {meaning}' if meaning else ''}"


def _by_model(report: BatchReport) -> Iterator[str]:
    ranked = sorted(report.models.items(), key=lambda each: -each[1].rows)
    for model, each in ranked[:MOST_MODELS]:
        cost = "" if each.cost is None else f", {dollars(each.cost)}"
        yield f"{model}: {each.rows} rows, {each.tokens} tokens{cost}"
    if len(ranked) > MOST_MODELS:
        yield f"and {len(ranked) - MOST_MODELS} more models (--json lists all)"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in counts.items())
