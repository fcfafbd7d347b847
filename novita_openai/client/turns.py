"""Whose turn it is to send to a model: all that call it wait here, threads and tasks of any event loop alike.

The pacer decides when the next request may start. Under one lock each caller learns the moment of its own turn, and
then sleeps by its own clock, so that nobody waits for somebody else's event loop. The order of coming decides who has
the earlier moment; a caller that was refused keeps its place in that order. Where a turn comes sooner than it was
foretold, as the rate has grown or a request has ended, the first caller in the line is woken, and takes it.
"""

from __future__ import annotations

import asyncio
import bisect
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import anyio

from novita_openai.client.places import Place

if TYPE_CHECKING:
    from novita_openai.pacing import Pacer, Ticket

__all__ = ["Caller", "PaceClock", "Turns"]

LONGEST_SLEEP: Final = 5.0
"""Seconds of the machine after which a caller asks again, whatever it was told."""
SOONER: Final = 0.001
"""Seconds by which a turn must come sooner than foretold for a caller to be woken."""


class PaceClock:
    """Seconds, of which ``speed`` pass in each second of the machine."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed

    def now(self) -> float:
        """Return the time."""
        return time.monotonic() * self.speed

    def real(self, seconds: float) -> float:
        """Return how long so many seconds take on the machine."""
        return seconds / self.speed


class Caller:
    """One call, whenever it waits for a turn.

    ``tokens``: about how many its request comes to; ``until``: the time after which a turn is of no use to it.
    ``order``: when it first came, among all of its model; ``moment``: when its turn comes, as far as anybody knows;
    ``wake`` ends its sleep, from any thread, and raises ``RuntimeError`` where its event loop is closed.
    """

    __slots__ = ("is_in_line", "moment", "order", "tokens", "until", "wake")

    wake: Callable[[], object]
    order: int

    def __init__(self, tokens: float = 0.0) -> None:
        self.tokens, self.until, self.order = tokens, math.inf, -1
        self.moment, self.is_in_line = math.inf, False


def _order(caller: Caller) -> int:
    return caller.order


class Turns:
    """The turns of one model, for which callers wait; ``with`` it nobody else uses its pacer.

    ``known``: the requests a second above which no turn can come, infinite where only the pacer knows.
    """

    def __init__(self, pacer: Pacer, clock: PaceClock, known: float = math.inf) -> None:
        self._pacer, self._clock, self._known = pacer, clock, known
        self._lock = threading.Lock()
        self._line: list[Caller] = []
        self._orders = count()
        self._dropped: deque[Ticket | Caller] = deque()
        self._kept: WeakSet[Place] = WeakSet()
        self._answers, self._answer_tokens = 0, 0.0
        self.refusals = 0

    def state(self) -> tuple[float, int, int, int]:
        """Return the rate, how many are in flight and in the line, and how many were refused."""
        with self:
            self._expire()
            return self.rate, self.in_flight, len(self._line), self.refusals

    @property
    def usual_answer(self) -> float:
        """Return how many tokens answers have on average."""
        return self._answer_tokens / self._answers if self._answers else 0.0

    @property
    def rate(self) -> float:
        """Return the requests a second that may start."""
        return min(self._pacer.rate, self._known)

    @property
    def in_flight(self) -> int:
        """Return the number of requests in flight."""
        return self._pacer.in_flight.count

    # Callers that wait.

    def take_now(self, caller: Caller) -> Place | None:
        """Return a place where nobody waits and a request may start, else None."""
        with self:
            if self._line or self._pacer.wait(now := self._clock.now()) > 0:
                return None
            return Place(self, self._pacer.start(now, caller.tokens))

    def take(self, caller: Caller) -> Place | None:
        """Wait for a turn, and return its place; None where it does not come in time."""
        rung = threading.Event()
        caller.wake = rung.set
        try:
            while isinstance(answer := self._ask(caller), (int, float)):
                rung.wait(answer)
                rung.clear()
            return answer
        finally:
            self._leave(caller)

    async def take_async(self, caller: Caller) -> Place | None:
        """Do the same in an event loop, which goes on meanwhile."""
        bell = _Bell()
        caller.wake = bell.ring
        try:
            while isinstance(answer := self._ask(caller), (int, float)):
                await bell.wait(answer)
            return answer
        finally:
            self._leave(caller)

    def _ask(self, caller: Caller) -> Place | float | None:
        """Return a place, the machine's seconds until asking again, or None where no turn comes in time."""
        with self:
            now, rank = self._clock.now(), self._rank(caller)
            wait = self._pacer.wait(now)
            if wait <= 0 and (rank == 0 or caller.moment <= now):
                self._remove(caller)
                return Place(self, self._pacer.start(now, caller.tokens))
            if now + _least(wait) + rank / self._known > caller.until or now >= caller.until:
                return None
            if not caller.is_in_line:
                self._line.insert(rank, caller)
                caller.is_in_line = True
            caller.moment = now + max(wait, 0.0) + rank / self.rate
            return self._sleep(min(caller.moment, caller.until) - now)

    def _rank(self, caller: Caller) -> int:
        """Return how many callers are before this one."""
        if caller.order < 0:
            caller.order = next(self._orders)
        return bisect.bisect_left(self._line, caller.order, key=_order)

    def _remove(self, caller: Caller) -> None:
        if caller.is_in_line:
            caller.is_in_line, caller.moment = False, math.inf
            self._line.remove(caller)

    def _leave(self, caller: Caller) -> None:
        """Forget a caller that waits no more."""
        if caller.is_in_line:
            self._drop(caller)

    # What becomes of places.

    def accepted(self, place: Place) -> None:
        """Count a request that the service has taken."""
        with self:
            self._pacer.accepted(place.ticket)

    def answered(self, place: Place, tokens: float | None, prompt_tokens: float) -> None:
        """Count an answer that is read; prompt and answer came to so many tokens, None where nobody knows."""
        with self:
            self._pacer.accepted(place.ticket)
            self._end(place, tokens)
            if tokens is not None:
                self._answers += 1
                self._answer_tokens += max(0.0, tokens - prompt_tokens)

    def keep(self, place: Place) -> None:
        """Take the place back by itself where it expires."""
        with self:
            self._kept.add(place)

    def give_back(self, place: Place, tokens: float | None) -> None:
        """Take a place back, once; its request used so many tokens, None: as many as were expected."""
        with self:
            self._end(place, tokens)

    def refused(self, place: Place, asked: float, *, random: float) -> None:
        """Count a request that came too fast; ``asked``: the seconds for which the service asks to wait."""
        with self:
            self._end(place, 0.0)
            self.refusals += 1
            self._pacer.learn(place.ticket, self._clock.now(), asked, random=random)

    def failed(self, place: Place, asked: float) -> None:
        """Count a passing fault of the service, which may ask to wait."""
        with self:
            self._end(place, 0.0)
            self._pacer.pause(self._clock.now() + asked)

    def drop(self, ticket: Ticket) -> None:
        """Take back the place of a ticket as soon as nobody uses the turns: things are collected at any time."""
        self._drop(ticket)

    def _end(self, place: Place, tokens: float | None) -> None:
        if place.is_open:
            place.is_open = False
            if place.is_kept:
                self._kept.discard(place)
            self._pacer.ended(place.ticket, place.ticket.tokens if tokens is None else tokens)

    # The lock, and what is done whenever somebody holds it.

    def __enter__(self) -> Pacer:
        self._lock.acquire()
        return self._pacer

    def __exit__(self, *_: object) -> None:
        try:
            self._tidy()
        finally:
            self._lock.release()
        self._settle()

    def _drop(self, what: Ticket | Caller) -> None:
        self._dropped.append(what)
        self._settle()

    def _settle(self) -> None:
        """Take back what was dropped, unless somebody holds the lock, who does it then."""
        while self._dropped and self._lock.acquire(blocking=False):
            try:
                self._tidy()
            finally:
                self._lock.release()

    def _tidy(self) -> None:
        """Take back what was dropped and what has expired, and wake the first in the line where its turn is sooner."""
        while self._dropped:
            what = self._dropped.popleft()
            if isinstance(what, Caller):
                self._remove(what)
            else:
                self._pacer.ended(what, what.tokens)
        if self._pacer.in_flight.is_full:
            self._expire()
        if self._line:
            self._nudge()

    def _expire(self) -> None:
        now = time.monotonic()
        for place in [place for place in self._kept if place.expires <= now]:
            self._end(place, None)

    def _sleep(self, seconds: float) -> float:
        """Return how long a caller sleeps that has so many seconds: until a place expires, and never long."""
        expiry = min((place.expires for place in self._kept), default=math.inf) - time.monotonic()
        return max(0.0, min(self._clock.real(seconds), expiry, LONGEST_SLEEP))

    def _nudge(self) -> None:
        now = self._clock.now()
        while self._line:
            head, due = self._line[0], now + max(self._pacer.wait(now), 0.0)
            if due >= head.moment - SOONER:
                return
            head.moment = due
            try:
                head.wake()
            except RuntimeError:
                self._remove(head)
            else:
                return


def _least(wait: float) -> float:
    """Return the least that a wait can come to: where a request must end first, that may be at once."""
    return max(wait, 0.0) if math.isfinite(wait) else 0.0


class _Bell:
    """Wakes a task, from any thread, in asyncio or trio."""

    def __init__(self) -> None:
        self._call: Any = _caller_of_loop()
        self._rung = anyio.Event()

    def ring(self) -> None:
        """End the sleep; raise ``RuntimeError`` where the event loop is closed."""
        self._call(self._rung.set)

    async def wait(self, seconds: float) -> None:
        """Sleep until the bell is rung, at most so many seconds."""
        with anyio.move_on_after(seconds):
            await self._rung.wait()
        self._rung = anyio.Event()


def _caller_of_loop() -> Any:
    """Return what makes the running event loop call a function, from any thread."""
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        return import_module("trio").lowlevel.current_trio_token().run_sync_soon
