"""How a run over parts comes to its end: at once, or after what is at the service has been collected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import random
from typing import TYPE_CHECKING, Any, Final

from novita_openai.backoff import unless_skipped
from novita_openai.batch.hosted.decisions import needs_change, wait_delay
from novita_openai.batch.shutdown import GO_ON, Shutdown
from novita_openai.batch.verdicts import way_after
from novita_openai.errors import Action

if TYPE_CHECKING:
    from novita_openai.errors import Failure

__all__ = ["Patience", "RunEnding"]

NO_ANSWER: Final = 1_800.0
"""Seconds of failures, without one answer, after which the service is taken to be out of reach."""
WINDOW: Final = 48 * 3_600.0
"""Seconds for which a service is waited for that says it has too much to do."""
TICK: Final = 0.5


class RunEnding:
    """When and why the run ends. ``shutdown``: of now; ``reasons``: of an end that waits for what is under way.

    ``blocks``: nothing more is submitted.
    """

    def __init__(self, drain: float) -> None:
        self._has_begun = asyncio.Event()
        self._clock = asyncio.get_running_loop().time
        self.shutdown = Shutdown(self._clock, self._has_begun.set, drain)
        self.reasons: list[str] = []
        self.needs_change = self.blocks = False
        self.way = GO_ON

    @property
    def has_begun(self) -> bool:
        """Tell whether nothing more may be begun."""
        return self.shutdown.has_begun

    def add(self, reason: str, *, needs_change: bool = False, blocks: bool = True, way: str = GO_ON) -> None:
        """Have the run end for a reason once what is at the service is collected; nothing more is submitted then.

        ``blocks=False``: what is left is submitted all the same. ``way``: how to go on; the last one counts that is not
        to start the same again.
        """
        self.reasons.append(reason)
        self.needs_change = self.needs_change or needs_change
        self.blocks = self.blocks or blocks
        self.way = way if way != GO_ON else self.way

    def stop(self, failure: Failure) -> None:
        """End the run, as everything else would fail alike."""
        said = f" {failure.said}" if failure.said else ""
        reason = f"{failure.summary}:{said} {failure.meaning}"
        self.shutdown.stop(reason, needs_change=needs_change(failure), way=way_after(failure))

    def finish(self) -> None:
        """End the run for the reasons that have come up."""
        if self.reasons:
            self.shutdown.stop("\n".join(self.reasons), needs_change=self.needs_change, way=self.way)

    async def over(self, work: Coroutine[Any, Any, None], tick: Callable[[], object] = bool) -> None:
        """Do some work, at most until the end has come; ``tick`` is called now and then meanwhile."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done() and self.shutdown.remaining > 0:
                tick()
                await asyncio.wait([task], timeout=min(TICK, max(self.shutdown.remaining, 0.0)))
        finally:
            task.cancel()
            await asyncio.wait([task])
        try:
            if not task.cancelled():
                task.result()
        except OSError as error:
            if error.errno is None:
                raise
            error.filename = error.filename or "a temporary file beside the results"
            self.shutdown.stop_writing(error)

    async def sleep(self, seconds: float) -> None:
        """Wait, at most until the run is to end."""
        begun = asyncio.ensure_future(self._has_begun.wait())
        try:
            await asyncio.wait([begun], timeout=unless_skipped(seconds))
        finally:
            begun.cancel()


class Patience:
    """Waits between requests of one kind until the service takes one."""

    def __init__(self, ending: RunEnding) -> None:
        self._ending, self._count, self._waited = ending, 0, 0.0

    async def wait(self, failure: Failure) -> bool:
        """Wait after a failure; tell whether to ask again, else the run ends."""
        delay = wait_delay(self._count, failure.retry_after, random=random())  # noqa: S311 - jitter
        self._count += 1
        self._waited += delay
        if self._waited > (WINDOW if failure.rule.action is Action.WAIT else NO_ANSWER):
            self._ending.stop(failure)
            return False
        await self._ending.sleep(delay)
        return not self._ending.has_begun
