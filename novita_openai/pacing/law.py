"""How many requests of a model are in flight, and when the next may start: pure decisions; times are arguments.

The service limits the requests and tokens a minute of each model, and does not say where its limits are, nor how many
it saves up: those of a second, or of a minute. Each model therefore has a :class:`Pacer`, which finds a rate by what is
refused (429). All that it goes by are counts of requests and times that it has measured, so that three requests a
minute are found as thirty thousand are. Its rules:

1. **Start.** As many requests as ``first`` are in flight, and more with each answer: a part of the answers so far, so
   that a refusal finds at most that part of what was taken on its way. No rate limits the start. Where the user gives
   a number in flight, that is used at once; where the user gives ``rpm``, that is the first rate. The first refusal
   tells how many requests the service has saved up at most, and the mean so far is a guess of its rate.
2. **Mean.** When a request is refused, the service has nothing left. So between two refusals it took what came in
   meanwhile: the mean of that time is its rate. Only a refused request that has started since the rate changed last
   changes it again; those of before are the rest of a wave, and of them rule 4 speaks.
3. **Least.** Where the service had more than it can save up, the mean is too low. Where most of the time
   nobody sent anything, that time is not counted. And whatever it took beyond what it had saved up came in
   meanwhile: so the last requests before a refusal, many or few, tell the least rate. Once a limit was found, no
   refusal lowers the rate to less than ``LEFT`` of itself: the time between two of them may be that of a slow answer.
4. **Wave.** What is sent before the first refusal is heard of goes on being taken and refused, and the service has
   nothing left all along. Refusals are heard of in any order: one of a request that had started before all others of
   its wave finds the rate anew, from what was known before the wave. Each corrects it by what was taken within the
   wave; where the service saves up nothing, it refuses each second request that comes a little too soon, and takes too
   few, so that this is the least rate.
5. **Nothing.** Where nothing was taken between two refusals, the model pauses as long as it has waited already, up to
   ``LONGEST_PAUSE``; then a quarter as many are in flight, as rule 8 says, and the rate is not known any more.
6. **Pause.** ``Retry-After`` holds for the whole model, with some jitter. Without it the next request starts when the
   new rate allows.
7. **Hold and growth.** A rate is ``known`` by the number of requests that it was told from, up to ``KNOWN``. It holds
   for as many answers; where the limit was found where it was, for so many as make up for each refusal; after a pause,
   for so many as make up for that, and more each time that the limit was found where it was. Then it grows, by a small
   part at first, which doubles: the better the rate is known and the more are in flight, the slower. A rate that has
   doubled, by more than was saved up, is hardly known. Only requests that had to wait for their turn count.
8. **In flight.** Answers to requests that filled the limit in flight when they started are counted; once there are as
   many of them as the limit, it doubles. A service that limits requests in flight refuses at the same number each
   time, and never took more (:class:`.concurrency.Concurrency`): then so many start at once, at no rate but a given
   one. What is refused of those at none tells none: once that limit is given up, the rate found before is gone on with.
9. **Outage.** When requests fail one after the other without an answer between them, at least ``FEWEST_FAULTS`` and at
   least as many as are in flight, the model pauses for the policy's delay after the last failure, and the limit of
   requests in flight is halved. Such a pause is measured only as long as the service can save up what comes in.
10. **In vain.** Where many refusals have halved the rate, and few of them came after it had grown, slower is no help:
    twice the highest of these rates is tried (:class:`.refusals.Descent`).

``rpm`` and ``tpm`` are hard limits besides: requests, and tokens (estimated at first, then counted), are spaced evenly.
"""

from __future__ import annotations

import math
from typing import Final

from novita_openai.pacing.concurrency import Concurrency
from novita_openai.pacing.limits import CATCH_UP, MINUTE, HardLimits, InFlight, Spacing
from novita_openai.pacing.rate import Rate
from novita_openai.pacing.refusals import Starts, Ticket

__all__ = ["MOST_IN_FLIGHT", "Pacer", "Ticket"]

