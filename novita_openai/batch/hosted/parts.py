"""The parts of a job that the service's Batch API takes, and what may be in one.

A part names one model and one endpoint, as all rows of a batch must; its limits are those of
https://novita.ai/docs/guides/llm-batch-api.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from novita_openai.batch.endpoints import CHAT, COMPLETIONS

if TYPE_CHECKING:
    from novita_openai.batch.requests import BatchRequest

__all__ = ["ENDPOINTS", "MOST_BYTES", "MOST_ROWS", "SHARE", "Part", "Submitted", "line_of", "submitted_in"]

MOST_ROWS: Final = 50_000
MOST_BYTES: Final = 99_999_999
"""Bytes of a file: the service says 100 MB, which is taken for the smaller of what that may mean."""
ENDPOINTS: Final[Mapping[str, str]] = {CHAT: "/v1/chat/completions", COMPLETIONS: "/v1/completions"}
"""What a batch names as its endpoint, by the path of its requests."""
SHARE: Final = 0.5
"""What is paid of the list's prices: the service says so of the models that it names, and lists no price for batches.

https://blogs.novita.ai/batch-api-reduce-bandwidth-waste-and-improve-api-efficiency
"""
DIGEST: Final = 32
"""The digits of a request's digest."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is planned to be one batch: ``rows`` of one ``model`` and ``path``, in a file of ``size`` bytes.

    ``digest``: of the file. ``most``: the most dollars that it can cost, None where a price is not known.
    """

    id: str
    model: str
    path: str
    rows: int
    size: int
    digest: str
    most: float | None = None

    @property
    def filename(self) -> str:
        """Return the name under which it is uploaded, which no other part has."""
        return f"novita-openai-{self.id}.jsonl"

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Self:
        """Return the part of a record of the ledger."""
        return cls(
            record["part"],
            record["model"],
            record["path"],
            record["rows"],
            record["size"],
            record["digest"],
            record["most"],
        )


@dataclass(slots=True)
class Submitted:
    """What a part's record keeps of a row; all that its result needs.

    ``prompts``: how many it has. ``corrections``: how often it was asked again as its answer did not pass the check;
    ``spent``: what was spent for it before, None for nothing.
    """

    custom_id: str
    digest: str
    metadata: Any = None
    prompts: int = 1
    corrections: int = 0
    spent: Mapping[str, Any] | None = field(default=None)

    def more(self) -> dict[str, Any]:
        """Return what few rows have."""
        found = {"metadata": self.metadata, "corrections": self.corrections or None, "spent": self.spent}
        if self.prompts != 1:
            found["prompts"] = self.prompts
        return {name: value for name, value in found.items() if value is not None}


def submitted_in(record: Mapping[str, Any]) -> Iterator[Submitted]:
    """Yield the rows of a part's record."""
    digests, more = record["digests"], record["more"]
    for place, custom_id in enumerate(record["custom_ids"]):
        digest = digests[place * DIGEST : (place + 1) * DIGEST]
        yield Submitted(custom_id, digest, **more.get(str(place), {}))


def line_of(request: BatchRequest, content: bytes) -> bytes:
    """Return the line of a row: in the service's own form, and with what OpenAI's has besides."""
    head = f'{{"custom_id": {json.dumps(request.custom_id)}, "method": "POST", "url": "{ENDPOINTS[request.path]}", '
    return b"".join((head.encode(), b'"body": ', content, b"}\n"))
