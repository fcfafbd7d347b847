"""How many requests of a model are in flight, and when the next may start: pure decisions, every time an argument.

The service limits requests and tokens a minute for each model, and does not say where the limits are, so each model
has a :class:`Pacer`. It holds two numbers, a rate and a number in flight, and learns both from refusals (429). The law:

1. **Start.** The rate starts at ``FIRST_RATE`` and doubles every ``DOUBLING`` seconds, the number in flight at
   ``FIRST_LIMIT`` and doubles every round (as many answers as the limit). Where the user names a number it is used at
   once, and there is no rate before the first refusal.
2. **Refusal.** Requests carry the epoch they were sent in; the first refusal of an epoch begins the next, so that one
   wave of refusals is one cut. The rate becomes the pace at which the service took the last requests before, less
   ``CUT``, or as much as ``DEEPEST_CUT`` where that was for a moment only.
3. **In flight.** A request refused at a level, as a number in flight, at which others were answered lately was refused
   for its rate. Above that the level may be to blame too: the limit falls to the highest that was answered, or to
   ``DEEP_LEVEL`` of the refused one. It grows by ``GROWTH`` a round where the two are close, else it doubles again.
4. **Pause.** ``Retry-After`` stops all rows of the model until then, plus some jitter. Without it they pause for two
   turns of the new rate; every wave that follows without one request taken in between doubles that, up to a minute.
5. **Probe.** Both numbers hold for ``HOLD`` seconds, or ``PAUSE_SHARE`` times the last pause asked for, so that
   probing costs a few percent. Then the rate grows with the cube of what is sent: slowly past the known limit, fast
   where the limit is gone. Only requests that had to wait for their turn count: a rate that is not used shows nothing.
6. **Outage.** As many passing faults one after the other as are in flight (at least ``FEWEST_FAULTS``), without an
   answer between them, pause the model for the delay that the policy gives to the last of them.

``rpm`` and ``tpm`` are hard limits besides: requests, and tokens as estimated and then settled, are spaced evenly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["MOST_IN_FLIGHT", "Pacer", "Ticket"]

MOST_IN_FLIGHT: Final = 1_000
FIRST_LIMIT: Final = 32
FIRST_RATE: Final = 50.0
DOUBLING: Final = 0.25
CUT: Final = 0.05
DEEPEST_CUT: Final = 0.2
LONG_ENOUGH: Final = 1.0
"""Seconds after which a pace is trusted but for ``CUT``."""
CHANGED: Final = 1.4
DEEP_LEVEL: Final = 0.7
GROWTH: Final = 1.1
FORGET: Final = 0.9
HOLD: Final = 1.0
PAUSE_SHARE: Final = 30.0
PROBE: Final = 4.0
"""Seconds of requests, at the known rate, after which that is doubled."""
JITTER: Final = 0.05
LONGEST_PAUSE: Final = 60.0
FEWEST_FAULTS: Final = 4
WINDOW: Final = 32
"""The pace is that of so many requests, up to twice as many."""
CLOCK: Final = 0.001
"""Seconds that a clock can tell apart from none."""
CATCH_UP: Final = 0.02
"""Seconds that a late start may make good: timers are never exact."""
MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """What is known of a request when it starts.

    Its ``epoch``, and its ``number`` in that; its ``level``, as a number in flight; the ``pace`` of those before it, in
    requests a second; the ``age`` of the epoch in seconds, without the pause it began with; the tokens reserved for it.
    """

    epoch: int
    number: int
    level: int
    pace: float
    age: float
    tokens: float


def _learned(ticket: Ticket, rate: float) -> float:
    """Return the rate to go on with after a refusal at a rate."""
    pace = min(ticket.pace, rate)
    if ticket.age < LONG_ENOUGH:
        return pace * (1 - min(DEEPEST_CUT, CUT * LONG_ENOUGH / max(ticket.age, CLOCK)))
    mean = ticket.number / ticket.age
    return (mean if pace < CHANGED * mean else pace) * (1 - CUT)


class _Spacing:
    """Lets amounts pass evenly; what is late may catch up for a moment."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = -math.inf

    def wait(self, now: float) -> float:
        return self._next - now

    def take(self, now: float, seconds: float) -> None:
        self._next = max(self._next, now - CATCH_UP) + seconds

    def settle(self, seconds: float) -> None:
        self._next += seconds


