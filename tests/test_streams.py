"""Streams end in a whole answer or in an SDK error, whatever arrives: sync and async, chat and completions."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from conftest import Driver
from server import CHAT, Reply, Server, chunk, error, stream
from structlog.testing import capture_logs

from novita_openai import AsyncOpenAI, OpenAI, RetryPolicy
from novita_openai.errors import reason_of

SSE = {"content-type": "text/event-stream"}
MESSAGES: Any = [{"role": "user", "content": "Hi"}]
SLOW = {"code": 429, "reason": "RATE_LIMIT_EXCEEDED", "message": "slow"}
USAGE = chunk("") | {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}


def events(*data: Any, end: str = "\n\n") -> Reply:
    lines = (each if isinstance(each, str) else json.dumps(each) for each in data)
    return Reply(body="".join(f"data: {line}{end}" for line in lines), headers=SSE)


def chat(driver: Driver) -> list[Any]:
    return driver.collect(lambda client: client.chat.completions.create(model="m", messages=MESSAGES, stream=True))


def complete(driver: Driver) -> list[Any]:
    return driver.collect(lambda client: client.completions.create(model="m", prompt="p", stream=True))


def helper(driver: Driver) -> Any:
    async def read_async(entered: Any) -> list[Any]:
        return [event async for event in entered]

    def use(entered: Any) -> Any:
        return read_async(entered) if driver.is_async else list(entered)

    return driver.within(lambda client: client.chat.completions.stream(model="m", messages=MESSAGES), use)


def raw(driver: Driver) -> Any:
    async def read_async(client: Any) -> list[Any]:
        response = await client.completions.with_raw_response.create(model="m", prompt="p", stream=True)
        return [each async for each in response.parse()]

    def read(client: Any) -> list[Any]:
        return list(client.completions.with_raw_response.create(model="m", prompt="p", stream=True).parse())

    return driver.call(read_async if driver.is_async else read)


def streamed(driver: Driver) -> Any:
    async def read_async(response: Any) -> list[Any]:
        return [each async for each in await response.parse()]

    def use(response: Any) -> Any:
        return read_async(response) if driver.is_async else list(response.parse())

    return driver.within(
        lambda client: client.completions.with_streaming_response.create(model="m", prompt="p", stream=True), use
    )


READERS: dict[str, Callable[[Driver], Any]] = {
    "chat": chat,
    "completions": complete,
    "helper": helper,
    "raw": raw,
    "streamed": streamed,
}
RETRIED = {"chat", "completions", "helper"}  # what raw responses hold is read when the call has returned

TWO = [chunk("Boil "), chunk("water.", "stop")]
FINE = {
    "plain": stream(*TWO),
    "without [DONE]": events(*TWO),
    "usage": stream(*TWO, USAGE),
    "empty finish_reason": stream(chunk("Boil ", ""), chunk("water.", "stop")),
    "comments": Reply(body=f": ping\n\n: ping\n\n{stream(*TWO).body}", headers=SSE),
    "pings": Reply(
        body="event: ping\ndata: {}\n\nevent: ping\n\n"
        + stream(TWO[0]).body.replace("data: [DONE]", "data:")
        + 'retry: 3000\n\nid: 1\n\n: ping\n\nevent: ping\ndata: {"type": "ping"}\n\n'
        + stream(TWO[1]).body,
        headers=SSE,
    ),
    "not UTF-8 after the end": Reply(body=stream(*TWO).body.encode() + b"data: \xff\n\n", headers=SSE),
    "a cut after the end": Reply(body=stream(*TWO).body, headers=SSE | {"content-length": "9999"}, cut=9998),
    "a silence after the end": Reply(body=stream(*TWO).body, headers=SSE | {"content-length": "9999"}),
    "a media type in capitals": Reply(body=stream(*TWO).body, headers={"content-type": "Text/Event-Stream"}),
    "CRLF": events(*TWO, "[DONE]", end="\r\n\r\n"),
    "byte order mark": Reply(body="\ufeff" + stream(*TWO).body, headers=SSE),
    "byte order mark in pieces": Reply(body="\ufeff" + stream(*TWO).body, headers=SSE, trickle=True),
    "a character set": Reply(body=stream(*TWO).body, headers={"content-type": "text/event-stream; charset=utf-8"}),
}


def with_choice(**fields: Any) -> dict[str, Any]:
    """Return the last chunk with some fields of its choice changed."""
    return TWO[1] | {"choices": [TWO[1]["choices"][0] | fields]}


# What arrives, the class it must end in, and the text that has come by then.
BROKEN = {
    "nothing": (Reply(headers=SSE, body=""), openai.APIConnectionError, ""),
    "only [DONE]": (events("[DONE]"), openai.APIConnectionError, ""),
    "html": (Reply(body="<html>", headers={"content-type": "text/html"}), openai.APIConnectionError, ""),
    "nothing of json": (Reply(body=""), openai.APIConnectionError, ""),
    "json": (Reply(body=CHAT), openai.APIConnectionError, ""),
    "an error in json": (Reply(body=SLOW), openai.RateLimitError, ""),
    "an error first": (events(SLOW), openai.RateLimitError, ""),
    "a wrapped error first": (events({"error": SLOW}), openai.RateLimitError, ""),
    "an unknown error first": (events({"error": "slow"}), openai.APIConnectionError, ""),
    "an error event first": (
        Reply(body=f"event: error\ndata: {json.dumps(SLOW)}\n\n", headers=SSE),
        openai.RateLimitError,
        "",
    ),
    "a malformed event first": (events('{"id": '), openai.APIConnectionError, ""),
    "not UTF-8 first": (Reply(body=b'data: {"\xff"}\n\n', headers=SSE), openai.APIConnectionError, ""),
    "an error midway": (events(TWO[0], SLOW), openai.RateLimitError, "Boil "),
    "a wrapped error midway": (events(TWO[0], {"error": SLOW}), openai.RateLimitError, "Boil "),
    "an unknown error midway": (events(TWO[0], {"error": {"message": "x"}}), openai.APIConnectionError, "Boil "),
    "a malformed event midway": (events(TWO[0], '{"id": '), openai.APIConnectionError, "Boil "),
    "a list midway": (events(TWO[0], [1]), openai.APIConnectionError, "Boil "),
    "null midway": (events(TWO[0], "null"), openai.APIConnectionError, "Boil "),
    "choices of null": (events(TWO[0], TWO[0] | {"choices": None}), openai.APIConnectionError, "Boil "),
    "a choice of null": (events(TWO[0], TWO[0] | {"choices": [None]}), openai.APIConnectionError, "Boil "),
    "no delta": (events(TWO[0], with_choice(delta=None, text=5)), openai.APIConnectionError, "Boil "),
    "no index": (events(TWO[0], with_choice(index=None)), openai.APIConnectionError, "Boil "),
    "an index of text": (events(TWO[0], with_choice(index="x")), openai.APIConnectionError, "Boil "),
    "a finish_reason of 5": (events(TWO[0], with_choice(finish_reason=5)), openai.APIConnectionError, "Boil "),
    "content of 5": (events(TWO[0], with_choice(delta={"content": 5}, text=5)), openai.APIConnectionError, "Boil "),
    "not UTF-8 midway": (
        Reply(body=events(TWO[0]).body.encode() + b'data: {"\xff"}\n\n', headers=SSE),
        openai.APIConnectionError,
        "Boil ",
    ),
    "no end": (events(TWO[0]), openai.APIConnectionError, "Boil "),
    "no end but [DONE]": (stream(TWO[0]), openai.APIConnectionError, "Boil "),
    "half an event": (Reply(body=stream(*TWO).body[:-60], headers=SSE), openai.APIConnectionError, "Boil "),
    "one choice of two": (
        stream(*TWO, chunk("x") | {"choices": [chunk("x")["choices"][0] | {"index": 1}]}),
        openai.APIConnectionError,
        "Boil water.",
    ),
    "a cut": (
        Reply(body=stream(*TWO).body, headers=SSE, cut=len(events(TWO[0]).body) + 9),
        openai.APIConnectionError,
        "Boil ",
    ),
    "a cut at once": (Reply(body=stream(*TWO).body, headers=SSE, cut=9), openai.APIConnectionError, ""),
    "a silence": (
        Reply(body=events(TWO[0]).body, headers=SSE | {"content-length": "9999"}),
        openai.APITimeoutError,
        "Boil ",
    ),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("shape", FINE)
def test_a_stream_that_is_fine_passes_whole(reader: str, shape: str, driver: Driver, server: Server) -> None:
    server.always = FINE[shape]
    chunks = READERS[reader](driver)
    assert len(server.requests) == 1
    if reader in ("chat", "completions"):
        choices = [each.choices[0] for each in chunks if each.choices]
        texts = [choice.delta.content if reader == "chat" else choice.text for choice in choices]
        assert "".join(texts) == "Boil water."
    else:
        assert len(chunks) >= 2


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("shape", BROKEN)
def test_a_stream_that_breaks_is_an_sdk_error_with_the_text_so_far(
    reader: str, shape: str, connect: Callable[..., Driver], server: Server
) -> None:
    server.always, kind, text = BROKEN[shape]
    timeout = 0.5 if kind is openai.APITimeoutError else 60  # where silence is what is tested, and elsewhere
    with capture_logs(), pytest.raises(kind) as failure:
        READERS[reader](connect(policy=RetryPolicy(budget=None), timeout=timeout))
    assert isinstance(failure.value, openai.APIError)
    assert failure.value.partial_text == text  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    begun = text != ""
    assert len(server.requests) == (3 if reader in RETRIED and not begun else 1)


@pytest.mark.parametrize("calls", ["x", [None], [{"id": "1"}], [{"index": "x"}]])
def test_tool_calls_that_are_none_are_a_broken_stream(calls: Any, driver: Driver, server: Server) -> None:
    server.always = events(TWO[0], with_choice(delta={"tool_calls": calls}))
    for read in (chat, helper):
        with pytest.raises(openai.APIConnectionError, match="a choice has missing or wrong fields"):
            read(driver)


def test_a_chat_chunk_is_no_completion(driver: Driver, server: Server) -> None:
    only_chat = TWO[1] | {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}
    server.always = events(TWO[0], only_chat)
    with pytest.raises(openai.APIConnectionError, match="a choice has missing or wrong fields"):
        complete(driver)


def test_a_failure_before_the_first_chunk_is_retried_and_after_it_never(driver: Driver, server: Server) -> None:
    server.script.extend([events(SLOW), error(503, "SERVICE_NOT_AVAILABLE"), stream(*TWO)])
    with capture_logs() as logs:
        assert len(chat(driver)) == 2
    assert [event["reason"] for event in logs] == ["RATE_LIMIT_EXCEEDED", "SERVICE_NOT_AVAILABLE"]
    server.script.extend([events(TWO[0]), stream(*TWO)])
    with capture_logs() as logs, pytest.raises(openai.APIConnectionError, match="without a finish_reason"):
        chat(driver)
    assert logs == []
    assert len(server.requests) == 4


def test_a_malformed_first_event_is_the_networks_fault(driver: Driver, server: Server) -> None:
    server.always = events("{")
    with capture_logs(), pytest.raises(openai.APIConnectionError) as failure:
        chat(driver)
    assert reason_of(failure.value) == "connection_error"


def test_next_and_loops_read_the_same_stream(server: Server) -> None:
    server.always = stream(chunk("a"), chunk("b"), chunk("c", "stop"))
    with OpenAI(api_key="k", base_url=server.base_url) as client:
        read = client.completions.create(model="m", prompt="p", stream=True)
        texts = [next(read).choices[0].text, next(read).choices[0].text, *(each.choices[0].text for each in read)]
        assert texts == ["a", "b", "c"]
        with client.completions.create(model="m", prompt="p", stream=True) as entered:
            assert len(list(entered)) == 3

    async def read_async() -> list[str]:
        async with AsyncOpenAI(api_key="k", base_url=server.base_url) as client:
            read = await client.completions.create(model="m", prompt="p", stream=True)
            first, second = await anext(read), await anext(read)
            return [each.choices[0].text for each in (first, second, *[each async for each in read])]

    assert asyncio.run(read_async()) == ["a", "b", "c"]


def test_breaking_out_of_a_stream_closes_it_at_once(server: Server) -> None:
    server.always = stream(*(chunk("word ") for _ in range(100)), chunk("", "stop"))
    gc.disable()
    try:
        with OpenAI(api_key="k", base_url=server.base_url) as client:
            read = client.completions.create(model="m", prompt="p", stream=True)
            for _ in read:
                break
            assert read.response.is_closed
    finally:
        gc.enable()

    async def leave() -> tuple[bool, int]:
        async with AsyncOpenAI(api_key="k", base_url=server.base_url) as client:
            read = await client.completions.create(model="m", prompt="p", stream=True)
            async for _ in read:
                break
            await asyncio.sleep(0.05)  # asyncio closes what a loop has left in a task of its own
            return read.response.is_closed, len(asyncio.all_tasks())

    assert asyncio.run(leave()) == (True, 1)


@pytest.mark.parametrize("shape", ["plain", "without [DONE]", "no end", "a malformed event midway", "html"])
def test_a_connection_goes_back_or_is_closed(shape: str, driver: Driver, server: Server) -> None:
    server.always = FINE[shape] if shape in FINE else BROKEN[shape][0]
    for _ in range(5):
        with capture_logs(), contextlib.suppress(openai.APIConnectionError):
            chat(driver)
    assert eventually(lambda: server.open_connections <= 1)
    assert len(server.requests) >= 5


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_streams_of_other_endpoints_stay_the_sdks(driver: Driver, server: Server) -> None:
    server.always = events({"type": "x", "text": "any shape"})
    kind: Any = openai.AsyncStream[object] if driver.is_async else openai.Stream[object]
    options: Any = {"cast_to": object, "body": {}, "stream": True, "stream_cls": kind}
    chunks = driver.collect(lambda client: client.post("/other", **options))
    assert chunks == [{"type": "x", "text": "any shape"}]
