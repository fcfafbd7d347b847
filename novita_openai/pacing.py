"""How many requests of a model are in flight, and when the next may start: pure decisions; times are arguments.

The service limits the requests and tokens a minute of each model, and does not say where its limits are. Each model
therefore has a :class:`Pacer`, which finds a rate by what is refused (429). It goes by these rules:

1. **Start.** The rate begins at ``FIRST_RATE`` and grows with each answer, so that it doubles in ``DOUBLING`` seconds.
   Where the user gives a number in flight, that is used at once, and no rate limits it before the first refusal.
2. **Refusal.** What is sent between two refusals is an epoch. Only a refused request of the current epoch changes the
   rate and begins the next epoch, so that a wave of refusals counts once. In an epoch the service took as much as it
   could; the new rate is therefore the mean of the epoch, less ``CUT``. If the epoch begins with a pause, at most
   ``BURST`` seconds of it count, as the service saves up no more than that. ``PRIOR`` requests at the old rate are
   added to the mean, so that it does not depend on a few requests.
3. **Pause.** After a refusal the model pauses for the time of ``Retry-After`` and some jitter; without that, for the
   time of two requests. Where the first request after a pause is refused too, one at a time is sent, after pauses that
   double up to ``LONGEST_PAUSE``. No rate is lower than one request in that time.
4. **Probe.** Then the rate holds, and after that it grows with the cube of the number of answers: slowly around the
   known limit, fast where that is gone. Only requests that had to wait for their turn count, as the others do not use
   the rate up. When a request is refused after such growth, the new rate is that of the latest requests if it is
   above the mean.
5. **Hold.** Where a request is refused while the rate holds, the limit has moved and may move back: the next hold is
   short, ``HOLD`` seconds or ``PAUSE_SHARE`` times the time of ``Retry-After``. Where one is refused after growth, the
   limit is where it was: the next hold is ``STEADY`` times as long, so that probing costs a few percent.
6. **In flight.** At first ``FIRST_LIMIT`` requests may be in flight. Answers to requests that filled this limit when
   they started are counted; once there are as many of them as the limit, it doubles. Refusals do not change it: a
   service that limits requests in flight limits their rate, too.
7. **Outage.** When requests fail one after the other without an answer between them, at least ``FEWEST_FAULTS`` and at
   least as many as are in flight, the model pauses for the policy's delay after the last failure, and the limit of
   requests in flight is halved.

``rpm`` and ``tpm`` are hard limits besides: requests, and tokens (estimated at first, then counted), are spaced evenly.
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
"""After a hold, the rate has doubled when so many seconds' worth of requests at the known rate were answered."""
JITTER: Final = 0.05
LONGEST_PAUSE: Final = 16.0
FEWEST_FAULTS: Final = 4
SPAN: Final = 0.25
"""The latest requests are those of so many seconds, up to twice as many, and at least ``FEWEST``."""
FEWEST: Final = 8
CATCH_UP: Final = 0.02
"""Seconds that a late start may make good: timers are never exact."""
MINUTE: Final = 60.0


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


class _HardLimits:
    """The requests and tokens a minute that the user allows, None: any number."""

    __slots__ = ("_requests", "_rpm", "_tokens", "_tpm")

    def __init__(self, rpm: float | None, tpm: float | None) -> None:
        self._rpm, self._tpm = rpm, tpm
        self._requests, self._tokens = _Spacing(), _Spacing()

    def wait(self, now: float) -> float:
        return max(self._requests.wait(now), self._tokens.wait(now))

    def take(self, now: float, tokens: float) -> None:
        if self._rpm is not None:
            self._requests.take(now, MINUTE / self._rpm)
        if self._tpm is not None:
            self._tokens.take(now, tokens * MINUTE / self._tpm)

    def settle(self, tokens: float) -> None:
        """Correct the count by so many tokens; a negative number if fewer were used than taken."""
        if self._tpm is not None:
            self._tokens.settle(tokens * MINUTE / self._tpm)