MOST_IN_FLIGHT: Final = 1_000
FIRST_LIMIT: Final = 32
"""Requests in flight at the start of a batch, where nobody waits for each of them."""
FEW: Final = 4
"""The same where somebody waits, as in the calls of a client."""
SHARE: Final = 1 / 5
"""Of the answers so far, the part that a client may have in flight more than at first."""
LATE: Final = 1 / 4
"""A late start may make good this part of the time between two requests, or ``CATCH_UP`` seconds; never more than half
of what the service saves up."""
JITTER: Final = 0.05
FEWEST_FAULTS: Final = 4


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
        self._concurrency, self._share = Concurrency(most), share
        self._hard_limits, self._turns = HardLimits(rpm, tpm), Spacing()
        self._starts = Starts()
        self._rate = Rate(now, self._starts, None if rpm is None else rpm / MINUTE)
        self._first_number = self._faults = 0

    @property
    def rate(self) -> float:
        """Return the requests a second that may start now, infinite where nothing limits them yet."""
        return self._rate.most if self._concurrency.is_found else self._rate.at(self.in_flight.count)

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may start: 0 or less is now, infinity is when another has ended."""
        if self.in_flight.is_full:
            return math.inf
        return max(self._turns.wait(now), self._hard_limits.wait(now))

    def start(self, now: float, tokens: float = 0.0) -> Ticket:
        """Count a request that starts now, of about so many tokens."""
        self.in_flight.count += 1
        rate, wait = self.rate, self._turns.wait(now)
        late = min(max(CATCH_UP, LATE / rate), (self._rate.saved - 1) / 2 / rate)
        if self._starts.count:
            self._rate.skip(now, -wait)
        ticket = Ticket(
            number=self._starts.add(now),
            time=now,
            rate=rate,
            is_due=wait > -1 / rate,
            in_flight=self.in_flight.count,
            is_last=self.in_flight.is_full,
            refused=self._concurrency.refused,
            tokens=tokens,
        )
        self._turns.take(now, 1 / rate, late)
        self._hard_limits.take(now, tokens, late)
        return ticket

    def answered(self, ticket: Ticket, tokens: float = 0.0) -> None:
        """Count an answer, which came to so many tokens."""
        self.accepted(ticket)
        self.ended(ticket, tokens)

    def accepted(self, ticket: Ticket) -> None:
        """Learn from a request that the service has taken, be it still in flight."""
        self._faults = 0
        self._concurrency.take(ticket)
        self.in_flight.most = self._concurrency.most
        if ticket.number >= self._first_number and not self._concurrency.is_found:
            self._rate.count_answer(ticket, self.in_flight.count)
        is_starting = self._rate.is_starting
        share = self._share if is_starting else 1.0
        self.in_flight.count_answer(to_last=ticket.is_last or is_starting, share=share)

    def ended(self, ticket: Ticket, tokens: float = 0.0) -> None:
        """Count a request that ended, without judging the rate; it used so many tokens."""
        self.in_flight.count -= 1
        self._hard_limits.settle(tokens - ticket.tokens)

    def failed(self, ticket: Ticket, now: float, delay: float, retry_after: float | None) -> None:
        """Count a passing fault, and the seconds after which its row is sent again."""
        self.ended(ticket)
        self._rest(now, retry_after or 0.0)
        self._faults += ticket.number >= self._first_number
        if self._faults >= max(FEWEST_FAULTS, self.in_flight.count):
            self._rest(now, delay)
            self.in_flight.halve()
            self._first_number, self._faults = self._starts.count, 0
            self._rate.grow_anew()

    def refused(self, ticket: Ticket, now: float, retry_after: float | None, *, random: float = 0.5) -> None:
        """Count a refusal for coming too fast, with the seconds to wait if the service named them.

        ``random`` in [0, 1) places the restart in its jitter.
        """
        self.ended(ticket)
        self.learn(ticket, now, retry_after, random=random)

    def learn(self, ticket: Ticket, now: float, retry_after: float | None, *, random: float = 0.5) -> None:
        """Learn from a refusal of a request that is no longer in flight."""
        asked = (retry_after or 0.0) * (1 + JITTER * random)
        if ticket.number >= self._first_number:
            self._meet_limit(ticket, now, asked)
        elif self._concurrency.is_found:
            self._rate.wave.add(ticket)
        else:
            self.pause(self._rate.correct(ticket))
        self._concurrency.refuse(ticket.number)
        self.pause(now + asked)

    def pause(self, then: float) -> None:
        """Start nothing before a time."""
        self._turns.hold(then)

    def _rest(self, now: float, seconds: float) -> None:
        """Pause, and do not measure the rate by the time in which the service has saved up all that it can."""
        before = max(self._turns.wait(now), 0.0)
        self.pause(now + seconds)
        self._rate.rest(max(self._turns.wait(now), 0.0) - before)

    def _meet_limit(self, ticket: Ticket, now: float, asked: float) -> None:
        """Learn from a request that was refused although it started after the last change."""
        opened, self._first_number = self._first_number, self._starts.count
        self._concurrency.judge(ticket, self._rate.found)
        self.in_flight.most = self._concurrency.most
        if self._rate.is_in_vain(ticket) and not self._concurrency.is_found:
            self.in_flight.limit = max(self.in_flight.limit // 4, 1)
            self.pause(self._rate.ask(ticket, now))
            return
        self._rate.begin(ticket, now, opened, asked)
        if self._concurrency.is_found and not self._rate.is_starting:
            self.in_flight.limit = self._concurrency.most
        else:
            self.pause(self._rate.find())
