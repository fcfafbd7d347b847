"""The running of a batch: starts rows as the pace of their models allows, and sends them.

One task starts all rows, and each request in flight has a task of its own. A row that waits to be sent again has none,
and takes up no connection.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

import openai

from novita_openai.batch.backlog import Backlog
from novita_openai.batch.collector import seldom_collected
from novita_openai.batch.outcomes import Outcomes, Sink
from novita_openai.batch.rows import read_answer
from novita_openai.batch.shutdown import MORE_COST, NO_LIMIT, Shutdown
from novita_openai.batch.standing import Standing
from novita_openai.batch.verdicts import FEW
from novita_openai.batch.waking import Alarm, Ticker

if TYPE_CHECKING:
    from novita_openai.batch.backlog import Feed
    from novita_openai.batch.lanes import Lane, RowSending
    from novita_openai.batch.report import Tally
    from novita_openai.batch.requests import BatchRequest
    from novita_openai.batch.session import Session

__all__ = ["Engine"]

ROWS_A_TURN: Final = 1_000
"""Rows started or read in one turn of the event loop, so that answers do not wait for long."""


class Engine:
    """Sends rows until each has a result, or until a ``shutdown``; use it once.

    ``on_tick``: called when the run begins, and about twice a second while it lasts.
    """

    def __init__(self, feed: Feed, sink: Sink, session: Session, on_tick: Callable[[], None] = lambda: None) -> None:
        self._clock = asyncio.get_running_loop().time
        self._alarm, self._ticker, self._on_tick = Alarm(), Ticker(self._tick), on_tick
        self.shutdown = Shutdown(self._clock, self._alarm.ring, session.limits.drain)
        self._sink, self._session = sink, session
        self._backlog = Backlog(feed, session.limits, self._clock())
        self._standing = Standing(self._clock(), self._are_few_left, is_reached=session.is_reached)
        self._outcomes = Outcomes(sink, session, self.shutdown, self._backlog, self._standing)
        self._account = self._outcomes.account
        self._tasks: dict[asyncio.Task[None], float] = {}
        self._late: set[asyncio.Task[None]] = set()
        self._is_at_limit = False

    @property
    def tally(self) -> Tally:
        """Return what was done so far."""
        return self._outcomes.tally

    @property
    def in_flight(self) -> int:
        """Return the number of requests that are under way."""
        return len(self._tasks)

    def wake(self) -> None:
        """Start rows that had to wait because the sink was full."""
        self._alarm.ring()

    async def run(self) -> None:
        """Run; raise errors that come neither from the service nor from the disk, such as those of a callback."""
        try:
            with seldom_collected():
                await self._run()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.shutdown.error is not None:
            raise self.shutdown.error
        if (told := self._outcomes.put_off()) is not None:
            self.shutdown.stop(told)

    def _tick(self) -> None:
        """Report, and end the requests of which the time is over: one timer for all costs less than theirs."""
        self._on_tick()
        now = self._clock()
        for task in [task for task, end in self._tasks.items() if end <= now]:
            self._tasks[task] = math.inf
            self._late.add(task)
            task.cancel()

    async def _run(self) -> None:
        while True:
            seconds = min(self._ticker.tick(self._clock), self._start_all())
            if self._is_over():
                return
            await self._alarm.sleep(seconds)

    def _is_over(self) -> bool:
        if self._tasks:
            return self.shutdown.remaining <= 0
        return self.shutdown.has_begun or self._backlog.is_empty

    def _are_few_left(self) -> bool:
        most = FEW - len(self._tasks)
        return most > 0 and self._backlog.count(most) < most

    def _start_all(self) -> float:
        """Start what may be started; return the seconds until more may be."""
        if self.shutdown.has_begun:
            return self.shutdown.remaining
        now, turns = self._clock(), ROWS_A_TURN
        lanes = self._backlog.lanes()
        while lanes or self._read(lanes, now):
            if not self._can_start():
                break
            if turns <= 0:
                return 0.0
            turns -= len(lanes)
            lanes = [lane for lane in lanes if self._start_next(lane, now)]
        if self._can_start():
            return self._backlog.wait(now)
        return self._standing.alone(now) or math.inf  # whatever else changes that rings the alarm

    def _read(self, lanes: list[Lane], now: float) -> bool:
        """Read one row further, and have its lane tried; tell whether there was one."""
        lane = self._backlog.read(now) if self._can_start() else None
        if lane is not None:
            lanes.append(lane)
        return lane is not None

    def _can_start(self) -> bool:
        """Tell whether a row of some model may be started."""
        if len(self._tasks) >= self._session.limits.connections or self._is_at_limit or self._backlog.room.is_full:
            return False
        if self.shutdown.has_begun or self._sink.is_full():
            return False
        return self._standing.is_welcome or not self._tasks or not self._standing.alone(self._clock())

    def _start_next(self, lane: Lane, now: float) -> bool:
        """Start the next row of a lane, if one may start; tell whether another one may."""
        request = lane.take(now, new_first=self._standing.needs_other_rows) if self._can_start() else None
        if request is None:
            return False
        if lane.refusal is not None:
            self._outcomes.refuse(request, lane.refusal)
        elif self._account.limit.allows(request):
            self._start(lane, request, now)
        else:
            lane.put_back(request)
            self._pause_or_stop(request)
        return True

    def _pause_or_stop(self, request: BatchRequest) -> None:
        """Start no more until a request has ended, as ``max_cost`` does not allow the row; stop if that cannot help."""
        refusal = self._account.limit.refusal(request)
        self._is_at_limit = refusal is None
        if refusal is not None:
            self.shutdown.stop(refusal, way=MORE_COST if self._account.limit.is_priced(request) else NO_LIMIT)

    def _start(self, lane: Lane, request: BatchRequest, now: float) -> None:
        sending = lane.start(request, now)
        self.tally.sent += 1
        self.tally.retries += bool(request.attempts or request.refusals or request.corrections)
        self._standing.sent(lane, request, now)
        self._account.started(request)
        end = (request.started or now) + self._session.seconds_a_row
        if not request.streams:  # of a stream, each event has as long
            end = min(end, now + self._session.seconds_an_attempt)
        self._tasks[asyncio.create_task(self._send(sending))] = end

    async def _send(self, sending: RowSending) -> None:
        try:
            await self._attempt(sending)
        except Exception as error:  # noqa: BLE001 - not an error of the service: run() raises it
            self.shutdown.fail(error)
        finally:
            del self._tasks[cast("asyncio.Task[None]", asyncio.current_task())]
            self._account.limit.release(sending.request)
            sending.let_go()
            self._is_at_limit = False
            self._alarm.ring()

    async def _attempt(self, sending: RowSending) -> None:
        request, sent = sending.request, self._clock()
        try:
            answer = read_answer(request, await self._answer_to(request))
        except (openai.APIError, TimeoutError) as error:
            await self._outcomes.failed(sending, error)
        else:
            sending.lane.share.learn(len(answer.content))
            self._outcomes.answered(sending, answer, self._clock() - sent)

    async def _answer_to(self, request: BatchRequest) -> Any:
        """Send a row; raise ``TimeoutError`` where the time of the row or of the attempt is over first."""
        task, sent = cast("asyncio.Task[None]", asyncio.current_task()), self._clock()
        try:
            return await self._session.transport.send(request)
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            self._late.discard(task)
            task.uncancel()
            raise TimeoutError(f"No whole answer came within {self._clock() - sent:.3g} s.") from None
        finally:
            self._tasks[task] = math.inf
