"""The running of a batch: takes rows, starts them as their models' pacers allow, and writes what comes back.

One dispatcher, run once a turn of the event loop at most; a task for each request in flight; rows that wait to be sent
again hold neither. Rows of a model that has to pause are set aside, up to a bound, so that other models go on.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from random import random
from typing import TYPE_CHECKING, Final, Protocol, cast

import openai

from novita_openai.backoff import unless_skipped
from novita_openai.batch.lanes import Lane
from novita_openai.batch.report import Tally
from novita_openai.batch.rows import Answer, answer_row, error_row, read_answer, unsent_row
from novita_openai.batch.verdicts import Again, Fail, Stop, Wait, decide
from novita_openai.errors import Action, reason_of
from novita_openai.pacing import Pacer, Ticket

if TYPE_CHECKING:
    from novita_openai.batch.requests import BatchRequest
    from novita_openai.batch.session import Session

__all__ = ["Engine", "Sink"]

DRAIN: Final = 30.0
"""Seconds that requests in flight have to end once no more are started."""
NO_PROGRESS: Final = 1_800.0
"""Seconds of failures without one answer that stop a batch."""
FREE_REFUSALS: Final = 3
"""Refusals of a row for which the model's pace is to blame; what is refused more often may be too large to pass."""
UNBOUNDED: Final = 4_096
"""Tokens that are set aside for an answer, under ``max_cost``, where its row sets no ``max_tokens``."""
TICK: Final = 0.5
MOST_ASIDE: Final = 1_000
MOST_BYTES_ASIDE: Final = 32 * 1024 * 1024
ROWS_A_TURN: Final = 1_000
"""Rows read in one turn of the event loop, so that answers do not wait for long."""


class Sink(Protocol):
    """Where results go."""

    def write(self, row: bytes, *, succeeded: bool) -> None:
        """Take a row; raise ``OSError`` where it cannot be kept."""
        ...

    def is_full(self) -> bool:
        """Tell whether nothing more should be started for now."""
        ...


