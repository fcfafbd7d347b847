"""One contract for the ways in which a batch sends: over aiohttp itself, and by the SDK over either library."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import traceback
import zlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import openai
import pytest
from batch_jobs import policy, row, until
from server import CHAT, Reply, Request, Server, error

from novita_openai import AsyncOpenAI, batch
from novita_openai.batch.direct import LARGE, MOST_HEADS, DirectSender
from novita_openai.batch.requests import BatchRequest, Reader
from novita_openai.batch.rows import read_answer
from novita_openai.batch.senders import SDKSender
from novita_openai.batch.transport import Transport
from novita_openai.errors import Failure, failure_of
from novita_openai.sdk import direct

WAYS: dict[str, Any] = {
    "direct": lambda: None,
    "SDK over aiohttp": openai.DefaultAioHttpClient,
    "SDK over httpx": openai.DefaultAsyncHttpxClient,
}
NOWHERE = "http://llm.invalid/v3/openai"
Exchange = Callable[[Transport], Coroutine[Any, Any, Any]]


class Way(NamedTuple):
    """Sends requests in one of the ways."""

    name: str
    base_url: str

    def within(self, exchange: Exchange, **options: Any) -> Any:
        async def run() -> Any:
            given = WAYS[self.name]()
            defaults = {"api_key": "sk_test", "base_url": self.base_url, "http_client": given, "timeout": 5.0}
            async with AsyncOpenAI(policy=policy(), **(defaults | options)) as client:
                transport = Transport(client, 8)
                await transport.prepare()
                assert isinstance(transport._sender, DirectSender if given is None else SDKSender)
                try:
                    return await exchange(transport)
                finally:
                    await transport.close()

        return asyncio.run(run())

    def send(self, request: BatchRequest | None = None, **options: Any) -> Any:
        async def once(transport: Transport) -> Any:
            sent = request or a_row()
            return read_answer(sent, await transport.send(sent))

        return self.within(once, **options)

    def failure(self, **options: Any) -> Failure:
        with pytest.raises(openai.APIError) as caught:
            self.send(**options)
        return failure_of(caught.value)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, server: Server) -> Way:
    return Way(request.param, server.base_url)


def a_row(**fields: Any) -> BatchRequest:
    return Reader().row(1, row("a") | fields)


def lines(request: Request) -> list[tuple[str, str]]:
    return list(request.headers.items())


# What is sent.


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"headers": {"X-Team": "a", "User-Agent": "rows"}},
        {"url": "/v1/embeddings", "body": {"model": "m", "input": "x"}},
    ],
    ids=["plain", "headers", "embeddings"],
)
@pytest.mark.parametrize("attempts", [0, 2])
def test_headers_and_bodies_are_those_of_the_sdk(server: Server, fields: dict[str, Any], attempts: int) -> None:
    options = {"default_headers": {"x-own": "y"}, "default_query": {"a": "b c"}, "organization": "o"}

    async def twice(transport: Transport) -> None:
        for _ in range(2):
            request = a_row(**fields)
            request.attempts = attempts
            await transport.send(request)

    for name in ("direct", "SDK over aiohttp"):
        Way(name, server.base_url).within(twice, **options)
    first, *others = server.requests
    for other in others:
        assert (other.path, lines(other), other.body) == (first.path, lines(first), first.body)
    assert first.headers["x-stainless-retry-count"] == str(attempts)


def test_the_key_is_asked_anew_for_each_request(way: Way, server: Server) -> None:
    keys = (f"sk_{number}" for number in range(9))

    async def twice(transport: Transport) -> None:
        for _ in range(2):
            await transport.send(a_row())
        assert transport.key == server.requests[-1].headers["authorization"].removeprefix("Bearer ")

    way.within(twice, api_key=lambda: next(keys))
    first, second = (request.headers["authorization"] for request in server.requests)
    assert first != second


def test_a_large_body_is_sent_whole(way: Way, server: Server) -> None:
    sent = a_row(body={"model": "m", "messages": [{"role": "user", "content": "x" * LARGE}]})
    way.send(sent)
    (request,) = server.requests
    assert request.body == sent.content
    assert request.headers["content-length"] == str(len(sent.content))
    assert "transfer-encoding" not in request.headers


def test_rows_with_headers_of_their_own_do_not_fill_the_memory(way: Way, server: Server) -> None:
    async def many(transport: Transport) -> None:
        for number in range(MOST_HEADS + 2):
            await transport.send(a_row(headers={"x-number": str(number)}))
            assert len(getattr(transport._sender, "_heads", ())) <= MOST_HEADS

    way.within(many)
    assert [request.headers["x-number"] for request in server.requests] == [str(n) for n in range(MOST_HEADS + 2)]


def test_cookies_are_sent_back(way: Way, server: Server) -> None:
    server.script.extend([Reply(body=CHAT, headers={"set-cookie": "place=7; Path=/"})])

    async def twice(transport: Transport) -> None:
        for _ in range(2):
            await transport.send(a_row())

    way.within(twice)
    assert [request.headers.get("cookie") for request in server.requests] == [None, "place=7"]


def test_a_file_of_passwords_is_not_read(
    way: Way, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(file))
    way.send()
    assert server.requests[0].headers["authorization"] == "Bearer sk_test"


# Where it goes.


@pytest.mark.filterwarnings("ignore:base_url", "ignore:The 'proxy_auth' parameter", "ignore:BasicAuth")
@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_the_proxy_of_the_environment_is_used(
    way: Way, server: Server, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, f"http://somebody:s%40cret@127.0.0.1:{server.port}")
    server.always = Reply(body=CHAT)
    way.send(base_url=NOWHERE)
    (request,) = server.requests
    assert request.path == f"{NOWHERE}/chat/completions"
    assert request.headers["proxy-authorization"] == "Basic c29tZWJvZHk6c0BjcmV0"
    assert request.headers["authorization"] == "Bearer sk_test"


def test_the_environment_can_except_hosts_from_its_proxy(
    way: Way, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    way.send()
    assert [request.path for request in server.requests] == ["/chat/completions"]


def test_a_proxy_that_is_not_there_is_told(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    failure = way.failure()
    assert (failure.reason, failure.is_unreachable) == ("connection_error", True)
    assert failure.cause.endswith("; the environment names the proxy 127.0.0.1:9 for it")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert "proxy" not in way.failure(base_url="http://127.0.0.1:9/v1").cause


def test_certificates_of_the_environment_are_trusted(way: Way, untrusted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = way.failure(base_url=untrusted)
    assert (failure.reason, failure.is_unreachable) == ("bad_certificate", True)
    assert failure.cause == "its certificate is not trusted (self-signed certificate)"
    monkeypatch.setenv("SSL_CERT_FILE", str(Path(__file__).with_name("untrusted.pem")))
    failure = way.failure(base_url=untrusted)
    assert (failure.reason, failure.is_ambiguous) == ("connection_error", True)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(way: Way, server: Server, status: int) -> None:
    elsewhere = server.base_url.replace("/v3/openai", "/openai/v1")
    redirect = Reply(status, headers={"location": f"{elsewhere}/chat/completions"})
    server.script.extend([redirect] * (2 if way.name == "direct" else 1))
    assert way.send().usage == CHAT["usage"]
    assert server.requests[-1].method == ("POST" if status in (307, 308) else "GET")


def test_a_redirect_to_nowhere_is_an_error(way: Way, server: Server) -> None:
    server.always = Reply(304, "")
    assert way.failure().status == 304


# What comes back.


def packed(content: bytes, name: str) -> bytes:
    return gzip.compress(content) if name == "gzip" else zlib.compress(content)


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_packed_answers_are_unpacked(way: Way, server: Server, name: str) -> None:
    server.always = Reply(body=packed(json.dumps(CHAT).encode(), name), headers={"content-encoding": name})
    answer = way.send()
    assert json.loads(answer.content) == CHAT
    assert name in server.requests[0].headers["accept-encoding"]


def test_packed_errors_are_unpacked(way: Way, server: Server) -> None:
    word = error(429, "RATE_LIMIT_EXCEEDED", retry_after="3")
    content = packed(json.dumps(word.body).encode(), "gzip")
    server.always = Reply(429, content, {"content-encoding": "gzip", **word.headers})
    failure = way.failure()
    assert (failure.status, failure.reason, failure.retry_after) == (429, "RATE_LIMIT_EXCEEDED", 3)
    assert failure.said == "the RATE_LIMIT_EXCEEDED message"


def test_an_error_with_headers_of_any_letters_is_that_error(way: Way, server: Server) -> None:
    server.always = Reply(400, {"message": "no such size"}, {"X-Said": "Gr\u00f6\u00dfe"})
    failure = way.failure()
    assert (failure.status, failure.said) == (400, "no such size")


def test_an_answer_that_is_packed_wrongly_is_a_lost_one(way: Way, server: Server) -> None:
    server.always = Reply(body=b"not packed", headers={"content-encoding": "gzip"})
    failure = way.failure()
    assert (failure.reason, failure.is_ambiguous) == ("connection_error", True)


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_an_error_that_is_packed_wrongly_is_that_error(way: Way, server: Server, name: str) -> None:
    server.always = Reply(401, error(401, "INVALID_API_KEY").body, {"content-encoding": name})
    failure = way.failure()
    assert (failure.status, failure.reason, failure.is_ambiguous) == (401, "INVALID_API_KEY", False)
    server.always = Reply(401, b"\x8b" + packed(b"not to be read", name)[1:], {"content-encoding": name})
    failure = way.failure()
    assert (failure.status, failure.reason, failure.is_ambiguous) == (401, "not_json", False)


def test_chunks_are_put_together(way: Way, server: Server) -> None:
    whole = json.dumps(CHAT)
    parts = [whole[start : start + 50] for start in range(0, len(whole), 50)]
    chunks = tuple(f"{len(part):x}\r\n{part}\r\n".encode() for part in (*parts, ""))
    server.always = Reply(body=chunks, headers={"transfer-encoding": "chunked"})
    assert json.loads(way.send().content) == CHAT


ANSWERS = {
    "an error status": (error(500, "MODEL_NOT_AVAILABLE"), 500, "MODEL_NOT_AVAILABLE"),
    "a page with an error status": (Reply(502, "<html>bad gateway</html>"), 502, "not_json"),
    "an error object with a success": (Reply(body=error(429, "RATE_LIMIT_EXCEEDED").body), 429, "RATE_LIMIT_EXCEEDED"),
    "a page with a success": (Reply(body="<html>hello</html>"), None, "invalid_answer"),
    "half an answer": (Reply(body='{"choices": [{"ind'), None, "invalid_answer"),
    "nothing": (Reply(body=""), None, "invalid_answer"),
    "no body at all": (Reply(204, ""), None, "invalid_answer"),
    "no choices": (Reply(body=CHAT | {"choices": []}), None, "invalid_answer"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_what_is_no_answer_is_the_same_error(way: Way, server: Server, case: str) -> None:
    reply, status, reason = ANSWERS[case]
    server.always = reply
    failure = way.failure()
    assert (failure.status, failure.reason) == (status, reason)
    assert failure.url == f"{way.base_url}/chat/completions"
    assert isinstance(failure.error, openai.APIError)
    assert hasattr(failure.error, "response")


def test_an_answer_with_what_json_does_not_have_is_read_as_the_sdk_reads_it(way: Way, server: Server) -> None:
    server.always = Reply(body=json.dumps(CHAT)[:-1] + ', "x": NaN}')
    assert json.loads(way.send().content)["x"] is None


# What the network does.

LOST = ("connection_error", True, False)
NETWORK = {
    "close": (Reply(fault="close"), LOST),
    "reset": (Reply(fault="reset"), LOST),
    "garbage": (Reply(fault="garbage"), LOST),
    "cut": (Reply(body=CHAT, cut=20), LOST),
}


@pytest.mark.parametrize("case", NETWORK)
def test_what_the_network_does_is_the_same_error(way: Way, server: Server, case: str) -> None:
    reply, expected = NETWORK[case]
    server.always = reply
    failure = way.failure(timeout=0.3)
    assert (failure.reason, failure.is_ambiguous, failure.is_unreachable) == expected
    assert failure.host == f"127.0.0.1:{server.port}"
    cause = "sent what is not HTTP" if case == "garbage" else "it cut the connection"
    assert failure.cause.endswith(cause) or way.name == "SDK over httpx"


@pytest.mark.parametrize("name", WAYS)
def test_a_run_ends_an_attempt_that_takes_too_long(name: str, server: Server, tmp_path: Path) -> None:
    server.always = Reply(fault="stall")
    path, results = tmp_path / "requests.jsonl", tmp_path / "results.jsonl"
    path.write_text(json.dumps(row("a")) + "\n")

    async def run() -> None:
        given = WAYS[name]()
        async with AsyncOpenAI(api_key="sk_test", base_url=server.base_url, http_client=given) as client:
            await batch.arun(path, results, client=client, attempts=1, timeout=0.3)

    asyncio.run(run())
    (failed,) = map(json.loads, results.with_name("results.errors.jsonl").read_text().splitlines())
    assert failed["error"]["code"] == "timeout"


def test_nothing_that_listens_is_told(way: Way) -> None:
    failure = way.failure(base_url="http://127.0.0.1:9/v1")
    assert (failure.reason, failure.is_ambiguous, failure.is_unreachable) == ("connection_error", False, True)
    assert (failure.host, failure.cause) == (
        "127.0.0.1:9",
        "it refuses connections, as nothing listens on that port",
    )


def test_a_host_that_lets_no_connection_come_about_is_given_the_time_to_connect(way: Way) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection, and says nothing in TLS
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        failure = way.failure(base_url=f"https://{host}/v1", timeout=openai.Timeout(30.0, connect=0.2))
    assert isinstance(failure.error, openai.APITimeoutError)
    assert (failure.reason, failure.is_ambiguous, failure.host) == ("timeout", False, host)
    assert failure.cause == "no connection came about in time"


def test_a_host_that_is_not_there_is_told(way: Way) -> None:
    failure = way.failure(base_url="https://no-such-host.invalid/v1")
    assert (failure.host, failure.cause) == ("no-such-host.invalid", "there is no host of that name")


def test_a_connection_that_was_closed_while_idle_is_replaced(way: Way, server: Server) -> None:
    whole = json.dumps(CHAT)
    server.script.append(Reply(body=whole, cut=len(whole)))

    async def twice(transport: Transport) -> None:
        await transport.send(a_row())
        await asyncio.to_thread(until, lambda: not server.open_connections)
        await asyncio.sleep(0.01)
        await transport.send(a_row())

    way.within(twice)
    assert server.connections == 2


def test_a_connection_is_used_again(way: Way, server: Server) -> None:
    async def thrice(transport: Transport) -> None:
        for _ in range(3):
            await transport.send(a_row())

    way.within(thrice)
    assert server.connections == 1


def test_a_cancelled_row_ends_at_once(way: Way, server: Server) -> None:
    server.always = Reply(fault="stall")

    async def cancelled(transport: Transport) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await transport.send(a_row())

    way.within(cancelled)


@pytest.mark.parametrize("reply", [Reply(fault="close"), error(401, "INVALID_API_KEY")])
def test_no_traceback_shows_the_key(server: Server, reply: Reply) -> None:
    server.always = reply
    failure = Way("direct", server.base_url).failure(api_key=lambda: "sk_SECRET" + "_1234567", timeout=0.3)
    shown = traceback.TracebackException.from_exception(failure.error, capture_locals=True).format()
    assert "sk_SECRET_" not in "".join(shown)


# What only sending over aiohttp itself has: a bound on answers.


def bounded(server: Server, most: int, **options: Any) -> Any:
    async def once(transport: Transport) -> Any:
        return read_answer(a_row(), await transport.send(a_row()))

    return Way("direct", server.base_url).within(once, max_answer_bytes=most, **options)


@pytest.mark.parametrize("form", ["plain", "chunked", "gzip"])
def test_an_answer_that_is_too_long_is_not_read_to_its_end(server: Server, form: str) -> None:
    content = json.dumps(CHAT | {"x": "y" * 5_000_000}).encode()
    server.always = {
        "plain": Reply(body=content),
        "chunked": Reply(
            body=(f"{len(content):x}\r\n".encode(), content, b"\r\n0\r\n\r\n"),
            headers={"transfer-encoding": "chunked"},
        ),
        "gzip": Reply(body=gzip.compress(content), headers={"content-encoding": "gzip"}),
    }[form]
    assert bounded(server, len(content)).usage == CHAT["usage"]
    with pytest.raises(openai.APIResponseValidationError, match="larger than 1,000,000 bytes") as caught:
        bounded(server, 1_000_000)
    assert failure_of(caught.value).reason == "answer_too_large"
    assert len(caught.value.response.content) == 0


def test_an_error_that_is_too_long_is_still_that_error(server: Server) -> None:
    server.always = Reply(503, b'{"reason": "SERVICE_NOT_AVAILABLE", "x": "' + b"x" * 5_000_000 + b'"}')
    with pytest.raises(openai.InternalServerError):
        bounded(server, 1_000)


class Brotli:
    """Headers of a response that is packed with Brotli."""

    @staticmethod
    def getall(_: str) -> list[str]:
        return ["br"]


def test_brotli_is_unpacked_in_the_smallest_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    stream = direct._stream

    def watched(content: bytes, size: int) -> Any:
        sizes.append(size)
        return stream(content, size)

    monkeypatch.setattr(direct, "_stream", watched)
    direct.unpacked(Brotli(), b"", 10, None)
    assert sizes == [direct._PIECE_OF_BROTLI]


def test_a_client_of_another_library_is_not_taken_for_aiohttp() -> None:
    assert not direct.is_direct(SimpleNamespace(_client=object()))
