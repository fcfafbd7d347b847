"""Batches without files: rows of a program in, results out as they come."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Unpack

from novita_openai.batch.backlog import ReadAhead
from novita_openai.batch.checks import reads_text
from novita_openai.batch.engine import Engine
from novita_openai.batch.notebooks import notebook_line
from novita_openai.batch.options import SessionOptions, checked
from novita_openai.batch.report import BatchReport, BatchStopped
from novita_openai.batch.requests import BatchInputError, BatchRequest, Reader
from novita_openai.batch.session import Session
from novita_openai.batch.values import plain_row

if TYPE_CHECKING:
    from novita_openai.batch.shutdown import Shutdown
    from novita_openai.batch.validation import Validation

__all__ = ["stream"]

STREAM_BUFFER: Final = 1_000
"""Results waiting to be taken, from which on nothing more is sent."""


class Buffer:
    """Results that wait for the program to take them. ``came`` is set when there is something new for it."""

    def __init__(self) -> None:
        self.rows: deque[bytes] = deque()
        self.came = asyncio.Event()

    def write(self, row: bytes, *, succeeded: bool) -> None:  # noqa: ARG002 - the program sees that in the row
        """Take a row."""
        self.rows.append(row)
        self.came.set()

    def is_full(self) -> bool:
        """Tell whether the program has so many to take that nothing more should be sent."""
        return len(self.rows) >= STREAM_BUFFER


def _refuse_running_loop() -> None:
    """Raise ``RuntimeError`` where an event loop runs already, beside which there cannot be another in its thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    told = "use `async for result in batch.stream(...)`"
    raise RuntimeError(f"batch.stream() in a `for` loop inside a running event loop, as in a notebook: {told}")


class stream:  # noqa: N801 - used like a function
    """Run the requests of a program and yield their results as they come: use it in ``for`` or in ``async for``.

    ``requests``: rows as in a file of requests, but decoded; each is taken when there is room for it. They may hold
    what programs have for JSON: numbers of numpy and ``decimal``, dates, dataclasses, pydantic models, rows of tables.
    A custom_id may be a whole number, which comes back as text. A result is a row as in the files of results, decoded;
    failed rows come too. Options: :class:`SessionOptions`. In ``for``, requests make progress only while the loop waits
    for its next result; in ``async for``, whenever the event loop is free.

    Raises :class:`BatchInputError` at a row that cannot be sent, once all before it have ended;
    :class:`BatchStopped`; and ``RuntimeError`` for a ``for`` loop inside a running event loop.
    """

    def __init__(self, requests: Iterable[Mapping[str, Any]], **options: Unpack[SessionOptions]) -> None:
        checked(options, SessionOptions)
        self._requests, self._options = requests, options
        self._reader = Reader(options.get("model"), needs_text=reads_text(options.get("validate")))
        self._error: BatchInputError | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        _refuse_running_loop()
        with asyncio.Runner() as runner:
            results = self._results(is_alone=True)

            async def following() -> dict[str, Any] | None:
                return await anext(results, None)

            try:
                while (result := runner.run(following())) is not None:
                    yield result
            finally:
                runner.run(results.aclose())

    def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        return self._results(is_alone=False)

    async def _results(self, *, is_alone: bool) -> AsyncGenerator[dict[str, Any], None]:
        buffer, line = Buffer(), notebook_line(self._options)
        async with Session(self._options, is_alone=is_alone) as session:
            await session.fetch_prices()
            engine = Engine(ReadAhead(self._rows(session.validation)), buffer, session)
            running = asyncio.ensure_future(engine.run())
            running.add_done_callback(lambda _: buffer.came.set())
            try:
                while buffer.rows or not running.done():
                    while buffer.rows:
                        yield json.loads(buffer.rows.popleft())
                        engine.wake()
                        if line is not None:
                            line.follow(engine.tally.report(), engine.in_flight)
                    buffer.came.clear()
                    if not running.done():
                        await buffer.came.wait()
                await running
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            self._raise_for(engine.shutdown, engine.tally.report())

    def _raise_for(self, shutdown: Shutdown, report: BatchReport) -> None:
        """Raise the error for a stream that has ended too early."""
        if self._error is not None:
            raise self._error
        if shutdown.stopped is not None:
            raise BatchStopped(shutdown.stopped, report, shutdown.needs_change)

    def _rows(self, validation: Validation) -> Iterator[BatchRequest]:
        seen: set[str] = set()
        for number, row in enumerate(self._requests, start=1):
            try:
                request = self._reader.row(number, plain_row(row))
                if request.custom_id in seen:
                    raise ValueError(f"custom_id {request.custom_id!r} was given before")  # noqa: TRY301
            except ValueError as error:
                self._error = BatchInputError([f"request {number}: {error}"])
                return
            seen.add(request.custom_id)
            validation.prepare(request)
            yield request
