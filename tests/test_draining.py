"""Connections of finished streams are used again; waiting for the end of a response is short and never hangs."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import pytest
from server import chunk

from novita_openai import AsyncOpenAI, OpenAI, create_async_client, sdk
from novita_openai.client.draining import PATIENCE

EVENTS = "".join(f"data: {json.dumps(each)}\n\n" for each in (chunk("Boil "), chunk("water.", "stop"))).encode()
DONE = b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


class StreamServer:
    """Sends each request the same pieces, with a pause after each; keeps connections; ``None`` hangs up."""

    def __init__(self, *pieces: bytes | None, pause: float = 0.0) -> None:
        self.pieces, self.pause, self.connections = pieces, pause, 0
        self.is_over = threading.Event()

    def __enter__(self) -> Self:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self) -> None:
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while self.answer(connection):
                    pass
            except OSError:
                pass  # the client has closed the connection

    def answer(self, connection: socket.socket) -> bool:
        data = b""
        while not data.endswith(b"}"):  # the end of the JSON body
            received = connection.recv(65536)
            if not received:
                return False
            data += received
        for piece in self.pieces:
            if piece is None:
                return False
            connection.sendall(piece)
            self.is_over.wait(self.pause)
        return True


def read(kind: Any, base_url: str, times: int) -> list[float]:
    """Read streams to their ends one after the other; return the seconds that each took."""
    options: Any = {"model": "m", "prompt": "p", "stream": True}

    async def read_async() -> list[float]:
        async with kind(api_key="k", base_url=base_url, timeout=30) as client:
            return [await one_async(client) for _ in range(times)]

    async def one_async(client: Any) -> float:
        start = time.monotonic()
        assert len([each async for each in await client.completions.create(**options)]) == 2
        return time.monotonic() - start

    def one(client: Any) -> float:
        start = time.monotonic()
        assert len(list(client.completions.create(**options))) == 2
        return time.monotonic() - start

    if kind is not OpenAI:
        return asyncio.run(read_async())
    with OpenAI(api_key="k", base_url=base_url, timeout=30) as client:
        return [one(client) for _ in range(times)]


KINDS = pytest.mark.parametrize("kind", [OpenAI, AsyncOpenAI, create_async_client])
WITH_LENGTH = HEAD + b"content-length: %d\r\n\r\n" % len(EVENTS + DONE)
REUSED = {
    "chunked": ((CHUNKED + chunked(EVENTS + DONE) + b"0\r\n\r\n",), 0.0),
    "an end that comes later": ((CHUNKED + chunked(EVENTS + DONE), b"0\r\n\r\n"), 0.02),
    "a length": ((WITH_LENGTH + EVENTS + DONE,), 0.0),
    "a length, an end that comes later": ((WITH_LENGTH + EVENTS + DONE[:-2], DONE[-2:]), 0.02),
    "without [DONE]": ((CHUNKED + chunked(EVENTS), b"0\r\n\r\n"), 0.02),
}


@KINDS
@pytest.mark.parametrize("shape", REUSED)
def test_five_streams_cost_one_connection(shape: str, kind: Any) -> None:
    pieces, pause = REUSED[shape]
    with StreamServer(*pieces, pause=pause) as server:
        read(kind, server.base_url, 5)
        assert server.connections == 1


COMMENT = chunked(b": still here\n\n")
SLOW = {
    "no end": ((CHUNKED + chunked(EVENTS + DONE), b""), 5.0),
    "half an end": ((CHUNKED + chunked(EVENTS + DONE), b"0\r\n", b""), 5.0),
    "comments without end": ((CHUNKED + chunked(EVENTS + DONE), *[COMMENT] * 500), 0.01),
    "a length too long": ((HEAD + b"content-length: 9999\r\n\r\n" + EVENTS + DONE, b""), 5.0),
}


@KINDS
@pytest.mark.parametrize("shape", SLOW)
def test_an_end_that_does_not_come_is_not_waited_for(shape: str, kind: Any) -> None:
    pieces, pause = SLOW[shape]
    threads = threading.active_count()
    with StreamServer(*pieces, pause=pause) as server:
        times = read(kind, server.base_url, 2)
        assert max(times) < PATIENCE + 1
        assert server.connections == 2
    deadline = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads


@KINDS
def test_a_connection_that_breaks_after_the_end_spoils_nothing(kind: Any) -> None:
    with StreamServer(CHUNKED + chunked(EVENTS + DONE), None) as server:
        read(kind, server.base_url, 2)
        assert server.connections == 2


class Endless:
    """A body in memory that never ends, as a test's transport may give; closing it is seen."""

    is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield EVENTS + DONE
        raise AssertionError("nobody may wait for more")

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/2"])
def test_what_has_no_connection_to_save_is_closed_at_once(version: bytes) -> None:
    library = sdk.http_library()

    class Body(Endless, library.SyncByteStream):  # type: ignore[misc, name-defined]
        pass

    body = Body()
    extensions = {"http_version": version}

    def respond(_: Any) -> Any:
        return library.Response(200, stream=body, extensions=extensions)

    transport = library.Client(transport=library.MockTransport(respond))
    with OpenAI(api_key="k", base_url="http://127.0.0.1:1", http_client=transport) as client:
        assert len(list(client.completions.create(model="m", prompt="p", stream=True))) == 2
    assert body.is_closed


def test_a_fault_of_the_transport_after_the_end_spoils_nothing() -> None:
    library = sdk.http_library()

    class Body(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        async def __aiter__(self) -> Any:
            yield EVENTS + DONE
            raise LookupError("a fault of the transport")

    def respond(_: Any) -> Any:
        return library.Response(200, stream=Body())

    async def ask() -> int:
        transport = library.AsyncClient(transport=library.MockTransport(respond))
        async with AsyncOpenAI(api_key="k", base_url="http://127.0.0.1:1", http_client=transport) as client:
            return len([each async for each in await client.completions.create(model="m", prompt="p", stream=True)])

    assert asyncio.run(ask()) == 2
