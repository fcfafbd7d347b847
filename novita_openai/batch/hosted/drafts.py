"""The rows that are to be the next part: its file, as it is uploaded, and its record in the ledger."""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from novita_openai.batch.hosted.parts import MOST_BYTES, MOST_ROWS, Part

if TYPE_CHECKING:
    from pathlib import Path

    from novita_openai.batch.hosted.parts import Submitted

__all__ = ["PartDraft"]

ID_BYTES: Final = 8


class PartDraft:
    """Gathers the rows of a model and a path; its temporary ``file`` is in ``folder`` and has no name there."""

    def __init__(self, model: str, path: str, folder: Path) -> None:
        self.model, self.path = model, path
        self.file = cast("BinaryIO", tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 - closed by close()
        self.rows = self.size = 0
        self.most: float | None = 0.0
        self._digest = blake2b(digest_size=16)
        self._custom_ids, self._digests = bytearray(), bytearray()
        self._more: dict[str, object] = {}

    def takes(self, line: bytes) -> bool:
        """Tell whether a line may be added."""
        return self.rows < MOST_ROWS and self.size + len(line) <= MOST_BYTES

    def add(self, row: Submitted, line: bytes, most: float | None) -> None:
        """Add a row that can cost at most so many dollars."""
        if more := row.more():
            self._more[str(self.rows)] = more
        self._custom_ids += b", " if self.rows else b""
        self._custom_ids += json.dumps(row.custom_id).encode()
        self._digests += row.digest.encode()
        self._digest.update(line)
        self.file.write(line)
        self.rows += 1
        self.size += len(line)
        self.most = None if self.most is None or most is None else self.most + most

    def finish(self) -> tuple[Part, bytes]:
        """Return the part, and its record."""
        digest = self._digest.hexdigest()
        part = Part(secrets.token_hex(ID_BYTES), self.model, self.path, self.rows, self.size, digest, self.most)
        facts = {
            "step": "planned",
            "part": part.id,
            "time": round(time.time()),
            "model": part.model,
            "path": part.path,
            "rows": part.rows,
            "size": part.size,
            "digest": part.digest,
            "most": part.most,
            "more": self._more,
        }
        head = json.dumps(facts)[:-1].encode()
        record = b"".join((head, b', "custom_ids": [', self._custom_ids, b'], "digests": "', self._digests, b'"}'))
        return part, record

    def close(self) -> None:
        """Delete the file."""
        self.file.close()
