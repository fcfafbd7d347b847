"""HTTP clients for busy programs: they keep many connections, and use aiohttp where that is installed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import openai

from novita_openai import sdk

__all__ = ["ClosingHttpClient", "async_http_client"]


def async_http_client(connections: int, certificates: Any = None) -> tuple[Any, bool]:
    """Return an HTTP client of so many connections, over aiohttp where that is installed, and whether it is.

    ``certificates``: an SSL context that is there already, as making one takes as long as many requests.
    """
    verify = {} if certificates is None else {"verify": certificates}
    try:
        return openai.DefaultAioHttpClient(limits=sdk.limits(connections), **verify), True
    except RuntimeError:  # the SDK's word for "aiohttp is not installed"
        return openai.DefaultAsyncHttpxClient(limits=sdk.limits(connections), **verify), False


class ClosingHttpClient(openai.DefaultHttpxClient):
    """The SDK's HTTP client; closes its connections when it is garbage-collected, as the SDK's default client does."""

    def __del__(self) -> None:
        with suppress(AttributeError):  # not fully built, as with a wrong address of a proxy
            self.close()
