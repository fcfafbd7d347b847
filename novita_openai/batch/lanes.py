"""The rows of one model: those that wait, those to be sent again, those in flight, and the pace at which they start."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from novita_openai.batch.requests import BatchRequest
    from novita_openai.errors import Failure
    from novita_openai.pacing import Pacer, Ticket

__all__ = ["Held", "Lane", "Sending"]

MOST_HELD: Final = 1_000
MOST_BYTES_HELD: Final = 32 * 1024 * 1024


@dataclass(slots=True)
class Held:
    """How many rows wait in all lanes together, and how many bytes they have."""

    rows: int = 0
    bytes: int = 0

    @property
    def is_full(self) -> bool:
        """Tell whether no further row should be read."""
        return self.rows >= MOST_HELD or self.bytes >= MOST_BYTES_HELD

    def add(self, request: BatchRequest) -> None:
        """Count a row that comes."""
        self.rows += 1
        self.bytes += len(request.content)

    def remove(self, request: BatchRequest) -> None:
        """Count a row that goes."""
        self.rows -= 1
        self.bytes -= len(request.content)


class Lane:
    """The rows of one model that wait to be sent, each of which is counted in ``held``.

    ``refusal``: the failure that says that there is no such model, or not for this account; None without one.
    """

    def __init__(self, pacer: Pacer, held: Held) -> None:
        self.pacer = pacer
        self.refusal: Failure | None = None
        self._held = held
        self._fresh: deque[BatchRequest] = deque()
        self._again: list[tuple[float, int, BatchRequest]] = []
        self._order = count()
        self._answers = self._answer_tokens = 0

    @property
    def is_empty(self) -> bool:
        """Tell whether no row waits."""
        return not (self._fresh or self._again)

    def add(self, request: BatchRequest) -> None:
        """Take a new row."""
        self._held.add(request)
        self._fresh.append(request)

    def put_back(self, request: BatchRequest) -> None:
        """Take a row back that was not sent."""
        self._held.add(request)
        self._fresh.appendleft(request)

    def add_again(self, request: BatchRequest, due: float) -> None:
        """Take a row back that may be sent again from a time on."""
        self._held.add(request)
        heapq.heappush(self._again, (due, next(self._order), request))

    def wait(self, now: float) -> float:
        """Return the seconds until a row may start: 0 or less is now, infinity is when another has ended."""
        row = 0.0 if self._fresh or not self._again else self._again[0][0] - now
        return max(self.pacer.wait(now), row)

    def take(self, now: float) -> BatchRequest | None:
        """Return the next row, those to be sent again first; None where none may start now.

        Once the model was refused, every row is returned at once, as none of them is sent.
        """
        if self.is_empty or (self.refusal is None and self.wait(now) > 0):
            return None
        is_due = self._again and (self._again[0][0] <= now or self.refusal is not None)
        request = heapq.heappop(self._again)[2] if is_due else self._fresh.popleft()
        self._held.remove(request)
        return request

    def start(self, request: BatchRequest, now: float) -> Sending:
        """Count a row that starts; if it has no ``max_tokens``, an answer of the usual length is expected."""
        usual, most = self._answer_tokens / self._answers if self._answers else 0.0, request.max_tokens
        tokens = request.prompt_tokens + (usual if most is None else most)
        return Sending(self, request, self.pacer.start(now, tokens))

    def count_answer(self, tokens: int) -> None:
        """Learn how long answers usually are."""
        self._answers += 1
        self._answer_tokens += max(0, tokens)


@dataclass(frozen=True, slots=True)
class Sending:
    """A row in flight. One of the methods is called when it has ended: they tell its lane and its model's pacer."""

    lane: Lane
    request: BatchRequest
    ticket: Ticket

    def answered(self, tokens: int) -> None:
        """Count an answer; prompt and answer came to so many tokens, 0 where the service did not say."""
        self.lane.count_answer(tokens - self.request.prompt_tokens)
        self.lane.pacer.answered(self.ticket, tokens or self.ticket.tokens)

    def refused(self, now: float, asked: float, pause: float, *, random: float) -> None:
        """Put the row back, as it came too fast; it lets others of its model go first for ``pause`` seconds.

        ``asked``: the seconds for which the service asks to wait, 0 where it names none.
        """
        self.request.refusals += 1
        self.lane.pacer.refused(self.ticket, now, asked, random=random)
        self.lane.add_again(self.request, now + pause)

    def failed(self, now: float, asked: float, delay: float) -> None:
        """Put the row back, to be sent again after ``delay`` seconds; ``asked`` as for :meth:`refused`."""
        self.request.attempts += 1
        self.lane.pacer.failed(self.ticket, now, delay, asked)
        self.lane.add_again(self.request, now + delay)

    def ended(self) -> None:
        """Let go of the row, as it is not sent again."""
        self.lane.pacer.ended(self.ticket)
