"""The turns of a model for a batch, which asks when it may start a row and never waits in the line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from novita_openai.client.turns import Turns
    from novita_openai.pacing import Ticket

__all__ = ["LentTurns"]


class LentTurns:
    """The turns of a model as a batch asks for them: as it would ask a pacer of its own.

    What has not ended when they are collected is given back then.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._open: set[Ticket] = set()

    def __del__(self) -> None:
        for ticket in self._open:
            self._turns.drop(ticket)

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may start."""
        with self._turns as pacer:
            return pacer.wait(now)

    def start(self, now: float, tokens: float = 0.0) -> Ticket:
        """Count a request that starts now."""
        with self._turns as pacer:
            ticket = pacer.start(now, tokens)
        self._open.add(ticket)
        return ticket

    def answered(self, ticket: Ticket, tokens: float = 0.0) -> None:
        """Count an answer, which came to so many tokens."""
        self._open.discard(ticket)
        with self._turns as pacer:
            pacer.answered(ticket, tokens)

    def ended(self, ticket: Ticket, tokens: float = 0.0) -> None:
        """Count a request that ended; it used so many tokens."""
        self._open.discard(ticket)
        with self._turns as pacer:
            pacer.ended(ticket, tokens)

    def failed(self, ticket: Ticket, now: float, delay: float, retry_after: float | None) -> None:
        """Count a passing fault."""
        self._open.discard(ticket)
        with self._turns as pacer:
            pacer.failed(ticket, now, delay, retry_after)

    def refused(self, ticket: Ticket, now: float, retry_after: float | None, *, random: float = 0.5) -> None:
        """Count a request that came too fast."""
        self._open.discard(ticket)
        with self._turns as pacer:
            self._turns.refusals += 1
            pacer.refused(ticket, now, retry_after, random=random)
