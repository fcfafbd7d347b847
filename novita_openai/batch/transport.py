"""How a batch sends: the client's key, address and headers, over connections of the run's own, by the cheapest way.

Every call of the SDK ends in ``request()``, and making its options is most of the work. Here they are made once, and
each row sends a copy with its own bytes. The answer comes as the HTTP library's response, which the SDK does not parse.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import openai

from novita_openai import sdk
from novita_openai.batch.requests import CHAT, COMPLETIONS, encode
from novita_openai.client.connections import async_http_client
from novita_openai.client.translation import translated
from novita_openai.retry import RetryPolicy

if TYPE_CHECKING:
    from novita_openai.batch.requests import BatchRequest
    from novita_openai.client import AsyncNovitaOpenAI

__all__ = ["Transport"]


class Transport:
    """A copy of a client that sends each request once, over up to so many connections."""

    def __init__(self, client: AsyncNovitaOpenAI, connections: int) -> None:
        http_client, self.is_fast = async_http_client(connections)
        # The batch applies the client's policy itself, so that one pause serves all rows of a model.
        options = {"http_client": http_client, "max_retries": 0, "policy": RetryPolicy.off()}
        self._client: Any = cast("Any", client).with_options(**options)
        self._request: Any = partial(openai.AsyncOpenAI.request, self._client)
        self._response = sdk.http_library().Response
        self._options: dict[str, Any] = {}

    async def send(self, request: BatchRequest) -> Any:
        """Return the HTTP response, its body read; raise the SDK's errors."""
        content = _taken(request) if self._client.translate and request.path == CHAT else request.content
        options = sdk.with_content(self._options[request.path], content)
        if request.attempts:
            options.headers = {"x-stainless-retry-count": str(request.attempts)}
        try:
            return await self._request(self._response, options)
        except BaseException as error:  # noqa: BLE001 - raised again, without the sent headers
            raise sdk.without_secrets(error, self._client)  # noqa: B904 - it has its own cause, or is the same

    async def prepare(self) -> None:
        """Make the options for each path, as the SDK's ``post`` makes them."""
        for path in (CHAT, COMPLETIONS):
            self._options[path] = await sdk.options_of_post(self._client, path)

    async def models(self) -> list[dict[str, Any]]:
        """Return the rows of the models list."""
        return [model.model_dump() async for model in self._client.models.list()]

    @property
    def key(self) -> str:
        """Return the key that was last sent."""
        return str(self._client.api_key)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _taken(request: BatchRequest) -> bytes:
    """Return the body of a chat in bytes, as the service takes it."""
    body, _ = translated(request.body)
    return request.content if body is request.body else encode(body)
