"""The rate at which a service takes the requests of a model, told by its refusals: pure decisions.

The rules are those of :mod:`novita_openai.pacing.law` on the mean, the least, waves, what is in vain, hold and growth.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from novita_openai.pacing.limits import CATCH_UP
from novita_openai.pacing.refusals import FEWEST, Descent, Starts, Ticket, Wave

__all__ = ["Rate"]

KNOWN: Final = 40.0
"""A rate is known by at most so many requests."""
PRIOR: Final = 3.0
"""What was found before counts as so many requests; what the user gave as ``KNOWN``."""
WAVE_PRIOR: Final = 5.0
"""The same within a wave."""
DOUBLED: Final = 5.0
"""A rate that has doubled is known by at most so many requests."""
MARGIN: Final = 0.01
"""How far below what was found the rate stays, as a part of it."""
LEFT: Final = 1 / 8
"""What a refusal leaves of a rate that was found before, at least."""
AHEAD: Final = 0.15
"""How far the rate goes from the mean towards that which was refused: the mean of growing rates is a low one."""
SEVERAL: Final = 3
"""A service that takes so many requests at once saves some up."""
FEW_IN_FLIGHT: Final = 8
"""Where so few are in flight at most, a refusal is heard of before many more are sent."""
CUT: Final = 0.04
MOST_CUT: Final = 0.5
ENOUGH: Final = 8
"""A request that came a little too soon cuts the rate by the part ``CUT``; by twice the last cut, up to ``MOST_CUT``,
if fewer than ``ENOUGH`` were taken before it. A mean that is higher holds; of a rate that the user gave, up to ``CUT``
below it, and a lower mean of ``ENOUGH`` holds, too."""
UNKNOWN_SPAN: Final = 0.5
KNOWN_SPAN: Final = 0.7
"""Growth doubles after so many answers for each one in flight, and for each one by which the rate is known."""
REFUSAL_WORTH: Final = 40.0
PAUSE_WORTH: Final = 8.0
"""A steady rate holds for so many answers for each refusal; any for so many times those that a pause took, the
less it is known the fewer, and once more for each time in a row that it was steady, up to ``MOST_STEADY``."""
STEADY: Final = 0.1
"""A limit is found where it was, where the rate differs by less than this part."""
MOST_STEADY: Final = 3
LONGEST_PAUSE: Final = 10.0
LEAST_RATE: Final = 1 / 24


class Before(NamedTuple):
    """What was known before a wave: all that the rate is found by.

    ``base``, the rate; by how many requests it was ``known``, how many ``answers`` had come since, and for how many it
    was to ``hold``; what the refusals of the last ``wave`` had ``asked`` to wait; how many times in a row the rate had
    been found where it was (``steady``); the last ``cut``. Requests from number ``opened`` on started after that wave.
    """

    base: float
    known: float
    answers: float
    hold: float
    asked: float
    steady: int
    cut: float
    opened: int
    wave: Wave

    @property
    def had_grown(self) -> bool:
        """Tell whether the rate had grown beyond what was found."""
        return self.answers > self.hold


class Rate:
    """The rate of a service, in requests a second, from what is known of the ``starts`` of requests.

    ``given``: what the user allows, None where it is to be found. ``saved``: how many requests the service can save up,
    estimated from those that it took before the first refusal; ``wave``: the last refusals. ``is_starting``: there were
    none so far.
    """

    def __init__(self, now: float, starts: Starts, given: float | None) -> None:
        self._starts, self._opened = starts, now
        self.most = math.inf if given is None else given
        self.is_starting = given is None
        self.saved = float(SEVERAL)
        self.wave = self._first = Wave(-1, now, self.most, self.most)
        self._first_seconds = 0.0
        self._base, self._known, self._hold = self.most, KNOWN, KNOWN
        self._descent, self._steady, self._cut = Descent(), 0, CUT / 2
        self._answers = self._above = self._asked = self._seconds = 0.0
        self._has_few = False
        self._before = self._so_far(0)

    def _so_far(self, opened: int) -> Before:
        return Before(
            base=self._base,
            known=self._known,
            answers=self._answers,
            hold=self._hold,
            asked=self._asked,
            steady=self._steady,
            cut=self._cut,
            opened=opened,
            wave=self.wave,
        )

    @property
    def found(self) -> float:
        """Return the rate that was found last, without what it has grown since."""
        return self._base

    def at(self, in_flight: int) -> float:
        """Return the rate that may be tried, with so many in flight: what was found, and what it has grown since."""
        return min(self._base * (1 + self._growth(in_flight)), self.most)

    def _growth(self, in_flight: int) -> float:
        answers = self._answers - self._hold
        if self.is_starting or answers <= 0 or self._base >= self.most:
            return 0.0
        known = max(self._known, min(self._hold, KNOWN))
        each = UNKNOWN_SPAN + (KNOWN_SPAN - UNKNOWN_SPAN) * known / KNOWN
        span = KNOWN_SPAN * known + each * in_flight + 1
        return min((2 ** min(answers / span, KNOWN) - 1) / (1 + self._known), 1.0)

    def count_answer(self, ticket: Ticket, in_flight: int) -> None:
        """Count an answer to a request that has started since the rate changed last."""
        self._answers += ticket.is_due
        self._above += 0.0 if self.is_starting else max(0.0, 1 - self._base / ticket.rate)
        if self._growth(in_flight) >= 1 and (self._above > self.saved or not self._known):
            self._base = min(2 * self._base, self.most)
            self._known = min(self._known, DOUBLED)
            self.grow_anew()
            self._hold = 0.0

    def grow_anew(self) -> None:
        """Let the rate grow from here anew."""
        self._answers = self._above = 0.0

    # Times that are not measured.

    def skip(self, now: float, idle: float) -> None:
        """Move the time of the last wave by seconds in which nothing was sent, where they are most of those since."""
        measured = now - idle - self.wave.time
        self.wave.time += max(0.0, idle - max(measured, self.saved / self._base))

    def rest(self, seconds: float) -> None:
        """Move the time of the last wave by the seconds of a pause in which the service can save up no more."""
        if not self.is_starting:
            self.wave.time += max(0.0, seconds - self.saved / self._base)

    # Waves of refusals.

    def is_in_vain(self, ticket: Ticket) -> bool:
        """Tell whether nothing was taken between the last wave and a request that was refused."""
        return not (self.is_starting or self.wave.is_empty) and self.wave.taken(ticket.number) == 0

    def ask(self, ticket: Ticket, now: float) -> float:
        """Return when to ask again, where nothing is taken: after once more as long as that has been so."""
        self.wave.add(ticket)
        self.grow_anew()
        self._hold, self._known = self.wave.worth, 0.0
        return now + max(min(now - self.wave.time, LONGEST_PAUSE), 1 / self._base)

    def begin(self, ticket: Ticket, now: float, opened: int, asked: float) -> None:
        """Begin a wave with its first refusal, which asked to wait; requests from ``opened`` on came after the last."""
        self._before = self._so_far(opened)
        self.wave = Wave(ticket.number, ticket.time, ticket.rate, self._base)
        self._asked, self._has_few = asked, ticket.in_flight <= FEW_IN_FLIGHT
        if self.is_starting:
            self._first, self._seconds = self.wave, max(now - self._opened, CATCH_UP)
        self.grow_anew()

    def find(self) -> float:
        """Find the rate by the wave that has begun; return when the next request may start."""
        if self.is_starting:
            self.is_starting = False
            return self._guess()
        if self.wave.tried < math.inf:
            self._measure()
            self._base = self._descent.cut(self._base, had_grown=self._before.had_grown)
            self._hold += self.wave.worth
        return self._next()

    def correct(self, ticket: Ticket) -> float:
        """Correct the rate by a further refusal of a wave; return before when no request may start, on its account.

        A second one raises no rate that the user gave, and that the first has cut.
        """
        was_alone, is_first = self.wave.refused == 1, self.wave.add(ticket)
        if self.wave is self._first:
            return self._guess() if is_first else -math.inf
        if self.wave.tried == math.inf:
            return -math.inf
        if (is_first or was_alone) and self._before.wave.taken(self.wave.number) > 0:
            alone = math.inf if is_first or self.most == math.inf else self._base
            self._measure()
            self._base = self.wave.rate = min(self._base, alone)
        self._weigh(ticket.rate)
        self._hold += self.wave.worth
        return -math.inf

    def _next(self) -> float:
        return self._starts.last + 1 / self._base

    def _guess(self) -> float:
        """Guess a rate by the first refusals, before which nothing was known."""
        self.saved = max(self._first.number, 1.0)
        self._first_seconds = self._first.time - self._opened
        self._base = self.wave.rate = self.saved / self._seconds
        self._hold = self._known = 0.0
        return self._next()

    def _measure(self) -> None:
        """Find the rate by what was taken between the last wave and this one."""
        wave, before = self.wave, self._before
        last = before.wave
        prior = before.known if last is self._first else min(PRIOR, before.known)
        taken = last.taken(wave.number)
        mean = (taken + 0.5 + prior) / (last.seconds(wave.time) + prior / before.base)
        self.saved = max(1.0, self._first.number - mean * self._first_seconds)
        fewest = SEVERAL if self._has_few and self.most == math.inf else FEWEST
        least = self._starts.least_rate(before.opened, wave.number, self.saved, fewest)
        rate = min(max(mean, least), wave.tried)
        if self._has_few and self.saved < SEVERAL <= before.known and wave.refused == 1:
            rate = self._a_little_less(rate, taken)
        if before.had_grown and taken >= SEVERAL and not self._asked:
            rate += AHEAD * (wave.tried - rate)
        left = 0.0 if last is self._first else before.base * LEFT
        self._base = wave.rate = max(rate * (1 - MARGIN), left, LEAST_RATE)
        paused = min(self.saved, before.asked * before.base)
        known = before.known + before.answers if mean < least else taken + prior - paused
        self._known = min(max(known, 0.0), KNOWN)
        self._settle(is_steady=abs(rate - last.rate) < STEADY * rate)

    def _settle(self, *, is_steady: bool) -> None:
        """Hold the rate that was found; it ``is_steady`` where that is the last one."""
        self._steady = min(self._before.steady + 1, MOST_STEADY) if is_steady else 0
        self.wave.worth = REFUSAL_WORTH if is_steady and self._before.known > 0 else 0.0
        pause = self._asked * self._base * PAUSE_WORTH * (1 + self._steady)
        self._hold = max(self._known, pause * self._known / (self._known + SEVERAL))
        self._hold += self.wave.worth * (self.wave.refused - 1)

    def _a_little_less(self, rate: float, taken: int) -> float:
        """Return the rate after a single refusal, where nothing is saved up: that request came a little too soon."""
        tried, base = self.wave.tried, self._before.base
        self._cut = CUT if taken >= ENOUGH else min(2 * self._before.cut, MOST_CUT)
        if self.most < math.inf:
            least = 0.0 if taken >= ENOUGH else tried * (1 - self._cut)
            return min(max(rate, least), tried * (1 - CUT))
        return max(rate, min(tried, base) * (1 - self._cut))

    def _weigh(self, tried: float) -> None:
        """Correct the rate by what was taken within a wave: it is that; where nothing is saved up, that at least."""
        wave, taken = self.wave, self.wave.taken()
        seconds = wave.seconds(wave.end)
        if self.saved < SEVERAL <= taken:
            self._base = max(wave.rate, min((taken - 1) / seconds, tried) * (1 - MARGIN))
        elif self.saved >= SEVERAL and taken > 0:
            self._base = min((taken + WAVE_PRIOR) / (seconds + WAVE_PRIOR / wave.rate), tried) * (1 - MARGIN)
            self._known = max(self._known, min(KNOWN, taken))
            self._hold = max(self._hold, self._known)
