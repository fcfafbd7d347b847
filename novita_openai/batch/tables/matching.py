"""The journal of a table, before a run goes on with it: each result gets the name of the row that asks the same.

That is needed where rows have ids of their own: of an edited row the old result steps aside, under a name that is
made from its request, and has its place again once the row is as it was. It is also needed where the option ``id`` has
changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from novita_openai.batch.files import KnownRow, ResultFiles, errors_path, known_rows, read_rows
from novita_openai.batch.states import States
from novita_openai.batch.tables.source import DIGITS, key_of, name_of

if TYPE_CHECKING:
    from novita_openai.batch.tables.source import TableSource

__all__ = ["match"]

_NAMED_BY_REQUEST: Final = re.compile(rb'\{"id": "batch_req_([0-9a-f]{15})[0-9a-f]*", "custom_id": "row-\1(?:-\d+)?"')


def match(journal: Path, source: TableSource) -> None:
    """Give the results of a journal the names of the present rows; do nothing where they have them."""
    paths = [path for path in (journal, errors_path(journal)) if path.exists()]
    if not source.has_ids and all(map(_is_named_by_request, paths)):
        return
    digests = States()
    for asked in source.asked():
        digests[key_of(asked.custom_id)] = int(asked.digest[:DIGITS], 16)
    found = _Journal()
    for path in paths:
        for _, _, row in read_rows(path):
            if row is not None:
                found.add(row, digests.get(key_of(row.custom_id)))
    names = found.new_names(source, digests)
    if names:
        with ResultFiles(journal, source) as files:
            for each in (files.answers, files.errors):
                each.replace(_renamed(known_rows(each), names))


def _is_named_by_request(path: Path) -> bool:
    with path.open("rb") as file:
        return all(_NAMED_BY_REQUEST.match(line) for line in file)


@dataclass(slots=True)
class _Journal:
    """What a journal holds: the keys of rows that have the right names, and the names of others by what they ask."""

    right: set[int] = field(default_factory=set)
    others: dict[str, dict[str, None]] = field(default_factory=dict)

    def add(self, row: KnownRow, wanted: int | None) -> None:
        """Take a row; ``wanted``: what the row of the table asks that has its name."""
        if wanted == int(row.digest[:DIGITS], 16):
            self.right.add(key_of(row.custom_id))
        else:
            self.others.setdefault(row.digest, {})[row.custom_id] = None

    def new_names(self, source: TableSource, wanted: States) -> dict[tuple[str, str], str]:
        """Return the new name of each result, by its digest and its old name."""
        names: dict[tuple[str, str], str] = {}
        for row in source.asked() if self.others else ():
            same = self.others.get(row.digest)
            if same and key_of(row.custom_id) not in self.right:
                old = next(iter(same))
                del same[old]
                names[row.digest, old] = row.custom_id
        return names | dict(self._aside(wanted))

    def _aside(self, wanted: States) -> Iterator[tuple[tuple[str, str], str]]:
        """Yield names, made from their requests, for results of which the name is that of a row that asks otherwise."""
        for digest, same in self.others.items():
            free = (name for number in count(1) if (name := name_of(digest, number)) not in same)
            for old in same:
                if key_of(old) in wanted:
                    yield (digest, old), next(free)


def _renamed(rows: Iterable[KnownRow], names: dict[tuple[str, str], str]) -> Iterator[bytes]:
    for row in rows:
        name = names.get((row.digest, row.custom_id))
        yield row.line if name is None else json.dumps({**row.fields, "custom_id": name}).encode()
