"""The settings that the child process of a local model gets, as one line of JSON."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ServerSettings"]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The settings of one server; the model at ``path`` is the packaged one or a file of the user's own."""

    path: str
    is_packaged: bool
    port: int
    api_key: str | None
    context_size: int
    threads: int
