"""The pending rows of a job, read a second time when their turn comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from zlib import crc32

from novita_openai.batch.requests import BatchInputError

if TYPE_CHECKING:
    from novita_openai.batch.requests import BatchRequest, Reader, Source
    from novita_openai.batch.states import LinePlace
    from novita_openai.batch.worklist import Worklist

__all__ = ["PendingRows"]


class PendingRows:
    """The pending rows of the input, read a second time.

    ``error``: why they ended too early, as the input has changed since it was checked; None as long as it has not.
    ``is_cut``: the input has become shorter.
    """

    def __init__(self, source: Source, reader: Reader, worklist: Worklist) -> None:
        self._source, self._reader, self._worklist = source, reader, worklist
        self.error: BatchInputError | None = None
        self.is_cut = False

    def __iter__(self) -> Iterator[BatchRequest]:
        for number, line in self._source.lines():
            request = self._request(number, line)
            if self.error is not None:
                return
            if request is not None:
                yield request

    def at(self, place: LinePlace) -> BatchRequest | None:
        """Return the row of the line in a place; None where it is not to be sent, or where another line is there."""
        line = self._source.line_at(place.start)
        self.is_cut = not line
        request = self._request(place.number, line) if line else None
        if request is not None and crc32(line) != place.checksum:  # it may be a row that was sent from its own place
            self._note_change(place.number, "another row is there")
            return None
        return request

    def custom_ids(self) -> Iterator[str]:
        """Yield the custom_ids of all rows of the input."""
        for number, line in self._source.lines():
            yield self._reader.line(number, line).custom_id

    def _request(self, number: int, line: bytes) -> BatchRequest | None:
        try:
            request = self._reader.line(number, line)
            is_pending = self._worklist.is_pending(request)
        except ValueError as error:
            self._note_change(number, error)
            return None
        if not is_pending:
            return None
        request.spent = self._worklist.earlier(request)
        return request

    def _note_change(self, number: int, problem: object) -> None:
        self.error = BatchInputError([f"{self._source}, line {number}: the input changed during the run: {problem}"])
