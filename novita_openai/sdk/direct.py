"""What a batch uses of the SDK to send over aiohttp itself: its requests, its connections, its errors.

The SDK builds the request and says how it is sent; aiohttp sends it. What fails becomes the error that the SDK raises
over its own HTTP library.
"""

# ruff: noqa: SLF001 - this package's purpose
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import openai

from novita_openai.sdk.exceptions import forget_frames, is_named, replacement_cause
from novita_openai.sdk.library import http_library
from novita_openai.sdk.replies import if_text, with_readable_text

__all__ = [
    "Received",
    "Wire",
    "as_response",
    "certificates_of",
    "connection_error",
    "error_of_status",
    "is_direct",
    "keep_cookies",
    "request_with",
    "unpacked",
]


@dataclass(frozen=True, slots=True, repr=False)
class Wire:
    """How the SDK would send to an address: the ``session`` of aiohttp that has its connections, and its proxy."""

    session: Any
    proxy: str | None

    @classmethod
    def of(cls, client: Any, url: Any) -> Wire:
        """Return the wire of a client to a URL."""
        transport = client._client._transport_for_url(url)
        if transport.client is None:
            transport.client = transport.get_client()
        return cls(transport.client, _address(transport.proxy))


def is_direct(client: Any) -> bool:
    """Tell whether the connections of a client are those of aiohttp, as :class:`Wire` takes them."""
    if not hasattr(client._client, "_transport_for_url"):
        return False
    transport = client._client._transport_for_url(client.base_url)
    return all(hasattr(transport, name) for name in ("get_client", "client", "proxy"))


def certificates_of(client: Any) -> Any:
    """Return the SSL context of a client over aiohttp, None for another client."""
    return getattr(getattr(client._client, "_transport", None), "ssl_context", None)


def _address(proxy: Any) -> str | None:
    """Return the address of a proxy, with its user and password."""
    if proxy is None or proxy.auth is None:
        return None if proxy is None else str(proxy.url)
    username, password = proxy.auth
    return str(proxy.url.copy_with(username=username, password=password))


class Received:
    """A response of which the body is read, as far as each row needs it; the SDK's own is built when it is asked for.

    ``content``: the body, unpacked.
    """

    def __init__(self, status: int, headers: Any, content: bytes, request: Any) -> None:
        self.status_code, self.headers, self.content, self._request = status, headers, content, request

    @cached_property
    def response(self) -> Any:
        """The SDK's response; it says nothing of how the body was packed."""
        kept = [(name, value) for name, value in self.headers.items() if name.lower() not in _OF_PACKING]
        # As aiohttp has received them: the HTTP library takes others than ASCII as bytes only.
        headers = [(name.encode(), value.encode(errors="surrogateescape")) for name, value in kept]
        kind = http_library().Response
        return with_readable_text(kind(self.status_code, headers=headers, content=self.content, request=self._request))


_OF_PACKING: Final = {"content-encoding", "content-length", "transfer-encoding"}


def as_response(received: Any) -> Any:
    """Return the SDK's response for what a batch has received, which may be that already."""
    return received.response if isinstance(received, Received) else received


def request_with(client: Any, options: Any, key: str) -> Any:
    """Return the request that the SDK makes of its options, with this key."""
    client.api_key = key
    return client._build_request(options, retries_taken=0)


def keep_cookies(client: Any, received: Received) -> None:
    """Have the client's further requests send the cookies of a response."""
    client._client.cookies.extract_cookies(received.response)


def error_of_status(client: Any, received: Received) -> openai.APIStatusError:
    """Return the error that the SDK raises for the status of a response."""
    error: openai.APIStatusError = client._make_status_error_from_response(received.response)
    return error


def connection_error(error: BaseException, client: Any, url: Any) -> BaseException:
    """Return the SDK's error for what aiohttp raised, without what holds the sent headers, and the key.

    What is no failure of the network, such as a cancellation, is returned as it is.
    """
    forget_frames(error)
    if is_named(error, "TimeoutError"):
        kind: type[openai.APIConnectionError] = openai.APITimeoutError
    elif is_named(error, *_FAILURES):
        kind = openai.APIConnectionError
    else:
        return error
    found = kind(request=client._client.build_request("POST", url))
    found.__cause__ = replacement_cause(error)[1] or error
    return found


_FAILURES: Final = ("ClientError", "OSError", "RequestError", "EndOfStream")


def unpacked(headers: Any, packed: bytes, most: float, request: Any, *, is_error: bool = False) -> bytes:
    """Return a body unpacked as the SDK's HTTP library does that, or so much of it as has more than ``most`` bytes.

    It is unpacked piece by piece, so that a small body cannot fill the memory. ``is_error``: it is that of an error
    status, of which what can be unpacked is enough, and where nothing can, the text that was sent.
    """
    names = headers.getall("content-encoding")
    size = _PIECE_OF_BROTLI if any("br" in name for name in names) else _PIECE
    response = http_library().Response(
        _OK, headers=[("content-encoding", name) for name in names], stream=_stream(packed, size), request=request
    )
    blocks, length = [], 0
    try:
        for block in response.iter_bytes():
            blocks.append(block)
            length += len(block)
            if length > most:
                break
    except http_library().DecodingError:
        if not is_error:
            raise
        return b"".join(blocks) or if_text(packed)
    return b"".join(blocks)


_OK: Final = 200
_PIECE: Final = 1_024
"""Bytes that are unpacked at once: gzip makes at most 1 MB of them, Zstandard 32 MB."""
_PIECE_OF_BROTLI: Final = 16
"""Brotli can make 16 MB of a few bytes."""


def _stream(content: bytes, size: int) -> Any:
    """Return a stream of the SDK's HTTP library that gives bytes in pieces of a size."""
    base: Any = http_library().SyncByteStream

    class Pieces(base):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            return (content[start : start + size] for start in range(0, len(content), size))

    return Pieces()
