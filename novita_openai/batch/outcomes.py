"""What becomes of each row that was sent: its result is written, or it waits to be sent again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from random import random
from typing import TYPE_CHECKING, Final, Protocol

from novita_openai.backoff import unless_skipped
from novita_openai.batch.checks import VALIDATION_FAILED
from novita_openai.batch.long_answers import needs_stream
from novita_openai.batch.report import Tally
from novita_openai.batch.rows import answer_row, error_row, rejected_row, unsent_row
from novita_openai.batch.shutdown import MORE_ERRORS
from novita_openai.batch.spending import Account
from novita_openai.batch.verdicts import Again, PutOff, Stop, Wait, decide, is_in_doubt
from novita_openai.errors import Action, failure_of
from novita_openai.logs import warn

if TYPE_CHECKING:
    from novita_openai.batch.backlog import Backlog
    from novita_openai.batch.lanes import RowSending
    from novita_openai.batch.requests import BatchRequest
    from novita_openai.batch.rows import WholeAnswer
    from novita_openai.batch.session import Session
    from novita_openai.batch.shutdown import Shutdown
    from novita_openai.batch.standing import Standing
    from novita_openai.batch.verdicts import Fail, Verdict
    from novita_openai.errors import Failure

__all__ = ["Outcomes", "Sink"]

NO_PROGRESS: Final = 1_800.0
"""Seconds of failures without one answer that stop a batch."""

TOO_MANY_REQUESTS: Final = 429


def moment(then: datetime, now: datetime) -> str:
    """Return a time as text, with its date where it is not today."""
    return f"{then:%H:%M:%S %Z}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M:%S %Z}"


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

    def __init__(self, sink: Sink, session: Session, shutdown: Shutdown, backlog: Backlog, standing: Standing) -> None:
        self.tally = Tally()
        self.account = Account(session.limits.max_cost, session.prices, self.tally.usage, session.spent_before)
        self._clock = asyncio.get_running_loop().time
        self._sink, self._session, self._shutdown = sink, session, shutdown
        self._backlog, self._standing = backlog, standing

    def answered(self, sending: RowSending, answer: WholeAnswer, seconds: float) -> None:
        """Write an answer that took so long, or where it does not pass the check of the run, ask again or give up."""
        request = sending.request
        self.tally.latencies[float(f"{seconds:.2g}")] += 1
        sending.answered(self.account.answered(request, answer.usage))
        self._standing.answered(self._clock())
        for reason in answer.finish_reasons:
            self.tally.finish_reasons[reason] += 1
        row = answer_row(request, answer)
        flaw = self._session.validation.flaw(row)
        if flaw is None:
            self._keep(request, row, succeeded=True)
            return
        self.tally.reasons[VALIDATION_FAILED] += 1
        if self._session.validation.asks_again(request, row, flaw):
            sending.lane.add_again(request, self._clock())
        else:
            self._keep_failed(request, rejected_row(request, answer, VALIDATION_FAILED, flaw))

    async def failed(self, sending: RowSending, error: Exception) -> None:
        """Carry out what the failure of a request means."""
        request, policy = sending.request, self._session.policy
        failure = failure_of(error, policy.rules)
        self._tell(failure)
        was_charged = self.account.failed(request, failure)
        around = replace(self._standing.around(sending, failure), was_charged=was_charged)
        history = self._standing.history(request, self._clock())
        if is_in_doubt(failure, history, around):
            around = replace(around, is_serving=await self._session.probe.answers())
        request.witnessed += around.is_witnessed
        request.streams = request.streams or needs_stream(request, failure)
        verdict = decide(failure, policy, history, around, random=random())  # noqa: S311 - jitter
        self._carry_out(verdict, sending, failure)
        if not getattr(verdict, "counts", True):
            self._note_outage(request, failure)

    def put_off(self) -> str | None:
        """Say which models were put off, so that rows of theirs are unfinished; None where none was."""
        lanes, now = self._backlog.put_off_lanes(), datetime.now().astimezone()
        told = [
            f"the service asks to wait {lane.put_off.asked:g} s for {lane.model}, above max_wait "
            f"({self._session.policy.retry_after_cap:g} s): start again after "
            f"{moment(now + timedelta(seconds=lane.put_off.due - self._clock()), now)}"
            for lane in lanes
            if lane.put_off is not None
        ]
        return "\n".join(told) or None

    def refuse(self, request: BatchRequest, refusal: Failure) -> None:
        """Write a row that is not sent, as its model was refused."""
        row = unsent_row(request, refusal, self._session.transport.key)
        self._keep_failed(request, row)

    def _tell(self, failure: Failure) -> None:
        """Count a failure, and log the first of each reason."""
        self.tally.reasons[failure.reason] += 1
        self.tally.refused += failure.status == TOO_MANY_REQUESTS
        if self.tally.reasons[failure.reason] == 1:
            where = {"host": failure.host or None, "cause": failure.cause or None}
            warn("batch.failure", status=failure.status, reason=failure.reason, **where)

    def _carry_out(self, verdict: Verdict, sending: RowSending, failure: Failure) -> None:
        request, now = sending.request, self._clock()
        if isinstance(verdict, Wait):
            asked, pause = unless_skipped(verdict.asked or 0.0), unless_skipped(verdict.pause)
            sending.refused(now, asked, pause, random=random())  # noqa: S311 - jitter
        elif isinstance(verdict, Again):
            request.counted += verdict.counts
            sending.failed(now, unless_skipped(verdict.asked or 0.0), unless_skipped(verdict.delay))
        elif isinstance(verdict, PutOff):
            sending.ended()
            self._put_off(sending, verdict.asked)
        elif isinstance(verdict, Stop):
            sending.ended()
            self._shutdown.stop(verdict.reason, needs_change=verdict.needs_change, way=verdict.way)
        else:
            sending.ended(was_heard=failure.status is not None)
            self._give_up(sending, failure, verdict)

    def _note_outage(self, request: BatchRequest, failure: Failure) -> None:
        """Have an outage use up no time of a row; log the first failure of one, and stop where it lasts too long."""
        request.started = None
        if self._standing.begins_outage(self._clock()):
            warn("batch.outage", reason=failure.reason, hint="no row is answered, which counts against none of them")
        if self._clock() - self._standing.last_answer > NO_PROGRESS:
            self._shutdown.stop(f"no answer for {NO_PROGRESS / 60:g} minutes; the last error: {failure.summary}")

    def _put_off(self, sending: RowSending, asked: float) -> None:
        if sending.lane.put_off is None:
            warn("batch.model_put_off", model=sending.lane.model, seconds=round(asked, 3))
            self._backlog.put_off(sending.lane, asked, self._clock())

    def _give_up(self, sending: RowSending, failure: Failure, verdict: Fail) -> None:
        request = sending.request
        request.attempts += failure.action is not Action.WAIT or not request.attempts
        if verdict.of_model and sending.lane.refusal is None:
            sending.lane.refusal = failure
            warn("batch.model_refused", model=request.model, status=failure.status, reason=failure.reason)
        late = self._session.policy.deadline if verdict.is_late else None
        self._keep_failed(request, error_row(request, failure, self._session.transport.key, late=late))

    def _keep_failed(self, request: BatchRequest, row: bytes) -> None:
        self.tally.add_error(request.custom_id, row)
        self._keep(request, row, succeeded=False)

    def _keep(self, request: BatchRequest, row: bytes, *, succeeded: bool) -> None:
        """Write a row and count it; stop where it cannot be written, or where too many have failed."""
        try:
            self._sink.write(row, succeeded=succeeded)
        except OSError as error:
            self._shutdown.stop_writing(error)
            return
        self.tally.rows[request.model] += 1
        self.tally.succeeded += succeeded
        self.tally.failed += not succeeded
        most = self._session.limits.max_errors
        if most is not None and self.tally.failed > most:
            self._shutdown.stop(f"more rows failed than max_errors={most} allows", way=MORE_ERRORS)
