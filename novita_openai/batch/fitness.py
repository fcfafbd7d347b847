"""Whether the models of a job can do what its rows ask of them, by the service's models list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from novita_openai.client.catalog import near_names

__all__ = ["Misfit", "misfits", "unbatchable"]

AVAILABLE: Final = 1
"""The ``status`` of a model that is served."""
OTHER_KINDS: Final = {
    "chat/completions": ("embedding", "rerank", "image", "video", "audio"),
    "completions": ("embedding", "rerank", "image", "video", "audio"),
    "embeddings": ("chat", "llm", "rerank", "image", "video", "audio"),
}
"""How the ``model_type`` of a model begins that does not serve an endpoint."""
LISTED: Final = ("chat/completions", "completions")
"""The endpoints that a model's ``endpoints`` name where it serves them; they are silent of embeddings."""
BATCH_API: Final = "batch-api"
"""What the ``endpoints`` of a model hold that the service's own Batch API runs."""
MOST_NEAR: Final = 5


@dataclass(frozen=True, slots=True)
class Misfit:
    """A model that a job cannot use, and why. ``near``: the ids of the list that are like its own."""

    model: str
    problem: str
    near: tuple[str, ...] = ()

    def __str__(self) -> str:
        near = f"; near names: {', '.join(self.near)}" if self.near else ""
        return f"model {self.model!r} {self.problem}{near}"


def misfits(wanted: Iterable[tuple[str, str]], rows: Mapping[str, Mapping[str, Any]]) -> list[Misfit]:
    """Return the models that the list does not have, or not for what is wanted of them.

    ``wanted``: ids of models, each with the path of the requests; ``rows``: the rows of the list by id. Where the list
    does not say what a model is for, it is taken to fit; and where the list is empty, all are.
    """
    found = (_misfit(model, path.lstrip("/"), rows) for model, path in wanted)
    return [each for each in found if each is not None] if rows else []


def _misfit(model: str, endpoint: str, rows: Mapping[str, Mapping[str, Any]]) -> Misfit | None:
    row = rows.get(model)
    if row is None:
        return Misfit(model, "is not in the models list", near_names(model, rows))
    problem = _problem(row, endpoint)
    return None if problem is None else Misfit(model, problem)


def unbatchable(wanted: Iterable[tuple[str, str]], rows: Mapping[str, Mapping[str, Any]]) -> list[Misfit]:
    """Return the models that the service's Batch API does not run, or not for what is wanted of them.

    Arguments as for :func:`misfits`; ``near``: models of the list that it does run.
    """
    able = tuple(name for name, row in rows.items() if BATCH_API in (row.get("endpoints") or ()))[:MOST_NEAR]
    found = (_unbatchable(model, path.lstrip("/"), rows, able) for model, path in wanted)
    return [each for each in found if each is not None]


def _unbatchable(
    model: str, endpoint: str, rows: Mapping[str, Mapping[str, Any]], able: tuple[str, ...]
) -> Misfit | None:
    if endpoint not in LISTED:
        return Misfit(model, f"has rows for {endpoint}, which the Batch API does not run: run them online")
    if rows and model not in rows:
        return _misfit(model, endpoint, rows)
    endpoints = rows.get(model, {}).get("endpoints")
    if not isinstance(endpoints, list) or BATCH_API in endpoints:
        return None
    told = f"is not run by the Batch API ({BATCH_API!r} is not among its endpoints): run its rows online"
    return Misfit(model, f"{told}, or name a model that is" if able else told, able)


def _problem(row: Mapping[str, Any], endpoint: str) -> str | None:
    """Return what a model's row says against requests to an endpoint."""
    status, endpoints, kind = row.get("status"), row.get("endpoints"), row.get("model_type")
    if isinstance(status, int) and status != AVAILABLE:
        return f"is not available at present (status {status} in the models list)"
    if isinstance(kind, str) and kind.startswith(OTHER_KINDS.get(endpoint, ())):
        return f"is of the type {kind!r}, which does not serve {endpoint}"
    served = [str(each) for each in endpoints] if isinstance(endpoints, list) else []
    if served and endpoint in LISTED and endpoint not in served:
        return f"does not serve {endpoint}, but {', '.join(served)}"
    return None