class InFlight:
    """The requests in flight: how many there are (``count``), may be now (``limit``) and may ever be (``most``)."""

    __slots__ = ("_round", "count", "limit", "most")

    def __init__(self, limit: int, most: int) -> None:
        self.limit, self.most = limit, most
        self.count = self._round = 0

    @property
    def is_full(self) -> bool:
        """Tell whether no more may start."""
        return self.count >= self.limit

    def count_answer(self, *, to_last: bool) -> None:
        """Count an answer; enough answers ``to_last`` requests that the limit allowed raise the limit."""
        self._round += to_last
        if self._round >= self.limit:
            self._round = 0
            self.limit = min(self.most, self.limit * 2)

    def halve(self) -> None:
        """Allow half as many."""
        self.limit = max(self.limit // 2, 1)


class Epoch:
    """What is sent between two refusals.

    ``dry``: when the service had last taken all the requests that it could. ``opened``: the time from which the mean
    rate is counted. ``requests``: how many have started. ``faults``: how many failed one after the other. ``growth``:
    how many answers let the rate grow.
    """

    __slots__ = ("_mark", "_next_mark", "dry", "faults", "growth", "opened", "requests")

    def __init__(self, now: float, dry: float, gate: float) -> None:
        self.dry = dry
        self.opened = dry + max(0.0, gate - now - BURST)
        self.requests = self.faults = 0
        self.growth = 0.0
        self._mark = self._next_mark = (gate, 0)

    def pace(self, now: float) -> float:
        """Return the latest requests a second; ``BURST`` is added to their time, for those that started at once."""
        if now - self._next_mark[0] >= SPAN and self.requests - self._next_mark[1] >= FEWEST:
            self._mark, self._next_mark = self._next_mark, (now, self.requests)
        since, requests = self._mark
        return (self.requests - requests) / (now - since + BURST)


@dataclass(frozen=True, slots=True)
class Ticket:
    """What is known of a request when it starts.

    Its ``epoch``, its ``number`` in that, and the ``age`` of the epoch in seconds; the ``pace`` of the latest requests,
    in requests a second; ``is_probe``: its answer lets the rate grow; ``is_last``: with it, as many requests are in
    flight as the limit allows; the ``tokens`` reserved for it.
    """

    epoch: Epoch
    number: int
    age: float
    pace: float
    is_probe: bool
    is_last: bool
    tokens: float


class Pacer:
    """The pace of one model, by the rules of this module. Times are seconds of one clock, given by the caller.

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
        most = min(concurrency or most, most)
        self.in_flight = InFlight(most if concurrency else min(FIRST_LIMIT, most), most)
        self._hard_limits, self._turns = _HardLimits(rpm, tpm), _Spacing()
        self._base = FIRST_RATE
        self._gate = self._probe_at = now
        self._is_starting, self._is_asking = True, False
        self._fruitless = 0
        self._epoch = Epoch(now, now - BURST, now)
        self._epoch.growth = math.inf if concurrency else 0.0

    @property
    def rate(self) -> float:
        """Return the requests a second that may start now."""
        if self._is_starting:
            return self._base + self._epoch.growth * math.log(2) / DOUBLING
        return self._base * (1 + (self._epoch.growth / (self._base * PROBE)) ** 3)

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may start: 0 or less is now, infinity is when another has ended."""
        if self.in_flight.is_full or (self._is_asking and self._epoch.requests):
            return math.inf
        return max(self._gate - now, self._turns.wait(now), self._hard_limits.wait(now))

    def start(self, now: float, tokens: float = 0.0) -> Ticket:
        """Count a request that starts now, of about so many tokens."""
        self.in_flight.count += 1
        epoch = self._epoch
        ticket = Ticket(
            epoch=epoch,
            number=epoch.requests,
            age=now - epoch.opened,
            pace=epoch.pace(now),
            is_probe=now >= self._probe_at and self._turns.wait(now) > -CATCH_UP,
            is_last=self.in_flight.is_full,
            tokens=tokens,
        )
        epoch.requests += 1
        self._turns.take(now, 1 / self.rate)
        self._hard_limits.take(now, tokens)
        return ticket

    def answered(self, ticket: Ticket, tokens: float = 0.0) -> None:
        """Count an answer, which came to so many tokens."""
        self.ended(ticket, tokens)
        self.accepted(ticket)

    def accepted(self, ticket: Ticket) -> None:
        """Learn from a request that the service has taken, be it still in flight."""
        self._epoch.faults = 0
        if ticket.epoch is self._epoch:
            self._epoch.growth += ticket.is_probe
        self.in_flight.count_answer(to_last=ticket.is_last)

    def ended(self, ticket: Ticket, tokens: float = 0.0) -> None:
        """Count a request that ended, without judging the rate; it used so many tokens."""
        self.in_flight.count -= 1
        if ticket.epoch is self._epoch:
            self._is_asking = False
        self._hard_limits.settle(tokens - ticket.tokens)

    def failed(self, ticket: Ticket, now: float, delay: float, retry_after: float | None) -> None:
        """Count a passing fault, and the seconds after which its row is sent again."""
        self.ended(ticket)
        self.pause(now + (retry_after or 0.0))
        self._epoch.faults += ticket.epoch is self._epoch
        if self._epoch.faults >= max(FEWEST_FAULTS, self.in_flight.count):
            self.pause(now + delay)
            self.in_flight.halve()
            self._epoch = Epoch(now, now, self._gate)

    def refused(self, ticket: Ticket, now: float, retry_after: float | None, *, random: float = 0.5) -> None:
        """Count a refusal for coming too fast, with the seconds to wait if the service named them.

        ``random`` in [0, 1) places the restart in its jitter.
        """
        self.ended(ticket)
        self.learn(ticket, now, retry_after, random=random)

    def learn(self, ticket: Ticket, now: float, retry_after: float | None, *, random: float = 0.5) -> None:
        """Learn from a refusal of a request that is no longer in flight."""
        asked = (retry_after or 0.0) * (1 + JITTER * random)
        self.pause(now + asked)
        if ticket.epoch is self._epoch:
            self._cut(ticket, now, asked)

    def pause(self, then: float) -> None:
        """Start nothing before a time."""
        self._gate = max(self._gate, then)

    def _cut(self, ticket: Ticket, now: float, asked: float) -> None:
        """Learn from the first refusal of an epoch, and begin the next."""
        hold = max(HOLD, PAUSE_SHARE * asked) * (STEADY if self._epoch.growth else 1)
        if ticket.number:
            self._base, self._fruitless = self._learned(ticket), 0
        else:
            self._fruitless += 1
        if not asked:
            self.pause(now + min(2 / self._base * 2**self._fruitless, LONGEST_PAUSE))
        self._probe_at = self._gate + hold
        self._is_starting, self._is_asking = False, self._fruitless > 0
        self._epoch = Epoch(now, self._epoch.dry if self._fruitless else now, self._gate)

    def _learned(self, ticket: Ticket) -> float:
        """Return the rate to go on with."""
        mean = (ticket.number + PRIOR) / (ticket.age + PRIOR / self._base)
        taken = max(mean, ticket.pace) if self._epoch.growth else mean
        return max(min(taken, self.rate) * (1 - CUT), 1 / LONGEST_PAUSE)
