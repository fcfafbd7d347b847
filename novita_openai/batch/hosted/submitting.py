"""How a part comes to the service: uploaded once, created once, each on the disk before the next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

import openai

from novita_openai.batch.hosted.decisions import Verdict, on_created, on_sought, search_delays
from novita_openai.batch.hosted.ending import Patience
from novita_openai.batch.hosted.ledger import Step
from novita_openai.errors import ErrorRule, failure_of
from novita_openai.logs import warn

if TYPE_CHECKING:
    from novita_openai.batch.hosted.ending import RunEnding
    from novita_openai.batch.hosted.ledger import Ledger, PartState
    from novita_openai.batch.hosted.service import Service
    from novita_openai.errors import Failure

__all__ = ["Submitter", "unknown"]


class Submitter:
    """Brings parts to the service, and finds out what became of those that an earlier start has begun.

    ``keep_files``: what is at the service stays there.
    """

    def __init__(
        self, ledger: Ledger, service: Service, ending: RunEnding, rules: Sequence[ErrorRule], *, keep_files: bool
    ) -> None:
        self._ledger, self._service, self._ending, self._rules = ledger, service, ending, rules
        self._keep_files = keep_files

    async def submit(self, state: PartState, file: BinaryIO) -> None:
        """Upload the file of a planned part, and create its batch."""
        if await self._is_uploaded(state, file):
            await self.create(state)

    async def _is_uploaded(self, state: PartState, file: BinaryIO) -> bool:
        patience = Patience(self._ending)
        while True:
            try:
                file_id: str | None = await self._service.upload(state.part.filename, file)
            except openai.APIError as error:
                failure = self._failure(error)
                file_id = await self._seen(state) if on_created(failure) is Verdict.UNKNOWN else None
                if file_id is None and not await self._may_repeat(state, failure, patience):
                    return False
            if file_id is not None:
                self._ledger.write(state, Step.UPLOADED, file=file_id)
                return True

    async def _may_repeat(self, state: PartState, failure: Failure, patience: Patience) -> bool:
        """Tell, after a wait, whether something may be asked for again that was not taken."""
        verdict = on_created(failure)
        if verdict is Verdict.STOP:
            self._ending.stop(failure)
            return False
        if verdict is Verdict.REFUSED:
            await self.refuse(state, failure.said or failure.summary)
            return False
        return await patience.wait(failure)

    async def create(self, state: PartState) -> None:
        """Create the batch of an uploaded part."""
        patience = Patience(self._ending)
        while True:
            self._ledger.write(state, Step.CREATING)
            try:
                batch_id = await self._service.create(state.file_id, state.part.path)
            except openai.APIError as error:
                failure = self._failure(error)
                if on_created(failure) is Verdict.UNKNOWN:
                    await self._settle(state)
                    return
                self._ledger.write(state, Step.UPLOADED)
                if not await self._may_repeat(state, failure, patience):
                    return
            else:
                await self._created(state, batch_id)
                return

    async def _created(self, state: PartState, batch_id: str | None) -> None:
        if batch_id is None:
            await self._settle(state)
        else:
            self._ledger.write(state, Step.CREATED, batch=batch_id)

    async def _settle(self, state: PartState) -> None:
        if not (await self.search(state) or self._ending.has_begun):
            self._ending.add(unknown(state))

    async def search(self, state: PartState) -> bool:
        """Look for the batch that may have been created; tell whether it is there, False where that stays unknown."""
        warn("batch.unknown_part", file=state.file_id, rows=state.part.rows)
        for delay in search_delays(time.time() - state.since):
            await self._ending.sleep(delay)
            if self._ending.has_begun or await self.is_found(state):
                break
        return not state.is_unknown

    async def is_found(self, state: PartState) -> bool:
        """Look once for the batch that may have been created; tell whether it is there."""
        try:
            batch_id = await self._service.batch_of(state.file_id)
        except openai.APIError as error:
            failure = self._failure(error)
            if on_sought(failure) is Verdict.STOP:
                self._ending.stop(failure)
            return False
        if batch_id is not None:
            self._ledger.write(state, Step.CREATED, batch=batch_id)
        return batch_id is not None

    async def _seen(self, state: PartState) -> str | None:
        """Return the id of the file of a part, None where it is not in the list, or that cannot be read."""
        try:
            return await self._service.file_named(state.part.filename, state.part.size)
        except openai.APIError as error:
            failure = self._failure(error)
            if on_sought(failure) is Verdict.STOP:
                self._ending.stop(failure)
            return None

    async def adopt(self, state: PartState) -> None:
        """Go on with a planned part of an earlier start: where its file is not at the service, its rows are free."""
        file_id = await self._seen(state)
        if file_id is not None:
            self._ledger.write(state, Step.UPLOADED, file=file_id)
        elif not self._ending.has_begun:
            self._ledger.write(state, Step.DROPPED)

    async def drop(self, state: PartState) -> None:
        """Give up a part of which there is no batch: its file is deleted first, so that none can be made of it."""
        if state.file_id and not await self._is_deleted(state.file_id):
            return
        self._ledger.write(state, Step.DROPPED)
        self._ledger.write(state, Step.CLEANED)

    async def refuse(self, state: PartState, said: str) -> None:
        """Close a part that the service does not take."""
        warn("batch.refused_part", batch=state.batch_id or None, rows=state.part.rows, said=said)
        self._ending.add(f"the service refuses {state}: {said}", needs_change=True)
        self._ledger.write(state, Step.REFUSED, said=said)
        await self.clean(state)

    async def clean(self, state: PartState) -> None:
        """Delete the files of a part that has ended; what cannot be deleted now is left to the next start."""
        names = [name for name in (state.file_id, *state.files) if name]
        if self._keep_files or all([await self._is_deleted(name) for name in names]):
            self._ledger.write(state, Step.CLEANED)

    async def _is_deleted(self, file_id: str) -> bool:
        try:
            await self._service.delete(file_id)
        except openai.APIError as error:
            warn("batch.file_not_deleted", file=file_id, reason=self._failure(error).summary)
            return False
        return True

    def _failure(self, error: openai.APIError) -> Failure:
        return failure_of(error, self._rules)


def unknown(state: PartState) -> str:
    """Say that a part may have a batch, and what to do."""
    return (
        f"nobody knows whether the service made a batch of {state}: its answer was lost, and no list shows one. "
        "Its rows wait: start the same again to look for it, or with create_again=True to submit them anew"
    )
