"""Batches as the service runs them: checked, then answered row by row as time passes.

What a batch is at a time is a function of when it was created and cancelled (:func:`stage_of`), so nothing runs in the
background: rows are answered when somebody looks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from novita_openai.emulator.models import BATCH_API, Model
from novita_openai.emulator.replies import Reply  # noqa: TC001 - the same

__all__ = ["ENDPOINTS", "Batch", "Row", "Stage", "problem_of", "rows_of", "stage_of"]

# Limits and times: https://novita.ai/docs/guides/llm-batch-api
ENDPOINTS: Final = ("/v1/chat/completions", "/v1/completions")
MOST_ROWS: Final = 50_000
MOST_BYTES: Final = 100_000_000
WINDOW: Final = 48 * 3_600
_CHECKING: Final = 0.1
"""The share of a batch's time in which its file is checked, and that in which it is cancelled."""
_ZONE: Final = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Row:
    """A line of an input file."""

    custom_id: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a batch stands: the word of its status, how many rows are answered, and when what happened."""

    status: str
    done: int
    times: Mapping[str, float]

    @property
    def is_final(self) -> bool:
        """Tell whether nothing more will happen."""
        return self.status in ("completed", "failed", "expired", "cancelled")


@dataclass(slots=True)
class Batch:
    """A batch: ``seconds`` is how long it takes, ``problem`` what is wrong with its file, "" where nothing is."""

    id: str
    endpoint: str
    input_file_id: str
    key: str = field(repr=False)
    created_at: float
    seconds: float
    rows: tuple[Row, ...]
    problem: str
    metadata: Any = None
    cancelled_at: float = math.inf
    results: list[tuple[Row, Reply]] = field(default_factory=list)
    output_file_id: str = ""
    error_file_id: str = ""

    @property
    def is_collected(self) -> bool:
        """Tell whether the files with the results are written, or none will be."""
        return bool(self.output_file_id or self.error_file_id)

    def answer(self, done: int, answered: Callable[[Row], Reply]) -> None:
        """Answer the rows up to the given number."""
        self.results += [(row, answered(row)) for row in self.rows[len(self.results) : done]]

    def lines(self, *, failed: bool) -> bytes:
        """Return the results, or those rows that failed, as the lines of a file."""
        chosen = ((row, reply) for row, reply in self.results if (reply.status != _OK) is failed)
        return b"".join(json.dumps(_result(row, reply)).encode() + b"\n" for row, reply in chosen)

    def shown(self, stage: Stage, *, upper: bool) -> dict[str, Any]:
        """Return the batch as the service shows it: times as texts, "" for what does not exist yet."""
        failed = sum(reply.status != _OK for _, reply in self.results)
        total = len(self.rows) if stage.status != "validating" else 0
        counts = {"total": total, "completed": len(self.results) - failed, "failed": failed}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "input_file_id": self.input_file_id,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "completion_window": "48h",
            "created_at": _text(self.created_at),
            **dict.fromkeys(_TIMES),
            "expires_at": _text(self.created_at + WINDOW),
            **{name: _text(time) for name, time in stage.times.items()},
            "status": stage.status.upper() if upper else stage.status,
            "errors": self.problem if stage.status == "failed" else "",
            "version": 0,
            "created_by": "user_emulated",
            "created_by_key_id": "key_emulated",
            "remark": "",
            "metadata": self.metadata,
            "request_counts": counts,
            **counts,
        }


_OK: Final = 200
_TIMES: Final = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
    "updated_at",
)


def stage_of(batch: Batch, now: float) -> Stage:
    """Return where a batch stands at a time."""
    checked, finished = batch.created_at + _CHECKING * batch.seconds, batch.created_at + batch.seconds
    stopped = min(batch.cancelled_at, batch.created_at + WINDOW)
    if now < min(checked, stopped):
        return Stage("validating", 0, {"updated_at": batch.created_at})
    if batch.problem and checked <= stopped:
        return Stage("failed", 0, {"failed_at": checked, "updated_at": checked})
    times = {"in_progress_at": checked, "updated_at": min(now, finished, stopped)} if checked < stopped else {}
    share = (min(now, stopped) - checked) / (finished - checked) if finished > checked else 1.0
    done = min(len(batch.rows), max(0, int(len(batch.rows) * share)))
    if finished <= min(now, stopped):
        return Stage("completed", done, {**times, "finalizing_at": finished, "completed_at": finished})
    if now < stopped:
        return Stage("progress", done, times)
    if batch.cancelled_at > stopped:
        return Stage("expired", done, {**times, "expired_at": stopped})
    ended = stopped + _CHECKING * batch.seconds
    times["cancelling_at"] = stopped
    return (
        Stage("cancelled", done, {**times, "cancelled_at": ended}) if now >= ended else Stage("cancelling", done, times)
    )


def rows_of(content: bytes) -> tuple[Row, ...]:
    """Return the rows of an input file; raise ``ValueError`` that names the line of the first that is no request."""
    if len(content) > MOST_BYTES:
        raise ValueError(f"the file has {len(content)} bytes, more than {MOST_BYTES}")
    rows = tuple(_rows(content))
    if not 0 < len(rows) <= MOST_ROWS:
        raise ValueError(f"the file has {len(rows)} requests, a batch takes 1 to {MOST_ROWS}")
    return rows


def _rows(content: bytes) -> Iterator[Row]:
    seen: set[str] = set()
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            row = json.loads(line)
            custom_id, body = row["custom_id"], row["body"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} is no request: {error!r}") from error
        if not (isinstance(custom_id, str) and isinstance(body, dict)) or custom_id in seen:
            raise ValueError(f"line {number}: custom_id must be a text that no other line has, body an object")
        seen.add(custom_id)
        yield Row(custom_id, body)


def problem_of(rows: tuple[Row, ...], models: Mapping[str, Model]) -> str:
    """Return what is wrong with rows that could be read, "" where nothing is."""
    asked = {row.body.get("model") for row in rows}
    if len(asked) > 1:
        return f"all requests of a batch must name the same model, not {', '.join(sorted(map(str, asked)))}"
    model = models.get(str(asked.pop()))
    if model is None:
        return f"model not found: {rows[0].body.get('model')}"
    return "" if BATCH_API in model.endpoints else f"model {model.id} does not support the batch API"


def _result(row: Row, reply: Reply) -> dict[str, Any]:
    body = json.loads(reply.body)
    response = {"status_code": reply.status, "request_id": row.custom_id, "body": body}
    return {"custom_id": row.custom_id, "id": f"batch_req_{row.custom_id}", "error": None, "response": response}


def _text(seconds: float) -> str:
    """Return a time as the service writes it, with nanoseconds and an offset."""
    moment = datetime.fromtimestamp(seconds, _ZONE)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond * 1_000:09d}+08:00"
