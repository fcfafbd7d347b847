"""A job's parts at the service, from one start to the next: what is open is settled, submitted, waited for, collected.

A start first settles what earlier ones have left. Then, where it is to use the Batch API, it submits what is to be
sent, waits, and collects each part as it ends; answers that do not pass the check are asked for again in another part.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from random import random
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import openai

from novita_openai.batch.checks import corrected
from novita_openai.batch.fitness import unbatchable
from novita_openai.batch.hosted.collecting import Collector
from novita_openai.batch.hosted.decisions import ENDED, KNOWN, Verdict, needs_change, on_asked, poll_delay
from novita_openai.batch.hosted.ending import RunEnding
from novita_openai.batch.hosted.ledger import Step
from novita_openai.batch.hosted.options import PartCounts
from novita_openai.batch.hosted.service import Service
from novita_openai.batch.hosted.submitting import Submitter, unknown
from novita_openai.batch.report import Tally
from novita_openai.batch.requests import BatchInputError, encode
from novita_openai.batch.shutdown import MORE_ERRORS
from novita_openai.batch.usage import Spent
from novita_openai.batch.verdicts import way_after
from novita_openai.errors import failure_of
from novita_openai.logs import warn
from novita_openai.prices import counted
from novita_openai.retry import RetryPolicy

if TYPE_CHECKING:
    from pathlib import Path

    from novita_openai.batch.files import ResultFiles
    from novita_openai.batch.hosted.collecting import Gathered
    from novita_openai.batch.hosted.drafts import PartDraft
    from novita_openai.batch.hosted.ledger import Ledger, PartState
    from novita_openai.batch.hosted.options import FleetOptions
    from novita_openai.batch.requests import BatchRequest
    from novita_openai.batch.session import Session
    from novita_openai.batch.shutdown import Shutdown
    from novita_openai.batch.worklist import Worklist

__all__ = ["Fleet"]

NOTHING_TO_CANCEL: Final = "there was nothing to cancel: the service has no rows of this job"
DOWNLOADS: Final = 5
"""How often a file of results is asked for that breaks off, before the next look at its batch."""


class Fleet:
    """The parts of a job at the service.

    ``settled``: what was collected before the input was read; ``tally``: what was done later.
    """

    def __init__(self, files: ResultFiles, ledger: Ledger, session: Session, options: FleetOptions) -> None:
        self._files, self.ledger, self._session, self.options = files, ledger, session, options
        self.ending = RunEnding(session.limits.drain)
        self.settled, self.tally = Tally(), Tally()
        self._service = Service(session.transport.client(RetryPolicy.off()))
        self._rules = session.policy.rules
        how: Any = {"keep_files": options.keep_files}
        self.submitter = Submitter(ledger, self._service, self.ending, self._rules, **how)
        self._counts: dict[str, PartCounts] = {}
        self._odd: set[str] = set()
        self._fresh: set[str] = set()
        self._was_open = bool(ledger.open)

    # What is known without asking.

    @property
    def is_used(self) -> bool:
        """Tell whether rows are not sent online: they go to the service's Batch API, or nothing is sent at all."""
        return self.options.is_used or self.options.cancels

    @property
    def folder(self) -> Path:
        """Return where temporary files go: beside the results."""
        return self._files.answers.path.parent

    @property
    def leaves_rows(self) -> bool:
        """Tell whether rows are left on purpose."""
        return self.options.cancels or self.options.detaches

    @property
    def left(self) -> str | None:
        """Say why rows are left on purpose; None where none are."""
        if self.options.detaches and self.waiting:
            rows = counted(self.waiting, "row", "are")
            return f"submitted: {rows} at the service; a start without detach=True collects the results"
        if not self.options.cancels:
            return None
        return "cancelled: rows without a result are free" if self._was_open else NOTHING_TO_CANCEL

    @property
    def waiting(self) -> int:
        """Return how many rows are at the service."""
        return sum(state.part.rows for state in self.ledger.open)

    def held(self) -> Iterator[tuple[str, str]]:
        """Yield the custom_ids of the rows that are at the service, and the digests of their requests."""
        for state in self.ledger.open:
            for row in self.ledger.rows_of(state):
                yield row.custom_id, row.digest

    def counts(self) -> PartCounts:
        """Return what the service said last of all that is open."""
        known = [self._counts[state.part.id] for state in self.ledger.open if state.part.id in self._counts]
        return PartCounts(sum(each.completed for each in known), sum(each.failed for each in known))

    def amend(self, request: BatchRequest) -> None:
        """Have a row ask again whose last answer did not pass, with it and what was wrong."""
        rejection = self.ledger.rejected.get(request.custom_id)
        if rejection is None or rejection["digest"] != request.digest:
            return
        request.spent = Spent.read(rejection["spent"]) or request.spent
        if self._session.validation.check is not None:
            request.corrections = rejection["corrections"]
            request.content = encode(corrected(request.path, request.body, rejection["text"], rejection["flaw"]))

    def require(self, worklist: Worklist) -> None:
        """Check that the service runs what is to be sent.

        Raises :class:`BatchInputError` with each model that the Batch API does not run.
        """
        if self.options.is_used and worklist.wanted:
            unfit = unbatchable(worklist.wanted, self._session.prices.rows)
            if unfit:
                raise BatchInputError([str(each) for each in unfit])
            if worklist.with_headers is not None:
                told = f"{worklist.with_headers!r} has headers, which the Batch API does not take: leave them out"
                raise BatchInputError([f"{told}, or run the rows online"])
            if self._session.no_prices:
                self.ending.shutdown.stop(f"the models list {self._session.no_prices}")

    def tell(self, shutdown: Shutdown, unfinished: int) -> None:
        """Have the run say what waits at the service; a run that was to leave it there ends well all the same."""
        if not (unfinished or self.is_used):
            return
        self.ending.finish()
        ended = self.ending.shutdown
        if ended.stopped is not None:
            shutdown.stop(ended.stopped, needs_change=ended.needs_change, way=ended.way)
        elif self.waiting and not self.leaves_rows:
            shutdown.stop(self.told(), way="")

    def told(self) -> str:
        """Say which rows wait at the service, and how to go on."""
        named = "; ".join(str(state) for state in self.ledger.open)
        return (
            f"{counted(self.waiting, 'row', 'wait')} at the service: {named}. The same with via='batch-api' "
            "collects the results, and with cancel=True takes the rows back"
        )

    # What earlier starts have left.

    async def settle(self) -> None:
        """Go on with what is open, as far as that is known at once, and collect what has ended."""
        for state in self.ledger.unclean:
            await self.submitter.clean(state)
        for state in self.ledger.open:
            if not self.ending.has_begun:
                await self._go_on(state)
        if self.options.cancels:
            await self.wait(self.settled)

    async def _go_on(self, state: PartState) -> None:
        if self.options.cancels:
            await self._take_back(state)
        elif self.options.is_used:
            await self._resume(state)
        elif state.is_unknown:
            await self.submitter.is_found(state)
        if state.batch_id and state.is_open and not self.ending.has_begun:
            await self._look(state, self.settled)

    async def _resume(self, state: PartState) -> None:
        """Take the next step of a part that has no batch yet."""
        if state.step is Step.PLANNED:
            await self.submitter.adopt(state)
        if state.is_unknown and not await self.submitter.search(state) and not self.ending.has_begun:
            if self.options.create_again:
                await self.submitter.drop(state)
            else:
                self.ending.add(unknown(state), blocks=False)
        if state.step is Step.UPLOADED and not self.ending.has_begun:
            await self.submitter.create(state)

    async def _take_back(self, state: PartState) -> None:
        """Cancel a batch, or give up a part that has none."""
        if state.is_unknown:
            await self.submitter.search(state)
        if self.ending.has_begun:
            return
        if not state.batch_id:
            await self.submitter.drop(state)
            return
        try:
            await self._service.cancel(state.batch_id)
        except openai.APIError as error:  # it may have ended by now; what it is, the next look says
            warn("batch.not_cancelled", batch=state.batch_id, reason=failure_of(error, self._rules).summary)

    # What is at the service.

    async def submit(self, drafts: Iterator[PartDraft | None]) -> None:
        """Submit drafts as they become full; None gives other tasks a turn."""
        try:
            for draft in drafts:
                if draft is None:
                    await asyncio.sleep(0)
                else:
                    await self._submit(draft)
                if self.ending.has_begun or self.ending.blocks:
                    return
        finally:
            cast("Any", drafts).close()

    async def _submit(self, draft: PartDraft) -> None:
        try:
            self.tally.sent += draft.rows
            state = self.ledger.plan(*draft.finish())
            self._fresh.add(state.part.id)
            await self.submitter.submit(state, draft.file)
        finally:
            draft.close()

    async def wait(self, tally: Tally) -> None:
        """Wait until each batch has ended, and collect what came of it."""
        count = 0
        while any(state.batch_id for state in self.ledger.open) and not self.ending.has_begun:
            delay = poll_delay(self.options.poll, count, random=random())  # noqa: S311 - jitter
            await self.ending.sleep(delay)
            count += 1
            for state in [state for state in self.ledger.open if state.batch_id]:
                if not self.ending.has_begun:
                    await self._look(state, tally)

    async def _look(self, state: PartState, tally: Tally) -> None:
        """Look at a batch; collect it, if it has ended."""
        try:
            batch = await self._service.retrieve(state.batch_id)
        except openai.APIError as error:
            self._not_seen(state, error)
            return
        counts = batch.request_counts
        self._counts[state.part.id] = PartCounts(
            getattr(counts, "completed", 0) or 0, getattr(counts, "failed", 0) or 0
        )
        if batch.status in ENDED:
            await self._end(state, batch, tally)
        elif batch.status not in KNOWN and state.batch_id not in self._odd:
            self._odd.add(state.batch_id)
            warn("batch.unknown_status", batch=state.batch_id, status=batch.status)

    def _not_seen(self, state: PartState, error: openai.APIError) -> None:
        failure = failure_of(error, self._rules)
        verdict = on_asked(failure, time.time() - state.since)
        if verdict is Verdict.STOP:
            self.ending.stop(failure)
        elif verdict is Verdict.GONE:
            self._tell_gone(f"{state} is not at the service any more: its rows are unfinished")
            self.ledger.write(state, Step.COLLECTED, missing=state.part.rows)
            self.ledger.write(state, Step.CLEANED)

    def _tell_gone(self, told: str) -> None:
        warn("batch.gone", what=told)
        self.ending.add(told)

    async def _end(self, state: PartState, batch: Any, tally: Tally) -> None:
        """Collect a batch that has ended."""
        names = [name for name in (batch.output_file_id, batch.error_file_id) if name]
        said = "; ".join(each.message or "" for each in batch.errors.data or ()) if batch.errors else ""
        with ExitStack() as stack:
            files: list[BinaryIO] = []
            for name in names:
                file = cast("BinaryIO", stack.enter_context(TemporaryFile(dir=self._files.answers.path.parent)))
                if not await self._is_here(state, name, file):
                    return
                files.append(file)
            is_broken = state.step is Step.COLLECTING
            if not is_broken:
                self.ledger.write(state, Step.COLLECTING, files=names)
            gathered = await self._gathered(state, files, tally, is_broken=is_broken)
        if gathered is None:
            return
        if batch.status == "failed":
            await self.submitter.refuse(state, said or "it has failed")
            return
        if gathered.missing and tally is self.tally:
            told = f"of {state}, {counted(gathered.missing, 'row', 'have')} no result: start the same again to go on"
            self.ending.add(told, blocks=False)
        await self.submitter.clean(state)

    async def _is_here(self, state: PartState, name: str, file: BinaryIO) -> bool:
        """Download a file of results; tell whether it has come, or will never come."""
        for _ in range(DOWNLOADS):
            try:
                await self._service.download(name, file)
            except openai.APIError as error:
                failure = failure_of(error, self._rules)
                verdict = on_asked(failure, time.time() - state.since)
                if verdict is Verdict.STOP:
                    self.ending.stop(failure)
                    return False
                if verdict is Verdict.GONE:
                    file.truncate(0)
                    self._tell_gone(f"results of {state} are deleted at the service, which keeps them for 30 days")
                    return True
            else:
                return True
        return False

    async def _gathered(
        self, state: PartState, files: list[BinaryIO], tally: Tally, *, is_broken: bool
    ) -> Gathered | None:
        """Write what came of a part into the files of results; None where it could not all be written."""
        collector = Collector(self._files, self.ledger, self._session, tally, self._service.url)
        how = {"is_late": state.part.id not in self._fresh, "is_broken": is_broken}
        gathered = await collector.collect(state, files, lambda: self.ending.has_begun, **how)
        self._files.sync()
        if gathered is None:
            return None
        facts = {"succeeded": gathered.succeeded, "failed": gathered.failed, "rejected": gathered.rejected}
        self.ledger.write(state, Step.COLLECTED, **facts, missing=gathered.missing)
        if gathered.stop is not None:
            failure = gathered.stop
            told = f"{failure.summary}: {failure.meaning}"
            self.ending.add(told, needs_change=needs_change(failure), way=way_after(failure))
        most = self._session.limits.max_errors
        if most is not None and self.tally.failed + self.settled.failed > most:
            self.ending.add(f"more rows failed than max_errors={most} allows", way=MORE_ERRORS)
        return gathered
