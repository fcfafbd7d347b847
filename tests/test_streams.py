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
from server import CHAT, COMPLETION, Reply, Server, chunk, error, stream
from structlog.testing import capture_logs

from novita_openai import AsyncOpenAI, OpenAI, RetryPolicy
from novita_openai.errors import UnreadableEventError, reason_of

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


F, G = {"name": "f", "arguments": ""}, {"name": "g", "arguments": "{}"}
# The calls of f and g, as servers send them in fragments.
TOOL_CALLS: dict[str, list[list[dict[str, Any]]]] = {
    "by index": [
        [{"index": 0, "id": "a", "type": "function", "function": F}],
        [{"index": 0, "function": {"arguments": '{"x": 1}'}}],
        [{"index": 1, "id": "b", "type": "function", "function": G}],
    ],
    "by index in digits": [
        [{"index": "0", "id": "a", "function": F}, {"index": "1", "id": "b", "function": G}],
        [{"index": "0", "function": {"arguments": '{"x": 1}'}}],
    ],
    "by id in each": [
        [{"id": "a", "function": F}],
        [{"id": "a", "function": {"name": "f", "arguments": '{"x": 1}'}}],
        [{"id": "b", "index": None, "function": G}],
    ],
    "by id in the first": [
        [{"id": "a", "function": F}],
        [{"function": {"arguments": '{"x":'}}],
        [{"function": {"arguments": " 1}"}}],
        [{"id": "b", "function": {"name": "g"}}],
        [{"id": "", "function": {"arguments": "{}"}}],
    ],
    "by place": [[{"function": F}, {"function": G}], [{"function": {"arguments": '{"x": 1}'}}]],
    "one after the other": [
        [{"function": F}],
        [{"function": {"arguments": '{"x": 1}'}}],
        [{"function": {"name": "g", "arguments": "{"}}],
        [{"function": {"arguments": "}"}}],
        [{"function": {"arguments": ""}}],
    ],
    "arguments as objects": [
        [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}],
        [{"id": "b", "function": {"name": "g", "arguments": {}}}],
    ],
}

READERS: dict[str, Callable[[Driver], Any]] = {
    "chat": chat,
    "completions": complete,
    "helper": helper,
    "raw": raw,
    "streamed": streamed,
}
RETRIED = {"chat", "completions", "helper"}  # what raw responses hold is read when the call has returned

TWO = [chunk("Boil "), chunk("water.", "stop")]


def without(event: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != name}


