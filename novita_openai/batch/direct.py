"""Rows over aiohttp itself: bytes out, bytes in, with the headers and over the connections that the SDK would take.

What few rows need is left to the SDK: its client follows redirects, and an answer becomes its response where somebody
asks for more than the body.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from novita_openai.batch.senders import with_headers
from novita_openai.errors import AnswerTooLargeError
from novita_openai.sdk import direct

if TYPE_CHECKING:
    from novita_openai.batch.senders import Sender
    from novita_openai.client import AsyncNovitaOpenAI

__all__ = ["DirectSender"]

LARGE: Final = 1_000_000
"""Bytes from which on a body is sent block by block: the event loop turns meanwhile, and no copy of it is made."""
BLOCK: Final = 65_536
MOST_HEADS: Final = 64
"""Heads that are kept; there are few, unless rows have headers of their own."""

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_SUCCESSES: Final = range(200, 300)


class RequestHead:
    """What all requests have in common that differ in their bodies alone: the SDK's ``request``, and how it is sent."""

    def __init__(self, request: Any, wire: direct.Wire) -> None:
        from aiohttp import ClientTimeout
        from multidict import CIMultiDict
        from yarl import URL

        self.request, self.session, self.url = request, wire.session, URL(str(request.url))
        self._headers = CIMultiDict(request.headers)
        # The run ends an attempt that takes too long: a timer for each block that arrives would only cost.
        timeout = ClientTimeout(sock_connect=request.extensions["timeout"]["connect"])
        self.options = {"timeout": timeout, "proxy": wire.proxy, "allow_redirects": False, "auto_decompress": False}

    def headers(self, length: int) -> Any:
        """Return the headers for a body of so many bytes."""
        headers = self._headers.copy()
        headers["content-length"] = str(length)
        return headers


class DirectSender:
    """Sends over aiohttp as a client would: its headers, the proxies and certificates of its environment.

    Connecting takes as long as the client allows; how long an answer may take is for the caller to say.

    ``options``: of a request for each path, as the SDK's ``request()`` takes them. ``by_sdk`` sends what is redirected.
    """

    def __init__(self, client: AsyncNovitaOpenAI, options: Mapping[str, Any], by_sdk: Sender) -> None:
        self._client, self._options, self._by_sdk, self._most = client, options, by_sdk, client.max_answer_bytes
        self._heads: dict[Any, RequestHead] = {}

    async def send(self, path: str, content: bytes, headers: Mapping[str, str]) -> Any:
        """Return the response, its body read; raise the SDK's errors."""
        head = await self._head(path, headers)
        try:
            received = await self._exchange(head, content)
        except BaseException as error:  # noqa: BLE001 - raised again, without the sent headers
            raise direct.connection_error(error, self._client, head.request.url)  # noqa: B904 - it has its own cause
        if received.status_code in _REDIRECTS and "location" in received.headers:
            return await self._by_sdk.send(path, content, headers)
        if "set-cookie" in received.headers:
            direct.keep_cookies(self._client, received)
            self._heads.clear()
        if received.status_code not in _SUCCESSES:
            raise direct.error_of_status(self._client, received)
        return received

    async def _head(self, path: str, headers: Mapping[str, str]) -> RequestHead:
        """Return the head of a request; the key in it is the client's present one."""
        source = self._client.key_source
        key = self._client.api_key if isinstance(source, str) else await source()
        name = path, key, *headers.items()
        head = self._heads.get(name)
        if head is None:
            if len(self._heads) >= MOST_HEADS:
                self._heads.clear()
            options = with_headers(self._options[path], b"{}", headers)
            request = direct.request_with(self._client, options, key)
            head = self._heads[name] = RequestHead(request, direct.Wire.of(self._client, request.url))
        return head

    async def _exchange(self, head: RequestHead, content: bytes) -> direct.Received:
        sent = {"headers": head.headers(len(content)), "data": _blocks(content) if len(content) > LARGE else content}
        async with head.session.request("POST", head.url, **sent, **head.options) as response:
            packed = await _read(response, self._most)
            received = direct.Received(response.status, response.headers, packed, head.request)
        if "content-encoding" in response.headers:
            received.content = direct.unpacked(
                response.headers, packed, self._most, head.request, is_error=response.status not in _SUCCESSES
            )
        if len(received.content) > self._most and received.status_code in _SUCCESSES:
            raise _too_long(received, self._most)
        return received


async def _blocks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), BLOCK):
        yield content[start : start + BLOCK]


async def _read(response: Any, most: float) -> bytes:
    """Return the body of a response, or so much of it as has more than ``most`` bytes."""
    if response.content_length is not None and response.content_length <= most:
        return cast("bytes", await response.read())
    blocks, length = [], 0
    async for block in response.content.iter_any():
        blocks.append(block)
        length += len(block)
        if length > most:
            break
    return b"".join(blocks)


def _too_long(received: direct.Received, most: float) -> AnswerTooLargeError:
    """Return the error for an answer that is too long; it keeps nothing of that."""
    received.content = b""
    message = f"The answer is larger than {most:,} bytes, the client's max_answer_bytes."
    return AnswerTooLargeError(received.response, None, message=message)
