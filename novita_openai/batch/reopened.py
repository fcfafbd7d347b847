"""What was spent for rows whose results were taken out of the files, to be sent again, until they have new ones.

It is written to a file beside the results before they are taken out, so that ``max_cost`` counts it over all starts.
Rows without a custom_id are left out: nothing says in a later start which of them has a new result.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from novita_openai.batch.jsonl import Journal, numbered_lines
from novita_openai.batch.unnamed import place_of
from novita_openai.batch.usage import Spent

__all__ = ["keep_spent", "spent_in"]


def keep_spent(path: Path, rows: Iterable[tuple[str, Spent | None]]) -> None:
    """Add what was spent for each custom_id, and wait until it is on the disk."""
    known = [(name, spent) for name, spent in rows if spent is not None and place_of(name) is None]
    if known:
        with Journal(path) as journal:
            for name, spent in known:
                journal.append(json.dumps({"custom_id": name, "spent": spent.fields()}).encode())


def spent_in(path: Path) -> dict[str, Spent]:
    """Return what was spent for each custom_id, as its last line says; a line that was cut off says nothing."""
    found: dict[str, Spent] = {}
    if path.is_file():
        with path.open("rb") as file:
            for _, line in numbered_lines(file):
                name, spent = _read(line)
                if spent is not None:
                    found[name] = spent
    return found


def _read(line: bytes) -> tuple[str, Spent | None]:
    try:
        row: Any = json.loads(line)
        return str(row["custom_id"]), Spent.read(row["spent"])
    except (ValueError, TypeError, KeyError):
        return "", None
