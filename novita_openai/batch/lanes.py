"""The rows of one model: those to be sent, those to be sent again, those in flight, and the pace of their starts."""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from novita_openai.batch.room import Room

if TYPE_CHECKING:
    from novita_openai.batch.requests import BatchRequest
    from novita_openai.batch.room import Share
    from novita_openai.client.lending import LentTurns
    from novita_openai.errors import Failure
    from novita_openai.pacing import Pacer, Ticket

__all__ = ["Fresh", "Held", "Lane", "RowSending", "Wish"]

MOST_HELD: Final = 1_000
MOST_BYTES_HELD: Final = 32 * 1024 * 1024


class Fresh(Protocol):
    """The rows of a run that were not sent yet."""

    def has(self, model: str) -> bool:
        """Tell whether there may be a row of a model to take."""
        ...

    def take(self, model: str) -> BatchRequest | None:
        """Return the next row of a model, None where there is none after all."""
        ...


@dataclass(slots=True)
class Held:
    """How many rows wait in memory, and how many bytes they have, which take up a ``room`` too."""

    room: Room = field(default_factory=Room)
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
        self.room.waiting += len(request.content)

    def remove(self, request: BatchRequest) -> None:
        """Count a row that goes."""
        self.rows -= 1
        self.bytes -= len(request.content)
        self.room.waiting -= len(request.content)


@dataclass(frozen=True, slots=True)
class Wish:
    """The seconds for which the service ``asked`` to wait, and when these are over (``due``)."""

    asked: float
    due: float


class Lane:
    """The rows of one model that are to be sent: ``fresh`` ones, and those to be sent again, which it holds.

    ``refusal``: the failure that says that there is no such model, or not for this account; None without one.
    ``put_off``: the wait that the service asks for where that is too long for this run, None without one.
    ``answers``: how many rows of the model were answered.
    """

    def __init__(self, model: str, pacer: Pacer | LentTurns, fresh: Fresh, share: Share) -> None:
        self.model, self.pacer = model, pacer
        self.refusal: Failure | None = None
        self.put_off: Wish | None = None
        self.answers = 0
        self._fresh = fresh
        self.share, self._held = share, Held(share.room)
        self._back: deque[BatchRequest] = deque()
        self._again: list[tuple[float, int, BatchRequest]] = []
        self._order = count()
        self._answer_tokens = 0
        self._refused: Counter[str] = Counter()
        self._refused_last: BatchRequest | None = None

    @property
    def is_empty(self) -> bool:
        """Tell whether no row is to be sent."""
        return self.put_off is not None or not (self._back or self._again or self._fresh.has(self.model))

    @property
    def waiting(self) -> int:
        """Return how many rows wait that were taken before."""
        return 0 if self.put_off is not None else self._held.rows

    def put_back(self, request: BatchRequest) -> None:
        """Take a row back that was not sent."""
        self._held.add(request)
        self._back.appendleft(request)

    def add_refused(self, request: BatchRequest, due: float) -> None:
        """Take a row back that came too fast; if there is another one, that is sent before it."""
        self._refused_last = request
        self.add_again(request, due)

    def add_again(self, request: BatchRequest, due: float) -> None:
        """Take a row back that may be sent again from a time on."""
        self._held.add(request)
        heapq.heappush(self._again, (due, next(self._order), request))

    def wait(self, now: float) -> float:
        """Return the seconds until a row may start: 0 or less is now, infinity is when another has ended."""
        if self.share.is_full:
            return math.inf
        row = 0.0 if self._has_fresh() else self._again[0][0] - now if self._again else math.inf
        return max(self.pacer.wait(now), row)

    def take(self, now: float, *, new_first: bool = False) -> BatchRequest | None:
        """Return the next row, those to be sent again first, or the new ones; None where none may start now.

        Once the model was refused, every row is returned at once, as none of them is sent.
        """
        if self.is_empty or (self.refusal is None and self.wait(now) > 0):
            return None
        until = now if self.refusal is None else math.inf
        request = (self._new() if new_first else None) or self._due(until) or self._new() or self._due(until)
        self._refused_last = None
        return request

    def start(self, request: BatchRequest, now: float) -> RowSending:
        """Count a row that starts; if it has no ``max_tokens``, an answer of the usual length is expected."""
        usual, most = self._answer_tokens / self.answers if self.answers else 0.0, request.max_tokens
        tokens = request.prompt_tokens + (usual if most is None else most)
        size = len(request.content)
        self.share.add(size)
        return RowSending(self, request, self.pacer.start(now, tokens), size)

    def count_answer(self, tokens: int) -> None:
        """Learn how long answers usually are."""
        self.answers += 1
        self._answer_tokens += max(0, tokens)

    def count_refusal(self, summary: str) -> int:
        """Return how many rows were refused alike, this one included."""
        self._refused[summary] += 1
        return 0 if self.answers else self._refused[summary]

    def _has_fresh(self) -> bool:
        """Tell whether there is a row that need not wait; none is taken while too many wait to be sent again."""
        is_room = not (self._held.is_full or self.share.room.is_crowded)
        return bool(self._back) or (is_room and self._fresh.has(self.model))

    def _due(self, now: float) -> BatchRequest | None:
        """Take a row that may be sent again now; the one that was refused last makes room for another, once."""
        if not self._again or self._again[0][0] > now:
            return None
        entry = heapq.heappop(self._again)
        if entry[2] is self._refused_last:
            self._refused_last = None
            other = self._due(now)
            heapq.heappush(self._again, entry)
            return other
        self._held.remove(entry[2])
        return entry[2]

    def _new(self) -> BatchRequest | None:
        """Take a row that was not sent yet, unless too many wait to be sent again."""
        if self._back:
            request = self._back.popleft()
            self._held.remove(request)
            return request
        return self._fresh.take(self.model) if self._has_fresh() else None


class RowSending(NamedTuple):
    """A row in flight that was sent with a body of ``size`` bytes.

    One of the methods is called when it has ended, to tell its lane and its model's pacer what came of it, and at last
    :meth:`let_go`.
    """

    lane: Lane
    request: BatchRequest
    ticket: Ticket
    size: int

    def let_go(self) -> None:
        """Give back the room that it took."""
        self.lane.share.remove(self.size)

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
        self.lane.add_refused(self.request, now + pause)

    def failed(self, now: float, asked: float, delay: float) -> None:
        """Put the row back, to be sent again after ``delay`` seconds; ``asked`` as for :meth:`refused`."""
        self.request.attempts += 1
        self.lane.pacer.failed(self.ticket, now, delay, asked)
        self.lane.add_again(self.request, now + delay)

    def ended(self, *, was_heard: bool = False) -> None:
        """Let go of the row, as it is not sent again.

        ``was_heard``: the service has read and refused it, which says as much about the pace as an answer.
        """
        if was_heard:
            self.lane.pacer.answered(self.ticket)
        else:
            self.lane.pacer.ended(self.ticket)
