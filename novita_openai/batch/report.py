"""What a batch came to: its report, its progress, and why it stopped early."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import openai

from novita_openai.batch.spending import Prices, Usage

__all__ = ["BatchProgress", "BatchReport", "BatchStopped", "Tally"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What a job has come to.

    Of the whole job, earlier runs included: ``total`` rows, of which ``succeeded`` have an answer and ``failed`` failed
    for good; ``resumed`` of these were there when this run began. Of this run: ``sent`` requests, of which ``retries``
    were not the first of their row; ``tokens`` and ``cost`` (dollars by the models list, None where it does not tell)
    of its answers; ``elapsed`` seconds. ``interrupted``: a signal ended it before its time.
    """

    total: int
    succeeded: int = 0
    failed: int = 0
    resumed: int = 0
    sent: int = 0
    retries: int = 0
    tokens: int = 0
    cost: float | None = None
    elapsed: float = 0.0
    interrupted: bool = False

    @property
    def unfinished(self) -> int:
        """Return the number of rows without a result: another run sends them."""
        return self.total - self.succeeded - self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress(BatchReport):
    """A report on the way: also the requests ``in_flight``, and how often each ``errors`` reason came."""

    in_flight: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)


class BatchStopped(openai.OpenAIError):
    """A batch ended early, as going on could not help; what was unfinished stays unfinished. ``report`` tells."""

    def __init__(self, reason: str, report: BatchReport) -> None:
        super().__init__(reason)
        self.report = report

    def __reduce__(self) -> tuple[type[BatchStopped], tuple[str, BatchReport]]:
        return BatchStopped, (str(self), self.report)


@dataclass(slots=True)
class Tally:
    """What one run has done so far."""

    sent: int = 0
    retries: int = 0
    succeeded: int = 0
    failed: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    usage: Usage = field(default_factory=Usage)

    def report(self, prices: Prices) -> BatchReport:
        """Return what the run alone has come to: of the rows that have ended."""
        return BatchReport(
            total=self.succeeded + self.failed,
            succeeded=self.succeeded,
            failed=self.failed,
            sent=self.sent,
            retries=self.retries,
            tokens=self.usage.tokens,
            cost=self.usage.cost(prices),
        )
