"""The files that the emulator keeps for batches: uploaded ones, and those that hold results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Final

from novita_openai.emulator.replies import BAD_BODY, ServiceError

__all__ = ["StoredFile", "uploaded"]

DAY: Final = 86_400
KEPT_INPUT: Final = 15 * DAY
KEPT_OUTPUT: Final = 30 * DAY
"""How long files are kept, in seconds: https://novita.ai/docs/guides/llm-batch-api."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file, and when it came into being (seconds since 1970)."""

    id: str
    filename: str
    purpose: str
    content: bytes
    created_at: float

    @property
    def is_input(self) -> bool:
        """Tell whether a client uploaded it."""
        return self.purpose == "batch"

    @property
    def expires_at(self) -> float:
        """Return when the service deletes it."""
        return self.created_at + (KEPT_INPUT if self.is_input else KEPT_OUTPUT)

    def row(self) -> dict[str, Any]:
        """Return the file as the service shows it: without the ``status`` that OpenAI's has."""
        more: dict[str, Any] = {"expires_at": int(self.expires_at)}
        if self.is_input:
            more = {"metadata": {"total_requests": sum(1 for line in self.content.splitlines() if line.strip())}}
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": int(self.created_at),
            "filename": self.filename,
            "purpose": self.purpose,
            **more,
        }


def uploaded(headers: Mapping[str, str], body: bytes, id: str, now: float) -> StoredFile:  # noqa: A002 - the API's word
    """Return the file of an upload; raise :class:`ServiceError` for a form that holds none for a batch."""
    head = f"content-type: {headers.get('content-type', '')}\r\n\r\n".encode()
    form: Any = BytesParser(policy=HTTP).parsebytes(head + body)
    parts: dict[Any, Any] = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
    if "file" not in parts or "purpose" not in parts:
        raise ServiceError(BAD_BODY, "an upload is a form with `file` and `purpose`")
    purpose = parts["purpose"].get_payload(decode=True).decode(errors="replace")
    if purpose != "batch":
        raise ServiceError(BAD_BODY, f"purpose: {purpose!r} is not supported, use 'batch'")
    filename = parts["file"].get_filename("") or ""
    if not filename.endswith(".jsonl"):
        raise ServiceError(BAD_BODY, f"file: {filename!r} is not a .jsonl file")
    return StoredFile(id, filename, purpose, parts["file"].get_payload(decode=True), now)
