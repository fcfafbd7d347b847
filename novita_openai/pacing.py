"""How many requests of a model are in flight, and when the next may start: pure decisions, every time an argument.

The service limits requests and tokens a minute for each model, and does not say where the limits are, so each model
has a :class:`Pacer`, which learns a rate from refusals (429). The law:

1. **Start.** The rate starts at ``FIRST_RATE`` and grows with the answers, to double every ``DOUBLING`` seconds. Where
   the user names a number in flight that is used at once, and there is no rate before the first refusal.
2. **Refusal.** Requests carry the epoch they were sent in; the first refusal of an epoch begins the next, so that one
   wave of refusals is one cut. Between two refusals the service took what it could, so the rate becomes the mean of the
   epoch, from the refusal that began it, less ``CUT``. Of a pause only ``BURST`` counts: in a longer one the service
   saves up no more. ``PRIOR`` requests at the rate before are counted in, lest a few decide.
3. **Pause.** ``Retry-After`` stops all rows of the model until then, plus some jitter. Without it they pause for two
   turns. Where the next request is refused too, one at a time asks, after pauses that double up to ``LONGEST_PAUSE``;
   no rate is lower than one request in that time.
4. **Probe.** The rate holds, then grows with the cube of the answers: slowly past the known limit, fast where the limit
   is gone. Only requests that had to wait for their turn count: a rate that is not used shows nothing. A refusal then
   counts the latest requests alone, where those were more than the mean.
5. **Hold.** A refusal while the rate holds tells that the limit moves, and may move back: the next hold is short,
   ``HOLD`` seconds or ``PAUSE_SHARE`` times the pause asked for. A refused probe tells that the limit is where it was:
   the next hold is ``STEADY`` times as long, so that probing costs a few percent.
6. **In flight.** The number starts at ``FIRST_LIMIT`` and doubles every round (as many answers as the limit) that used
   it up. Refusals leave it alone: a service that limits requests in flight limits their rate.
7. **Outage.** As many passing faults one after the other as are in flight (at least ``FEWEST_FAULTS``), without an
   answer between them, pause the model for the delay that the policy gives to the last, and halve the number in flight.

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
CUT: Final = 0.015
BURST: Final = 0.09
"""Seconds of requests that a service is taken to let through at once."""
PRIOR: Final = 3.0
HOLD: Final = 0.65
PAUSE_SHARE: Final = 6.0
STEADY: Final = 5.0
PROBE: Final = 3.0
"""Seconds of requests, at the known rate, after which that is doubled."""
JITTER: Final = 0.05
LONGEST_PAUSE: Final = 16.0
FEWEST_FAULTS: Final = 4
SPAN: Final = 0.25
"""The latest requests are those of so many seconds, up to twice as many, and at least ``FEWEST``."""
FEWEST: Final = 8
CATCH_UP: Final = 0.02
"""Seconds that a late start may make good: timers are never exact."""
MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """What is known of a request when it starts.

    Its ``epoch``, its ``number`` in that, and the ``age`` of the epoch in seconds; the ``pace`` of the latest requests,
    in requests a second; whether it ``is_probe``; whether it ``is_last`` that the number in flight allows; the tokens
    reserved for it.
    """

    epoch: int
    number: int
    age: float
    pace: float
    is_probe: bool
    is_last: bool
    tokens: float


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
        self.limit = self.most if concurrency else min(FIRST_LIMIT, most)
        self.in_flight = 0
        self._rpm, self._tpm = rpm, tpm
        self._turns, self._requests, self._tokens = _Spacing(), _Spacing(), _Spacing()
        self._gate = self._probe_at = now
        self._is_starting, self._is_asking = True, False
        self._epoch = self._round = self._fruitless = 0
        self._base = FIRST_RATE
        self._begin_epoch(now, now - BURST)
        self._grown = math.inf if concurrency else 0.0

    def _begin_epoch(self, now: float, dry: float) -> None:
        """Count anew; ``dry`` is the time since when nothing was taken."""
        self._epoch += 1
        self._dry = dry
        self._opened = dry + max(0.0, self._gate - now - BURST)
        self._number = self._faults = 0
        self._grown = 0.0
        self._mark = self._next_mark = (self._gate, 0)

    @property
    def rate(self) -> float:
        """Return the requests a second that may start now."""
        if self._is_starting:
            return self._base + self._grown * math.log(2) / DOUBLING
        return self._base * (1 + (self._grown / (self._base * PROBE)) ** 3)

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may start: 0 or less: now; infinite: when one has ended."""
        if self.in_flight >= self.limit or (self._is_asking and self._number):
            return math.inf
        return max(self._gate - now, self._turns.wait(now), self._requests.wait(now), self._tokens.wait(now))

    def start(self, now: float, tokens: float = 0.0) -> Ticket:
        """Count a request that starts now, of about so many tokens."""
        self.in_flight += 1
        ticket = Ticket(
            epoch=self._epoch,
            number=self._number,
            age=now - self._opened,
            pace=self._pace(now),
            is_probe=now >= self._probe_at and self._turns.wait(now) > -CATCH_UP,
            is_last=self.in_flight >= self.limit,
            tokens=tokens,
        )
        self._number += 1
        self._turns.take(now, 1 / self.rate)
        if self._rpm is not None:
            self._requests.take(now, MINUTE / self._rpm)
        if self._tpm is not None:
            self._tokens.take(now, tokens * MINUTE / self._tpm)
        return ticket

    def _pace(self, now: float) -> float:
        """Return the requests a second of late, less what may have come at once."""
        if now - self._next_mark[0] >= SPAN and self._number - self._next_mark[1] >= FEWEST:
            self._mark, self._next_mark = self._next_mark, (now, self._number)
        since, number = self._mark
        return (self._number - number) / (now - since + BURST)

    def answered(self, ticket: Ticket, tokens: float = 0.0) -> None:
        """Count an answer, which came to so many tokens."""
        self.ended(ticket, tokens)
        self._faults = 0
        if ticket.epoch == self._epoch:
            self._grown += ticket.is_probe
        if ticket.is_last:
            self._round += 1
        if self._round >= self.limit:
            self._round = 0
            self.limit = min(self.most, self.limit * 2)

    def ended(self, ticket: Ticket, tokens: float = 0.0) -> None:
        """Count a request that ended in any other way; its tokens were so many."""
        self.in_flight -= 1
        if ticket.epoch == self._epoch:
            self._is_asking = False
        if self._tpm is not None:
            self._tokens.settle((tokens - ticket.tokens) * MINUTE / self._tpm)

    def failed(self, ticket: Ticket, now: float, delay: float, retry_after: float | None) -> None:
        """Count a passing fault, and the seconds after which its row is sent again."""
        self.ended(ticket)
        self._close_until(now + (retry_after or 0.0))
        self._faults += ticket.epoch == self._epoch
        if self._faults >= max(FEWEST_FAULTS, self.in_flight):
            self._close_until(now + delay)
            self.limit = max(self.limit // 2, 1)
            self._begin_epoch(now, now)

    def refused(self, ticket: Ticket, now: float, retry_after: float | None, *, random: float = 0.5) -> None:
        """Count a refusal for coming too fast, with the seconds to wait if the service named them.

        ``random`` in [0, 1) places the restart in its jitter.
        """
        self.ended(ticket)
        asked = (retry_after or 0.0) * (1 + JITTER * random)
        self._close_until(now + asked)
        if ticket.epoch == self._epoch:
            self._cut(ticket, now, asked)

    def _close_until(self, then: float) -> None:
        self._gate = max(self._gate, then)

    def _cut(self, ticket: Ticket, now: float, asked: float) -> None:
        """Learn from the first refusal of an epoch, and begin the next."""
        hold = max(HOLD, PAUSE_SHARE * asked) * (STEADY if self._grown else 1)
        if ticket.number:
            self._base, self._fruitless = self._learned(ticket), 0
        else:
            self._fruitless += 1
        if not asked:
            self._close_until(now + min(2 / self._base * 2**self._fruitless, LONGEST_PAUSE))
        self._probe_at = self._gate + hold
        self._is_starting, self._is_asking = False, self._fruitless > 0
        self._begin_epoch(now, self._dry if self._fruitless else now)

    def _learned(self, ticket: Ticket) -> float:
        """Return the rate to go on with."""
        mean = (ticket.number + PRIOR) / (ticket.age + PRIOR / self._base)
        taken = max(mean, ticket.pace) if self._grown else mean
        return max(min(taken, self.rate) * (1 - CUT), 1 / LONGEST_PAUSE)
