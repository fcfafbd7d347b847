"""Batch jobs that can be killed and started again: ``run`` and ``arun`` over files, ``stream`` over rows of a program.

The path of a row: :mod:`.requests` reads and checks it, and :mod:`.worklist` skips it if it has a result. It
waits in one of the :mod:`.lanes` until :mod:`.engine` starts it, as :mod:`novita_openai.pacing` allows, and
:mod:`.transport` sends it. If that fails, :mod:`.verdicts` decides what this means, and :mod:`.outcomes` carries it
out. In the end :mod:`.rows` makes the row of its result, and :mod:`.files` writes it. The files have the format of
OpenAI's Batch. :mod:`.tables` makes rows of tables, and tables of results.
"""

from importlib.util import find_spec

if find_spec("fcntl") is None:
    raise ImportError(
        "novita_openai.batch needs a POSIX system, such as Linux or macOS, as it locks its files with fcntl; "
        "everything else in novita_openai works without it"
    )

from novita_openai.batch.estimates import BatchEstimate
from novita_openai.batch.frames import atable, table
from novita_openai.batch.options import RunOptions
from novita_openai.batch.reading import BatchResult, results
from novita_openai.batch.report import BatchProgress, BatchReport, BatchStopped
from novita_openai.batch.requests import BatchInputError
from novita_openai.batch.runs import arun, estimate, run
from novita_openai.batch.statuses import BatchStatus, status
from novita_openai.batch.streaming import stream
from novita_openai.batch.tables.options import FrameOptions, TableOptions

__all__ = [
    "BatchEstimate",
    "BatchInputError",
    "BatchProgress",
    "BatchReport",
    "BatchResult",
    "BatchStatus",
    "BatchStopped",
    "FrameOptions",
    "RunOptions",
    "TableOptions",
    "arun",
    "atable",
    "estimate",
    "results",
    "run",
    "status",
    "stream",
    "table",
]
