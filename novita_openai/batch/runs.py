"""Batch jobs over files, from the arguments to the report."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Unpack

from novita_openai.batch.estimates import BatchEstimate, aestimate
from novita_openai.batch.files import ResultFiles, is_kept, opened_outlet
from novita_openai.batch.hosted.opening import opened_fleet
from novita_openai.batch.interrupts import Interrupts
from novita_openai.batch.job import Job
from novita_openai.batch.notebooks import with_notebook_line
from novita_openai.batch.options import RunOptions, checked, is_hosted, reader_for
from novita_openai.batch.report import BatchReport  # noqa: TC001 - public annotations can be resolved at run time
from novita_openai.batch.requests import Source
from novita_openai.batch.session import Session
from novita_openai.batch.tables.jobs import FileJob, is_table
from novita_openai.batch.tables.options import TableOptions

__all__ = ["arun", "estimate", "refuse_running_loop", "run", "run_source"]


def run(requests: str | Path, results: str | Path, **options: Unpack[TableOptions]) -> BatchReport:
    """Send the requests of a file and append their results to another; go on where an earlier run has ended.

    ``requests``: a file of JSON lines (``.gz`` is gzip), or of users' messages, one a line (``.txt``); ``-`` is
    standard input.
    ``results``: the file for the answers, such as ``NAME.jsonl``; rows that failed for good go into
    ``NAME.errors.jsonl`` beside it. With ``-`` both are printed, a pipe or a device gets both, and no later run can go
    on from them. Options: :class:`RunOptions`.

    A table (``.csv``, ``.tsv``, ``.parquet``, or with ``prompt`` also ``.jsonl`` with plain fields) gets a column of
    answers: ``results`` is a table too, written once all rows are done, and ``NAME.results.jsonl`` and
    ``NAME.errors.jsonl`` beside it keep what has come. Options: :class:`TableOptions`.

    Raises :class:`BatchInputError` (a ``ValueError``) before anything is sent, :class:`BatchStopped` where sending more
    cannot help, ``OSError`` where files cannot be used. With ``detach`` and ``cancel`` the rows that are left are no
    error: the report counts them as unfinished. SIGINT, SIGTERM or SIGHUP end it early; the report says so.
    """
    checked(options, TableOptions)
    refuse_running_loop("run")
    if is_table(requests, options):
        with FileJob(requests, results, options) as table:
            return asyncio.run(table.run(run_source, is_alone=True))
    with Source(requests) as source:  # before the event loop starts, so that an interrupt ends the reading of a pipe
        return asyncio.run(run_source(source, results, options, is_alone=True))


def refuse_running_loop(name: str) -> None:
    """Raise ``RuntimeError`` where an event loop runs already, beside which there cannot be another in its thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"batch.{name}() inside a running event loop: use `await batch.a{name}(...)`")


async def arun(requests: str | Path, results: str | Path, **options: Unpack[TableOptions]) -> BatchReport:
    """Do the same inside an event loop."""
    checked(options, TableOptions)
    if is_table(requests, options):
        with await asyncio.to_thread(FileJob, requests, results, options) as table:
            return await table.run(run_source, is_alone=False)
    with Source(requests) as source:
        return await run_source(source, results, options, is_alone=False)


async def run_source(source: Source, results: str | Path, options: RunOptions, *, is_alone: bool) -> BatchReport:
    """Run a batch over an open source; ``is_alone``: the event loop ends with it."""
    is_hosted(options)
    options = with_notebook_line(options)
    reader, interrupts, started = reader_for(source, options), Interrupts(), time.monotonic()
    async with AsyncExitStack() as stack:
        stack.enter_context(interrupts.watched())
        session = await stack.enter_async_context(Session(options, is_alone=is_alone))
        files = stack.enter_context(ResultFiles(Path(results), source)) if is_kept(results) else None
        fleet = opened_fleet(stack, files, source, session, options)
        job = Job(
            source=source,
            reader=reader,
            options=options,
            session=session,
            files=files,
            fleet=fleet,
            sink=files or stack.enter_context(opened_outlet(results)),
            interrupts=interrupts,
            started=started,
        )
        return await job.run()


def estimate(requests: str | Path, **options: Unpack[TableOptions]) -> BatchEstimate:
    """Check the requests of a file and estimate their tokens and cost; send none of them.

    Raises :class:`BatchInputError` with everything that is wrong. Without a key or the models list the cost is unknown.
    """
    checked(options, TableOptions)
    if is_table(requests, options):
        with FileJob(requests, None, options) as table:
            return asyncio.run(aestimate(table.source, table.options))
    with Source(requests) as source:
        return asyncio.run(aestimate(source, options))
