"""Files, batches and responses: where the service has them, and its replies as the SDK's types promise them.

The service has them under ``/openai/v1`` only, and its replies differ from OpenAI's: status words in capitals, times as
texts, "" for what does not exist, lists without ``has_more``. Loops written for OpenAI would never end on them.
Sources: https://novita.ai/docs/guides/llm-batch-api and the pages of the API's reference that it links.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

__all__ = ["LISTS", "as_promised", "creates", "hosted_url", "is_hosted_path", "unix_seconds"]

_BASE_PATHS: Final = ("/v3/openai", "/openai", "/openai/v1")
_HOSTED_PATH: Final = "/openai/v1"
_HOSTED: Final = ("/files", "/batches", "/responses")
_CREATING: Final = ("/files", "/batches")

_STATUS: Final = {"progress": "in_progress", "canceled": "cancelled", "canceling": "cancelling"}
_PROCESSED: Final = "processed"
_FRACTION: Final = re.compile(r"(\.\d{6})\d+")
_NO_TIME: Final = "0001-"
_ITEMS: Final = ("Batch", "FileObject")
LISTS: Final = frozenset(f"{page}CursorPage[{item}]" for page in ("Sync", "Async") for item in _ITEMS)
"""The names of the SDK's classes for lists of files and batches."""


def is_hosted_path(url: str) -> bool:
    """Tell whether a path is one of those that the service has in one place only."""
    return url.startswith(_HOSTED)


def hosted_url(url: str, base_url: object) -> str:
    """Return the whole address of a path that the service has under ``/openai/v1`` only; other paths as they are.

    Only where the base URL ends in one of the service's three base paths: other servers have one base path for all.
    """
    if not is_hosted_path(url):
        return url
    base = urlsplit(f"{base_url}")
    if base.path.rstrip("/") not in _BASE_PATHS:
        return url
    return urlunsplit(base._replace(path=f"{_HOSTED_PATH}/")) + url.lstrip("/")


def creates(method: str, url: str) -> bool:
    """Tell whether a request creates a file or a batch, which would be there twice if it were sent twice."""
    return url in _CREATING and method.upper() == "POST"


def as_promised(parsed: Any, response: Any) -> Any:
    """Return a parsed reply with its fields as the SDK's types promise them; replies of other kinds as they are.

    ``response`` is the SDK's HTTP response.
    """
    change = _CHANGES.get(type(parsed).__name__)
    if change is not None and type(parsed).__module__.startswith("openai."):
        change(parsed, response)
    return parsed


def _list(page: Any, response: Any) -> None:
    """Change the items of a list; leave out what stood before ``after``, where the service has ignored it."""
    items = [as_promised(item, response) for item in page.data or ()]
    after, ids = response.request.url.params.get("after"), [item.id for item in items]
    page.data = items[ids.index(after) + 1 :] if after in ids else items


def _batch(batch: Any, _: Any) -> None:
    batch.status = _folded(batch.status)
    batch.errors = _errors(batch.errors)
    for name in (*type(batch).model_fields, *(batch.model_extra or ())):
        value = getattr(batch, name)
        if name.endswith("_at"):
            setattr(batch, name, unix_seconds(value))
        elif name.endswith("_file_id"):
            setattr(batch, name, value or None)


def _file(file: Any, _: Any) -> None:
    """Say that a file can be used at once, as the service names no status."""
    file.status = getattr(file, "status", None) or _PROCESSED
    file.created_at = unix_seconds(file.created_at)


def _completion(completion: Any, _: Any) -> None:
    """Write "" for the text of a choice that has ended without one."""
    for choice in completion.choices:
        choice.text = choice.text or ""


_CHANGES: Final[Mapping[str, Callable[[Any, Any], None]]] = {
    "Batch": _batch,
    "Completion": _completion,
    "FileObject": _file,
    **dict.fromkeys(LISTS, _list),
}


def _folded(status: object) -> object:
    """Return OpenAI's word for a status, in whichever case the service writes its own."""
    word = status.lower() if isinstance(status, str) else status
    return _STATUS.get(word, word) if isinstance(word, str) else word


def unix_seconds(time: object) -> int | None:
    """Return a time in seconds since 1970: from a number, a text of RFC 3339 or digits; None where it names none."""
    if isinstance(time, (int, float)):
        return int(time)
    if not isinstance(time, str) or not time or time.startswith(_NO_TIME):
        return None
    if time.isdigit():
        return int(time)
    try:
        return int(datetime.fromisoformat(_FRACTION.sub(r"\1", time)).timestamp())
    except ValueError:
        return None


def _errors(errors: Any) -> Any:
    """Return what is wrong with a batch as the SDK's type for it, None where nothing is."""
    if not errors or hasattr(errors, "data"):
        return errors or None
    from openai.types import BatchError
    from openai.types.batch import Errors

    given = errors if isinstance(errors, list) else [errors]
    return Errors(object="list", data=[BatchError(message=f"{each}") for each in given])
