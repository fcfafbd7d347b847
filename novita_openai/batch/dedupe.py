"""Rows with equal requests: one of them is sent, and the others get a copy of its result.

Rows that ask for samples are never merged, as each is to have an answer of its own: those with a ``temperature`` above
0, an ``n`` or ``best_of`` above 1, or a ``seed``. A row that leaves its temperature to the model does not ask for that.
Nor are rows with ``headers``, of which nobody here can know what they change.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from novita_openai.batch.jsonl import placed_lines
from novita_openai.batch.rows import ID_PREFIX
from novita_openai.batch.states import BITS

if TYPE_CHECKING:
    from pathlib import Path

    from novita_openai.batch.files import ResultFiles
    from novita_openai.batch.requests import BatchRequest

__all__ = ["Dedupe", "asks_for_samples"]

NOTHING: Final = {"requests": 0, "tokens": 0, "dollars": 0.0}
"""What was spent for a row that got a copy."""


def asks_for_samples(body: Mapping[str, Any]) -> bool:
    """Tell whether a request wants an answer that may differ from that of an equal request."""
    several = any(body.get(name) not in (None, 1) for name in ("n", "best_of"))
    return several or body.get("temperature") not in (None, 0) or body.get("seed") is not None


class Dedupe:
    """What of a job's rows need not be sent, as another one asks the same.

    ``succeeded`` counts the rows that got a copy of an answer, ``failures`` by code those of a failed row. In memory
    each row takes about 200 bytes.
    """

    def __init__(self, files: ResultFiles) -> None:
        self._files = files
        self._seen: set[str] = set()
        self._shared: set[int] = set()
        self._held: set[int] = set()
        self.succeeded, self.failures = 0, Counter[str]()

    def expect(self, digests: Iterable[str]) -> None:
        """Take the digests of requests that the service has."""
        self._seen.update(digests)

    def is_distinct(self, request: BatchRequest) -> bool:
        """Tell whether a row is to be sent, and not held back until an equal one has a result."""
        number = hash(request.custom_id) & BITS
        if number in self._shared:
            return False
        if not _can_share(request):
            return True
        if request.digest in self._seen:
            self._held.add(number)
            return False
        self._seen.add(request.digest)
        return True

    def share_earlier(self, rows: Iterable[BatchRequest]) -> None:
        """Copy the results of earlier runs to the pending rows that ask the same; raise ``OSError`` as a file does."""
        for request in self._copied(request for request in rows if _can_share(request)):
            self._shared.add(hash(request.custom_id) & BITS)

    def share(self, rows: Iterable[BatchRequest]) -> None:
        """Copy the results that have come to the rows that were held back; raise ``OSError`` as a file does."""
        if self._held:
            for _ in self._copied(request for request in rows if hash(request.custom_id) & BITS in self._held):
                pass

    def _copied(self, rows: Iterable[BatchRequest]) -> Iterator[BatchRequest]:
        """Write the results of rows of which an equal one has a result, and yield these rows."""
        places = {**_places(self._files.errors.path), **_places(self._files.answers.path)}
        for request in rows:
            if (place := places.get(request.digest)) is not None:
                row = _copy(_line(*place), request)
                succeeded = row["error"] is None
                self._files.write(json.dumps(row).encode(), succeeded=succeeded)
                self.succeeded += succeeded
                if not succeeded:
                    self.failures[row["error"]["code"]] += 1
                yield request


def _can_share(request: BatchRequest) -> bool:
    return not request.headers and not asks_for_samples(request.body)


def _places(path: Path) -> dict[str, tuple[Path, int]]:
    """Return where the first result of each request begins in a file, by the request's digest."""
    places: dict[str, tuple[Path, int]] = {}
    with path.open("rb") as file:
        for _, start, line in placed_lines(file):
            places.setdefault(json.loads(line)["id"].removeprefix(ID_PREFIX), (path, start))
    return places


def _line(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.readline()


def _copy(line: bytes, request: BatchRequest) -> dict[str, Any]:
    """Return the result in a line as that of another row, for which nothing was sent."""
    row: dict[str, Any] = json.loads(line) | {"custom_id": request.custom_id}
    row.pop("metadata", None)
    if "spent" in row:
        row["spent"] = NOTHING
    if row["error"] is not None:
        row["error"]["attempts"] = 0
    return row | ({"metadata": json.loads(request.metadata)} if request.metadata else {})
