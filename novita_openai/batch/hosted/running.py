"""The sending of a job's rows through the service's Batch API, with the face of an engine that sends them itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Final

from novita_openai.batch.endpoints import CHAT
from novita_openai.batch.hosted.drafts import PartDraft
from novita_openai.batch.hosted.parts import SHARE, Submitted, line_of
from novita_openai.batch.shutdown import MORE_COST
from novita_openai.batch.spending import ASSUMED_ANSWER
from novita_openai.batch.transport import content_of
from novita_openai.prices import dollars

if TYPE_CHECKING:
    from novita_openai.batch.hosted.fleet import Fleet
    from novita_openai.batch.report import Tally
    from novita_openai.batch.requests import BatchRequest
    from novita_openai.batch.session import Session
    from novita_openai.batch.shutdown import Shutdown

__all__ = ["HostedEngine"]

ROWS_A_TURN: Final = 100

Rows = Callable[[Collection[str] | None], Iterator["BatchRequest"]]
"""Returns the pending rows, all of them or those with one of the custom_ids."""


class HostedEngine:
    """Has rows run by the service until each has a result, or until a ``shutdown``; use it once.

    ``rows``: reads the rows that are to be sent. ``on_tick``: as for the engine that sends rows itself.
    """

    def __init__(self, rows: Rows, session: Session, fleet: Fleet, on_tick: Callable[[], None]) -> None:
        self._rows, self._session, self._fleet = rows, session, fleet
        self._on_tick = on_tick
        self._prices = session.prices.at(SHARE)
        self._is_translated = session.transport.client_translates

    @property
    def shutdown(self) -> Shutdown:
        """Return how the run ends."""
        return self._fleet.ending.shutdown

    @property
    def tally(self) -> Tally:
        """Return what was done so far."""
        return self._fleet.tally

    @property
    def in_flight(self) -> int:
        """Return the number of rows that the service works on."""
        counts = self._fleet.counts()
        return max(0, self._fleet.waiting - counts.completed - counts.failed)

    async def run(self) -> None:
        """Run; raise errors that come neither from the service nor from the disk, such as those of a callback."""
        await self._fleet.ending.over(self._work(), self._on_tick)
        self._fleet.ending.finish()

    async def _work(self) -> None:
        """Submit, wait, and submit again what did not pass the check."""
        if self._fleet.options.cancels:
            return
        fleet = self._fleet
        only: Collection[str] | None = None
        while not fleet.ending.has_begun:
            known = dict(fleet.ledger.rejected)
            if not fleet.ending.blocks:
                await fleet.submit(self._drafts(self._rows(only)))
            if fleet.options.detaches:
                return
            await fleet.wait(fleet.tally)
            only = {name for name, found in fleet.ledger.rejected.items() if known.get(name) is not found}
            if not only or fleet.ending.reasons:
                return

    def _drafts(self, rows: Iterator[BatchRequest]) -> Iterator[PartDraft | None]:
        """Yield drafts that are full, at the end those that are not, and None now and then."""
        drafts: dict[tuple[str, str], PartDraft] = {}
        try:
            for number, request in enumerate(rows):
                if number % ROWS_A_TURN == 0:
                    yield None
                line, most = self._line(request), self._prices.most(request, ASSUMED_ANSWER)
                if not self._may_cost(most, drafts):
                    break
                key = request.model, request.path
                if key in drafts and not drafts[key].takes(line):
                    yield drafts.pop(key)
                if key not in drafts:
                    drafts[key] = PartDraft(request.model, request.path, self._fleet.folder)
                drafts[key].add(_submitted(request), line, most)
            while drafts:
                yield drafts.pop(next(iter(drafts)))
        finally:
            for draft in drafts.values():
                draft.close()

    def _line(self, request: BatchRequest) -> bytes:
        return line_of(request, content_of(request, is_translated=self._is_translated and request.path == CHAT))

    def _may_cost(self, most: float | None, drafts: dict[tuple[str, str], PartDraft]) -> bool:
        """Tell whether ``max_cost`` allows for a row besides what is planned and spent; else the run ends."""
        limit = self._session.limits.max_cost
        if limit is None:
            return True
        before, usage = self._session.spent_before.dollars, self.tally.usage.spent.dollars
        open_ = sum(state.part.most or 0.0 for state in self._fleet.ledger.open)
        planned = open_ + sum(draft.most or 0.0 for draft in drafts.values())
        if most is not None and before + usage + planned + most <= limit:
            return True
        self._fleet.ending.add(
            f"max_cost is ${limit:g}: {dollars(before + usage)} are spent, what is submitted can cost "
            f"{dollars(planned)}, and the next row could go above it",
            blocks=False,
            way=MORE_COST,
        )
        return False


def _submitted(request: BatchRequest) -> Submitted:
    """Return what the record of a part keeps of a row."""
    spent = request.spent
    return Submitted(
        request.custom_id,
        request.digest,
        metadata=json.loads(request.metadata) if request.metadata else None,
        prompts=request.prompts,
        corrections=request.corrections,
        spent=spent.fields() if spent.requests else None,
    )
