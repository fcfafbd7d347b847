"""The HTTP library that the SDK's release uses."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import openai

__all__ = ["http_library", "limits"]


@cache
def http_library() -> Any:
    """Return the HTTP library that the SDK's release uses: httpx, since 3.0 httpx2."""
    return import_module(type(openai.DEFAULT_CONNECTION_LIMITS).__module__.partition(".")[0])


def limits(connections: int) -> Any:
    """Return the HTTP library's limits that keep as many idle connections as may be open."""
    return http_library().Limits(max_connections=connections, max_keepalive_connections=connections)
