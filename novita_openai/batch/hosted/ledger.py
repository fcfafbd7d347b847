"""What the service has of a job: ``results.batches.jsonl``, a record for each step of each part.

A record is on the disk before the step after it is taken. Folded, in the order in which they stand, they say where each
part is, which is pure: :func:`folded`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Self

from novita_openai.batch.files import beside
from novita_openai.batch.hosted.parts import Part, Submitted, submitted_in
from novita_openai.batch.jsonl import Journal
from novita_openai.batch.requests import BatchInputError
from novita_openai.prices import counted

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Ledger", "PartState", "Step", "folded", "ledger_path"]


class Step(Enum):
    """The last step of a part that is on the disk."""

    PLANNED = "planned"
    """Its rows are known; a file with them may be at the service."""
    UPLOADED = "uploaded"
    """The id of its file is known; there is no batch."""
    CREATING = "creating"
    """A batch was asked for: there may be one."""
    CREATED = "created"
    """The id of its batch is known."""
    COLLECTING = "collecting"
    """The batch has ended, and some of its rows may be in the files of results."""
    COLLECTED = "collected"
    """All that has come of it is in the files of results."""
    REFUSED = "refused"
    """The service did not take it."""
    DROPPED = "dropped"
    """There is no batch and none will be: its rows are free."""
    CLEANED = "cleaned"
    """It has ended in one of these ways, and its files are not at the service any more."""


OPEN: Final = frozenset({Step.PLANNED, Step.UPLOADED, Step.CREATING, Step.CREATED, Step.COLLECTING})
"""Steps at which the rows of a part belong to it."""
REJECTED: Final = "rejected"
"""What a record is of an answer that did not pass the check, so that its row is asked again."""


@dataclass(slots=True)
class PartState:
    """A part and where it is. ``place``: of its first record in the ledger; ``since``: when its last step was taken."""

    part: Part
    place: int
    step: Step
    since: float
    file_id: str = ""
    batch_id: str = ""
    files: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Tell whether its rows belong to it."""
        return self.step in OPEN

    @property
    def is_unknown(self) -> bool:
        """Tell whether nobody here knows if there is a batch."""
        return self.step is Step.CREATING

    def __str__(self) -> str:
        name = f"batch {self.batch_id}" if self.batch_id else f"file {self.file_id}" if self.file_id else "a new part"
        return f"{name} ({counted(self.part.rows, 'row')} of {self.part.model})"


def folded(records: Iterable[tuple[int, dict[str, Any]]]) -> dict[str, PartState]:
    """Return the parts of records, each with its place in the ledger; raise ``ValueError`` for what is no record."""
    states: dict[str, PartState] = {}
    for place, record in records:
        if record.get("step") == REJECTED:
            continue
        try:
            step = Step(record["step"])
            if step is Step.PLANNED:
                states[record["part"]] = PartState(Part.read(record), place, step, record["time"])
            else:
                _advance(states[record["part"]], step, record)
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"this is no record of a batch: {json.dumps(record)[:100]}") from None
    return states


def _advance(state: PartState, step: Step, record: dict[str, Any]) -> None:
    state.step, state.since = step, record["time"]
    state.file_id = record.get("file", state.file_id)
    state.batch_id = record.get("batch", state.batch_id)
    state.files = tuple(record.get("files", state.files))


def ledger_path(results: Path) -> Path:
    """Return where the ledger of a job is."""
    return beside(results, "batches")


class Ledger:
    """The ledger of a job, locked while it is open. ``states``: its parts by their ids, in the order of planning.

    Where nothing was written to a new one, it does not stay.
    """

    def __init__(self, path: Path) -> None:
        self._is_new = not path.exists()
        self._journal = Journal(path)
        self.path = path
        self.rejected: dict[str, dict[str, Any]] = {}
        try:
            self.states = folded(self._records())
        except ValueError as error:
            self._journal.close()
            raise BatchInputError([f"{path}: {error}; give another file for the results"]) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_new and self.path.exists() and not self.path.stat().st_size:
            self.path.resolve().unlink()
        self._journal.close()

    @property
    def open(self) -> list[PartState]:
        """Return the parts to which rows belong."""
        return [state for state in self.states.values() if state.is_open]

    @property
    def unclean(self) -> list[PartState]:
        """Return the parts that have ended, of which files may be at the service."""
        ended = (Step.COLLECTED, Step.REFUSED, Step.DROPPED)
        return [state for state in self.states.values() if state.step in ended]

    def plan(self, part: Part, record: bytes) -> PartState:
        """Write the record of a part that is to be submitted; return it."""
        place = self._journal.length
        self._append(record)
        self.states[part.id] = PartState(part, place, Step.PLANNED, time.time())
        return self.states[part.id]

    def write(self, state: PartState, step: Step, **facts: Any) -> None:
        """Write a step of a part."""
        record = {"step": step.value, "part": state.part.id, "time": round(time.time(), 3), **facts}
        self._append(json.dumps(record).encode())
        _advance(state, step, record)

    def reject(self, custom_id: str, **facts: Any) -> None:
        """Write that an answer did not pass; it is on the disk with the next step of a part."""
        record = {"step": REJECTED, "custom_id": custom_id, **facts}
        self._journal.append(json.dumps(record).encode())
        self._reject(record)

    def accept(self, custom_id: str) -> None:
        """Write that a row of which an answer did not pass has a result."""
        if custom_id in self.rejected:
            self.reject(custom_id)

    def rows_of(self, state: PartState) -> Iterator[Submitted]:
        """Yield the rows of a part."""
        with self.path.open("rb") as file:
            file.seek(state.place)
            record = json.loads(file.readline())
        return submitted_in(record)

    def _append(self, record: bytes) -> None:
        self._journal.append(record)
        self._journal.sync()

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        place = 0
        with self.path.open("rb") as file:
            for line in file:
                record = _decoded(line)
                if record.get("step") == REJECTED:
                    self._reject(record)
                yield place, record
                place += len(line)

    def _reject(self, record: dict[str, Any]) -> None:
        """Take a record of an answer that did not pass; one without a flaw says that its row has a result."""
        custom_id = str(record.get("custom_id"))
        if "flaw" in record:
            self.rejected[custom_id] = record
        else:
            self.rejected.pop(custom_id, None)


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        record: Any = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise ValueError(f"this is no record of a batch: {line[:100]!r}")  # noqa: TRY004 - bad input is one error
    return record
