"""What is changed in the files of results before a run goes on with them, and what is said of it.

Lines that are no rows of results, as a damaged disk leaves them, are set aside: their rows are sent again. Results of
rows without a custom_id get the names of the present input. Failed rows go that are answered, written twice, or to be
sent again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from novita_openai.batch.files import KnownRow, known_rows, read_rows, set_aside
from novita_openai.batch.reopened import keep_spent
from novita_openai.batch.usage import Spent
from novita_openai.logs import warn

if TYPE_CHECKING:
    from novita_openai.batch.files import ResultFiles
    from novita_openai.batch.jsonl import Journal
    from novita_openai.batch.worklist import Worklist

__all__ = ["tidy"]

SHOWN: Final = 5
"""Lines and rows that are named in the log."""
_CUSTOM_ID: Final = re.compile(rb'("custom_id"\s*:\s*)"(?:line|left)-\d+"')


def tidy(files: ResultFiles, worklist: Worklist, *, retry_failed: bool) -> None:
    """Bring the files of results into the state from which a run goes on; write them anew only where that is needed."""
    for journal in (files.answers, files.errors):
        _set_damage_aside(journal, worklist.damaged.get(journal.path, []))
    if worklist.damaged or worklist.unnamed.is_changed:
        files.answers.replace(_named(known_rows(files.answers), worklist, failed=False))
    rows = list(_places(files.errors, worklist, retry_failed=retry_failed))
    if worklist.damaged or worklist.unnamed.is_changed or not all(rows):
        taken = (row for row, keep in zip(known_rows(files.errors), rows, strict=True) if not keep)
        keep_spent(files.reopened, _spent_for(taken, worklist))
        kept = (row for row, keep in zip(known_rows(files.errors), rows, strict=True) if keep)
        files.errors.replace(_named(kept, worklist, failed=True))
    if worklist.left:
        examples = list(islice(_left(files, worklist), SHOWN))
        warn("batch.rows_left_input", count=worklist.left, examples=examples, file=str(files.answers.path))


def _set_damage_aside(journal: Journal, numbers: list[int]) -> None:
    if numbers:
        lines = (line for _, line, row in read_rows(journal.path) if row is None)
        kept_in = set_aside(journal.path, lines)
        shown = numbers[:SHOWN]
        warn("batch.damaged_rows", file=str(journal.path), count=len(numbers), lines=shown, kept_in=str(kept_in))


def _places(errors: Journal, worklist: Worklist, *, retry_failed: bool) -> Iterator[bool]:
    """Yield for each failed row whether it is kept: the last of each custom_id, unless it is stale."""
    names = [worklist.unnamed.name(row.custom_id, failed=True) for row in known_rows(errors)]
    last = {name: place for place, name in enumerate(names)}
    for place, name in enumerate(names):
        is_last = name is not None and last[name] == place
        yield is_last and not worklist.is_stale(str(name), retry_failed=retry_failed)


def _spent_for(taken: Iterable[KnownRow], worklist: Worklist) -> Iterator[tuple[str, Spent | None]]:
    """Yield what was spent for the failed rows that are sent again."""
    for row in taken:
        if worklist.is_reopened(row.custom_id):
            yield row.custom_id, Spent.read(row.fields.get("spent"))


def _named(rows: Iterable[KnownRow], worklist: Worklist, *, failed: bool) -> Iterator[bytes]:
    for row in rows:
        name = worklist.unnamed.name(row.custom_id, failed=failed)
        yield row.line if name in (row.custom_id, None) else _renamed(row, str(name))


def _renamed(row: KnownRow, name: str) -> bytes:
    """Return a row under another custom_id, the rest of it byte for byte as it was where that can be."""
    line = _CUSTOM_ID.sub(rb'\1"%b"' % name.encode(), row.line, count=1)
    fields = row.fields | {"custom_id": name}
    return line if json.loads(line) == fields else json.dumps(fields).encode()


def _left(files: ResultFiles, worklist: Worklist) -> Iterator[str]:
    """Yield the custom_ids of results whose rows the input does not hold any more."""
    for journal in (files.answers, files.errors):
        for row in known_rows(journal):
            if worklist.has_left(row.custom_id):
                yield row.custom_id
