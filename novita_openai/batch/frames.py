"""Batch jobs over data frames: a column of texts in, a column of answers out."""

from __future__ import annotations

import asyncio
from typing import TypeVar, Unpack

from novita_openai.batch.options import checked
from novita_openai.batch.runs import refuse_running_loop, run_source
from novita_openai.batch.tables.frames import FrameJob
from novita_openai.batch.tables.options import FrameOptions

__all__ = ["atable", "table"]

Frame = TypeVar("Frame")


def table(frame: Frame, **options: Unpack[FrameOptions]) -> Frame:
    """Ask about each row of a data frame, and return a frame of the same kind with the columns of the answers.

    ``frame``: of pandas (its index is kept), polars or pyarrow. The columns are ``answer``, with ``validate`` one for
    each field that an answer must have (``answer.name``), ``finish_reason``, ``error``, ``prompt_tokens`` and
    ``completion_tokens``. Options: :class:`FrameOptions`.

    **Without** ``checkpoint`` **a process that is killed has lost what it has paid.**

    Raises :class:`BatchInputError` before anything is sent, :class:`BatchStopped` where rows are left at the end, such
    as after Ctrl-C.
    """
    checked(options, FrameOptions)
    refuse_running_loop("table")
    with FrameJob(frame, options) as job:
        asyncio.run(job.run(run_source, is_alone=True))
        return job.filled()


async def atable(frame: Frame, **options: Unpack[FrameOptions]) -> Frame:
    """Do the same inside an event loop, as in a notebook."""
    checked(options, FrameOptions)
    with await asyncio.to_thread(FrameJob[Frame], frame, options) as job:
        await job.run(run_source, is_alone=False)
        return await asyncio.to_thread(job.filled)
