"""One run over files: plan, engine, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from novita_openai.batch.engine import Engine
from novita_openai.batch.plan import Rows, check, drop_stale_failures
from novita_openai.batch.report import BatchProgress, BatchReport, BatchStopped
from novita_openai.batch.requests import BatchInputError, Reader, Source, prompt_body
from novita_openai.batch.session import Session, SessionOptions

if TYPE_CHECKING:
    from novita_openai.batch.files import ResultFiles
    from novita_openai.batch.interrupts import Interrupts
    from novita_openai.batch.outcomes import Sink

__all__ = ["Job", "RunOptions", "reader_for"]


class RunOptions(SessionOptions, total=False):
    """Besides those of :class:`SessionOptions`, for files.

    ``retry_failed``: send rows again that failed for good in an earlier run. ``ordered``: bring the results into the
    order of the input when the job is complete; else they stay in the order they came. ``model``: for rows that name
    none. ``prompts``: each line of the input is a prompt (so are those of ``.txt`` files), a user message rendered in
    the prompt format ``format`` or, without one, sent as it is; ``max_tokens`` of the answer to a prompt.
    ``on_progress``: called about twice a second, and at the end.
    """

    retry_failed: bool
    ordered: bool
    model: str | None
    prompts: bool
    format: str | None
    max_tokens: int | None
    on_progress: Callable[[BatchProgress], None] | None


def reader_for(source: Source, options: RunOptions) -> Reader:
    """Return what turns the lines of a source into requests."""
    format_name, model = options.get("format"), options.get("model")
    if not (options.get("prompts") or format_name or source.is_text):
        return Reader(model)
    fields = {"model": model, "max_tokens": options.get("max_tokens")}
    return Reader(model, prompt_body(format_name, {name: value for name, value in fields.items() if value is not None}))


class Job:
    """One run over files: plan, engine, report."""

    def __init__(self, source: Source, reader: Reader, options: RunOptions) -> None:
        self.source, self.reader = source, reader
        self.retry_failed, self.is_ordered = options.get("retry_failed", False), options.get("ordered", False)
        self.on_progress = options.get("on_progress")
        self.started = time.monotonic()

    async def run(self, session: Session, sink: Sink, files: ResultFiles | None, interrupts: Interrupts) -> BatchReport:
        """Run to the end; see :func:`run`."""
        self.session, self.files = session, files
        try:
            self.plan = await check(
                self.source, self.reader, files, retry_failed=self.retry_failed, is_stopped=interrupts.__bool__
            )
            if interrupts:
                return BatchReport(total=self.plan.total, interrupted=True)
            await self._prepare(interrupts)
        except BatchInputError:
            if files is not None:
                files.discard_new()
            raise
        rows = Rows(self.source, self.reader, self.plan)
        self.engine = Engine(iter(rows), sink, session, on_tick=self._tick)
        interrupts.then = self.engine.shutdown.interrupt
        if interrupts:
            self.engine.shutdown.interrupt()
        await self.engine.run()
        return await self._conclude(rows, interrupts)

    async def _prepare(self, interrupts: Interrupts) -> None:
        if self.session.limits.max_cost is not None or self.on_progress is not None:
            await interrupts.end(self.session.fetch_prices())
        if not interrupts:
            self.session.require_prices(self.plan.prompt_tokens)
            if self.files is not None:
                drop_stale_failures(self.files, self.plan, retry_failed=self.retry_failed)

    async def _conclude(self, rows: Rows, interrupts: Interrupts) -> BatchReport:
        if self.session.prices.is_empty and self.engine.tally.succeeded and not interrupts:
            await interrupts.end(self.session.fetch_prices())
        self._tick()
        report = BatchReport(**self._figures())
        if self.files is not None and self.is_ordered and not report.unfinished:
            self.plan.states.clear()  # ordering needs as much memory
            self.files.order(rows.custom_ids)
        if rows.error is not None:
            raise rows.error
        if self.engine.shutdown.stopped is not None:
            raise stopped(self.engine.shutdown.stopped, report, can_go_on=self.files is not None)
        if report.unfinished and not report.interrupted:
            raise BatchInputError([f"{self.source} changed while it was run: {report.unfinished} of its rows are gone"])
        return report

    def _tick(self) -> None:
        if self.files is not None:
            self._sync(self.files)
        if self.on_progress is not None:
            errors = dict(self.engine.tally.errors)
            self.on_progress(BatchProgress(**self._figures(), in_flight=self.engine.in_flight, errors=errors))

    def _sync(self, files: ResultFiles) -> None:
        try:
            files.sync()
        except OSError as error:
            self.engine.shutdown.stop_writing(error)

    def _figures(self) -> dict[str, Any]:
        plan, tally = self.plan, self.engine.tally
        return {
            "total": plan.total,
            "succeeded": plan.answered + tally.succeeded,
            "failed": plan.failed + tally.failed,
            "resumed": plan.answered + plan.failed,
            "sent": tally.sent,
            "retries": tally.retries,
            "tokens": tally.usage.tokens,
            "cost": tally.usage.cost(self.session.prices),
            "elapsed": time.monotonic() - self.started,
            "interrupted": self.engine.shutdown.interrupted,
        }


def stopped(reason: str, report: BatchReport, *, can_go_on: bool) -> BatchStopped:
    """Return the error for an early end, which says how to go on."""
    left = f"{report.unfinished} of {report.total} rows are unfinished"
    return BatchStopped(f"{reason}\n{left}{': start the same again to go on' if can_go_on else ''}", report)
