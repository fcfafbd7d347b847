"""The end of a response that has said all: it is read, for a moment, so that its connection can be used again."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import anyio

__all__ = ["drain", "drain_async", "shut_down_after"]

PATIENCE: Final = 0.1
"""Seconds; a response that has not ended by then is closed with its connection."""


def drain(response: Any, chunks: Iterator[bytes]) -> None:
    """Read the rest of a response: what has come already at once, more only while its socket can be shut down."""
    if response.is_closed or response.http_version != "HTTP/1.1":
        return
    if _is_downloaded(response):
        _read(chunks)
    elif _socket_of(response) is not None:
        with shut_down_after(PATIENCE, response):
            _read(chunks)


def _is_downloaded(response: Any) -> bool:
    return bool(response.headers.get("content-length") == str(response.num_bytes_downloaded))


@contextmanager
def shut_down_after(seconds: float, response: Any) -> Iterator[None]:
    """Make reading from a response end after so many seconds, where its connection is not shared with others."""
    if (opened := _socket_of(response)) is None:
        yield
        return
    watch = threading.Timer(seconds, _shut_down, (opened,))
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
        watch.join()


def _socket_of(response: Any) -> Any:
    stream = response.extensions.get("network_stream") if response.http_version == "HTTP/1.1" else None
    return None if stream is None else stream.get_extra_info("socket")


def _read(chunks: Iterator[bytes]) -> None:
    with suppress(Exception):  # whatever follows the last event, nothing is made of it
        deque(chunks, maxlen=0)


def _shut_down(opened: Any) -> None:
    """Make reading from a socket end, in whichever thread."""
    with suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)


async def drain_async(response: Any, chunks: AsyncIterator[bytes]) -> None:
    """Read the rest of a response, and close it."""
    if response.is_closed or response.http_version != "HTTP/1.1":
        return
    from anyio.lowlevel import checkpoint

    with suppress(Exception), anyio.move_on_after(PATIENCE):
        async for _ in chunks:
            await checkpoint()  # without it, what is buffered would be read past the time
