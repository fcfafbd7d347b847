"""What has come of a part: each row of its files judged like any answer, and written into the files of results.

Rows are joined by their custom_id alone. A row that the part does not hold, or that comes a second time, is left out.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, count
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import openai

from novita_openai.batch.checks import VALIDATION_FAILED
from novita_openai.batch.files import known_rows
from novita_openai.batch.hosted.answers import custom_id_in, read_result
from novita_openai.batch.hosted.parts import SHARE, Submitted
from novita_openai.batch.reading import BatchResult
from novita_openai.batch.requests import BatchRequest
from novita_openai.batch.rows import answer_row, error_row, rejected_row
from novita_openai.batch.unnamed import place_of
from novita_openai.batch.usage import Spent, reported_tokens
from novita_openai.errors import failure_of
from novita_openai.logs import warn
from novita_openai.prices import Tokens

if TYPE_CHECKING:
    from novita_openai.batch.files import KnownRow, ResultFiles
    from novita_openai.batch.hosted.ledger import Ledger, PartState
    from novita_openai.batch.report import Tally
    from novita_openai.batch.rows import WholeAnswer
    from novita_openai.batch.session import Session
    from novita_openai.errors import Failure

__all__ = ["Collector", "Gathered"]

ROWS_A_TURN: Final = 100
"""Rows that are written before the event loop may turn."""


@dataclass(slots=True)
class Gathered:
    """What came of a part: rows by what became of them, and the last failure that every other row would meet too."""

    succeeded: int = 0
    failed: int = 0
    rejected: int = 0
    missing: int = 0
    strangers: int = 0
    stop: Failure | None = None


@dataclass(slots=True)
class _Waiting:
    """The rows of a part that have no result yet, and the names that unnamed ones cannot have any more."""

    rows: dict[str, Submitted]
    taken: set[str] = field(default_factory=set)
    _left: Iterator[int] = field(default_factory=lambda: count(1))

    def name(self, custom_id: str) -> str:
        """Return the name of a row in the files of results: that under which it was sent, where it is free."""
        if custom_id not in self.taken:
            return custom_id
        return next(name for number in self._left if (name := f"left-{number}") not in self.taken)


class Collector:
    """Writes the rows of parts that have ended, and counts them in ``tally``.

    ``url``: the address that errors of rows are about.
    """

    def __init__(self, files: ResultFiles, ledger: Ledger, session: Session, tally: Tally, url: str) -> None:
        self._files, self._ledger, self._session, self._tally, self._url = files, ledger, session, tally, url
        self._prices = session.prices.at(SHARE)

    async def collect(
        self,
        state: PartState,
        files: list[BinaryIO],
        is_stopped: Callable[[], bool],
        *,
        is_late: bool,
        is_broken: bool,
    ) -> Gathered | None:
        """Write what the files of a part hold; None where it was stopped before their end.

        ``is_late``: the part comes from an earlier start, so that rows without a custom_id may have other places now;
        ``is_broken``: some of its rows may be written already.
        """
        waiting = self._waiting(state, is_late=is_late, is_broken=is_broken)
        gathered = Gathered()
        for number, row in enumerate(chain.from_iterable(map(_rows, files))):
            self._take(state, waiting, row, gathered)
            if number % ROWS_A_TURN == 0:
                await asyncio.sleep(0)
                if is_stopped():
                    return None
        gathered.missing = len(waiting.rows)
        if gathered.strangers and not is_broken:  # else they are those that were written already
            warn("batch.unknown_rows", batch=state.batch_id, count=gathered.strangers)
        return gathered

    def _waiting(self, state: PartState, *, is_late: bool, is_broken: bool) -> _Waiting:
        waiting = _Waiting({row.custom_id: row for row in self._ledger.rows_of(state)})
        has_unnamed = is_late and any(place_of(custom_id) is not None for custom_id in waiting.rows)
        if is_broken or has_unnamed:
            written = Counter[str]()
            for known in chain(known_rows(self._files.answers), known_rows(self._files.errors)):
                if place_of(known.custom_id) is not None:
                    waiting.taken.add(known.custom_id)
                    written[known.digest] += 1
                elif is_broken and _is_of(known, waiting.rows):
                    del waiting.rows[known.custom_id]
            if is_broken:
                _drop_unnamed(waiting.rows, written)
        return waiting

    def _take(self, state: PartState, waiting: _Waiting, row: dict[str, Any], gathered: Gathered) -> None:
        custom_id = custom_id_in(row)
        submitted = None if custom_id is None else waiting.rows.pop(custom_id, None)
        if submitted is None:
            gathered.strangers += 1
            return
        request = _request(state, submitted, waiting.name(submitted.custom_id))
        self._tally.usage.sent(request.model)
        try:
            answer = read_result(row, request.path, self._url)
        except openai.APIError as error:
            self._fail(request, failure_of(error, self._session.policy.rules), gathered)
        else:
            self._charge(request, answer, submitted.prompts)
            self._judge(request, answer, gathered)

    def _charge(self, request: BatchRequest, answer: WholeAnswer, prompts: int) -> None:
        tokens = reported_tokens(answer.usage)
        cost = None if tokens is None else self._prices.cost(request.model, tokens, prompts)
        known = tokens or Tokens(0, 0)
        request.spent.add(known.total, cost)
        self._tally.usage.add(request.model, known, cost)
        self._tally.usage.by_model[request.model].is_estimate = True

    def _judge(self, request: BatchRequest, answer: WholeAnswer, gathered: Gathered) -> None:
        """Write an answer, or where it does not pass the check, have its row asked again or give it up."""
        row, validation = answer_row(request, answer), self._session.validation
        self._tally.finish_reasons.update(answer.finish_reasons)
        flaw = validation.flaw(row)
        if flaw is None:
            self._write(request, row, gathered, succeeded=True)
            return
        self._tally.reasons[VALIDATION_FAILED] += 1
        if request.corrections >= validation.more:
            self._write_failed(request, rejected_row(request, answer, VALIDATION_FAILED, flaw), gathered)
            return
        gathered.rejected += 1
        self._ledger.reject(
            request.custom_id,
            digest=request.digest,
            text=BatchResult.read(row).text,
            flaw=flaw,
            corrections=request.corrections + 1,
            spent=request.spent.fields(),
        )

    def _fail(self, request: BatchRequest, failure: Failure, gathered: Gathered) -> None:
        """Write a failed row, unless it could not be paid for, or the like: then it stays unfinished."""
        self._tally.reasons[failure.reason] += 1
        if failure.rule.stops_batch:
            gathered.stop = failure
            gathered.missing += 1
            return
        request.attempts = 1
        self._write_failed(request, error_row(request, failure, self._session.transport.key), gathered)

    def _write_failed(self, request: BatchRequest, row: bytes, gathered: Gathered) -> None:
        self._tally.add_error(request.custom_id, row)
        self._write(request, row, gathered, succeeded=False)

    def _write(self, request: BatchRequest, row: bytes, gathered: Gathered, *, succeeded: bool) -> None:
        self._files.write(row, succeeded=succeeded)
        self._ledger.accept(request.custom_id)
        self._tally.rows[request.model] += 1
        gathered.succeeded += succeeded
        gathered.failed += not succeeded
        self._tally.succeeded += succeeded
        self._tally.failed += not succeeded


def _is_of(known: KnownRow, rows: dict[str, Submitted]) -> bool:
    """Tell whether a result is of one of the rows."""
    row = rows.get(known.custom_id)
    return row is not None and row.digest == known.digest


def _drop_unnamed(rows: dict[str, Submitted], written: Counter[str]) -> None:
    """Leave out the rows without a custom_id of which a result is written: there are so many of each request."""
    for custom_id, row in [*rows.items()]:
        if place_of(custom_id) is not None and written[row.digest] > 0:
            written[row.digest] -= 1
            del rows[custom_id]


def _rows(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file of results, and an empty one for each line that is none."""
    file.seek(0)
    for line in file:
        if line.strip():
            try:
                row: Any = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield cast("dict[str, Any]", row) if isinstance(row, dict) else {}


def _request(state: PartState, row: Submitted, name: str) -> BatchRequest:
    """Return the request of a row, without its body."""
    metadata = b"" if row.metadata is None else json.dumps(row.metadata).encode()
    spent = Spent.read(row.spent) or Spent()
    spent.requests += 1
    spent.is_estimate = True
    part = state.part
    return BatchRequest(
        name, part.path, part.model, b"", row.digest, metadata=metadata, corrections=row.corrections, spent=spent
    )
