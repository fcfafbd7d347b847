"""What becomes of each row that was sent: its result is written, or it waits to be sent again."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import TYPE_CHECKING, Final, Protocol

from novita_openai.backoff import unless_skipped
from novita_openai.batch.checks import VALIDATION_FAILED
from novita_openai.batch.report import Tally
from novita_openai.batch.rows import answer_row, error_row, rejected_row, unsent_row
from novita_openai.batch.spending import Account
from novita_openai.batch.verdicts import Again, RowHistory, Stop, Wait, decide
from novita_openai.errors import failure_of

if TYPE_CHECKING:
    from novita_openai.batch.lanes import Sending
    from novita_openai.batch.requests import BatchRequest
    from novita_openai.batch.rows import WholeAnswer
    from novita_openai.batch.session import Session
    from novita_openai.batch.shutdown import Shutdown
    from novita_openai.batch.verdicts import Verdict
    from novita_openai.errors import Failure

__all__ = ["Outcomes", "Sink"]

NO_PROGRESS: Final = 1_800.0
"""Seconds of failures without one answer that stop a batch."""


class Sink(Protocol):
    """Where results go."""

    def write(self, row: bytes, *, succeeded: bool) -> None:
        """Take a row; raise ``OSError`` where it cannot be kept."""
        ...

    def is_full(self) -> bool:
        """Tell whether nothing more should be started for now."""
        ...


class Outcomes:
    """Writes the results of rows that have ended, has the others sent again, and counts all of it in ``tally``.

    Begins the ``shutdown`` where a failure, a full disk or ``max_errors`` asks for one.
    """

    def __init__(self, sink: Sink, session: Session, shutdown: Shutdown, clock: Callable[[], float]) -> None:
        self.tally = Tally()
        self.account = Account(session.limits.max_cost, session.prices, self.tally.usage, session.spent_before)
        self._sink, self._session, self._shutdown, self._clock = sink, session, shutdown, clock
        self._last_answer = clock()

    def answered(self, sending: Sending, answer: WholeAnswer) -> None:
        """Write an answer, or where it does not pass the check of the run, ask again or give up."""
        request = sending.request
        self._last_answer = self._clock()
        sending.answered(self.account.answered(request, answer.usage))
        row = answer_row(request, answer)
        flaw = self._session.validation.flaw(row)
        if flaw is None:
            self._keep(row, succeeded=True)
            return
        self.tally.errors[VALIDATION_FAILED] += 1
        if self._session.validation.asks_again(request, row, flaw):
            sending.lane.add_again(request, self._clock())
        else:
            self._keep(rejected_row(request, answer, VALIDATION_FAILED, flaw), succeeded=False)

    def failed(self, sending: Sending, error: Exception) -> None:
        """Carry out what the failure of a request means."""
        request, now, policy = sending.request, self._clock(), self._session.policy
        failure = failure_of(error, policy.rules)
        self.tally.errors[failure.reason] += 1
        self.account.failed(request, failure)
        history = RowHistory(request.attempts, request.refusals, now - (request.started or now))
        verdict = decide(failure, policy, history, random=random())  # noqa: S311 - jitter
        self._carry_out(verdict, sending, failure, now)
        if now - self._last_answer > NO_PROGRESS:
            self._shutdown.stop(f"no answer for {NO_PROGRESS / 60:g} minutes; the last error: {failure.reason}")

    def _carry_out(self, verdict: Verdict, sending: Sending, failure: Failure, now: float) -> None:
        if isinstance(verdict, Wait):
            asked, pause = unless_skipped(verdict.asked or 0.0), unless_skipped(verdict.pause)
            sending.refused(now, asked, pause, random=random())  # noqa: S311 - jitter
        elif isinstance(verdict, Again):
            sending.failed(now, unless_skipped(verdict.asked or 0.0), unless_skipped(verdict.delay))
        elif isinstance(verdict, Stop):
            sending.ended()
            self._shutdown.stop(verdict.reason, needs_change=verdict.needs_change)
        else:
            sending.ended()
            self._give_up(sending, failure, of_model=verdict.of_model)

    def _give_up(self, sending: Sending, failure: Failure, *, of_model: bool) -> None:
        sending.request.attempts += 1
        if of_model:
            sending.lane.refusal = failure
        self._keep(error_row(sending.request, failure, self._session.transport.key), succeeded=False)

    def refuse(self, request: BatchRequest, refusal: Failure) -> None:
        """Write a row that is not sent, as its model was refused."""
        self._keep(unsent_row(request, refusal, self._session.transport.key), succeeded=False)

    def _keep(self, row: bytes, *, succeeded: bool) -> None:
        """Write a row and count it; stop where it cannot be written, or where too many have failed."""
        try:
            self._sink.write(row, succeeded=succeeded)
        except OSError as error:
            self._shutdown.stop_writing(error)
            return
        self.tally.succeeded += succeeded
        self.tally.failed += not succeeded
        most = self._session.limits.max_errors
        if most is not None and self.tally.failed > most:
            self._shutdown.stop(f"more rows failed than max_errors={most} allows")