class Engine:
    """Runs rows to their end; use it once. ``run`` returns when all is done, stopped or interrupted.

    ``stopped`` then holds the reason for an early end, ``interrupted`` tells of a signal.
    """

    def __init__(
        self,
        rows: Iterator[BatchRequest],
        sink: Sink,
        session: Session,
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        self.rows, self.sink, self.session, self.limits = rows, sink, session, session.limits
        self._on_tick = on_tick
        self.tally = Tally()
        self.stopped: str | None = None
        self.interrupted = False
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._lanes: dict[str, Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._aside = self._bytes_aside = 0
        self._reserved = 0.0
        self._exhausted = self._is_scheduled = self._is_short = False
        self._timer: asyncio.TimerHandle | None = None
        self._progressed = self._loop.time()

    async def run(self) -> None:
        """Run; raise what neither the service nor the disk is to blame for."""
        self.schedule()
        self._tick()
        try:
            await self._done
        finally:
            self._end()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def in_flight(self) -> int:
        """Return the number of requests that are under way."""
        return len(self._tasks)

    def stop(self, reason: str) -> None:
        """Start no more; end when what is in flight has ended, or after ``DRAIN`` seconds."""
        if not self._is_ending:
            self.stopped = reason
            self._drain()

    def stop_writing(self, error: OSError) -> None:
        """Stop as rows cannot be kept; the error names their file."""
        self.stop(f"cannot write {error.filename}: {error.strerror}")

    def interrupt(self) -> None:
        """Do the same for a signal; the second time end at once."""
        if self.interrupted:
            self._finish()
        elif self.stopped is None:
            self._drain()
        self.interrupted = True

    def schedule(self) -> None:
        """Have the dispatcher run in this turn of the event loop."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._dispatch)

    @property
    def _is_ending(self) -> bool:
        return self.interrupted or self.stopped is not None

    def _drain(self) -> None:
        self._loop.call_later(DRAIN, self._finish)
        self.schedule()

    def _finish(self, error: BaseException | None = None) -> None:
        if not self._done.done():
            if error is None:
                self._done.set_result(None)
            else:
                self._done.set_exception(error)

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(TICK, self._tick)
        try:
            self._on_tick()
        except BaseException as error:  # noqa: BLE001 - raised by run()
            self._finish(error)

    def _end(self) -> None:
        self._ticker.cancel()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()

    def _dispatch(self) -> None:
        self._is_scheduled = False
        if self._done.done():
            return
        try:
            wait = math.inf if self._is_ending else self._start_all()
        except BaseException as error:  # noqa: BLE001 - raised by run()
            self._finish(error)
            return
        if not self._tasks and (self._is_ending or self._is_complete()):
            self._finish()
        self._wake_after(wait)

    def _is_complete(self) -> bool:
        return self._exhausted and not any(lane.waiting for lane in self._lanes.values())

    def _wake_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds <= 0:
            self.schedule()
        elif seconds < math.inf:
            self._timer = self._loop.call_later(seconds, self.schedule)

    def _start_all(self) -> float:
        """Start what may be started; return the seconds until more may be."""
        now = self._loop.time()
        for lane in self._lanes.values():
            if lane.waiting:
                self._start_from(lane, now)
        if self._read(now):
            return 0.0
        if not self._can_start():
            return math.inf  # an answer has the dispatcher run, or a program that takes one
        return min((lane.wait(now) for lane in self._lanes.values() if lane.waiting), default=math.inf)

    def _read(self, now: float) -> bool:
        """Take rows from the input, and start or set aside each; tell whether there may be more to take at once."""
        for _ in range(ROWS_A_TURN):
            if self._exhausted or not self._has_room():
                return False
            request = next(self.rows, None)
            if request is None:
                self._exhausted = True
                return False
            lane = self._lane(request.model, now)
            lane.add(request)
            self._count_aside(1, request)
            self._start_from(lane, now)
        return True

    def _has_room(self) -> bool:
        return self._aside < MOST_ASIDE and self._bytes_aside < MOST_BYTES_ASIDE and self._can_start()

    def _can_start(self) -> bool:
        """Tell whether anything may be started, whatever its model."""
        is_room = len(self._tasks) < self.limits.connections and not self._is_short
        return is_room and not (self._is_ending or self.sink.is_full())

    def _count_aside(self, change: int, request: BatchRequest) -> None:
        self._aside += change
        self._bytes_aside += change * len(request.content)

    def _lane(self, model: str, now: float) -> Lane:
        lane = self._lanes.get(model)
        if lane is None:
            limits = self.limits
            pacer = Pacer(now, concurrency=limits.concurrency, most=limits.connections, rpm=limits.rpm, tpm=limits.tpm)
            lane = self._lanes[model] = Lane(pacer)
        return lane

    def _start_from(self, lane: Lane, now: float) -> None:
        while self._can_start():
            if lane.refusal is None and lane.wait(now) > 0:
                return
            request = lane.take(now)
            if request is None:
                return
            if lane.refusal is None and not self._can_pay(request):
                lane.put_back(request)
                return
            self._count_aside(-1, request)
            if lane.refusal is not None:
                self._keep(unsent_row(request, lane.refusal, self.session.transport.key), succeeded=False)
                continue
            self._start(lane, request, now)

    def _start(self, lane: Lane, request: BatchRequest, now: float) -> None:
        ticket = lane.pacer.start(now, lane.tokens_of(request))
        self.tally.sent += 1
        self.tally.retries += request.started is not None
        if request.started is None:
            request.started = now
        self._reserved += self._most_for(request)
        self._tasks.add(self._loop.create_task(self._send(lane, request, ticket)))

    async def _send(self, lane: Lane, request: BatchRequest, ticket: Ticket) -> None:
        try:
            await self._attempt(lane, request, ticket)
        except Exception as error:  # noqa: BLE001 - no answer of the service: run() raises it
            self._finish(error)
        finally:
            self._tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            self._reserved = self._reserved - self._most_for(request) if self._tasks else 0.0
            self._is_short = False
            self.schedule()

    async def _attempt(self, lane: Lane, request: BatchRequest, ticket: Ticket) -> None:
        try:
            answer = read_answer(request, await self.session.transport.send(request))
        except openai.APIError as error:
            self._failed(lane, request, ticket, error)
        else:
            self._answered(lane, request, ticket, answer)

    def _answered(self, lane: Lane, request: BatchRequest, ticket: Ticket, answer: Answer) -> None:
        tokens = self.tally.spending.add(request.model, answer.usage)
        self._progressed = self._loop.time()
        lane.answered(request, ticket, tokens)
        self._keep(answer_row(request, answer), succeeded=True)

    def _failed(self, lane: Lane, request: BatchRequest, ticket: Ticket, error: openai.APIError) -> None:
        now = self._loop.time()
        self.tally.errors[reason_of(error)] += 1
        age = now - (request.started or now)
        verdict = decide(error, self.session.policy, request.attempts + 1, age, random=random())  # noqa: S311 - jitter
        if isinstance(verdict, Wait):
            asked = unless_skipped(verdict.asked or 0.0)
            lane.pacer.refused(ticket, now, asked, random=random())  # noqa: S311 - jitter
            request.refusals += 1
            self._again(lane, request, now + unless_skipped(self._own_pause(request)))
        elif isinstance(verdict, Again):
            request.attempts += 1
            delay = unless_skipped(verdict.delay)
            lane.pacer.failed(ticket, now, delay, unless_skipped(verdict.asked or 0.0))
            self._again(lane, request, now + delay)
        elif isinstance(verdict, Stop):
            lane.pacer.ended(ticket)
            self.stop(verdict.reason)
        else:
            request.attempts += 1
            lane.pacer.ended(ticket)
            self._fail(lane, request, error, verdict)
        if now - self._progressed > NO_PROGRESS:
            self.stop(f"no answer for {NO_PROGRESS / 60:g} minutes; the last error: {reason_of(error)}")

    def _own_pause(self, request: BatchRequest) -> float:
        """Return the seconds by which a row that is refused again and again lets the others of its model go first."""
        times = request.refusals - FREE_REFUSALS
        return self.session.policy.backoffs[Action.WAIT].delay(times) if times > 0 else 0.0

    def _again(self, lane: Lane, request: BatchRequest, due: float) -> None:
        lane.add_again(request, due)
        self._count_aside(1, request)

    def _fail(self, lane: Lane, request: BatchRequest, error: openai.APIError, verdict: Fail) -> None:
        if verdict.of_model:
            lane.refusal = error
        self._keep(error_row(request, error, self.session.transport.key), succeeded=False)

    def _keep(self, row: bytes, *, succeeded: bool) -> None:
        """Write a row and count it; stop where it cannot be written."""
        try:
            self.sink.write(row, succeeded=succeeded)
        except OSError as error:
            self.stop_writing(error)
            return
        self.tally.succeeded += succeeded
        self.tally.failed += not succeeded
        if self.limits.max_errors is not None and self.tally.failed > self.limits.max_errors:
            self.stop(f"more rows failed than max_errors={self.limits.max_errors} allows")

    def _can_pay(self, request: BatchRequest) -> bool:
        """Tell whether a row can be paid for besides those in flight; if not, wait for these, or stop without any."""
        most, spent = self.limits.max_cost, self.tally.spending.cost(self.session.prices)
        if most is None:
            return True
        if spent is None or self._most_for(request) == math.inf:
            self.stop(f"max_cost needs prices, and the models list has none for {request.model}")
            return False
        if spent + self._reserved + self._most_for(request) <= most:
            return True
        self._is_short = bool(self._tasks)
        if not self._is_short:
            self.stop(f"the answers have cost ${spent:.4f}, and max_cost is ${most:g}")
        return False

    def _most_for(self, request: BatchRequest) -> float:
        """Return about the most dollars that a row can cost, infinite without a price; 0 where they do not count."""
        if self.limits.max_cost is None:
            return 0.0
        tokens = UNBOUNDED if request.max_tokens is None else request.max_tokens
        cost = self.session.prices.cost(request.model, request.prompt_tokens, tokens)
        return math.inf if cost is None else cost
