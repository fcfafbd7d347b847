"""Where a row goes: the endpoint that it names, or that its body is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from novita_openai.batch.extras import extra_of

__all__ = ["CHAT", "COMPLETIONS", "EMBEDDINGS", "ENVELOPE", "FIELDS", "bare", "wrapped"]

CHAT: Final = "/chat/completions"
COMPLETIONS: Final = "/completions"
EMBEDDINGS: Final = "/embeddings"
FIELDS: Final = {"messages": CHAT, "prompt": COMPLETIONS, "input": EMBEDDINGS}
"""The field that every body for a path has, and no body for another."""
URLS: Final = {f"/v1{path}": path for path in FIELDS.values()}
"""The addresses that rows of OpenAI's Batch format name, and the path of each below the base URL."""
BASE_PATHS: Final = ("", "/openai", "/openai/v1", "/v3/openai")
"""What an address may begin with besides ``/v1``: the service's own base paths."""

ENVELOPE: Final = {"body", "url", "method"}


def wrapped(row: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the path and the body of a row of OpenAI's Batch format."""
    method, body = row.get("method", "POST"), row.get("body")
    if method != "POST":
        raise ValueError(f"method must be POST, not {method!r}")
    if not isinstance(body, dict):
        raise ValueError(f"body must be a JSON object, not {type(body).__name__}")  # noqa: TRY004 - the same
    fields = cast("dict[str, Any]", body)
    if "extra_body" in row:
        fields = {**fields, "extra_body": {**extra_of(fields), **extra_of(row)}}
    return _path_named(row["url"]) if "url" in row else _path_for(fields), fields


def _path_named(url: object) -> str:
    """Return the path of an address, which may begin with ``/v1`` or with one of the service's base paths."""
    if isinstance(url, str) and (path := URLS.get(url)) is not None:
        return path
    found = (path for path in FIELDS.values() for base in ("/v1", *BASE_PATHS) if url == base + path)
    path = next(found, "")
    if not path:
        raise ValueError(f"url must be one of {', '.join(URLS)}, not {url!r}")
    return path


def _path_for(body: Mapping[str, Any]) -> str:
    """Return the path that a body is for, by its fields."""
    paths = [path for name, path in FIELDS.items() if name in body]
    if len(paths) != 1:
        raise ValueError(
            "a row must have url and body, or be a body, with one of messages, prompt and input; a table needs prompt="
        )
    return paths[0]


def bare(row: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the path and the body of a row that is a request's body itself."""
    return _path_for(row), {name: value for name, value in row.items() if name != "custom_id"}
