"""How a batch sends: as the client does, over connections of the run's own, by the cheapest way.

A client that was given an ``http_client`` sends over that, with its proxies, certificates and hooks. Else rows go over
aiohttp itself where that is installed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast

import openai

from novita_openai import sdk
from novita_openai.batch.direct import DirectSender
from novita_openai.batch.endpoints import CHAT, FIELDS
from novita_openai.batch.long_answers import ask_as_stream
from novita_openai.batch.requests import encode
from novita_openai.batch.senders import SDKSender
from novita_openai.client.connections import async_http_client
from novita_openai.client.translation import translated
from novita_openai.errors import classify
from novita_openai.retry import RetryPolicy
from novita_openai.sdk.direct import certificates_of, is_direct

if TYPE_CHECKING:
    from novita_openai.batch.requests import BatchRequest
    from novita_openai.batch.senders import Sender
    from novita_openai.client import AsyncNovitaOpenAI

__all__ = ["Transport", "content_of"]


class Transport:
    """A copy of a client that sends each request once, over up to so many connections of its own.

    ``timeout``: seconds for an attempt, None for the client's. ``is_alone``: the event loop ends with the run, and no
    connection outlives it. ``is_fast``: a busy run does not slow its connections down. ``resent``: requests that were
    sent again because the key had changed.
    """

    _sender: Sender

    def __init__(
        self, client: AsyncNovitaOpenAI, connections: int, *, timeout: float | None = None, is_alone: bool = False
    ) -> None:
        self._http_client, self.is_fast, self.resent = None, True, 0
        # The batch applies the client's policy itself, so that one pause serves all rows of a model.
        options: dict[str, Any] = {"max_retries": 0, "policy": RetryPolicy.off(), "resume_streams": False}
        if client.given_http_client is None:
            self._http_client, self.is_fast = async_http_client(connections, certificates_of(client))
        elif is_alone:
            self._http_client = sdk.twin_of(client.given_http_client)
        if self._http_client is not None:
            options["http_client"] = self._http_client
        if timeout is not None:
            options["timeout"] = timeout
        self._source, self._client = client, cast("Any", client).with_options(**options)

    async def send(self, request: BatchRequest) -> Any:
        """Return the HTTP response, its body read; raise the SDK's errors.

        Where the key is refused, and the client has another one by now, the request is sent once more with that.
        """
        try:
            return await self._send(request)
        except openai.APIStatusError as error:
            if not await self._has_new_key(error):
                raise
        self.resent += 1
        request.spent.requests += 1
        return await self._send(request)

    async def _send(self, request: BatchRequest) -> Any:
        retries = {"x-stainless-retry-count": str(request.attempts)} if request.attempts else {}
        headers = {**request.headers, **retries}
        if request.streams:
            return await ask_as_stream(self._client, request, headers, self.seconds)
        content = content_of(request, is_translated=self._client.translate and request.path == CHAT)
        return await self._sender.send(request.path, content, headers)

    async def _has_new_key(self, error: openai.APIStatusError) -> bool:
        """Tell whether a key was refused that is not the client's any more; from now on its new one is sent."""
        if classify(error).status != _KEY_REFUSED:
            return False
        source: Any = self._source.key_source
        key = self._source.api_key if isinstance(source, str) else await source()
        if error.request.headers.get("authorization") == f"Bearer {key}":
            return False
        self._client.api_key = key
        return True

    @property
    def seconds(self) -> float | None:
        """Return how long an attempt may take; None where nothing limits it."""
        timeout = self._client.timeout
        return cast("float | None", getattr(timeout, "read", timeout))

    def client(self, policy: RetryPolicy) -> AsyncNovitaOpenAI:
        """Return a client over the same connections that answers failures by a policy."""
        return cast("AsyncNovitaOpenAI", self._client.with_options(policy=policy))

    @property
    def client_translates(self) -> bool:
        """Tell whether the client translates chats."""
        return bool(self._client.translate)

    async def prepare(self) -> None:
        """Make the options for each path, as the SDK's ``post`` makes them, and choose the way of sending."""
        options = {path: await sdk.options_of_post(self._client, path) for path in FIELDS.values()}
        self._sender = by_sdk = SDKSender(self._client, options)
        if self._source.given_http_client is None and is_direct(self._client):
            self._sender = DirectSender(self._client, options, by_sdk)

    async def models(self) -> list[dict[str, Any]]:
        """Return the rows of the models list."""
        return [model.model_dump() async for model in self._client.models.list()]

    @property
    def key(self) -> str:
        """Return the key that was last sent."""
        return str(self._client.api_key)

    async def close(self) -> None:
        """Close the connections of the run's own."""
        if self._http_client is not None:
            await self._http_client.aclose()


_KEY_REFUSED: Final = 401


def content_of(request: BatchRequest, *, is_translated: bool) -> bytes:
    """Return the body to send in bytes: that of the row, unless it is to be translated."""
    if not is_translated or not _TO_TRANSLATE.search(request.content):
        return request.content
    own = request.body
    body, _ = translated(own)
    return request.content if body is own else encode(body)


_TO_TRANSLATE: Final = re.compile(rb'"(max_completion_tokens|developer)"')
"""What the content of a chat holds that may have to be translated."""
