"""How errors of the SDK pass to another process: with all that they say, notes too, but without key and cause.

The SDK's errors ask for arguments by name, so that without this they cannot be unpickled, and a pool of processes in
which one is raised hangs (``multiprocessing``) or breaks (``concurrent.futures``).
"""

from __future__ import annotations

import copy
import copyreg
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import openai

__all__ = ["make_picklable"]

_SECRET_HEADERS: Final = ("authorization", "proxy-authorization", "api-key", "x-api-key", "cookie")


def make_picklable() -> None:
    """Tell ``pickle`` and ``copy`` how to copy each class of errors that the SDK and this package have."""
    for kind in _classes_below(openai.OpenAIError):
        copyreg.pickle(kind, _reduced)


def _classes_below(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _classes_below(child)


def _reduced(error: BaseException) -> tuple[Any, tuple[Any, ...]]:
    return _rebuilt, (type(error), error.args, {name: _without_key(value) for name, value in vars(error).items()})


def _rebuilt(kind: type[BaseException], args: tuple[object, ...], state: Mapping[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    vars(error).update(state)
    return error


def _without_key(value: Any) -> Any:
    """Return a copy of a request, or of a response and its requests, without the headers that hold a key."""
    if isinstance(value, _loaded("Request")):
        value = copy.copy(value)
        kept = [(name, each) for name, each in value.headers.multi_items() if name not in _SECRET_HEADERS]
        value.headers = type(value.headers)(kept)
    elif isinstance(value, _loaded("Response")):
        request, history = _without_key(value.request), [_without_key(each) for each in value.history]
        value = copy.copy(value)
        value.request, value.history = request, history
    return value


def _loaded(name: str) -> tuple[Any, ...]:
    """Return the classes of a name in those HTTP libraries that the program has imported."""
    return tuple(getattr(sys.modules[library], name) for library in ("httpx", "httpx2") if library in sys.modules)
