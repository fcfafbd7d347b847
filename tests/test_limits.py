"""An answer is read up to a size and, where the policy has a deadline, up to a time, whatever a server sends."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import math
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from random import Random
from typing import Any, Self

import openai
import pytest
from conftest import Driver
from server import CHAT, FILE, Reply, Server, chunk

import novita_openai
from novita_openai import AsyncOpenAI, OpenAI, RetryPolicy, create_async_client, create_client, partial_text, sdk
from novita_openai.client import bodies, error_bodies
from novita_openai.errors import AnswerTooLargeError, reason_of

BIG = json.dumps(CHAT | {"padding": "x" * 100_000}).encode()
MESSAGES: Any = [{"role": "user", "content": "Hi"}]
SSE = {"content-type": "text/event-stream"}
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


class WildServer:
    """Sends each request the same pieces, as long as the client takes them; ``sent`` counts their bytes."""

    def __init__(self, head: bytes, pieces: Callable[[], Iterator[bytes]], pause: float = 0.0) -> None:
        self.head, self.pieces, self.pause = head, pieces, pause
        self.sent = self.requests = self.hung_up = 0
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
        with suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=self.listener.accept()[:1], daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection:
            received = b""
            while not received.endswith(b"}"):  # the end of the JSON body
                if not (data := connection.recv(65536)):
                    return
                received += data
            self.requests += 1
            try:
                self.send(connection)
            except OSError:
                self.hung_up += 1

    def send(self, connection: socket.socket) -> None:
        connection.sendall(self.head)
        for piece in self.pieces():
            if self.is_over.wait(self.pause) if self.pause else self.is_over.is_set():
                return
            connection.sendall(piece)
            self.sent += len(piece)


def ask(driver: Driver, **options: Any) -> Any:
    return driver.call(lambda client: client.chat.completions.create(model="m", messages=MESSAGES, **options))


def stream_of(driver: Driver) -> list[Any]:
    return driver.collect(lambda client: client.chat.completions.create(model="m", messages=MESSAGES, stream=True))


def wait_for(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


KINDS = [OpenAI, AsyncOpenAI, create_async_client]


@pytest.fixture(params=KINDS, ids=["sync", "async", "aiohttp"])
def build(request: pytest.FixtureRequest) -> Iterator[Callable[..., Driver]]:
    """Return a function that builds a client of an address, over each of the transports in turn."""
    drivers: list[Driver] = []
    with asyncio.Runner() as runner, novita_openai.retry.no_wait():

        async def build_async(options: Any) -> Any:
            return request.param(**options)

        def build(base_url: str, **options: Any) -> Driver:
            options = {"api_key": "sk_test", "base_url": base_url} | options
            client = OpenAI(**options) if request.param is OpenAI else runner.run(build_async(options))
            drivers.append(Driver(client, runner))
            return drivers[-1]

        yield build
        for driver in drivers:
            driver.close()


@cache
def compressed(encoding: str, body: bytes) -> bytes:
    """Return a body in an encoding; skip where the library for it is not installed."""
    if encoding == "gzip":
        return gzip.compress(body)
    if encoding == "deflate":
        return zlib.compress(body)
    if encoding == "br":
        return bytes(pytest.importorskip("brotli").compress(body, quality=3))
    return bytes(pytest.importorskip("zstandard").compress(body))


# Sizes


def test_an_answer_larger_than_the_bound_is_an_error_that_is_not_retried(
    connect: Callable[..., Driver], server: Server
) -> None:
    server.always = Reply(body=BIG)
    with pytest.raises(AnswerTooLargeError, match="larger than 50,000 bytes") as caught:
        ask(connect(max_answer_bytes=50_000))
    assert isinstance(caught.value, openai.APIError)
    assert reason_of(caught.value) == "answer_too_large"
    assert len(server.requests) == 1
    assert "raise max_answer_bytes" in "".join(caught.value.__notes__)


def test_an_answer_up_to_the_bound_is_read(connect: Callable[..., Driver], server: Server) -> None:
    server.always = Reply(body=BIG)
    assert ask(connect(max_answer_bytes=len(BIG))).padding
    with pytest.raises(AnswerTooLargeError):
        ask(connect(max_answer_bytes=len(BIG) - 1))


@pytest.mark.parametrize("kind", [OpenAI, AsyncOpenAI, create_client, create_async_client])
def test_the_bound_is_64_mb_and_goes_on_to_copies(kind: Any) -> None:
    client = kind(api_key="k")
    assert client.max_answer_bytes == 64 * 1024 * 1024
    assert client.with_options(max_answer_bytes=5).with_options(timeout=3).max_answer_bytes == 5
    assert client.with_options(max_answer_bytes=None).max_answer_bytes == client.max_answer_bytes
    assert kind(api_key="k", max_answer_bytes=7).max_answer_bytes == 7


@pytest.mark.parametrize("size", [0, -1, math.nan])
def test_a_bound_that_is_none_is_refused(size: float) -> None:
    with pytest.raises(ValueError, match="max_answer_bytes"):
        OpenAI(api_key="k", max_answer_bytes=size)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "gzip, gzip", "unheard-of"])
@pytest.mark.parametrize("has_length", [True, False])
def test_encoded_answers_are_read_whichever_their_size(
    encoding: str, has_length: bool, build: Callable[..., Driver]
) -> None:
    body = BIG
    for each in encoding.lower().split(", "):
        body = body if each == "unheard-of" else compressed(each, body)
    head = JSON_HEAD + b"content-encoding: %s\r\n" % encoding.encode()
    head += b"content-length: %d\r\n\r\n" % len(body) if has_length else b"\r\n"
    with WildServer(head, lambda: iter([body])) as server:
        for size in (len(BIG), math.inf):
            assert len(ask(build(server.base_url, max_answer_bytes=size)).padding) == 100_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_bomb_ends_as_an_error_and_takes_little_memory(encoding: str, build: Callable[..., Driver]) -> None:
    body = bytes(150_000_000)
    for each in encoding.split(", "):
        body = compressed(each, body)
    head = JSON_HEAD + b"content-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (encoding.encode(), len(body))
    with WildServer(head, lambda: iter([body])) as server:
        driver = build(server.base_url, max_answer_bytes=10_000_000)
        tracemalloc.start()
        with pytest.raises(AnswerTooLargeError) as caught:
            ask(driver)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 80_000_000
    assert caught.value.response.is_closed
    assert server.requests == 1


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_a_bomb_in_a_stream_ends_as_an_error_and_takes_little_memory(
    encoding: str, build: Callable[..., Driver]
) -> None:
    first = f"data: {json.dumps(chunk('Boil '))}\n\n".encode()
    body = compressed(encoding, first + b"data: " + bytes(60_000_000))
    head = SSE_HEAD[:-2] + b"content-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (encoding.encode(), len(body))
    with WildServer(head, lambda: iter([body])) as server:
        driver = build(server.base_url, max_answer_bytes=3_000_000, resume_streams=True)
        tracemalloc.start()
        with pytest.raises(AnswerTooLargeError) as caught:
            stream_of(driver)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 50_000_000
    assert partial_text(caught.value) == "Boil " or encoding == "br"  # which may give all at once
    assert server.requests == 1


def test_an_endless_answer_ends_as_an_error_and_its_connection_is_closed(build: Callable[..., Driver]) -> None:
    with WildServer(JSON_HEAD + b"\r\n", lambda: itertools.repeat(b" " * 65536)) as server:
        with pytest.raises(AnswerTooLargeError):
            ask(build(server.base_url, max_answer_bytes=1_000_000))
        wait_for(lambda: server.hung_up)
        assert server.requests == 1
        assert server.sent < 30_000_000


ENDLESS = {
    "a line": b"x" * 65536,
    "comments": b": ping\n\n" * 1000,
    "a comment": b":" * 65536,
    "fields without an event": b"retry: 1\n" * 1000,
    "empty events": b"data:\n\n" * 1000,
    "blank lines": b"\n" * 65536,
}
FIRST = f"data: {json.dumps(chunk('Boil '))}\n\n".encode()


@pytest.mark.parametrize("first", [b"", FIRST], ids=["from the start", "after an event"])
@pytest.mark.parametrize("piece", ENDLESS.values(), ids=ENDLESS)
def test_a_stream_that_is_endless_between_events_ends_as_an_error(
    piece: bytes, first: bytes, build: Callable[..., Driver]
) -> None:
    with WildServer(SSE_HEAD + first, lambda: itertools.repeat(piece)) as server:
        with pytest.raises(AnswerTooLargeError) as caught:
            stream_of(build(server.base_url, max_answer_bytes=500_000, resume_streams=True))
        wait_for(lambda: server.hung_up)
    assert server.requests == 1
    assert partial_text(caught.value) == ("Boil " if first else "")


def test_a_document_in_place_of_a_stream_is_bounded(connect: Callable[..., Driver], server: Server) -> None:
    server.always = Reply(body=BIG)
    with pytest.raises(AnswerTooLargeError):
        stream_of(connect(max_answer_bytes=50_000))
    assert len(stream_of(connect())) == 1


def test_a_stream_of_many_events_may_be_larger_than_the_bound(connect: Callable[..., Driver], server: Server) -> None:
    events = [*[chunk("word ")] * 500, chunk("", "stop")]
    pieces = tuple(f"data: {json.dumps(each)}\n\n".encode() for each in events)
    server.always = Reply(body=pieces, headers=SSE)
    assert len(stream_of(connect(max_answer_bytes=70_000))) == 501
    assert sum(map(len, pieces)) > 70_000


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip"])
def test_an_encoded_stream_is_read(encoding: str, connect: Callable[..., Driver], server: Server) -> None:
    body = b"".join(f"data: {json.dumps(each)}\n\n".encode() for each in (chunk("Boil"), chunk("", "stop")))
    for _ in encoding.split(", "):
        body = gzip.compress(body)
    server.always = Reply(body=body, headers={**SSE, "content-encoding": encoding})
    assert len(stream_of(connect())) == 2


def test_content_and_raw_and_streaming_responses_are_not_bounded(
    connect: Callable[..., Driver], server: Server
) -> None:
    driver = connect(max_answer_bytes=100)
    server.always = Reply(body=BIG)
    assert driver.call(lambda client: client.files.content("f")).content == BIG
    for parsed in (str, sdk.http_library().Response):
        assert BIG.decode() in getattr(get := driver.call(lambda client: client.get("/x", cast_to=parsed)), "text", get)  # noqa: B023
    raw = driver.call(lambda client: client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES))
    assert raw.parse().padding
    assert raw.elapsed

    async def parse_async(response: Any) -> Any:
        return (await response.parse()).padding

    streaming = lambda client: client.chat.completions.with_streaming_response.create(model="m", messages=MESSAGES)  # noqa: E731
    assert driver.within(streaming, parse_async if driver.is_async else lambda response: response.parse().padding)
    with pytest.raises(AnswerTooLargeError):
        driver.call(lambda client: client.files.retrieve("f"))
    server.always = Reply(body=FILE)
    with pytest.raises(AnswerTooLargeError):
        driver.call(lambda client: client.delete("/x", cast_to=type(None)))


def test_an_http_client_of_the_users_is_bounded_too(server: Server) -> None:
    server.always = Reply(body=BIG)
    seen: list[Any] = []

    def hook(response: Any) -> None:
        seen.append(response.read())

    def ask_over(hooks: Any) -> Any:
        http_client = openai.DefaultHttpxClient(event_hooks=hooks)
        client = OpenAI(api_key="k", base_url=server.base_url, http_client=http_client, max_answer_bytes=50_000)
        with client:
            return client.chat.completions.create(model="m", messages=MESSAGES)

    with pytest.raises(AnswerTooLargeError):
        ask_over({})
    assert ask_over({"response": [hook]}).padding  # what a hook has read is read
    assert seen == [BIG]


def test_a_counted_answer_that_breaks_is_told_as_the_sdk_tells_it(
    connect: Callable[..., Driver], server: Server
) -> None:
    length = {"content-encoding": "gzip", "content-length": "200000"}
    driver = connect(policy=RetryPolicy.off(), max_answer_bytes=1_000_000)
    for reply in (Reply(body=b"no gzip", headers={**length, "content-length": "7"}), Reply(body=b"x", headers=length)):
        server.always = reply
        with pytest.raises(openai.APIConnectionError) as caught:
            ask(driver, timeout=0.3)
        assert caught.value.__cause__ is not None
    assert reason_of(caught.value) == "timeout"
    with pytest.raises(asyncio.CancelledError):
        bodies.raise_unreadable(asyncio.CancelledError(), None)


def test_pieces_are_cut_for_a_library_that_opens_them_whole() -> None:
    library = sdk.http_library()
    kind = type("Response", (library.Response,), {"__module__": "httpx._models"})
    for encoding, cut in (("gzip", True), ("identity", False), (None, False)):
        headers = {} if encoding is None else {"content-encoding": encoding}
        assert bool(bodies._encodings(kind(200, headers=headers))) == cut


# Errors

WORDS = b'{"code": 500, "reason": "MODEL_NOT_AVAILABLE", "message": "'
ERROR_HEAD = b"HTTP/1.1 500 X\r\ncontent-type: application/json\r\n"


def ask_in_vain(driver: Driver, *, is_stream: bool = False) -> openai.InternalServerError:
    with pytest.raises(openai.InternalServerError) as caught:
        stream_of(driver) if is_stream else ask(driver)
    return caught.value


@pytest.mark.parametrize("is_stream", [False, True])
def test_of_an_endless_error_the_beginning_is_read(is_stream: bool, build: Callable[..., Driver]) -> None:
    with WildServer(ERROR_HEAD + b"\r\n" + WORDS, lambda: itertools.repeat(b"x" * 65536)) as server:
        driver = build(server.base_url, policy=RetryPolicy.off())
        failure = ask_in_vain(driver, is_stream=is_stream)
        assert len(failure.response.content) == error_bodies.MOST_OF_AN_ERROR
        assert "MODEL_NOT_AVAILABLE" in f"{failure}{failure.__notes__}"
        small = build(server.base_url, policy=RetryPolicy.off(), max_answer_bytes=50)
        assert ask_in_vain(small, is_stream=is_stream).response.content == WORDS[:50]
        wait_for(lambda: server.hung_up == 2)


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_an_error_that_is_a_bomb_takes_little_memory(encoding: str, build: Callable[..., Driver]) -> None:
    body = compressed(encoding, WORDS + bytes(150_000_000))
    head = ERROR_HEAD + b"content-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (encoding.encode(), len(body))
    with WildServer(head, lambda: iter([body])) as server:
        driver = build(server.base_url, policy=RetryPolicy.off())
        tracemalloc.start()
        assert ask_in_vain(driver).response.content.startswith(WORDS)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 80_000_000


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500, WORDS + b'"}', cut=40),
        Reply(500, WORDS + b'"}', {"content-encoding": "gzip"}),
    ],
)
def test_an_error_that_breaks_is_the_error_of_its_status_and_retried(
    reply: Reply, build: Callable[..., Driver], server: Server
) -> None:
    server.always = reply
    failure = ask_in_vain(build(server.base_url, policy=RetryPolicy(2, budget=None)))
    assert failure.response.is_closed
    assert failure.response.elapsed
    assert len(server.requests) == 2


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip", "br", "zstd", "unheard-of"])
def test_an_error_under_an_encoding_that_it_does_not_have_keeps_its_words(
    encoding: str, build: Callable[..., Driver], server: Server
) -> None:
    server.always = Reply(500, {"code": 500, "reason": "MODEL_NOT_AVAILABLE"}, {"content-encoding": encoding})
    driver = build(server.base_url, policy=RetryPolicy.off())
    failure = ask_in_vain(driver)
    assert reason_of(failure) == "MODEL_NOT_AVAILABLE"
    assert failure.response.json() == server.always.body


def test_of_an_error_that_is_cut_within_its_encoding_the_beginning_is_read(
    build: Callable[..., Driver], server: Server
) -> None:
    random = Random(1).randbytes(3_000).hex().encode()
    whole = gzip.compress(WORDS + random)
    driver = build(server.base_url, policy=RetryPolicy.off())
    server.always = Reply(500, whole, {"content-encoding": "gzip"}, cut=len(whole) // 2)
    read = ask_in_vain(driver).response.content
    assert read.startswith(WORDS)
    assert (WORDS + random).startswith(read)
    server.always = Reply(500, whole[3:], {"content-encoding": "gzip"})
    assert ask_in_vain(driver).response.content == b""


def test_the_connection_of_an_error_is_used_again(build: Callable[..., Driver], server: Server) -> None:
    server.always = Reply(500, WORDS + b'"}')
    driver = build(server.base_url, policy=RetryPolicy(3, budget=None))
    assert "MODEL_NOT_AVAILABLE" in "".join(ask_in_vain(driver).__notes__)
    assert (len(server.requests), server.connections) == (3, 1)


def test_an_error_that_cannot_be_read_for_another_reason_is_raised_as_it_came() -> None:
    library: Any = sdk.http_library()

    class OddError(Exception):
        pass

    class Odd(library.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            raise OddError

    with pytest.raises(OddError):
        error_bodies.read_error(library.Response(500, stream=Odd()), 100)


def test_an_error_that_a_hook_has_read_is_as_the_hook_left_it(server: Server) -> None:
    server.always = Reply(500, WORDS + b'"}')
    with openai.DefaultHttpxClient(event_hooks={"response": [lambda response: response.read()]}) as http_client:
        client = OpenAI(
            api_key="k", base_url=server.base_url, http_client=http_client, policy=RetryPolicy.off(), max_answer_bytes=9
        )
        with pytest.raises(openai.InternalServerError, match="MODEL_NOT_AVAILABLE"):
            client.models.list()


# Streams of other kinds

RESPONSE_EVENT = b'event: response.output_text.delta\ndata: {"type": "response.output_text.delta", "delta": "Boil"}\n\n'


def responses_of(driver: Driver) -> list[Any]:
    return driver.collect(lambda client: client.responses.create(model="m", input="Hi", stream=True))


@pytest.mark.parametrize("piece", ENDLESS.values(), ids=ENDLESS)
def test_a_stream_of_responses_that_is_endless_between_events_ends_as_an_error(
    piece: bytes, build: Callable[..., Driver]
) -> None:
    with WildServer(SSE_HEAD + RESPONSE_EVENT, lambda: itertools.repeat(piece)) as server:
        if piece.startswith(b"data:"):  # the SDK reads these as events, and fails on them
            return
        with pytest.raises(AnswerTooLargeError):
            responses_of(build(server.base_url, max_answer_bytes=500_000))
        wait_for(lambda: server.hung_up)


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_stream_of_responses_is_read_as_the_sdk_reads_it(
    encoding: str | None, build: Callable[..., Driver], server: Server
) -> None:
    body = RESPONSE_EVENT * 300 + b"data: [DONE]\n\n"
    server.always = Reply(body=gzip.compress(body) if encoding else body, headers={**SSE})
    if encoding:
        server.always.headers["content-encoding"] = encoding
    events = responses_of(build(server.base_url, max_answer_bytes=30_000))
    assert [each.delta for each in events] == ["Boil"] * 300


# Times

POLICY = RetryPolicy(deadline=0.5)
SLOW: dict[str, tuple[bytes, bytes]] = {
    "a body with a length": (JSON_HEAD + b"content-length: 100000\r\n\r\n", b" "),
    "a body without a length": (JSON_HEAD + b"\r\n", b" "),
    "a body in pieces": (JSON_HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}
SLOW_STREAMS = {
    "comments": b": ping\n\n",
    "a comment": b":",
    "empty events": b"data:\n\n",
    "pings": b"event: ping\ndata: {}\n\n",
    "fields": b"retry: 1\n",
    "half an event": b"x",
}
SLOW_HEADS = {"a head": b"x-a: b\r\n", "informational answers": b"\r\nHTTP/1.1 103 Early Hints\r\n", "nothing": b""}


def fails_in_time(call: Callable[[], object]) -> None:
    start = time.monotonic()
    with pytest.raises(openai.APITimeoutError) as caught:
        call()
    assert 0.4 < time.monotonic() - start < 3
    assert "deadline of 0.5 s" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("pause", [0.05, 5.0])
@pytest.mark.parametrize(("head", "piece"), SLOW.values(), ids=SLOW)
def test_a_deadline_ends_a_call_while_its_body_drips(
    head: bytes, piece: bytes, pause: float, build: Callable[..., Driver]
) -> None:
    with WildServer(head, lambda: itertools.repeat(piece), pause) as server:
        driver = build(server.base_url, policy=POLICY, timeout=30)
        fails_in_time(lambda: ask(driver))
        fails_in_time(lambda: driver.call(lambda client: client.post("/x", body={}, cast_to=str)))
        fails_in_time(
            lambda: driver.call(
                lambda client: client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
            )
        )
        wait_for(lambda: server.hung_up == server.requests == 3 or pause > 1)


@pytest.mark.parametrize("piece", SLOW_STREAMS.values(), ids=SLOW_STREAMS)
def test_a_deadline_ends_a_call_while_no_event_comes(piece: bytes, build: Callable[..., Driver]) -> None:
    with WildServer(SSE_HEAD, lambda: itertools.repeat(piece), 0.05) as server:
        driver = build(server.base_url, policy=POLICY, timeout=30)
        fails_in_time(lambda: stream_of(driver))
        wait_for(lambda: server.hung_up)
        assert server.requests == 1


@pytest.mark.parametrize("pause", [0.05, 0.0])
@pytest.mark.parametrize("piece", SLOW_HEADS.values(), ids=SLOW_HEADS)
def test_a_deadline_ends_an_async_call_before_the_head_has_come(
    piece: bytes, pause: float, build: Callable[..., Driver]
) -> None:
    with WildServer(b"HTTP/1.1 103 Early Hints\r\n", lambda: itertools.repeat(piece, 10_000_000), pause) as server:
        driver = build(server.base_url, policy=POLICY, timeout=30)
        if driver.is_async and (pause or piece.startswith(b"\r")):  # an endless head is refused for its length
            fails_in_time(lambda: ask(driver))


def test_a_deadline_ends_a_call_while_an_error_drips(build: Callable[..., Driver]) -> None:
    head = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 1000\r\n\r\n"
    with WildServer(head, lambda: itertools.repeat(b" "), 0.05) as server:
        driver = build(server.base_url, policy=POLICY, timeout=30)
        fails_in_time(lambda: ask(driver))
        fails_in_time(lambda: stream_of(driver))
        wait_for(lambda: server.hung_up == 2)


def test_what_comes_in_time_is_not_touched_by_a_deadline(build: Callable[..., Driver], server: Server) -> None:
    driver = build(server.base_url, policy=RetryPolicy(deadline=0.5))
    server.script.append(Reply(body=(FIRST, f"data: {json.dumps(chunk('water.', 'stop'))}\n\n".encode()), pause=0.35))
    assert len(stream_of(driver)) == 2  # the call ended with the first event
    assert ask(driver).choices
    assert server.connections == 1


def test_a_deadline_ends_reading_where_no_socket_can_be_shut_down() -> None:
    library = sdk.http_library()

    class Dripping(library.SyncByteStream):  # type: ignore[name-defined, misc]
        def __iter__(self) -> Iterator[bytes]:
            while True:
                time.sleep(0.02)
                yield b" "

    transport = library.MockTransport(lambda _: library.Response(200, stream=Dripping()))
    http_client = openai.DefaultHttpxClient(transport=transport)
    client = OpenAI(api_key="k", http_client=http_client, policy=POLICY)
    fails_in_time(lambda: client.chat.completions.create(model="m", messages=MESSAGES))


def test_an_async_call_that_is_cancelled_gives_its_connection_back(build: Callable[..., Driver]) -> None:
    async def cancelled(client: Any, server: WildServer, options: Any) -> None:
        call = asyncio.create_task(client.chat.completions.create(model="m", messages=MESSAGES, **options))
        await asyncio.to_thread(wait_for, lambda: server.sent)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    for head, piece, options in ((JSON_HEAD + b"\r\n", b" ", {}), (SSE_HEAD, b": ping\n\n", {"stream": True})):
        with WildServer(head, lambda: itertools.repeat(piece), 0.05) as server:  # noqa: B023
            driver = build(server.base_url, timeout=30)
            if driver.is_async:
                driver.call(lambda client: cancelled(client, server, options))  # noqa: B023
                wait_for(lambda: server.hung_up)


def test_a_cut_answer_within_the_deadline_is_a_connection_error(connect: Callable[..., Driver], server: Server) -> None:
    server.always = Reply(body=BIG, cut=200, headers={"content-length": str(10**9)})
    driver = connect(policy=RetryPolicy(1, deadline=60.0), max_answer_bytes=2 * 10**9)
    with pytest.raises(openai.APIConnectionError):
        driver.chat()
    server.always = Reply(body=b"x" * 500, cut=400, headers={"transfer-encoding": "chunked"})
    with pytest.raises(openai.APIConnectionError):
        driver.chat()


def test_a_deadline_holds_over_a_transport_without_a_socket() -> None:
    library: Any = sdk.http_library()

    def drip() -> Iterator[bytes]:
        yield json.dumps(CHAT).encode()

    class Dripping(library.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            return drip()

    def answer(_: Any) -> Any:
        return library.Response(200, headers={"content-type": "application/json"}, stream=Dripping())

    for respond in (answer, lambda _: library.Response(200, json=CHAT)):  # the second has been read from the start
        with library.Client(transport=library.MockTransport(respond)) as http_client:
            client = OpenAI(api_key="k", http_client=http_client, policy=RetryPolicy(1, deadline=60.0))
            got = client.chat.completions.create(model="m", messages=MESSAGES)
        assert got.choices[0].message.content == "Boil water."


def test_a_document_that_comes_in_pieces_in_place_of_a_stream_is_an_answer(
    connect: Callable[..., Driver], server: Server
) -> None:
    whole = json.dumps(CHAT).encode()
    pieces = (whole[:50], whole[50:90], whole[90:])
    server.always = Reply(body=pieces, pause=0.05, headers={"content-type": "application/json"})
    chunks = connect().collect(lambda client: client.chat.completions.create(model="m", messages=MESSAGES, stream=True))
    assert "".join(each.choices[0].delta.content or "" for each in chunks) == "Boil water."


def test_an_error_of_no_transport_is_raised_as_it_came() -> None:
    class OddError(ValueError):
        pass

    with pytest.raises(OddError):
        bodies.raise_unreadable(OddError("no"), None)
