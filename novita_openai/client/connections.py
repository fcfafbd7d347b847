"""HTTP clients for busy programs: they keep many connections, and use aiohttp where that is installed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import openai

from novita_openai import sdk

__all__ = ["ClosingHttpClient", "async_http_client"]


def async_http_client(connections: int) -> tuple[Any, bool]:
    """Return an HTTP client of so many connections, over aiohttp where that is installed, and whether it is."""
    try:
        return openai.DefaultAioHttpClient(limits=sdk.limits(connections)), True
    except RuntimeError:  # the SDK's word for "aiohttp is not installed"
        return openai.DefaultAsyncHttpxClient(limits=sdk.limits(connections)), False


class ClosingHttpClient(openai.DefaultHttpxClient):
    """The SDK's HTTP client; closes its connections when it is garbage-collected, as the SDK's default client does."""

    def __del__(self) -> None:
        with suppress(AttributeError):  # not fully built, as with a wrong address of a proxy
            self.close()
