"""The HTTP clients of busy programs: many connections, kept, and over aiohttp where that is installed."""

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
    """The SDK's HTTP client; closes its connections when it is collected, as the one that the SDK makes for itself."""

    def __del__(self) -> None:
        with suppress(AttributeError):  # half made, as where a proxy's address is wrong
            self.close()
