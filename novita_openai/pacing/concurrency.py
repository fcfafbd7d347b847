"""Whether a service limits the requests in flight, told by how many there were when it took some and refused some."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from novita_openai.pacing.refusals import Ticket

__all__ = ["Concurrency"]

NEEDED: Final = 3
"""Refusals in a row, each at least a round of answers after the last, that find as many in flight and tell a limit."""
SLACK: Final = 1 / 16
"""The part by which numbers in flight may differ and count as one."""
ROUNDS: Final = 2
MOST_ROUNDS: Final = 32
"""Answers for each request in flight after which more are tried, at first; twice as many each time they are refused."""
REMEMBERED: Final = 1_000
LEAST_REFUSED: Final = 3
"""In flight with a refusal that may tell a limit: one of one is as well found as a rate."""
SPAN: Final = 4
SLOWER: Final = 0.6
"""A limit is none where, over so many rounds, requests start at less than this part of the rate found before."""


class Concurrency:
    """The most requests that may be in flight: ``most``, which is the service's limit where that ``is_found``.

    A service that limits them takes what comes while there are fewer, and refuses what comes while there are as many;
    one that limits the rate has taken requests while there were more. So a limit is told by ``NEEDED`` refusals in a
    row with as many in flight, as long as no more ever were. A refusal of fewer contradicts it, and the next time twice
    as many are needed, unless it had held for long; so does a rate that is slower than before. While it holds, nothing
    else spaces the requests. Now and then one more is tried; where that is taken, twice as many.
    """

    __slots__ = (
        "_allowed", "_answers", "_count", "_late", "_most_taken", "_needed", "_rate", "_refused", "_rounds", "_seen",
        "_since", "_step", "is_found", "most", "refused",
    )  # fmt: skip

    def __init__(self, most: int) -> None:
        self.most = self._allowed = most
        self.is_found = False
        self.refused = 0
        self._refused: deque[int] = deque(maxlen=REMEMBERED)
        self._late: deque[Ticket] = deque()
        self._most_taken = self._count = self._seen = self._answers = 0
        self._needed, self._rounds, self._step = NEEDED, ROUNDS, 1
        self._rate = 0.0
        self._since: Ticket | None = None

    def take(self, ticket: Ticket) -> None:
        """Count a request that was taken, once those before it are known, too."""
        self._late.append(ticket)
        while len(self._late) > ticket.in_flight:
            self._most_taken = max(self._most_taken, self._served(self._late.popleft()))
        self._answers += not self.is_found or ticket.in_flight >= self.most
        if self.is_found and self._is_slow(ticket):
            self._give_up()
        if self.is_found and self._answers >= self._rounds * self.most:
            self._try_more()

    def _is_slow(self, ticket: Ticket) -> bool:
        """Tell whether fewer requests were sent than at the rate that was found before the limit."""
        last = self._since
        if last is None or ticket.number - last.number < SPAN * self.most:
            return False
        self._since = ticket
        return ticket.number - last.number < SLOWER * self._rate * (ticket.time - last.time)

    def refuse(self, number: int) -> None:
        """Count a request that was refused."""
        self.refused += 1
        self._refused.append(number)

    def judge(self, ticket: Ticket, rate: float) -> None:
        """Learn from the first refusal of a wave, before it is counted; ``rate``: that which was found so far."""
        served = self._served(ticket)
        if not self.is_found:
            self._look(served)
            self._rate, self._since = rate, ticket
        elif served > self._count:
            self._rounds, self._step = min(2 * self._rounds, MOST_ROUNDS), 1
            self._limit(self._count)
        elif served >= LEAST_REFUSED and served * (1 + SLACK) > self._most_taken:
            self._limit(served - 1)
        else:
            self._give_up()

    def _give_up(self) -> None:
        self._needed = NEEDED if self._rounds == MOST_ROUNDS else 2 * self._needed
        self.is_found, self.most = False, self._allowed
        self._most_taken = self._seen = self._answers = 0
        self._rounds, self._step = ROUNDS, 1

    def _served(self, ticket: Ticket) -> int:
        """Return how many the service had in flight, without those that it had refused and who did not know it."""
        news = self.refused - ticket.refused
        if not news:
            return ticket.in_flight
        return ticket.in_flight - sum(number < ticket.number for number in islice(reversed(self._refused), news))

    def _look(self, served: int) -> None:
        """Judge a refusal with so many in flight while no limit is found."""
        if served <= self._most_taken or served < LEAST_REFUSED:
            self._seen = self._most_taken = self._answers = 0
        elif not self._seen or self._answers >= served:
            is_same = self._seen and abs(served - self._count) <= served * SLACK
            self._seen, self._count = (self._seen + 1, min(served, self._count)) if is_same else (1, served)
            self._answers = 0
        if self._seen >= self._needed:
            self.is_found = True
            self._limit(self._count - 1)
            self._most_taken = self._count

    def _limit(self, count: int) -> None:
        self._count, self._answers = count, 0
        self.most = min(count, self._allowed)

    def _try_more(self) -> None:
        if self._most_taken >= self.most > self._count:
            self._count, self._step, self._rounds = self.most, 2 * self._step, ROUNDS
        self.most, self._answers = min(self._count + self._step, self._allowed), 0
