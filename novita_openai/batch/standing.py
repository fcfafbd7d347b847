"""How a run stands: what was heard so far, from which it follows whether a failure may be the row's own fault."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from novita_openai.batch.verdicts import IN_A_ROW, RowHistory, Surroundings
from novita_openai.errors import Action

if TYPE_CHECKING:
    from collections.abc import Callable

    from novita_openai.batch.lanes import Lane, RowSending
    from novita_openai.batch.requests import BatchRequest
    from novita_openai.errors import ErrorRule, Failure

__all__ = ["Standing"]

OUTAGE: Final = 1.0
"""Seconds without an answer, and with failures, that are told as an outage."""
ALONE: Final = 0.5
"""Seconds for which a run's first request is alone, so that a key which is refused costs one request, not a wave."""


class Standing:
    """Counts what the rows of a run have met. Times are seconds of one clock, given by the caller.

    ``are_few``: tells whether hardly any rows are left. ``is_reached``: whether something has come from the host.
    ``last_answer``: when a row was last answered, at first when the run began. ``is_welcome``: a request was not turned
    away as every other one would be.
    """

    def __init__(self, now: float, are_few: Callable[[], bool], *, is_reached: bool) -> None:
        self.is_reached, self.last_answer = is_reached, now
        self.is_welcome, self._alone_until = False, math.inf
        self._are_few = are_few
        self._unheard, self._is_out = 0, False
        self._answers = 0
        self._met: dict[ErrorRule, set[str]] = {}

    @property
    def needs_other_rows(self) -> bool:
        """Tell whether a row was turned away as every other one might be, which only other rows tell."""
        return bool(self._met)

    def sent(self, lane: Lane, request: BatchRequest, now: float) -> None:
        """Note that a row is sent; its time begins, unless it has begun."""
        if request.started is None:
            request.started = now
        self._alone_until = min(self._alone_until, now + ALONE)
        if not (request.attempts or request.refusals):
            request.seen = self._answers, lane.answers

    def answered(self, now: float) -> None:
        """Note that a row was answered; to be called once its lane has counted that."""
        self.is_reached, self.is_welcome, self.last_answer = True, True, now
        self._answers += 1
        self._met.clear()
        self._unheard, self._is_out = 0, False

    def alone(self, now: float) -> float:
        """Return the seconds for which a request that is in flight is to be alone, at most until it has ended."""
        return 0.0 if self.is_welcome else max(0.0, self._alone_until - now)

    def begins_outage(self, now: float) -> bool:
        """Note a failure for which an outage is to blame; tell once of each that it is one, and no chance."""
        if self._is_out:
            return False
        self._unheard += 1
        self._is_out = self._unheard >= IN_A_ROW and now - self.last_answer >= OUTAGE
        return self._is_out

    def around(self, sending: RowSending, failure: Failure) -> Surroundings:
        """Note that a row has failed, and return what was going on."""
        request, lane = sending.request, sending.lane
        now_seen = self._answers, lane.answers
        of_model = failure.action is Action.WAIT
        is_witnessed = now_seen[of_model] > request.seen[of_model]
        was_reached = self.is_reached
        self.is_reached = was_reached or failure.status is not None
        request.seen = now_seen
        self.is_welcome = self.is_welcome or not failure.rule.stops_batch
        in_a_row = self._in_a_row(request, failure.rule) if failure.rule.stops_batch else 1
        is_final = failure.status is not None and failure.action is Action.FAIL
        return Surroundings(
            is_witnessed=is_witnessed,
            are_few=self._are_few(),
            is_reached=was_reached,
            in_a_row=in_a_row,
            alike=lane.count_refusal(failure.summary) if is_final else 1,
        )

    def history(self, request: BatchRequest, now: float) -> RowHistory:
        """Return what happened to a row before its failure."""
        age = now - (now if request.started is None else request.started)
        return RowHistory(request.counted, request.attempts, request.refusals, request.witnessed, age)

    def _in_a_row(self, request: BatchRequest, rule: ErrorRule) -> int:
        """Return how many different rows have met a rule with no answer between."""
        met = self._met.setdefault(rule, set())
        met.add(request.custom_id)
        return len(met)
