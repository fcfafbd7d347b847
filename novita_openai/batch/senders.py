"""The two ways in which a batch sends a request: by the SDK, and over aiohttp itself (``direct``)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import openai

from novita_openai import sdk

if TYPE_CHECKING:
    from novita_openai.client import AsyncNovitaOpenAI

__all__ = ["SDKSender", "Sender", "with_headers"]


class Sender(Protocol):
    """A way of sending one request."""

    async def send(self, path: str, content: bytes, headers: Mapping[str, str]) -> Any:
        """Return the response, its body read; raise the SDK's errors. ``headers``: those besides the client's."""
        ...


class SDKSender:
    """Sends as every call of the SDK does.

    Making the options of a call is most of the SDK's work. They are made once for each path (``options``), and each
    request is sent with a copy.
    """

    def __init__(self, client: AsyncNovitaOpenAI, options: Mapping[str, Any]) -> None:
        self._client, self._options = client, options
        self._request: Any = partial(openai.AsyncOpenAI.request, client)
        self._response = sdk.http_library().Response

    async def send(self, path: str, content: bytes, headers: Mapping[str, str]) -> Any:
        """Return the response of the SDK's HTTP library."""
        try:
            return await self._request(self._response, with_headers(self._options[path], content, headers))
        except BaseException as error:  # noqa: BLE001 - raised again, without the sent headers
            raise sdk.without_secrets(error, self._client)  # noqa: B904 - it has its own cause, or is the same


def with_headers(options: Any, content: bytes, headers: Mapping[str, str]) -> Any:
    """Return a copy of a request's options with a body and headers."""
    options = sdk.with_raw_content(options, content)
    if headers:
        options.headers = headers
    return options
