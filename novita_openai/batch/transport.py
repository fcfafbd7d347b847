"""How a batch sends: the client's key, address and headers, over connections of the run's own, by the cheapest way.

Every call of the SDK ends in ``request()``, of which the options are most of the work: here they are made once, and
each row sends a copy that holds its own bytes. The answer comes as the HTTP library's response, not walked through.
"""

from __future__ import annotations

import copy
import inspect
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

import openai

from novita_openai.batch.requests import CHAT, COMPLETIONS
from novita_openai.errors import is_named
from novita_openai.retry import RetryPolicy

if TYPE_CHECKING:
    from novita_openai.batch.requests import BatchRequest
    from novita_openai.client import AsyncNovitaOpenAI

__all__ = ["Transport"]

# Of whichever HTTP library the SDK's release uses.
_RESPONSE: Final[Any] = import_module(type(openai.DEFAULT_CONNECTION_LIMITS).__module__.partition(".")[0]).Response
# Since 2.0 raw content has a place of its own.
_CONTENT: Final = "content" if "content" in inspect.signature(openai.AsyncOpenAI.post).parameters else "json_data"


class Transport:
    """A copy of a client that sends each request once, over up to so many connections."""

    def __init__(self, client: AsyncNovitaOpenAI, connections: int) -> None:
        http_client, self.is_fast = _http_client(connections)
        # The batch applies the client's policy itself, so that one pause serves all rows of a model.
        options = {"http_client": http_client, "max_retries": 0, "policy": RetryPolicy.off()}
        self._client: Any = cast("Any", client).with_options(**options)
        self._request: Any = partial(openai.AsyncOpenAI.request, self._client)
        self._options: dict[str, Any] = {}

    async def send(self, request: BatchRequest) -> Any:
        """Return the HTTP response, its body read; raise the SDK's errors."""
        options = copy.copy(self._options[request.path])
        setattr(options, _CONTENT, request.content)
        if request.attempts:
            options.headers = {"x-stainless-retry-count": str(request.attempts)}
        try:
            return await self._request(_RESPONSE, options)
        except Exception as error:
            if is_named(error, "ClientError") or is_named(error.__cause__, "ClientResponseError"):
                # Errors of aiohttp that slip through the SDK, or that hold the headers that were sent.
                raise openai.APIConnectionError(request=self._bare_request()) from None
            raise

    async def prepare(self) -> None:
        """Take what ``post`` makes of each path, before it is sent."""
        taken: list[Any] = []

        async def take(_: Any, options: Any, **__: Any) -> None:
            taken.append(options)

        self._client.request = take
        for path in (CHAT, COMPLETIONS):
            await self._client.post(f"{self._client.base_url}".rstrip("/") + path, cast_to=_RESPONSE)
            self._options[path] = taken.pop()
        del self._client.request

    def _bare_request(self) -> Any:
        return self._client._client.build_request("POST", self._client.base_url)  # noqa: SLF001 - a part of any error

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


def _http_client(connections: int) -> tuple[Any, bool]:
    """Return the SDK's HTTP client, and whether it is the fast one."""
    limits: Any = type(openai.DEFAULT_CONNECTION_LIMITS)(
        max_connections=connections, max_keepalive_connections=connections
    )
    try:
        return openai.DefaultAioHttpClient(limits=limits), True
    except RuntimeError:  # the SDK's word for "aiohttp is not installed"
        return openai.DefaultAsyncHttpxClient(limits=limits), False
