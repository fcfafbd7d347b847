"""The rows of one model on their way: those that wait, those to be sent again, and the model's pacer."""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openai

    from novita_openai.batch.requests import BatchRequest
    from novita_openai.pacing import Pacer, Ticket

__all__ = ["Lane"]


class Lane:
    """One model's rows. ``refusal``: the error that says that the model is none, or not for this account."""

    def __init__(self, pacer: Pacer) -> None:
        self.pacer = pacer
        self.refusal: openai.APIError | None = None
        self._fresh: deque[BatchRequest] = deque()
        self._again: list[tuple[float, int, BatchRequest]] = []
        self._order = count()
        self._answers = self._made = 0

    @property
    def waiting(self) -> int:
        """Return the number of rows that wait."""
        return len(self._fresh) + len(self._again)

    def add(self, request: BatchRequest) -> None:
        """Take a new row."""
        self._fresh.append(request)

    def put_back(self, request: BatchRequest) -> None:
        """Take a row back that was not sent."""
        self._fresh.appendleft(request)

    def add_again(self, request: BatchRequest, due: float) -> None:
        """Take a row back that may be sent again from a time on."""
        heapq.heappush(self._again, (due, next(self._order), request))

    def wait(self, now: float) -> float:
        """Return the seconds until a row may start: 0 or less: now; infinite: when one in flight has ended."""
        row = 0.0 if self._fresh or not self._again else self._again[0][0] - now
        return max(self.pacer.wait(now), row)

    def take(self, now: float) -> BatchRequest | None:
        """Return the next row, those to be sent again first; None where none is due."""
        if self._again and (self._again[0][0] <= now or self.refusal is not None):
            return heapq.heappop(self._again)[2]
        return self._fresh.popleft() if self._fresh else None

    def tokens_of(self, request: BatchRequest) -> float:
        """Return about how many tokens a row will come to: its longest answer, else as long as the others were."""
        usual = self._made / self._answers if self._answers else 0.0
        most = request.max_tokens
        return request.prompt_tokens + (usual if most is None else most)

    def answered(self, request: BatchRequest, ticket: Ticket, tokens: int) -> None:
        """Count an answer, which came to so many tokens."""
        self._answers += 1
        self._made += max(0, tokens - request.prompt_tokens)
        self.pacer.answered(ticket, tokens or ticket.tokens)
