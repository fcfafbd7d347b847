"""How many requests of a model are in flight, and when the next may start: pure decisions; times are arguments.

The service limits the requests and tokens a minute of each model, and does not say where its limits are, nor how many
it saves up: those of a second, or of a minute. Each model therefore has a :class:`Pacer`, which finds a rate by what is
refused (429). All that it goes by are counts of requests and times that it has measured, so that three requests a
minute are found as thirty thousand are. Its rules:

1. **Start.** As many requests as ``first`` are in flight, and more with each answer: a part of the answers so far, so
   that a refusal finds at most that part of what was taken on its way. No rate limits the start. Where the user gives
   a number in flight, that is used at once; where the user gives ``rpm``, that is the first rate.
2. **Refusal.** What is sent between two refusals is an epoch. Only a refused request of the current epoch changes the
   rate and begins the next epoch, so that a wave of refusals counts once. At both ends of an epoch the service had
   nothing left, so that it took as much as it could in between: the new rate is the mean of the epoch. ``PRIOR``
   requests at the old rate are added to it, so that it does not depend on a few requests. Of a pause at the beginning
   of the epoch, the time of at most ``SAVED`` requests counts, as a service may save up no more.
3. **Ask.** The mean of the start says little, as what was saved up is in it: it is a guess. After it, and wherever the
   first request after a refusal is refused too, the model pauses, for as long as it has waited already, up to
   ``LONGEST_PAUSE``; then one request is in flight, and twice as many after each round of answers.
4. **Pause.** After other refusals the model pauses for the time of ``Retry-After``, if there is one, and some jitter.
5. **Probe.** The rate holds for as many answers as it is known by, up to ``HOLD``, twice as long whenever the limit is
   found where it was, and many times as long as a pause that the service asks for. Then it grows with the cube of
   the number of answers: slowly around the known limit, faster where that is gone, in steps of ``STEP``; the rate
   before the last step was not too high, whatever the mean says. Only requests that had to wait for their turn count.
6. **Margin.** A service that saves up nothing refuses what the network brings closer together than it was sent. Where
   the start has shown that, or the user's own ``rpm`` was refused, a known rate only stays below itself by a margin,
   which doubles with each refusal while the rate holds, and is halved after growth; no late start is made good.
7. **In flight.** Answers to requests that filled the limit in flight when they started are counted; once there are as
   many of them as the limit, it doubles. Refusals do not change it, except after the start: a service that limits
   requests in flight limits their rate, too.
8. **Outage.** When requests fail one after the other without an answer between them, at least ``FEWEST_FAULTS`` and at
   least as many as are in flight, the model pauses for the policy's delay after the last failure, and the limit of
   requests in flight is halved.
9. **In vain.** A service may refuse some requests however fast they come, as others use it up. Where ``CUTS`` cuts have
   halved the rate, and never ``CALM`` in a row came after an epoch in which it had grown, slower is no help: the rate
   goes back to the highest of them.

``rpm`` and ``tpm`` are hard limits besides: requests, and tokens (estimated at first, then counted), are spaced evenly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from novita_openai.pacing.limits import CATCH_UP, MINUTE, HardLimits, InFlight, Spacing

__all__ = ["MOST_IN_FLIGHT", "Pacer", "Ticket"]

MOST_IN_FLIGHT: Final = 1_000
FIRST_LIMIT: Final = 32
"""Requests in flight at the start of a batch, where nobody waits for each of them."""
FEW: Final = 4
"""The same where somebody waits, as in the calls of a client."""
SHARE: Final = 1 / 3
"""Of the answers so far, the part that a client may have in flight more than at first."""
SAVED: Final = 9.0
PRIOR: Final = 3.0
HOLD: Final = 40.0
STEADY: Final = 240.0
"""The longest hold, of a limit that was found where it was."""
PAUSE_SHARE: Final = 6.0
STEADY_TIMES: Final = 5.0
"""A hold lasts as long as so many of the pauses that the service asks for, five times that for a steady limit."""
PROBE: Final = 2.0
"""After a hold, so many answers more would double the rate."""
STEP: Final = 0.25
IN_FLIGHT_SHARE: Final = 3.0
"""A probe lasts at least so many times the requests in flight, as what these meet is not known yet."""
MARGINS: Final = (0.02, 0.12)
KNOWN: Final = 8.0
"""A rate is known by so many requests."""
SEVERAL: Final = 3
"""A service that takes so many requests at once saves some up."""
CUTS: Final = 16
CALM: Final = 3
JITTER: Final = 0.05
LONGEST_PAUSE: Final = 24.0
FEWEST_FAULTS: Final = 4
CATCH_UP_SHARE: Final = 1.0
"""The same as a part of the time between two starts, as long as the service is known to save up requests."""


class Epoch:
    """What is sent between two refusals.

    ``opened``: the time from which the mean rate is counted. ``requests``: how many have started; ``taken``: how many
    of them were answered. ``faults``: how many failed one after the other. ``growth``: how many answers
    let the rate grow.
    """

    __slots__ = ("faults", "growth", "opened", "requests", "taken")

    def __init__(self, opened: float) -> None:
        self.opened = opened
        self.requests = self.taken = self.faults = 0
        self.growth = 0.0


class Descent:
    """Cuts of the rate, one after the other, by rule 9: the highest rate (``top``), and how many cuts came since."""

    __slots__ = ("_calm", "_cuts", "_top")

    def __init__(self) -> None:
        self._top = 0.0
        self._cuts = self._calm = 0

    def cut(self, rate: float, *, had_grown: bool) -> float:
        """Take the rate to which a cut has led; return that to go on with."""
        self._calm = self._calm + 1 if had_grown else 0
        if self._calm >= CALM:
            self._top = self._cuts = 0
        self._top, self._cuts = max(self._top, rate), self._cuts + 1
        if self._cuts < CUTS or rate > self._top / 2:
            return rate
        self._cuts = 0
        return self._top


@dataclass(frozen=True, slots=True)
class Ticket:
    """What is known of a request when it starts.

    Its ``epoch``, its ``number`` in that, and the ``age`` of the epoch in seconds; the ``rate`` then; ``is_due``: it
    had to wait for its turn, so that its answer lets the rate grow; ``is_last``: with it, as many requests are in
    flight as the limit allows; the ``tokens`` reserved for it.
    """

    epoch: Epoch
    number: int
    age: float
    rate: float
    is_due: bool
    is_last: bool
    tokens: float


class Pacer:
    """The pace of one model, by the rules of this module. Times are seconds of one clock, given by the caller.

    ``concurrency``: the most in flight, None to find it, up to ``most``. ``first``: how many are in flight at the
    start. ``rpm``, ``tpm``: hard limits a minute.
    """

    def __init__(  # noqa: PLR0913 - one for each thing that can be known before
        self,
        now: float,
        *,
        concurrency: int | None = None,
        most: int = MOST_IN_FLIGHT,
        first: int = FIRST_LIMIT,
        share: float = 1.0,
        rpm: float | None = None,
        tpm: float | None = None,
    ) -> None:
        most = min(concurrency or most, most)
        is_free = concurrency is not None or rpm is not None
        self.in_flight = InFlight(most if is_free else min(first, most), most)
        self._share = share
        self._hard_limits, self._turns = HardLimits(rpm, tpm), Spacing()
        self._most = math.inf if rpm is None else rpm / MINUTE
        self._base = self._most
        self._gate = self._last = now
        self._known = HOLD
        self._hold, self._margin = HOLD, MARGINS[0]
        self._is_starting = rpm is None
        self._fruitless = self._is_guess = False
        self._found = self._passed = self._longest = 0.0
        self._epoch = self._start = Epoch(now)
        self._descent = Descent()
        self._is_exact = False

    @property
    def rate(self) -> float:
        """Return the requests a second that may start now, infinite where nothing limits them yet."""
        return min(math.inf if self._is_guess else self._base * (1 + self._growth()), self._most)

    @property
    def _saves(self) -> bool:
        """Tell whether the service saves up requests, as far as is known: it took several at the start, or may have."""
        if self._is_starting or self._most < math.inf:
            return not self._is_exact
        return self._start.taken >= SEVERAL

    def _growth(self) -> float:
        """Return the part of the known rate that is tried above it."""
        if self._is_starting:
            return 0.0
        answers = self._epoch.growth - self._hold
        span = max(PROBE * self._known, IN_FLIGHT_SHARE * self.in_flight.count, 1.0)
        return min((answers / span) ** 3, STEP) if answers > 0 else 0.0

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may start: 0 or less is now, infinity is when another has ended."""
        if self.in_flight.is_full:
            return math.inf
        return max(self._gate - now, self._turns.wait(now), self._hard_limits.wait(now))

    def start(self, now: float, tokens: float = 0.0) -> Ticket:
        """Count a request that starts now, of about so many tokens."""
        self.in_flight.count += 1
        epoch, rate = self._epoch, self.rate
        late = max(CATCH_UP, CATCH_UP_SHARE / rate) if self._saves else CATCH_UP
        ticket = Ticket(
            epoch=epoch,
            number=epoch.requests,
            age=now - epoch.opened,
            rate=rate,
            is_due=self._turns.wait(now) > -max(CATCH_UP, 0.5 / rate),
            is_last=self.in_flight.is_full,
            tokens=tokens,
        )
        epoch.requests += 1
        self._last = now
        self._turns.take(now, 1 / rate, late)
        self._hard_limits.take(now, tokens, late)
        return ticket

    def answered(self, ticket: Ticket, tokens: float = 0.0) -> None:
        """Count an answer, which came to so many tokens."""
        self.accepted(ticket)
        self.ended(ticket, tokens)

    def accepted(self, ticket: Ticket) -> None:
        """Learn from a request that the service has taken, be it still in flight."""
        epoch = self._epoch
        ticket.epoch.taken += 1
        epoch.faults = 0
        if ticket.epoch is epoch:
            epoch.growth += ticket.is_due
            if not self._is_guess and self._growth() >= STEP:
                self._passed, self._base = self._base, self.rate
                self._hold = epoch.growth = 0.0
        share = self._share if self._is_starting else 1.0
        self.in_flight.count_answer(to_last=ticket.is_last or self._is_starting, share=share)

    def ended(self, ticket: Ticket, tokens: float = 0.0) -> None:
        """Count a request that ended, without judging the rate; it used so many tokens."""
        self.in_flight.count -= 1
        self._hard_limits.settle(tokens - ticket.tokens)

    def failed(self, ticket: Ticket, now: float, delay: float, retry_after: float | None) -> None:
        """Count a passing fault, and the seconds after which its row is sent again."""
        self.ended(ticket)
        self.pause(now + (retry_after or 0.0))
        self._epoch.faults += ticket.epoch is self._epoch
        if self._epoch.faults >= max(FEWEST_FAULTS, self.in_flight.count):
            self.pause(now + delay)
            self.in_flight.halve()
            self._epoch = Epoch(max(now, self._gate))

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
        was_starting, opened = self._is_starting, max(self._last, now + asked - SAVED / self._base)
        self._fruitless = self._is_starting = False
        if was_starting:
            self._learn_start(now)
        elif self._keeps_below(ticket):
            self._base = ticket.rate * (1 - self._margin)
            self._known = min(HOLD, self._known + ticket.number)
        elif ticket.number:
            had_grown = self._growth() > 0
            if self._is_guess and self.in_flight.limit >= 2 * FEW:
                self._passed = self.in_flight.limit / 2 / max(now - self._epoch.opened - ticket.age, CATCH_UP)
            self._is_guess = False
            self._learn_mean(ticket)
            self._base = self._descent.cut(self._base, had_grown=had_grown)
        else:
            self._fruitless, opened = True, self._epoch.opened
            if not self._known:
                self._base = min(self._base, 1 / max(ticket.age, CATCH_UP))
        self._base = max(self._base, 1 / LONGEST_PAUSE)
        if not (was_starting or self._fruitless):
            self._hold = self._next_hold(asked)
        if was_starting or self._fruitless:
            self.in_flight.limit = 1
            if not asked:
                self.pause(now + min(max(1 / self._base, ticket.age), LONGEST_PAUSE))
        self._epoch = Epoch(opened)

    def _learn_start(self, now: float) -> None:
        """Guess a rate by the first refusal, which nobody knew until now."""
        self._base = max(self._epoch.taken, 1) / max(now - self._epoch.opened, CATCH_UP)
        self._hold = self._known = 0.0
        self._is_guess = self._share >= 1

    def _keeps_below(self, ticket: Ticket) -> bool:
        """Adapt the margin; tell whether the known rate is right and only has to be kept below."""
        least, most = MARGINS
        has_grown = self._epoch.growth > self._hold
        if self._most < math.inf and not has_grown:
            self._is_exact = True
        if self._saves:
            self._margin = least
        else:
            self._margin = max(self._margin / 2, least) if has_grown else min(self._margin * 2, most)
        return not self._saves and self._known >= KNOWN and (self._margin < most or not ticket.number)

    def _learn_mean(self, ticket: Ticket) -> None:
        """Learn the rate to go on with from what was taken before a refusal."""
        prior = min(PRIOR, self._known)
        taken = ticket.number + (0.5 if self._saves else 1.0) + prior
        mean = taken / (ticket.age + (prior / self._base if prior else 0.0))
        self._base = min(max(mean, self._passed), ticket.rate) * (1 - self._margin)
        self._known = min(HOLD, ticket.number + prior)

    def _next_hold(self, asked: float) -> float:
        """Return for how many answers the rate holds: longer each time that the limit is found where it was.

        A pause that the service asks for costs many requests, and is to be rare.
        """
        is_steady = self._epoch.growth > self._hold and abs(self._found - self._base) <= STEP * self._base
        self._found, self._passed = self._base, 0.0
        self._longest = min(max(self._longest, self._known) * 2, STEADY) if is_steady else self._known
        return max(self._longest, PAUSE_SHARE * asked * self._base * (STEADY_TIMES if is_steady else 1.0))
