"""How far a job is, by its files alone: nothing is sent, locked or changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from novita_openai.batch.files import errors_path
from novita_openai.batch.hosted.ledger import folded, ledger_path
from novita_openai.batch.jsonl import numbered_lines
from novita_openai.batch.options import checked, reader_for
from novita_openai.batch.requests import BatchInputError, Source
from novita_openai.batch.spending import ModelPrices
from novita_openai.batch.tables.jobs import FileJob, is_table, journal_of
from novita_openai.batch.tables.options import TableOptions
from novita_openai.batch.worklist import read_worklist

if TYPE_CHECKING:
    from novita_openai.batch.options import RunOptions
    from novita_openai.batch.worklist import Worklist

__all__ = ["BatchStatus", "status"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatus:
    """What the files of a job say.

    ``total`` rows, of which ``succeeded`` have an answer and ``failed`` have failed for good, for the reasons in
    ``errors``; ``requests``, ``tokens`` and ``cost`` of these, in dollars, without the ``unpriced`` ones, which do not
    say what they have cost; None where none does. ``at_service``: the parts that the service's Batch API has of the
    job, in words.
    """

    total: int
    succeeded: int
    failed: int
    errors: Mapping[str, int] = field(default_factory=dict)
    requests: int = 0
    tokens: int = 0
    cost: float | None = None
    unpriced: int = 0
    at_service: tuple[str, ...] = ()

    @property
    def unfinished(self) -> int:
        """Return the number of rows without a result."""
        return self.total - self.succeeded - self.failed


def status(requests: str | Path, results: str | Path, **options: Unpack[TableOptions]) -> BatchStatus:
    """Return how far a job is, also while another process runs it.

    Raises :class:`BatchInputError` where the files do not belong together, ``OSError`` where they cannot be read.
    """
    checked(options, TableOptions)
    if is_table(requests, options):
        if not options.get("prompt"):
            told = "the status of a table needs prompt= and the other options of its job, which say what it asks"
            raise BatchInputError([told])
        with FileJob(requests, None, options) as table:
            return table.counted(_status(table.source, journal_of(Path(results)), table.options))
    with Source(requests) as source:
        return _status(source, Path(results), options)


def _status(source: Source, results: Path, options: RunOptions) -> BatchStatus:
    paths = results, errors_path(results)
    worklist = asyncio.run(read_worklist(source, reader_for(source, options), paths))
    return _told(worklist, _at_service(ledger_path(results)))


def _told(worklist: Worklist, at_service: tuple[str, ...]) -> BatchStatus:
    spent = worklist.spent_by(ModelPrices())
    return BatchStatus(
        total=worklist.total,
        succeeded=worklist.answered,
        failed=worklist.failed,
        errors=dict(worklist.failures()),
        requests=spent.requests,
        tokens=spent.tokens,
        cost=spent.cost,
        unpriced=spent.unpriced,
        at_service=at_service,
    )


def _at_service(ledger: Path) -> tuple[str, ...]:
    if not ledger.exists():
        return ()
    with ledger.open("rb") as file:
        try:
            states = folded((number, json.loads(line)) for number, line in numbered_lines(file))
        except ValueError as error:
            raise BatchInputError([f"{ledger}: {error}"]) from None
    return tuple(f"{state.step.value}: {state}" for state in states.values() if state.is_open)
