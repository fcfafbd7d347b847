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
   nothing left all along. So each further refusal corrects the rate, by what was taken since the first one; but where
   the service saves up nothing, it refuses each second request that comes a little too soon, and takes too few.
5. **Nothing.** Where nothing was taken between two refusals, the model pauses as long as it has waited already, up to
   ``LONGEST_PAUSE``; then a quarter as many are in flight, and twice as many after each round of answers.
6. **Pause.** ``Retry-After`` holds for the whole model, with some jitter. Without it the next request starts when the
   new rate allows.
7. **Hold and growth.** A rate is ``known`` by the number of requests that it was told from, up to ``KNOWN``. It holds
   for as many answers; where the limit was found where it was, for so many as make up for each refusal; after a pause,
   for so many as make up for that. Then it grows, by a small part at first, which doubles: the better the rate is known
   and the more are in flight, the slower. A rate that has doubled, by more than was saved up, is not known. Only
   requests that had to wait for their turn count.
8. **In flight.** Answers to requests that filled the limit in flight when they started are counted; once there are as
   many of them as the limit, it doubles. A service that limits requests in flight limits their rate, too.
9. **Outage.** When requests fail one after the other without an answer between them, at least ``FEWEST_FAULTS`` and at
   least as many as are in flight, the model pauses for the policy's delay after the last failure, and the limit of
   requests in flight is halved. Such a pause is measured only as long as the service can save up what comes in.
10. **In vain.** Where many refusals have halved the rate, and still as many come, slower is no help: twice the highest
    rate so far is tried (:class:`.refusals.Descent`).

``rpm`` and ``tpm`` are hard limits besides: requests, and tokens (estimated at first, then counted), are spaced evenly.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from novita_openai.pacing.limits import CATCH_UP, MINUTE, HardLimits, InFlight, Spacing
from novita_openai.pacing.refusals import Descent, Starts, Wave

__all__ = ["MOST_IN_FLIGHT", "Pacer", "Ticket"]

MOST_IN_FLIGHT: Final = 1_000
FIRST_LIMIT: Final = 32
"""Requests in flight at the start of a batch, where nobody waits for each of them."""
FEW: Final = 4
"""The same where somebody waits, as in the calls of a client."""
SHARE: Final = 1 / 5
"""Of the answers so far, the part that a client may have in flight more than at first."""
KNOWN: Final = 40.0
"""A rate is known by at most so many requests."""
PRIOR: Final = 3.0
"""What was known before counts as so many requests."""
WAVE_PRIOR: Final = 5.0
"""The same within a wave."""
MARGIN: Final = 0.01
"""How far below what was found the rate stays, as a part of it."""
LEFT: Final = 1 / 8
"""What a refusal leaves of a rate that was found before, at least."""
AHEAD: Final = 0.2
"""How far the rate goes from the mean towards that which was refused: the mean of growing rates is a low one."""
SEVERAL: Final = 3
"""A service that takes so many requests at once saves some up."""
UNKNOWN_SPAN: Final = 0.5
KNOWN_SPAN: Final = 0.7
"""Growth doubles after so many answers for each one in flight, and for each one by which the rate is known."""
REFUSAL_WORTH: Final = 30.0
PAUSE_WORTH: Final = 8.0
"""A steady rate holds for so many answers for each refusal; any for so many times those that a pause took, a steady one
twice as long."""
STEADY: Final = 0.1
"""A limit is found where it was, where the rate differs by less than this part."""
JITTER: Final = 0.05
LONGEST_PAUSE: Final = 10.0
LEAST_RATE: Final = 1 / 24
FEWEST_FAULTS: Final = 4


