"""Batch jobs that can be killed and started again: ``run`` and ``arun`` over files, ``stream`` over rows of a program.

In the order of a row: :mod:`.requests` reads it, :mod:`.worklist` leaves out what is done, :mod:`.engine` starts it as
the pace of its model allows, :mod:`.transport` sends it, :mod:`.verdicts` says what a failure means, :mod:`.rows`
writes it down, :mod:`.files` keeps it. The form of the files is that of OpenAI's Batch.
"""

from novita_openai.batch.estimates import BatchEstimate
from novita_openai.batch.options import RunOptions
from novita_openai.batch.report import BatchProgress, BatchReport, BatchStopped
from novita_openai.batch.requests import BatchInputError
from novita_openai.batch.runs import arun, estimate, run
from novita_openai.batch.streaming import stream

__all__ = [
    "BatchEstimate",
    "BatchInputError",
    "BatchProgress",
    "BatchReport",
    "BatchStopped",
    "RunOptions",
    "arun",
    "estimate",
    "run",
    "stream",
]
