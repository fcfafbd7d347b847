"""Whether the models of a job can do what its rows ask of them, by the service's models list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from novita_openai.client.catalog import near_names

__all__ = ["Misfit", "misfits"]

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
