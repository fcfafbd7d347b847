"""One run over files: what there is to do, the sending of it, and the report."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final

from novita_openai.batch.backlog import ReadAhead
from novita_openai.batch.cursors import Cursors
from novita_openai.batch.dedupe import Dedupe
from novita_openai.batch.disk import is_full
from novita_openai.batch.engine import Engine
from novita_openai.batch.examples import Examples, examples_in
from novita_openai.batch.files import known_rows
from novita_openai.batch.fitness import misfits
from novita_openai.batch.hosted.running import HostedEngine
from novita_openai.batch.pending import PendingRows
from novita_openai.batch.rechecks import recheck
from novita_openai.batch.report import BatchProgress, BatchReport, BatchStopped
from novita_openai.batch.requests import BatchInputError
from novita_openai.batch.tidying import tidy
from novita_openai.batch.worklist import read_worklist
from novita_openai.logs import warn
from novita_openai.prices import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from novita_openai.batch.backlog import Feed
    from novita_openai.batch.files import ResultFiles
    from novita_openai.batch.hosted.fleet import Fleet
    from novita_openai.batch.interrupts import Interrupts
    from novita_openai.batch.options import RunOptions
    from novita_openai.batch.outcomes import Sink
    from novita_openai.batch.requests import BatchRequest, Reader, Source
    from novita_openai.batch.session import Session
    from novita_openai.batch.shutdown import Shutdown
    from novita_openai.batch.worklist import Worklist

__all__ = ["Job"]

MOST_TOLD: Final = 20
"""Unfit models that are named in the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one run over files reads, writes and sends with.

    ``sink``: where results go; ``files``: the same, None where that keeps nothing. ``fleet``: what the service's Batch
    API has of the job, None where it has nothing and is to have nothing. ``started``: when the run began, by
    ``time.monotonic``.
    """

    source: Source
    reader: Reader
    options: RunOptions
    session: Session
    files: ResultFiles | None
    sink: Sink
    fleet: Fleet | None
    interrupts: Interrupts
    started: float

    async def run(self) -> BatchReport:
        """Run to the end; see :func:`novita_openai.batch.run`."""
        try:
            await self._settle()
            worklist = await self._worklist()
            if self.interrupts.came:
                return BatchReport(total=worklist.total, interrupted=True)
            await self._prepare(worklist)
        except (BatchInputError, BatchStopped):
            if self.files is not None:
                self.files.discard_new()
            raise
        return await Execution(self, worklist).run()

    async def _settle(self) -> None:
        """Collect what the service has done for earlier starts."""
        if self.fleet is None or not (self.fleet.ledger.open or self.fleet.ledger.unclean):
            return
        await self.interrupts.wait_for(self.session.fetch_prices())
        self.interrupts.on_signal = self.fleet.ending.shutdown.interrupt
        if not self.interrupts.came:
            await self.fleet.ending.over(self.fleet.settle())
        self.interrupts.on_signal = None

    async def _worklist(self) -> Worklist:
        retry_failed, interrupts = self.options.get("retry_failed", False), self.interrupts
        held = () if self.fleet is None else self.fleet.held()
        return await read_worklist(
            self.source,
            self.reader,
            None if self.files is None else self.files.paths,
            held=held,
            retry_failed=retry_failed,
            is_stopped=lambda: interrupts.came,
        )

    async def _prepare(self, worklist: Worklist) -> None:
        """Look at the models list, if there is anything to send; remove the failed rows that are sent again."""
        validation = self.session.validation
        may_reopen = validation.check is not None and worklist.answered > 0
        if worklist.wanted or worklist.unpriced or may_reopen or validation.needs_models:
            await self.interrupts.wait_for(self.session.fetch_prices())
        if self.interrupts.came:
            return
        if self.fleet is not None:
            self.fleet.require(worklist)
        self.session.require_prices(worklist.models, worklist.total)
        self.session.spent_before = worklist.spent_by(self.session.prices)
        for misfit in misfits(worklist.wanted, self.session.prices.rows)[:MOST_TOLD]:
            warn("batch.unfit_model", model=misfit.model, problem=misfit.problem, near=list(misfit.near) or None)
        if self.files is not None:
            tidy(self.files, worklist, retry_failed=self.options.get("retry_failed", False))
            await self._recheck(self.files, worklist)

    async def _recheck(self, files: ResultFiles, worklist: Worklist) -> None:
        check, interrupts = self.session.validation.check, self.interrupts
        if check is not None:
            await recheck(files, worklist, check, lambda: interrupts.came)

    def dedupe(self) -> Dedupe | None:
        """Return what holds equal rows back, None where all are sent."""
        if not self.options.get("dedupe"):
            return None
        if self.files is None:
            raise ValueError("dedupe=True: equal rows get a copy from the file of results; name one")
        dedupe = Dedupe(self.files)
        dedupe.expect(digest for _, digest in (() if self.fleet is None else self.fleet.held()))
        return dedupe


class Execution:
    """The sending of a job's pending rows, and the reports on it."""

    def __init__(self, job: Job, worklist: Worklist) -> None:
        self._job, self._worklist = job, worklist
        self._rows = PendingRows(job.source, job.reader, worklist)
        self._dedupe, self._failures = job.dedupe(), worklist.failures()
        self._examples = self._earlier_examples()
        self._engine = self._made()

    def _made(self) -> Engine | HostedEngine:
        """Return what sends the rows: this process, or the service."""
        job = self._job
        if job.fleet is None or not job.fleet.is_used:
            return Engine(self._feed(), job.sink, job.session, on_tick=self._tick)
        return HostedEngine(self._pending, job.session, job.fleet, on_tick=self._tick)

    def _earlier_examples(self) -> Examples:
        """Return an example for each reason for which rows had failed before."""
        rows = () if self._job.files is None else known_rows(self._job.files.errors)
        return examples_in(rows, self._failures.keys(), self._worklist.is_failed)

    def _pending(self, only: Collection[str] | None = None) -> Iterator[BatchRequest]:
        """Yield the rows that are to be sent, or those of them that have one of the custom_ids."""
        if only is None:
            return (request for request in self._rows if self._accept(request))
        return (request for request in self._rows if request.custom_id in only and self._prepare(request))

    async def run(self) -> BatchReport:
        """Send the rows; return the report, or raise what ended the run too early."""
        interrupts = self._job.interrupts
        interrupts.on_signal = self._engine.shutdown.interrupt
        if interrupts.came:
            self._engine.shutdown.interrupt()
        if self._dedupe is not None:  # rows that have a result already get a copy of it
            self._share(self._dedupe.share_earlier)
        self._require_room()
        await self._engine.run()
        if self._job.fleet is not None:
            self._job.fleet.tell(self._engine.shutdown, self._report().unfinished)
        if self._dedupe is not None:
            self._share(self._dedupe.share)
        self._tick()
        report = self._in_place(self._report())
        if not report.unfinished and self._engine.shutdown.stopped is None:
            self._finish()
            report = replace(report, stopped=self._engine.shutdown.stopped or report.stopped)
        self._raise_for(report)
        return report

    def _require_room(self) -> None:
        """Stop before anything is sent whose answer could not be kept."""
        files = self._job.files
        if files is None or not self._worklist.wanted:
            return
        try:
            files.require_room()
        except OSError as error:
            self._engine.shutdown.stop_writing(error)

    def _in_place(self, report: BatchReport) -> BatchReport:
        """Return a report on the rows that are in their places, where a file of results is not there any more."""
        files = self._job.files
        if files is None or not files.is_displaced():
            return report
        self._sync(files)  # which stops the run, where nothing has done so
        succeeded, failed = files.counts()
        return replace(report, succeeded=min(succeeded, report.succeeded), failed=min(failed, report.failed))

    def _feed(self) -> Feed:
        """Return the pending rows: for each model by itself, where it is known where they are."""
        places = self._worklist.places
        if places is not None:
            return Cursors(self._rows, places, self._accept)
        return ReadAhead(request for request in self._rows if self._accept(request))

    def _accept(self, request: BatchRequest) -> bool:
        """Make a row ready to be sent; tell whether it is, as no other that is sent asks the same."""
        return self._prepare(request) and (self._dedupe is None or self._dedupe.is_distinct(request))

    def _prepare(self, request: BatchRequest) -> bool:
        self._job.session.validation.prepare(request)
        if self._job.fleet is not None:
            self._job.fleet.amend(request)
        return True

    def _share(self, share: Callable[[PendingRows], None]) -> None:
        try:
            share(PendingRows(self._job.source, self._job.reader, self._worklist))
        except OSError as error:
            self._engine.shutdown.stop_writing(error)

    def _finish(self) -> None:
        """Remove what only later starts would need; bring the rows into order where that is wanted."""
        if self._job.files is None:
            return
        with suppress(OSError):  # what stays there is read past, as all rows have results
            self._job.files.reopened.unlink(missing_ok=True)
        if not self._job.options.get("ordered"):
            return
        self._worklist.states.clear()  # ordering needs as much memory
        try:
            self._job.files.order(self._rows.custom_ids)
        except OSError as error:
            told = f"the results are whole, but cannot be put in order: {error.filename}: {error.strerror}"
            self._engine.shutdown.stop(told, needs_change=is_full(error))

    def _raise_for(self, report: BatchReport) -> None:
        """Raise the error for a run that has ended too early, unless by a signal."""
        if self._rows.error is not None:
            raise self._rows.error
        if self._engine.shutdown.stopped is not None:
            raise _stopped(self._engine.shutdown, report, can_go_on=self._job.files is not None)
        is_left = self._job.fleet is not None and self._job.fleet.leaves_rows
        if report.unfinished and not (report.interrupted or is_left):
            source = self._job.source
            raise BatchInputError([f"{source} changed during the run: {report.unfinished:,} of its rows are gone"])

    def _tick(self) -> None:
        if self._job.files is not None:
            self._sync(self._job.files)
        on_progress = self._job.options.get("on_progress")
        if on_progress is not None:
            report = self._report()
            known, tally = {each.name: getattr(report, each.name) for each in fields(report)}, self._engine.tally
            known["errors"] = dict(tally.reasons)
            in_flight, latencies = self._engine.in_flight, dict(tally.latencies)
            on_progress(BatchProgress(**known, in_flight=in_flight, refused=tally.refused, latencies=latencies))

    def _sync(self, files: ResultFiles) -> None:
        try:
            files.sync()
        except OSError as error:
            self._engine.shutdown.stop_writing(error)

    def _report(self) -> BatchReport:
        """Return a report on the whole job, earlier runs included."""
        worklist, this_run, fleet = self._worklist, self._engine.tally, self._job.fleet
        spent = replace(self._job.session.spent_before)
        spent.include(this_run.usage.spent)
        all_done = this_run if fleet is None else this_run.plus(fleet.settled)
        settled = 0 if fleet is None else fleet.settled.succeeded + fleet.settled.failed
        shared = (0, 0) if self._dedupe is None else (self._dedupe.succeeded, self._dedupe.failures.total())
        copied = Counter[str]() if self._dedupe is None else self._dedupe.failures
        return replace(
            all_done.report(),
            total=worklist.total,
            succeeded=worklist.answered + this_run.succeeded + shared[0],
            failed=worklist.failed + this_run.failed + shared[1],
            deduplicated=sum(shared),
            resumed=max(0, worklist.answered + worklist.failed - settled),
            job_cost=spent.whole_cost,
            job_cost_is_estimate=spent.is_estimate,
            sent=this_run.sent + self._job.session.transport.resent,
            retries=this_run.retries + self._job.session.transport.resent,
            elapsed=time.monotonic() - self._job.started,
            interrupted=self._engine.shutdown.interrupted,
            stopped=self._engine.shutdown.stopped or (None if fleet is None else fleet.left),
            errors=dict(self._failures + self._engine.tally.errors + copied),
            examples=self._examples.rows | all_done.examples,
            said=self._examples.said | all_done.said,
        )


def _stopped(shutdown: Shutdown, report: BatchReport, *, can_go_on: bool) -> BatchStopped:
    """Return the error for an early end, which says how to go on."""
    left = f"{report.unfinished:,} of {counted(report.total, 'row', 'are')} unfinished"
    message = f"{shutdown.stopped}\n{left}{f': {shutdown.way}' if can_go_on and shutdown.way else ''}"
    return BatchStopped(message, report, shutdown.needs_change)
