"""The service's own Batch API: files and batches, as documented at https://novita.ai/docs/guides/llm-batch-api.

They exist under the base path ``/openai/v1`` only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from novita_openai.emulator.batches import ENDPOINTS, Batch, Row, Stage, problem_of, rows_of, stage_of
from novita_openai.emulator.models import Model  # noqa: TC001 - annotations can be resolved at run time
from novita_openai.emulator.replies import BAD_BODY, Reply, ServiceError, document
from novita_openai.emulator.storage import StoredFile, uploaded
from novita_openai.emulator.wire import HTTPRequest

__all__ = ["HOSTED_BASE_PATH", "HostedBatches"]

HOSTED_BASE_PATH: Final = "/openai/v1"
_JSON_LINES: Final = {"content-type": "application/jsonl"}
_LONGEST_PAGE: Final = 100
_PAGE: Final = 20


class Settings(Protocol):
    """The settings of the emulator that concern batches."""

    batch_seconds: float
    batch_list_delay: float
    batch_list_pages: bool

    @property
    def batch_status_case(self) -> str:
        """Return "lower" or "upper"."""
        ...


@dataclass(slots=True)
class HostedBatches:
    """The account's files and batches. ``answered`` answers a row as the endpoint would; it is charged by then."""

    settings: Settings
    models: Callable[[], Mapping[str, Model]]
    answered: Callable[[Batch, Row], Reply]
    files: dict[str, StoredFile] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    _count: int = 0

    def route(self, method: str, path: str) -> Callable[[HTTPRequest, str, float], Reply] | None:
        """Return what answers a request, given the account's key and the time; None where no such route exists.

        It raises :class:`ServiceError` to refuse the request.
        """
        kind, _, rest = path.removeprefix("/").partition("/")
        name, _, verb = rest.partition("/")
        route = _ROUTES.get((method, kind, bool(name), verb))
        if route is None:
            return None

        def reply(received: HTTPRequest, key: str, now: float) -> Reply:
            self._pass_time(now)
            return route(self, received, name or key, now)

        return reply

    def _pass_time(self, now: float) -> None:
        """Do what is due: answer rows, write the results of batches that have ended, delete what is too old."""
        for batch in self.batches.values():
            if not batch.is_collected:
                self._advance(batch, stage_of(batch, now))
        self.files = {id: file for id, file in self.files.items() if now < file.expires_at}  # noqa: A001 - the API's word

    def _advance(self, batch: Batch, stage: Stage) -> None:
        batch.answer(stage.done, lambda row: self.answered(batch, row))
        if stage.is_final:
            ended = max(stage.times.values())
            batch.output_file_id = self._write(batch, batch.lines(failed=False), "output", ended)
            batch.error_file_id = self._write(batch, batch.lines(failed=True), "error", ended)

    def _write(self, batch: Batch, content: bytes, name: str, now: float) -> str:
        """Keep a file of results; return its id, "" where there are none."""
        if not content:
            return ""
        file = StoredFile(self._new_id("file"), f"{batch.id}_{name}.jsonl", "batch_output", content, now)
        self.files[file.id] = file
        return file.id

    def _new_id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count:020d}"

    def _upload(self, received: HTTPRequest, _: str, now: float) -> Reply:
        file = uploaded(received.headers, received.body, self._new_id("file"), now)
        self.files[file.id] = file
        return document(file.row())

    def _file(self, name: str) -> StoredFile:
        if name not in self.files:
            raise ServiceError("FILE_NOT_FOUND", f"file not found: {name}", status=404)
        return self.files[name]

    def _batch(self, name: str) -> Batch:
        if name not in self.batches:
            raise ServiceError("BATCH_NOT_FOUND", f"batch not found: {name}", status=404)
        return self.batches[name]

    def _shown(self, batch: Batch, now: float) -> dict[str, Any]:
        return batch.shown(stage_of(batch, now), upper=self.settings.batch_status_case == "upper")

    def _show_file(self, _: HTTPRequest, name: str, __: float) -> Reply:
        return document(self._file(name).row())

    def _content(self, _: HTTPRequest, name: str, __: float) -> Reply:
        return Reply(200, _JSON_LINES, (self._file(name).content,))

    def _delete(self, _: HTTPRequest, name: str, __: float) -> Reply:
        del self.files[self._file(name).id]
        return document({"deleted": True, "id": name, "object": "file"})

    def _list_files(self, received: HTTPRequest, _: str, now: float) -> Reply:
        page, _has_more = self._page(received, [(file.id, file.created_at) for file in self.files.values()], now)
        rows = [self.files[name].row() for name in page]
        return document({"code": "200", "message": "success", "data": rows})

    def _list_batches(self, received: HTTPRequest, _: str, now: float) -> Reply:
        page, has_more = self._page(received, [(each.id, each.created_at) for each in self.batches.values()], now)
        rows = [self._shown(self.batches[name], now) for name in page]
        ends = {"first_id": page[0] if page else "", "last_id": page[-1] if page else ""}
        return document({"object": "list", "data": rows, "has_more": has_more, **ends})

    def _page(self, received: HTTPRequest, all_: list[tuple[str, float]], now: float) -> tuple[list[str], bool]:
        """Return the ids that a list shows, newest first, and whether older ones follow."""
        seen = [name for name, created in reversed(all_) if created + self.settings.batch_list_delay <= now]
        if not self.settings.batch_list_pages:
            return seen, False
        after, limit = received.query.get("after"), received.query.get("limit", "")
        start = seen.index(after) + 1 if after in seen else 0
        size = min(int(limit), _LONGEST_PAGE) if limit.isdigit() else _PAGE
        return seen[start : start + size], len(seen) > start + size

    def _create(self, received: HTTPRequest, key: str, now: float) -> Reply:
        asked = _object(received.body)
        endpoint, file_id = asked.get("endpoint"), asked.get("input_file_id")
        if endpoint not in ENDPOINTS:
            raise ServiceError(BAD_BODY, f"endpoint: {endpoint!r} is not one of {', '.join(ENDPOINTS)}")
        file = self._file(str(file_id))
        rows, problem = self._checked(file.content)
        batch = Batch(
            self._new_id("batch"),
            str(endpoint),
            file.id,
            key,
            now,
            self.settings.batch_seconds,
            rows,
            problem,
            asked.get("metadata"),
        )
        self.batches[batch.id] = batch
        return document(self._shown(batch, now))

    def _checked(self, content: bytes) -> tuple[tuple[Row, ...], str]:
        try:
            rows = rows_of(content)
        except ValueError as error:
            return (), str(error)
        return rows, problem_of(rows, self.models())

    def _show_batch(self, _: HTTPRequest, name: str, now: float) -> Reply:
        return document(self._shown(self._batch(name), now))

    def _cancel(self, _: HTTPRequest, name: str, now: float) -> Reply:
        batch = self._batch(name)
        if not stage_of(batch, now).is_final:
            batch.cancelled_at = min(batch.cancelled_at, now)
        return document(self._shown(batch, now))


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except ValueError as error:
        raise ServiceError(BAD_BODY, f"the body is not JSON: {error}") from error
    if not isinstance(asked, dict):
        raise ServiceError(BAD_BODY, "the body is not an object")
    return asked


_Route = Callable[[HostedBatches, HTTPRequest, str, float], Reply]
# The method, what it is about, whether an id follows, and what comes after the id. Where no id follows, the route gets
# the account's key in its place.
_ROUTES: Final[Mapping[tuple[str, str, bool, str], _Route]] = {
    ("POST", "files", False, ""): HostedBatches._upload,  # noqa: SLF001 - its own
    ("GET", "files", False, ""): HostedBatches._list_files,  # noqa: SLF001
    ("GET", "files", True, ""): HostedBatches._show_file,  # noqa: SLF001
    ("GET", "files", True, "content"): HostedBatches._content,  # noqa: SLF001
    ("DELETE", "files", True, ""): HostedBatches._delete,  # noqa: SLF001
    ("POST", "batches", False, ""): HostedBatches._create,  # noqa: SLF001
    ("GET", "batches", False, ""): HostedBatches._list_batches,  # noqa: SLF001
    ("GET", "batches", True, ""): HostedBatches._show_batch,  # noqa: SLF001
    ("POST", "batches", True, "cancel"): HostedBatches._cancel,  # noqa: SLF001
}