def with_choice(event: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a chunk with some fields of its choice changed."""
    return event | {"choices": [event["choices"][0] | fields]}


def with_content(event: dict[str, Any], content: Any) -> dict[str, Any]:
    """Return a chunk with another content, for chats and for completions."""
    return with_choice(event, delta={"content": content}, text=content)


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
    "a cut after the finish_reason": Reply(body=events(*TWO).body, headers=SSE | {"content-length": "9999"}, cut=9998),
    "broken JSON after the finish_reason": events(*TWO, '{"id": '),
    "not UTF-8 after the finish_reason": Reply(body=events(*TWO).body.encode() + b"data: \xff\n\n", headers=SSE),
    "a list after the finish_reason": events(*TWO, [1]),
    "[DONE] in quotes": events(*TWO, '"[DONE]"', "never read"),
    "an event named done that says something": Reply(
        body=events(*TWO).body + 'event: done\ndata: {"status": "ok"}\n\ndata: x\n\n', headers=SSE
    ),
    "an event named done": Reply(body=events(*TWO).body + "event: done\ndata: {}\n\ndata: x\n\n", headers=SSE),
    "usage in an event named done": Reply(
        body=events(*TWO).body + f"event: done\ndata: {json.dumps(USAGE)}\n\n", headers=SSE
    ),
    "usage without choices": stream(*TWO, without(USAGE, "choices")),
    "usage with choices of null": stream(*TWO, USAGE | {"choices": None}),
    "an event without choices first": stream({"id": "x", "provider": "p"}, *TWO),
    "an event without choices between": stream(TWO[0], {"id": "x"}, TWO[1]),
    "an error of null": stream(TWO[0] | {"error": None}, TWO[1]),
    "no index": stream(with_choice(TWO[0], index=None), with_choice(TWO[1], index=None)),
    "an index in digits": stream(with_choice(TWO[0], index="0"), with_choice(TWO[1], index="0")),
    "an index that counts tokens": stream(TWO[0], with_choice(TWO[1], index=1)),
    "content in parts": stream(TWO[0], with_content(TWO[1], [{"type": "text", "text": "wa"}, "ter."])),
    "content as one part": stream(TWO[0], with_choice(TWO[1], delta={"content": {"type": "text", "text": "water."}})),
    "a finish_reason as an object": stream(TWO[0], with_choice(TWO[1], finish_reason={"type": "stop", "matched": 2})),
    "a finish_reason of 5": stream(TWO[0], with_choice(TWO[1], finish_reason=5)),
    "a last choice of a finish_reason": stream(chunk("Boil water."), USAGE | {"choices": [{"finish_reason": "stop"}]}),
    "a failure after the finish_reason": stream(*TWO, with_content(chunk("", "error"), "")),
    **{
        f"the label {label}": Reply(body=stream(*TWO).body, headers={"content-type": label})
        for label in ("text/plain; charset=utf-8", "application/json", "application/octet-stream", "")
    },
    "comments under another label": Reply(
        body=f"\ufeff \n: hello\n\n{stream(*TWO).body}", headers={"content-type": "text/plain"}, trickle=True
    ),
    "a field under another label": Reply(
        body=f"retry: 30\nid: 1\n{stream(*TWO).body}", headers={"content-type": "text/plain"}, trickle=True
    ),
    "an unknown field first": Reply(body=f"x: 1\n{stream(*TWO).body}", headers=SSE),
    "CRLF": events(*TWO, "[DONE]", end="\r\n\r\n"),
    "byte order mark": Reply(body="\ufeff" + stream(*TWO).body, headers=SSE),
    "byte order mark in pieces": Reply(body="\ufeff" + stream(*TWO).body, headers=SSE, trickle=True),
    "a character set": Reply(body=stream(*TWO).body, headers={"content-type": "text/event-stream; charset=utf-8"}),
}


# What arrives, the class it must end in, and the text that has come by then.
BROKEN = {
    "nothing": (Reply(headers=SSE, body=""), openai.APIConnectionError, ""),
    "only [DONE]": (events("[DONE]"), openai.APIConnectionError, ""),
    "html": (Reply(body="<html>", headers={"content-type": "text/html"}), openai.APIConnectionError, ""),
    "nothing of json": (Reply(body=""), openai.APIConnectionError, ""),
    "json of no answer": (Reply(body={"object": "list"}), openai.APIConnectionError, ""),
    "one chunk as json": (Reply(body=TWO[0]), openai.APIConnectionError, ""),
    "a failure as json": (Reply(body=with_choice(TWO[0], finish_reason="abort")), openai.APIConnectionError, ""),
    "cut json": (Reply(body='{"id": '), openai.APIConnectionError, ""),
    "a list of json": (Reply(body=[CHAT]), openai.APIConnectionError, ""),
    "html under our label": (Reply(body="<html>", headers=SSE), openai.APIConnectionError, ""),
    "only comments": (Reply(body=": a\n\n: b", headers=SSE), openai.APIConnectionError, ""),
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
    "an error beside choices": (
        events(TWO[0], TWO[1] | {"error": SLOW}),
        openai.RateLimitError,
        "Boil ",
    ),
    "an error beside choices first": (events(TWO[1] | {"error": {"message": "x"}}), openai.APIConnectionError, ""),
    "an error after the finish_reason": (events(*TWO, SLOW), openai.RateLimitError, "Boil water."),
    "an error event of a message": (
        Reply(body=events(TWO[0]).body + 'event: error\ndata: {"message": "m"}\n\n', headers=SSE),
        openai.APIConnectionError,
        "Boil ",
    ),
    "a detail first": (events({"detail": "Not today"}), openai.APIConnectionError, ""),
    "a message and a code midway": (events(TWO[0], {"code": 500, "message": "m"}), openai.InternalServerError, "Boil "),
    "a failure first": (events(chunk("", "error")), openai.APIConnectionError, ""),
    "a failure midway": (events(TWO[0], chunk("", "abort")), openai.APIConnectionError, "Boil "),
    "a failure with text": (
        events(TWO[0], chunk("water.", "insufficient_system_resource")),
        openai.APIConnectionError,
        "Boil water.",
    ),
    "a failure as an object": (
        events(TWO[0], chunk("") | {"choices": [{"index": 0, "finish_reason": {"type": "abort"}}]}),
        openai.APIConnectionError,
        "Boil ",
    ),
    "not UTF-8 midway": (
        Reply(body=events(TWO[0]).body.encode() + b'data: {"\xff"}\n\n', headers=SSE),
        openai.APIConnectionError,
        "Boil ",
    ),
    "no end": (events(TWO[0]), openai.APIConnectionError, "Boil "),
    "no end but [DONE]": (stream(TWO[0]), openai.APIConnectionError, "Boil "),
    "half an event": (Reply(body=stream(*TWO).body[:-60], headers=SSE), openai.APIConnectionError, "Boil "),
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


# An event that nobody can use, for chats and for completions: the field that the error names.
UNREADABLE: dict[str, tuple[Any, str]] = {
    "a list": ([1], "the whole of it is [1]"),
    "choices of text": (TWO[1] | {"choices": "x"}, "`choices`"),
    "a choice of null": (TWO[1] | {"choices": [None]}, "`choices[0]`"),
    "an index of text": (with_choice(TWO[1], index="x"), "`choices[0].index`"),
    "an index of a fraction": (with_choice(TWO[1], index=0.5), "`choices[0].index`"),
    "content of 5": (with_content(TWO[1], 5), "`choices[0]."),
    "content of numbers": (with_content(TWO[1], [5]), "`choices[0]."),
}
UNREADABLE_CHAT: dict[str, tuple[Any, str]] = {
    "a delta of text": (with_choice(TWO[1], delta="x"), "`choices[0].delta`"),
    "calls of text": (with_choice(TWO[1], delta={"tool_calls": "x"}), "`choices[0].delta.tool_calls`"),
    "a call of null": (with_choice(TWO[1], delta={"tool_calls": [None]}), "`choices[0].delta.tool_calls[0]`"),
    "a call's index of text": (
        with_choice(TWO[1], delta={"tool_calls": [{"index": "x"}]}),
        "`choices[0].delta.tool_calls[0].index`",
    ),
    "a function of text": (
        with_choice(TWO[1], delta={"tool_calls": [{"function": "f"}]}),
        "`choices[0].delta.tool_calls[0].function`",
    ),
    "arguments of 5": (
        with_choice(TWO[1], delta={"tool_calls": [{"function": {"arguments": 5}}]}),
        "`choices[0].delta.tool_calls[0].function.arguments`",
    ),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("shape", [*UNREADABLE, *UNREADABLE_CHAT])
def test_an_event_that_nobody_can_use_is_paid_once_and_named(
    reader: str, shape: str, is_first: bool, driver: Driver, server: Server
) -> None:
    if shape in UNREADABLE_CHAT and reader not in ("chat", "helper"):
        pytest.skip("completions have no delta")
    event, field = (UNREADABLE | UNREADABLE_CHAT)[shape]
    server.always = events(event) if is_first else events(TWO[0], event)
    with capture_logs(), pytest.raises(UnreadableEventError) as failure:
        READERS[reader](driver)
    assert len(server.requests) == 1
    assert f"Event {1 if is_first else 2} of the stream cannot be read: " in str(failure.value)
    assert field in str(failure.value)
    assert failure.value.partial_text == ("" if is_first else "Boil ")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(failure.value, openai.APIResponseValidationError)
    assert reason_of(failure.value) == "unreadable_event"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("shape", FINE)
def test_a_stream_that_is_fine_passes_whole(reader: str, shape: str, driver: Driver, server: Server) -> None:
    server.always = FINE[shape]
    chunks = READERS[reader](driver)
    assert len(server.requests) == 1
    if reader in ("chat", "completions"):
        choices = [each.choices[0] for each in chunks if each.choices]
        texts = [choice.delta.content if reader == "chat" else choice.text for choice in choices]
        assert "".join(text or "" for text in texts) == "Boil water."
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


def text_in(chunks: list[Any]) -> str:
    """Return the text in the field that ``chunk()`` gives to chunks of both kinds."""
    return "".join(choice.text for each in chunks for choice in getattr(each, "choices", ()))


@pytest.mark.parametrize("nothing", ["null", "[]", '""', "{}", "0", "7.5", "true"])
def test_an_event_that_carries_nothing_spoils_no_answer(nothing: str, driver: Driver, server: Server) -> None:
    server.always = events(nothing, *TWO[:1], nothing, *TWO[1:], nothing)
    for read in READERS.values():
        assert text_in(read(driver)) == "Boil water." or read is helper
    assert len(server.requests) == len(READERS)


@pytest.mark.parametrize("error", [None, "", {}, {"code": 0}, {"code": "0", "message": "success"}, {"message": None}])
def test_an_error_that_names_none_spoils_no_answer(error: Any, driver: Driver, server: Server) -> None:
    server.always = events(*(each | {"error": error} for each in (*TWO, USAGE)))
    for read in READERS.values():
        assert read(driver)
    server.always = Reply(body=CHAT | {"error": error})
    assert chat(driver)[0].choices[0].delta.content == "Boil water."
    assert driver.chat().choices


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_last_event_needs_no_blank_line_after_it(end: str, driver: Driver, server: Server) -> None:
    body = f"data: {json.dumps(chunk('Boil'))}\n\ndata: {json.dumps(chunk(' water.', 'stop'))}{end}"
    server.always = Reply(body=body, headers=SSE)
    for read in (chat, complete):
        chunks = read(driver)
        assert text_in(chunks) == "Boil water."
        assert chunks[-1].choices[0].finish_reason == "stop"
    assert len(server.requests) == 2


def test_half_an_event_at_the_end_is_no_answer(driver: Driver, server: Server) -> None:
    server.always = Reply(
        body=f"data: {json.dumps(chunk('Boil'))}\n\n" + json.dumps(chunk(" water."))[:60], headers=SSE
    )
    with pytest.raises(openai.APIConnectionError):
        chat(driver)


def test_a_chat_chunk_is_no_completion(driver: Driver, server: Server) -> None:
    only_chat = TWO[1] | {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}
    server.always = events(TWO[0], only_chat)
    with pytest.raises(UnreadableEventError, match=r"Event 2 .*`choices\[0\]\.text` is null"):
        complete(driver)


def test_a_text_without_a_delta_is_the_content_of_a_chat(driver: Driver, server: Server) -> None:
    server.always = stream(chunk("") | {"choices": [{"text": "Boil water.", "finish_reason": "stop"}]})
    assert [each.choices[0].delta.content for each in chat(driver)] == ["Boil water."]


def test_of_two_choices_both_must_end(driver: Driver, server: Server) -> None:
    second = with_choice(chunk("x"), index=1)
    options: Any = {"model": "m", "messages": MESSAGES, "stream": True, "n": 2}
    server.always = stream(*TWO, second)
    with pytest.raises(openai.APIConnectionError, match="ended without a finish_reason") as failure:
        driver.collect(lambda client: client.chat.completions.create(**options))
    assert failure.value.partial_text == "Boil water."  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    both = TWO[1] | {"choices": [without(TWO[1]["choices"][0], "index")] * 2}
    server.always = stream(TWO[0], second, both)
    chunks = driver.collect(lambda client: client.chat.completions.create(**options))
    assert [choice.index for each in chunks for choice in each.choices] == [0, 1, 0, 1]


@pytest.mark.parametrize(("prompt", "index"), [("p", 0), (["p"], 0), ([1, 2], 0), ([[1], [2]], 1), (["p", "q"], 1)])
def test_an_index_counts_choices_where_several_were_asked_for(
    prompt: Any, index: int, driver: Driver, server: Server
) -> None:
    server.always = stream(with_choice(TWO[1], index=1))
    chunks = driver.collect(lambda client: client.completions.create(model="m", prompt=prompt, stream=True))
    assert chunks[0].choices[0].index == index


@pytest.mark.parametrize("n", ["2", 2.0])
def test_a_number_of_choices_counts_in_whichever_form(n: Any, driver: Driver, server: Server) -> None:
    second = with_choice(TWO[1], index=1)
    server.always = stream(*TWO, second)
    options: Any = {"model": "m", "messages": MESSAGES, "stream": True, "extra_body": {"n": n}}
    chunks = driver.collect(lambda client: client.chat.completions.create(**options))
    assert [choice.index for each in chunks for choice in each.choices] == [0, 0, 1]


def test_a_choice_that_nobody_asked_for_must_end_too(driver: Driver, server: Server) -> None:
    begun = with_choice(chunk("x"), index=1)
    server.always = stream(*TWO, begun, with_choice(chunk("y", "stop"), index=1))
    assert [choice.index for each in chat(driver) for choice in each.choices] == [0, 0, 1, 1]
    server.always = stream(*TWO, begun)
    with pytest.raises(openai.APIConnectionError, match="ended without a finish_reason"):
        chat(driver)


@pytest.mark.parametrize(
    "last",
    [
        {"code": 0, "message": ""},
        {"code": 200, "message": "success", "reason": ""},
        {"detail": "all went well"},
        {"code": 7, "message": "seven"},
    ],
)
def test_a_chunk_with_the_usage_alone_is_no_error_whatever_it_says(
    last: dict[str, Any], driver: Driver, server: Server
) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    server.always = stream(*TWO, TWO[0] | {"choices": [], "usage": usage} | last)
    chunks = chat(driver)
    assert (len(server.requests), chunks[-1].usage.total_tokens) == (1, 3)


def test_a_chunk_in_a_ping_counts(driver: Driver, server: Server) -> None:
    first, second = json.dumps(TWO[0]), json.dumps(TWO[1])
    body = f"event: ping\ndata: {first}\n\nevent: ping\ndata: {{}}\n\ndata: {second}\n\ndata: [DONE]\n\n"
    server.always = Reply(body=body, headers={"content-type": "text/event-stream"})
    assert "".join(each.choices[0].delta.content for each in chat(driver)) == "Boil water."


@pytest.mark.parametrize("reader", READERS)
def test_a_json_answer_is_a_stream_of_one_chunk(reader: str, driver: Driver, server: Server) -> None:
    is_chat = reader in ("chat", "helper")
    answer = CHAT if is_chat else COMPLETION
    server.always = Reply(body=json.dumps(with_choice(answer, finish_reason="length"), indent=2))
    chunks = READERS[reader](driver)
    assert len(server.requests) == 1
    if reader == "helper":
        assert chunks[-1].type == "content.done"
        assert chunks[-1].content == "Boil water."
    else:
        (only,) = chunks
        choice = only.choices[0]
        assert (choice.delta.content if is_chat else choice.text).strip() == "Boil water."
        assert choice.finish_reason == "length"
        assert only.object == ("chat.completion.chunk" if is_chat else "text_completion")
        assert only.usage.total_tokens == 5


def test_a_json_message_without_a_finish_reason_is_whole(driver: Driver, server: Server) -> None:
    server.always = Reply(body=with_choice(CHAT, finish_reason=None))
    (only,) = chat(driver)
    assert only.choices[0].finish_reason == "stop"


def test_thoughts_in_parts_are_the_reasoning(driver: Driver, server: Server) -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "Boil"}]
    delta = {"content": parts, "reasoning_content": "So: "}
    server.always = stream(with_choice(chunk("", "stop"), delta=delta))
    (only,) = chat(driver)
    assert (only.choices[0].delta.content, only.choices[0].delta.reasoning_content) == ("Boil", "So: Hm")


@pytest.mark.parametrize("fragments", TOOL_CALLS.values(), ids=TOOL_CALLS)
def test_tool_calls_of_any_server_reach_the_helper(fragments: Any, driver: Driver, server: Server) -> None:
    deltas = [with_choice(chunk(""), delta={"tool_calls": calls}) for calls in fragments]
    server.always = stream(*deltas, chunk("", "tool_calls"))

    def final(entered: Any) -> Any:
        async def read_async() -> Any:
            return await entered.get_final_completion()

        return read_async() if driver.is_async else entered.get_final_completion()

    done = driver.within(lambda client: client.chat.completions.stream(model="m", messages=MESSAGES), final)
    calls = done.choices[0].message.tool_calls
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [("f", {"x": 1}), ("g", {})]
    assert {call.id for call in calls} in ({None}, {"a", "b"})
    assert len(server.requests) == 1


def trickled(comment: str, times: int, rest: str) -> tuple[bytes, ...]:
    return (*[comment.encode()] * times, rest.encode())


@pytest.mark.parametrize("comment", [": waiting\n\n", "event: ping\ndata: {}\n\n"])
def test_comments_hold_create_up_no_longer_than_the_timeout(
    comment: str, connect: Callable[..., Driver], server: Server
) -> None:
    server.script.append(Reply(body=trickled(comment, 30, str(stream(*TWO).body)), headers=SSE, pause=0.05))
    driver = connect(timeout=0.3)
    start = time.monotonic()
    reading = driver.call(lambda client: client.chat.completions.create(model="m", messages=MESSAGES, stream=True))
    assert time.monotonic() - start < 1
    assert len(driver.collect(lambda _: reading)) == 2
    assert len(server.requests) == 1


def test_a_failure_after_comments_past_the_timeout_is_raised(connect: Callable[..., Driver], server: Server) -> None:
    server.always = Reply(body=trickled(": waiting\n\n", 12, str(events(SLOW).body)), headers=SSE, pause=0.05)
    with pytest.raises(openai.RateLimitError):
        chat(connect(timeout=0.3))
    assert len(server.requests) == 1
    server.always = Reply(body=trickled(": waiting\n\n", 3, str(events(SLOW).body)), headers=SSE, pause=0.01)
    with capture_logs(), pytest.raises(openai.RateLimitError):
        chat(connect(policy=RetryPolicy(budget=None), timeout=2))
    assert len(server.requests) == 4


def test_without_a_timeout_comments_are_waited_for(connect: Callable[..., Driver], server: Server) -> None:
    server.always = Reply(body=trickled(": waiting\n\n", 3, str(stream(*TWO).body)), headers=SSE, pause=0.01)
    assert len(chat(connect(timeout=None))) == 2


@pytest.mark.parametrize("reader", ["chat", "completions"])
def test_a_silence_after_the_finish_reason_ends_the_stream(
    reader: str, connect: Callable[..., Driver], server: Server
) -> None:
    server.always = Reply(body=events(*TWO).body, headers=SSE | {"content-length": "9999"})
    assert len(READERS[reader](connect(timeout=0.3))) == 2
    assert len(server.requests) == 1


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


def test_a_streamed_response_that_is_never_parsed_is_closed(driver: Driver, server: Server) -> None:
    server.always = Reply(body="data: [DONE]\n\n", headers={"content-type": "text/event-stream"})
    options: Any = {"model": "m", "prompt": "x", "stream": True}
    status = driver.within(
        lambda client: client.completions.with_streaming_response.create(**options),
        lambda response: response.status_code,
    )
    assert status == 200
