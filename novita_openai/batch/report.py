"""What a batch came to: its report, its progress, and why it stopped early."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import openai

from novita_openai.batch.rows import error_in
from novita_openai.batch.spending import Usage
from novita_openai.batch.usage import Spent

__all__ = ["BatchProgress", "BatchReport", "BatchStopped", "ModelReport", "Tally"]


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What a run has come to for one model: ``rows`` that have ended, ``tokens`` and ``cost`` in dollars.

    ``cost``: without the answers of which it is not known, which are ``unpriced``; None where it is known of none.
    """

    rows: int = 0
    tokens: int = 0
    cost: float | None = None
    unpriced: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What a job has come to.

    Of the whole job, earlier runs included: ``total`` rows, of which ``succeeded`` have an answer and ``failed`` have
    failed for good, for the reasons in ``errors`` (the number of rows by the code of their error; ``examples``: the
    custom_id of one for each; ``said``: the message of that one, on one line); ``resumed`` of these were done when this
    run began.

    Of this run: ``sent`` requests, of which ``retries`` were not the first of their row; ``tokens`` and ``cost`` of its
    answers, in dollars by the prices of the models list, without the ``unpriced`` answers: those of models without a
    price, and those that do not tell their tokens; None where the cost of none is known; the ``finish_reasons`` of the
    answers (the number of choices by reason); the same by model in ``models``; ``elapsed`` seconds.

    ``job_cost``: dollars of this run and of all rows that earlier runs have written, None where one is not known.
    ``cost_is_estimate``, ``job_cost_is_estimate``: rows in it were run by the service's Batch API, whose prices it does
    not list: half of the others is counted. ``deduplicated`` rows were not sent, as they got the result of an equal
    one. ``interrupted``: a signal ended it early. ``stopped``: why it ended early by itself, None where it did not.
    """

    total: int
    succeeded: int = 0
    failed: int = 0
    resumed: int = 0
    sent: int = 0
    retries: int = 0
    tokens: int = 0
    cost: float | None = None
    unpriced: int = 0
    job_cost: float | None = None
    cost_is_estimate: bool = False
    job_cost_is_estimate: bool = False
    deduplicated: int = 0
    elapsed: float = 0.0
    interrupted: bool = False
    stopped: str | None = None
    errors: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, str] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    finish_reasons: Mapping[str, int] = field(default_factory=dict)
    models: Mapping[str, ModelReport] = field(default_factory=dict)

    @property
    def unfinished(self) -> int:
        """Return the number of rows without a result: another run sends them."""
        return self.total - self.succeeded - self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress(BatchReport):
    """A report while the run goes on, with the requests ``in_flight``.

    Here ``errors`` counts the failures of requests, by reason, whether or not their rows have failed for good. Of this
    run: how many requests were ``refused`` with 429, and the ``latencies`` of its answers (the number of answers by the
    seconds that they took, to two digits), empty where the service's Batch API runs the rows.
    """

    in_flight: int = 0
    refused: int = 0
    latencies: Mapping[float, int] = field(default_factory=dict)


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
    """What one run has done so far.

    ``reasons``: how often requests failed, by reason; ``errors``: how many rows failed for good, by code; ``examples``:
    the custom_id of one for each; ``rows``: how many have ended, by model; ``refused``: how many requests met a 429;
    ``latencies``: how many answers took so many seconds, to two digits.
    """

    sent: int = 0
    retries: int = 0
    succeeded: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    finish_reasons: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    usage: Usage = field(default_factory=Usage)
    refused: int = 0
    latencies: Counter[float] = field(default_factory=Counter)
    said: dict[str, str] = field(default_factory=dict)

    def add_error(self, custom_id: str, row: bytes) -> None:
        """Count a failed row."""
        code, said = error_in(json.loads(row))
        self.errors[code] += 1
        if code not in self.examples:
            self.examples[code], self.said[code] = custom_id, said

    def plus(self, other: Tally) -> Tally:
        """Return the sum of both."""
        usage = Usage()
        usage.include(self.usage)
        usage.include(other.usage)
        return Tally(
            self.sent + other.sent,
            self.retries + other.retries,
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            self.reasons + other.reasons,
            self.errors + other.errors,
            other.examples | self.examples,
            self.finish_reasons + other.finish_reasons,
            self.rows + other.rows,
            usage,
            self.refused + other.refused,
            self.latencies + other.latencies,
            other.said | self.said,
        )

    def report(self) -> BatchReport:
        """Return a report on this run alone, as if its rows were those that have ended."""
        spent = self.usage.spent
        return BatchReport(
            total=self.succeeded + self.failed,
            succeeded=self.succeeded,
            failed=self.failed,
            sent=self.sent,
            retries=self.retries,
            tokens=self.usage.tokens,
            cost=spent.cost,
            unpriced=spent.unpriced,
            cost_is_estimate=spent.is_estimate,
            errors=dict(self.errors),
            examples=dict(self.examples),
            said=dict(self.said),
            finish_reasons=dict(self.finish_reasons),
            models={model: self._of_model(model) for model in self.rows.keys() | self.usage.by_model.keys()},
        )

    def _of_model(self, model: str) -> ModelReport:
        spent = self.usage.by_model.get(model, Spent())
        return ModelReport(self.rows[model], spent.tokens, spent.cost, spent.unpriced)
