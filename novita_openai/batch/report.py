"""What a batch came to: its report, its progress, and why it stopped early."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import openai

from novita_openai.batch.spending import Usage

__all__ = ["BatchProgress", "BatchReport", "BatchStopped", "Tally"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What a job has come to.

    Of the whole job, earlier runs included: ``total`` rows, of which ``succeeded`` have an answer and ``failed`` have
    failed for good; ``resumed`` of these were done when this run began. Of this run: ``sent`` requests, of which
    ``retries`` were not the first of their row; ``tokens`` and ``cost`` of its answers, in dollars by the prices of the
    models list, None where a price is not known; ``elapsed`` seconds. ``job_cost``: dollars of this run and of all rows
    that earlier runs have written, None where one is not known. ``deduplicated`` rows were not sent, as they got the
    result of an equal one. ``interrupted``: a signal ended it early.
    """

    total: int
    succeeded: int = 0
    failed: int = 0
    resumed: int = 0
    sent: int = 0
    retries: int = 0
    tokens: int = 0
    cost: float | None = None
    job_cost: float | None = None
    deduplicated: int = 0
    elapsed: float = 0.0
    interrupted: bool = False

    @property
    def unfinished(self) -> int:
        """Return the number of rows without a result: another run sends them."""
        return self.total - self.succeeded - self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress(BatchReport):
    """A report while the run goes on, with the requests ``in_flight`` and the count of each reason in ``errors``."""

    in_flight: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)


class BatchStopped(openai.OpenAIError):
    """A batch ended early, as sending more could not help. ``report`` says what is done and what is unfinished.

    ``needs_change``: the same job would stop again until somebody has changed something, such as a key that is refused;
    else it may succeed later by itself.
    """

    def __init__(self, reason: str, report: BatchReport, needs_change: bool = False) -> None:  # noqa: FBT001, FBT002 - for pickle
        super().__init__(reason)
        self.report, self.needs_change = report, needs_change

    def __reduce__(self) -> tuple[type[BatchStopped], tuple[str, BatchReport, bool]]:
        return BatchStopped, (str(self), self.report, self.needs_change)


@dataclass(slots=True)
class Tally:
    """What one run has done so far."""

    sent: int = 0
    retries: int = 0
    succeeded: int = 0
    failed: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    usage: Usage = field(default_factory=Usage)

    def report(self) -> BatchReport:
        """Return a report on this run alone, as if its rows were those that have ended."""
        return BatchReport(
            total=self.succeeded + self.failed,
            succeeded=self.succeeded,
            failed=self.failed,
            sent=self.sent,
            retries=self.retries,
            tokens=self.usage.tokens,
            cost=self.usage.cost,
        )