class Ticket(NamedTuple):
    """What is known of a request when it starts.

    Its ``number`` among all, its ``time`` and the ``rate`` then; ``is_due``: it had to wait for its turn, so that its
    answer lets the rate grow; ``is_last``: with it, as many requests are in flight as the limit allows; the ``tokens``
    reserved for it.
    """

    number: int
    time: float
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
        self._share, self._opened = share, now
        self._hard_limits, self._turns = HardLimits(rpm, tpm), Spacing()
        self._most = math.inf if rpm is None else rpm / MINUTE
        self._base, self._known, self._hold = self._most, KNOWN, KNOWN
        self._is_starting = rpm is None
        self._starts, self._descent, self._saved = Starts(), Descent(), float(SEVERAL)
        self._wave = self._first = Wave(-1, now, self._base)
        self._first_number = self._faults = 0
        self._answers = self._above = self._asked = self._seconds = 0.0

    @property
    def rate(self) -> float:
        """Return the requests a second that may start now, infinite where nothing limits them yet."""
        return min(self._base * (1 + self._growth()), self._most)

    def _growth(self) -> float:
        """Return the part of the known rate that is tried above it."""
        answers = self._answers - self._hold
        if self._is_starting or answers <= 0 or self._base >= self._most:
            return 0.0
        known = max(self._known, min(self._hold, KNOWN))
        each = UNKNOWN_SPAN + (KNOWN_SPAN - UNKNOWN_SPAN) * known / KNOWN
        span = KNOWN_SPAN * known + each * self.in_flight.count + 1
        return min((2 ** min(answers / span, KNOWN) - 1) / (1 + self._known), 1.0)

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may start: 0 or less is now, infinity is when another has ended."""
        if self.in_flight.is_full:
            return math.inf
        return max(self._turns.wait(now), self._hard_limits.wait(now))

    def start(self, now: float, tokens: float = 0.0) -> Ticket:
        """Count a request that starts now, of about so many tokens."""
        self.in_flight.count += 1
        rate = self.rate
        late = min(max(CATCH_UP, 1 / rate), (self._saved - 1) / 2 / rate)
        if self._starts.count:
            self._skip(now, -self._turns.wait(now))
        ticket = Ticket(
            number=self._starts.add(now),
            time=now,
            rate=rate,
            is_due=self._turns.wait(now) > -1 / rate,
            is_last=self.in_flight.is_full,
            tokens=tokens,
        )
        self._turns.take(now, 1 / rate, late)
        self._hard_limits.take(now, tokens, late)
        return ticket

    def _skip(self, now: float, idle: float) -> None:
        """Do not measure the rate by seconds in which nothing was sent, where they are most of its time."""
        measured = now - idle - self._wave.time
        self._wave.time += max(0.0, idle - max(measured, self._saved / self._base))

    def answered(self, ticket: Ticket, tokens: float = 0.0) -> None:
        """Count an answer, which came to so many tokens."""
        self.accepted(ticket)
        self.ended(ticket, tokens)

    def accepted(self, ticket: Ticket) -> None:
        """Learn from a request that the service has taken, be it still in flight."""
        self._faults = 0
        if ticket.number >= self._first_number:
            self._answers += ticket.is_due
            self._above += 0.0 if self._is_starting else max(0.0, 1 - self._base / ticket.rate)
            if self._growth() >= 1 and (self._above > self._saved or not self._known):
                self._base = min(2 * self._base, self._most)
                self._answers = self._above = self._hold = self._known = 0.0
        share = self._share if self._is_starting else 1.0
        self.in_flight.count_answer(to_last=ticket.is_last or self._is_starting, share=share)

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
            self._answers = self._above = 0.0

    def refused(self, ticket: Ticket, now: float, retry_after: float | None, *, random: float = 0.5) -> None:
        """Count a refusal for coming too fast, with the seconds to wait if the service named them.

        ``random`` in [0, 1) places the restart in its jitter.
        """
        self.ended(ticket)
        self.learn(ticket, now, retry_after, random=random)

    def learn(self, ticket: Ticket, now: float, retry_after: float | None, *, random: float = 0.5) -> None:
        """Learn from a refusal of a request that is no longer in flight."""
        asked = (retry_after or 0.0) * (1 + JITTER * random)
        if ticket.number < self._first_number:
            self._correct(ticket)
        else:
            self._meet_limit(ticket, now, asked)
        self._hold += self._wave.worth
        self.pause(now + asked)

    def pause(self, then: float) -> None:
        """Start nothing before a time."""
        self._turns.hold(then)

    def _rest(self, now: float, seconds: float) -> None:
        """Pause, and do not measure the rate by the time in which the service has saved up all that it can."""
        before = max(self._turns.wait(now), 0.0)
        self.pause(now + seconds)
        if not self._is_starting:
            rested = max(self._turns.wait(now), 0.0) - before
            self._wave.time += max(0.0, rested - self._saved / self._base)

    def _meet_limit(self, ticket: Ticket, now: float, asked: float) -> None:
        """Learn from a request that was refused although it started after the last change."""
        opened, self._first_number = self._first_number, self._starts.count
        if self._is_starting:
            self._is_starting, self._asked = False, asked
            self._wave = self._first = Wave(ticket.number, ticket.time)
            self._seconds = max(now - self._opened, CATCH_UP)
            self._guess()
        elif self._wave.taken(ticket.number) > 0:
            self._find(ticket, opened, asked)
        else:
            self._wave.others += 1
            self._ask(now)
        self._answers = self._above = 0.0

    def _guess(self) -> None:
        """Guess a rate by the first refusals, before which nothing was known."""
        self._saved = max(self._first.number, 1.0)
        self._base = self._wave.rate = self._saved / self._seconds
        self._hold = self._known = 0.0
        self.pause(self._starts.last + 1 / self._base)

    def _ask(self, now: float) -> None:
        """Wait once more as long as there was nothing, and go on with a quarter as many requests."""
        self.in_flight.limit = max(self.in_flight.limit // 4, 1)
        self._hold = self._known = 0.0
        self.pause(now + max(min(now - self._wave.time, LONGEST_PAUSE), 1 / self._base))

    def _find(self, ticket: Ticket, opened: int, asked: float) -> None:
        """Find the rate by what was taken since the last wave; the requests from ``opened`` on started after it."""
        before, answers, has_grown = self._base, self._answers, self._answers > self._hold
        left = 0.0 if self._wave is self._first else before * LEFT
        taken, prior = self._wave.taken(ticket.number), min(PRIOR, self._known)
        mean = (taken + 0.5 + prior) / (self._wave.seconds(ticket.time) + prior / before)
        self._saved = max(1.0, self._first.number - mean * (self._first.time - self._opened))
        least = self._starts.least_rate(opened, ticket.number, self._saved)
        rate = min(max(mean, least), ticket.rate)
        if has_grown and taken >= SEVERAL and not asked:
            rate += AHEAD * (ticket.rate - rate)
        self._base = self._descent.cut(max(rate * (1 - MARGIN), left, LEAST_RATE), had_grown=has_grown)
        is_steady = abs(rate - self._wave.rate) < STEADY * rate
        self._wave = Wave(ticket.number, ticket.time, rate, REFUSAL_WORTH if is_steady else 0.0)
        known = self._known + answers if mean < least else taken + prior - min(self._saved, self._asked * before)
        self._known, self._asked = min(max(known, 0.0), KNOWN), asked
        pause = asked * self._base * PAUSE_WORTH * (2 if is_steady else 1)
        self._hold = max(self._known, pause * self._known / (self._known + SEVERAL))
        self.pause(self._starts.last + 1 / self._base)

    def _correct(self, ticket: Ticket) -> None:
        """Correct the rate by a further refusal of a wave."""
        wave = self._wave
        if ticket.number < wave.number:
            wave.number, wave.time = ticket.number, ticket.time
            if wave is self._first:
                self._guess()
        elif wave is not self._first and self._saved >= SEVERAL and (taken := wave.taken(ticket.number)) > 0:
            rate = (taken + WAVE_PRIOR) / (wave.seconds(ticket.time) + WAVE_PRIOR / wave.rate)
            self._base = min(rate, ticket.rate) * (1 - MARGIN)
            self._known = max(self._known, min(KNOWN, taken))
            self._hold = max(self._hold, self._known)
        wave.others += 1