class Pacer:
    """The pace of one model; see the module for the law. Times are seconds of one clock, given by the caller.

    ``concurrency``: the most in flight, None to find it, up to ``most``. ``rpm``, ``tpm``: hard limits a minute.
    """

    def __init__(
        self,
        now: float,
        *,
        concurrency: int | None = None,
        most: int = MOST_IN_FLIGHT,
        rpm: float | None = None,
        tpm: float | None = None,
    ) -> None:
        self.most = min(concurrency or most, most)
        self.limit = float(self.most if concurrency else min(FIRST_LIMIT, most))
        self.in_flight = 0
        self._base = math.inf if concurrency else FIRST_RATE
        self._rpm, self._tpm = rpm, tpm
        self._turns, self._requests, self._tokens = _Spacing(), _Spacing(), _Spacing()
        self._is_starting = self._is_doubling = True
        self._gate = self._probe_at = now
        self._epoch, self._proven, self._fruitless = 0, 0.0, 0
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._number = self._grown = self._round = self._faults = 0
        self._opened = self._gate
        self._mark = self._next_mark = (self._gate, 0)

    @property
    def rate(self) -> float:
        """Return the requests a second that may start now."""
        if self._is_starting:
            return self._base + self._grown * math.log(2) / DOUBLING
        return self._base * (1 + (self._grown / (self._base * PROBE)) ** 3)

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may start: 0 or less: now; infinite: when one has ended."""
        if self.in_flight >= int(self.limit):
            return math.inf
        return max(self._gate - now, self._turns.wait(now), self._requests.wait(now), self._tokens.wait(now))

    def start(self, now: float, tokens: float = 0.0) -> Ticket:
        """Count a request that starts now, of about so many tokens."""
        self.in_flight += 1
        ticket = Ticket(self._epoch, self._number, self.in_flight, self._pace(now), now - self._opened, tokens)
        self._number += 1
        self._grown += now >= self._probe_at and self._turns.wait(now) > -CATCH_UP
        self._turns.take(now, 1 / self.rate)
        if self._rpm is not None:
            self._requests.take(now, MINUTE / self._rpm)
        if self._tpm is not None:
            self._tokens.take(now, tokens * MINUTE / self._tpm)
        return ticket

    def _pace(self, now: float) -> float:
        """Return the requests a second of late."""
        if self._number - self._next_mark[1] >= WINDOW:
            self._mark, self._next_mark = self._next_mark, (now, self._number)
        since, number = self._mark
        return (self._number - number) / max(now - since, CLOCK)

    def answered(self, ticket: Ticket, now: float, tokens: float = 0.0) -> None:
        """Count an answer, which came to so many tokens."""
        self.ended(ticket, tokens)
        self._faults = 0
        self._proven = max(self._proven, ticket.level)
        if ticket.epoch == self._epoch:
            self._fruitless = 0
        if now >= self._probe_at and ticket.level >= int(self.limit) < self.most:
            self._grow()

    def _grow(self) -> None:
        """Raise the limit where this answer ends a round that used it up."""
        self._round += 1
        if self._round >= self.limit:
            self._round = 0
            more = self.limit * 2 if self._is_doubling else max(self.limit * GROWTH, self.limit + 1)
            self.limit = min(self.most, more)

    def ended(self, ticket: Ticket, tokens: float = 0.0) -> None:
        """Count a request that ended in any other way; its tokens were so many."""
        self.in_flight -= 1
        if self._tpm is not None:
            self._tokens.settle((tokens - ticket.tokens) * MINUTE / self._tpm)

    def failed(self, ticket: Ticket, now: float, delay: float, retry_after: float | None) -> None:
        """Count a passing fault, and the seconds after which its row is sent again."""
        self.ended(ticket)
        self._close_until(now + (retry_after or 0.0))
        if ticket.epoch != self._epoch:
            return
        self._faults += 1
        if self._faults >= max(FEWEST_FAULTS, self.in_flight):
            self._close_until(now + delay)
            self.limit = max(DEEP_LEVEL * self.limit, 1)
            self._next_epoch()

    def refused(self, ticket: Ticket, now: float, retry_after: float | None, *, random: float = 0.5) -> None:
        """Count a refusal for coming too fast, with the seconds to wait if the service named them.

        ``random`` in [0, 1) places the restart in its jitter.
        """
        self.ended(ticket)
        asked = 0.0 if retry_after is None else retry_after * (1 + JITTER * random)
        self._close_until(now + asked)
        if ticket.epoch == self._epoch:
            self._cut(ticket, now, asked)

    def _close_until(self, then: float) -> None:
        self._gate = max(self._gate, then)

    def _cut(self, ticket: Ticket, now: float, asked: float) -> None:
        if ticket.level > self._proven and ticket.pace <= self._base and not self._is_starting:
            self._is_doubling = self._proven < DEEP_LEVEL * ticket.level
            self.limit = max(self._proven, DEEP_LEVEL * ticket.level, 1.0)
        elif ticket.number:
            self._base = _learned(ticket, self.rate)
        self._fruitless = 0 if ticket.number else self._fruitless + 1
        if not asked:
            self._close_until(now + min(2 / self._base * 2**self._fruitless, LONGEST_PAUSE))
        self._probe_at = self._gate + max(HOLD, PAUSE_SHARE * asked)
        self._is_starting = False
        self._next_epoch()

    def _next_epoch(self) -> None:
        self._epoch += 1
        self._proven *= FORGET
        self._begin_epoch()
