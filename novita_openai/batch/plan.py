"""What a batch has to do: every row of the input checked, and held against the results that are there already.

Kept in memory of each row is a number for its custom_id and one for its state, of 60 bits where they are digests: about
100 bytes. That two custom_ids of a million share a number, and count as given twice, has a chance of 1 in 2 million.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from novita_openai.batch.files import KnownRow, ResultFiles, known_rows
from novita_openai.batch.requests import BatchInputError, BatchRequest, Reader, Source

__all__ = ["Plan", "Rows", "check", "drop_stale_failures"]

BITS: Final = (1 << 60) - 1
HEX_DIGITS: Final = 15
LINES_A_TURN: Final = 500

# States of a row of the input; the results of others, which are not looked at yet, are digests, negative if failed.
PENDING: Final = 0
ANSWERED: Final = 1
FAILED: Final = 2
_STATES: Final = (PENDING, ANSWERED, FAILED)


@dataclass(slots=True)
class Plan:
    """The input's rows and their states; the counts of each, and about what the pending ones come to."""

    states: dict[int, int] = field(default_factory=dict)
    total: int = 0
    answered: int = 0
    failed: int = 0
    foreign: int = 0
    prompt_tokens: dict[str, int] = field(default_factory=dict)
    answer_tokens: dict[str, int] = field(default_factory=dict)
    unbounded: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def models(self) -> tuple[str, ...]:
        """Return the models of the pending rows."""
        return tuple(self.prompt_tokens)

    def is_pending(self, request: BatchRequest) -> bool:
        """Tell whether a row is to be sent; raise ``ValueError`` where the plan does not know it."""
        state = self.states.get(_key(request.custom_id))
        if state is None:
            raise ValueError(f"custom_id {request.custom_id!r} was not here before")
        return state == PENDING

    def add_known(self, row: KnownRow, *, failed: bool) -> None:
        """Take a row of the results; an answer outweighs a failure."""
        key = _key(row.custom_id)
        if not failed and key in self.states:
            self.errors.append(f"the results hold custom_id {row.custom_id!r} twice")
        digest = int(row.digest[:HEX_DIGITS], 16) + len(_STATES)
        self.states.setdefault(key, -digest if failed else digest)

    def add(self, request: BatchRequest, *, retry_failed: bool) -> None:
        """Take a row of the input; raise ``ValueError`` where its custom_id is taken, or stands for another request."""
        key = _key(request.custom_id)
        known = self.states.get(key)
        if known in _STATES:
            raise ValueError(f"custom_id {request.custom_id!r} was given before")
        self.total += 1
        if known is None or (known < 0 and retry_failed):
            self._add_pending(key, request)
            return
        if abs(known) != int(request.digest[:HEX_DIGITS], 16) + len(_STATES):
            raise ValueError(
                f"custom_id {request.custom_id!r} has a result, but for another request: give changed requests new "
                f"custom_ids or new results{', or retry the failed ones' if known < 0 else ''}"
            )
        self.states[key] = FAILED if known < 0 else ANSWERED
        self.failed += known < 0
        self.answered += known > 0

    def _add_pending(self, key: int, request: BatchRequest) -> None:
        self.states[key] = PENDING
        model, most = request.model, request.max_tokens
        self.prompt_tokens[model] = self.prompt_tokens.get(model, 0) + request.prompt_tokens
        self.answer_tokens[model] = self.answer_tokens.get(model, 0) + (most or 0)
        self.unbounded += most is None


def _key(custom_id: str) -> int:
    return hash(custom_id) & BITS


async def check(
    source: Source,
    reader: Reader,
    files: ResultFiles | None = None,
    *,
    retry_failed: bool = False,
    is_stopped: Callable[[], bool] = bool,
) -> Plan:
    """Return the plan of a run; raise :class:`BatchInputError` with all that is wrong with the input.

    It lets the event loop turn, and returns what it has when ``is_stopped``.
    """
    plan = Plan()
    for journal, failed in ((files.answers, False), (files.errors, True)) if files else ():
        for count, known in enumerate(known_rows(journal)):
            plan.add_known(known, failed=failed)
            if count % LINES_A_TURN == 0:
                await asyncio.sleep(0)
    read = 0
    for number, line in source.lines():
        try:
            plan.add(reader.line(number, line), retry_failed=retry_failed)
        except ValueError as error:
            plan.errors.append(f"{source}, line {number}: {error}")
        read += 1
        if read % LINES_A_TURN == 0:
            await asyncio.sleep(0)
            if is_stopped():
                return plan
    if not read:
        plan.errors.append(f"{source} holds no requests")
    if plan.errors:
        raise BatchInputError(plan.errors)
    return plan


def drop_stale_failures(files: ResultFiles, plan: Plan, *, retry_failed: bool) -> None:
    """Take the rows out of the errors that are answered, given twice, or to be sent again."""
    last: dict[int, int] = {}
    count = 0
    for count, row in enumerate(known_rows(files.errors), start=1):
        key = _key(row.custom_id)
        state = plan.states.get(key)
        if state != ANSWERED and not (retry_failed and state == PENDING):
            last[key] = count
    if len(last) < count:
        numbered = enumerate(known_rows(files.errors), start=1)
        files.errors.replace(row.line for number, row in numbered if last.get(_key(row.custom_id)) == number)


class Rows:
    """The rows that a plan sends, read again; ``error`` tells what ended them before their end."""

    def __init__(self, source: Source, reader: Reader, plan: Plan) -> None:
        self._source, self._reader, self._plan = source, reader, plan
        self.error: BatchInputError | None = None

    def __iter__(self) -> Iterator[BatchRequest]:
        for number, line in self._source.lines():
            try:
                request = self._reader.line(number, line)
                is_pending = self._plan.is_pending(request)
            except ValueError as error:
                self.error = BatchInputError([f"{self._source}, line {number}: changed while it was run: {error}"])
                return
            if is_pending:
                yield request

    def custom_ids(self) -> Iterator[str]:
        """Yield the custom_ids of all rows of the input."""
        for number, line in self._source.lines():
            yield self._reader.line(number, line).custom_id
