"""The emulator is the service as documented, and does what its settings say."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from random import Random
from typing import Any

import openai
import pytest
from aiohttp import web
from calls import CHAT, COMPLETION, MESSAGES, MODEL
from pydantic import BaseModel

from novita_openai import Action, OpenAI, RetryPolicy, classify
from novita_openai.emulator import FAULTS, MODELS, Emulator, Fault, Model
from novita_openai.emulator.limits import Need, RateLimiter
from novita_openai.emulator.replies import Reply, ServiceError, event
from novita_openai.emulator.requests import tokens_in
from novita_openai.emulator.samples import sample
from novita_openai.errors import failure_of, reason_of
from novita_openai.installing import how_to_install


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as server:
        yield server


def client_of(emulator: Emulator, key: str = "k", **options: Any) -> OpenAI:
    """Return a client that sends what it is given, once."""
    options = {"policy": RetryPolicy.off(), "translate": False, **options}
    return OpenAI(api_key=key, base_url=emulator.base_url, **options)


def ask(emulator: Emulator, key: str = "k", **options: Any) -> Any:
    with client_of(emulator, key) as client:
        return client.chat.completions.create(**CHAT | options)


def chunks_of(emulator: Emulator, **options: Any) -> list[Any]:
    with client_of(emulator) as client:
        return list(client.chat.completions.create(**CHAT | options, stream=True))


def complete(emulator: Emulator, **options: Any) -> Any:
    with client_of(emulator) as client:
        return client.completions.create(**COMPLETION | options)


def refusal_of(call: Callable[[], Any]) -> tuple[str, openai.APIStatusError]:
    with pytest.raises(openai.APIStatusError) as failure:
        call()
    return reason_of(failure.value), failure.value


def post(emulator: Emulator, path: str, body: bytes, method: str = "POST") -> tuple[int, str, bytes]:
    """Send what no SDK would."""
    port = int(emulator.base_url.split(":")[2].split("/")[0])
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body, {"authorization": "Bearer k"})
    response = connection.getresponse()
    answer = response.status, response.headers["content-type"], response.read()
    connection.close()
    return answer


# What it answers.


def test_the_same_request_gets_the_same_answer_and_another_another(emulator: Emulator) -> None:
    first, again, other = ask(emulator), ask(emulator), ask(emulator, seed=1)
    assert first.to_dict() == again.to_dict()
    assert first.id != other.id
    assert first.choices[0].message.content != other.choices[0].message.content
    with Emulator() as second:
        assert ask(second).to_dict() == first.to_dict()


def test_a_stream_says_what_the_whole_answer_says(emulator: Emulator) -> None:
    whole, chunks = ask(emulator), chunks_of(emulator, stream_options={"include_usage": True})
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == whole.choices[0].message.content
    assert {chunk.id for chunk in chunks} == {whole.id}
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert "usage" not in chunks_of(emulator)[0].model_fields_set


def test_a_completion_answers_each_prompt_as_often_as_asked(emulator: Emulator) -> None:
    answer = complete(emulator, prompt=["one", "two"], n=2, max_tokens=5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len({choice.text for choice in answer.choices}) == 4
    assert {choice.finish_reason for choice in answer.choices} == {"length"}
    assert answer.usage.completion_tokens == 20
    assert complete(emulator, prompt=[1, 2, 3]).usage.prompt_tokens == 3
    assert complete(emulator, prompt=[[1, 2], [3]]).usage.prompt_tokens == 3
    with client_of(emulator) as client:
        streamed = list(client.completions.create(model=MODEL, prompt=["one", "two"], n=2, max_tokens=5, stream=True))
    texts = ["".join(each.choices[0].text for each in streamed if each.choices[0].index == index) for index in range(4)]
    assert texts == [choice.text for choice in answer.choices]


def test_stop_strings_and_max_tokens_end_a_text(emulator: Emulator) -> None:
    emulator.script.extend(["Boil water. Drain it.", "Boil water. Drain it.", "Boil water."])
    assert ask(emulator, stop=[" Drain"]).choices[0].message.content == "Boil water."
    cut = ask(emulator, max_tokens=2).choices[0]
    assert (cut.message.content, cut.finish_reason) == ("Boil water", "length")
    assert ask(emulator, max_tokens=0).choices[0].finish_reason == "length"


def test_a_scripted_message_is_sent_whole_and_in_pieces(emulator: Emulator) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "boil", "arguments": '{"litres": 4}'}}
    message = {"content": "Let me see.", "reasoning_content": "Water first.", "tool_calls": [call]}
    emulator.script.extend([message, message])
    whole = ask(emulator).choices[0]
    assert whole.finish_reason == "tool_calls"
    assert whole.message.reasoning_content == "Water first."
    assert whole.message.tool_calls[0].to_dict() == call
    with client_of(emulator) as client, client.chat.completions.stream(**CHAT) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion().choices[0].message
    assert final.content == "Let me see."
    assert final.tool_calls
    assert final.tool_calls[0].function.arguments == '{"litres": 4}'


def test_a_scripted_function_makes_the_reply_of_the_request(emulator: Emulator) -> None:
    emulator.script.extend([lambda body: body["messages"][0]["content"].upper(), lambda _: {"content": "Boil."}])
    assert ask(emulator).choices[0].message.content == "HOW DO I MAKE PASTA?"
    assert ask(emulator).choices[0].message.content == "Boil."


def test_reasoning_is_apart_where_it_is_asked_for(emulator: Emulator) -> None:
    message = ask(emulator, extra_body={"separate_reasoning": True}).choices[0].message
    assert message.reasoning_content
    assert message.content != message.reasoning_content


class Step(BaseModel):
    text: str
    minutes: int
    is_optional: bool
    heat: float | None


class Recipe(BaseModel):
    """Has what schemas have: references, lists, choices, limits."""

    title: str
    steps: list[Step]
    course: str
    note: None


@pytest.mark.parametrize("model", [model.id for model in MODELS if "structured-outputs" in model.features])
def test_structured_outputs_fit_their_schema(emulator: Emulator, model: str) -> None:
    with client_of(emulator) as client:
        answer = client.chat.completions.parse(model=model, messages=MESSAGES, response_format=Recipe)
        assert isinstance(answer.choices[0].message.parsed, Recipe)
        free = client.chat.completions.create(model=model, messages=MESSAGES, response_format={"type": "json_object"})
        assert json.loads(free.choices[0].message.content or "") == {}


SCHEMA = {
    "type": "object",
    "properties": {
        "course": {"enum": ["soup", "main"]},
        "kind": {"const": "recipe"},
        "servings": {"type": ["integer", "null"], "minimum": 200},
        "words": {"type": "array"},
    },
}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "cook"}}])
def test_a_demanded_tool_is_called_with_arguments_that_fit(emulator: Emulator, choice: Any) -> None:
    tools = [{"type": "function", "function": {"name": "cook", "parameters": SCHEMA}}]
    message = ask(emulator, tools=tools, tool_choice=choice).choices[0].message
    assert message.content is None
    arguments = json.loads(message.tool_calls[0].function.arguments)
    assert arguments["course"] in ("soup", "main")
    assert arguments["kind"] == "recipe"
    assert arguments["servings"] >= 200
    assert isinstance(arguments["words"][0], str)
    assert ask(emulator, tools=tools).choices[0].message.tool_calls is None


def test_the_models_list_is_the_services_and_needs_no_key() -> None:
    with Emulator(keys=["sk_good"]) as emulator:
        status, _, content = post(emulator, "/v3/openai/models", b"", "GET")
        rows = json.loads(content)["data"]
    assert status == 200
    assert [row["id"] for row in rows] == [model.id for model in MODELS]
    assert (
        rows[0]
        | {
            "object": "model",
            "context_size": 16_384,
            "input_token_price_per_m": 200,
            "output_token_price_per_m": 500,
            "status": 1,
        }
        == rows[0]
    )
    assert rows[0]["owned_by"] == "meta-llama"


@pytest.mark.parametrize("base", ["/v3/openai", "/openai", "/openai/v1"])
def test_every_base_path_of_the_service_works_and_others_are_plain_404s(emulator: Emulator, base: str) -> None:
    body = json.dumps(CHAT).encode()
    assert post(emulator, f"{base}/chat/completions", body)[0] == 200
    assert emulator.requests[-1].path == "/chat/completions"
    assert post(emulator, "/v1/chat/completions", body) == (404, "text/plain", b"404 page not found")
    assert post(emulator, f"{base}/rerank", body)[0] == 404
    assert post(emulator, f"{base}/chat/completions", b"", "GET")[0] == 404


# Embeddings.


def test_embeddings_are_vectors_that_follow_from_the_input(emulator: Emulator) -> None:
    with openai.OpenAI(api_key="sk_test", base_url=emulator.base_url) as client:
        made = client.embeddings.create(
            model="baai/bge-m3", input=["Hi", "there", "Hi"]
        )  # which the SDK asks for in base64
        plain = client.embeddings.create(model="baai/bge-m3", input="Hi", encoding_format="float")
        tokens = client.embeddings.create(model="baai/bge-m3", input=[[1, 2], [3]])
        assert client.embeddings.create(model="baai/bge-m3", input=[1, 2]).usage.total_tokens == 2
    first, second, third = (each.embedding for each in made.data)
    assert first == third != second
    assert sum(number * number for number in first) == pytest.approx(1)
    assert plain.data[0].embedding == pytest.approx(first)
    assert (made.usage.total_tokens, tokens.usage.total_tokens, len(tokens.data)) == (3, 3, 2)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "none", "input": "a"}, 404),
        ({"model": MODEL, "input": "a"}, 400),
        ({"model": "baai/bge-m3", "input": []}, 400),
        ({"model": "baai/bge-m3"}, 400),
    ],
)
def test_embeddings_that_no_model_makes_are_refused(emulator: Emulator, body: Any, status: int) -> None:
    assert post(emulator, "/v3/openai/embeddings", json.dumps(body).encode())[0] == status
    assert post(emulator, "/v3/openai/embeddings", b"{")[0] == 400


def test_a_model_for_embeddings_answers_no_chat(emulator: Emulator) -> None:
    body = json.dumps(CHAT | {"model": "baai/bge-m3"}).encode()
    assert post(emulator, "/v3/openai/chat/completions", body)[0] == 400


# What it refuses.


def test_keys_and_credit_are_checked_and_spent() -> None:
    with Emulator(keys={"sk_free": None, "sk_poor": 0.0, "sk_rich": 1.0}) as emulator:
        assert refusal_of(lambda: ask(emulator, "sk_bad"))[0] == "FAILED_TO_AUTH"
        assert refusal_of(lambda: ask(emulator, "sk_poor"))[0] == "NOT_ENOUGH_BALANCE"
        usage = ask(emulator, "sk_rich").usage
        price = (usage.prompt_tokens * 200 + usage.completion_tokens * 500) / 10_000 / 1_000_000
        assert emulator.credit == {"sk_free": None, "sk_poor": 0.0, "sk_rich": pytest.approx(1.0 - price)}
        assert ask(emulator, "sk_free").usage == usage
        refusal_of(lambda: ask(emulator, "sk_rich", model="none"))
        assert emulator.credit == {"sk_free": None, "sk_poor": 0.0, "sk_rich": pytest.approx(1.0 - price)}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"messages": []}, "messages: "),
        ({"messages": [{"role": "developer", "content": "x"}]}, "messages.0.role: "),
        ({"messages": "Hi"}, "messages: "),
        ({"max_tokens": 99_999}, "max_tokens (current value: 99999) must be between 0 and 16384 "),
        ({"max_tokens": -1}, "max_tokens (current value: -1) must be between 0 and 16384 "),
        ({"max_tokens": "many"}, "max_tokens: "),
        ({"max_completion_tokens": 5}, "max_completion_tokens is not supported"),
        ({"temperature": 3}, "temperature: "),
        ({"top_p": 2}, "top_p: "),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop."),
        ({"n": 0}, "n: "),
        ({"stream": "yes"}, "stream: "),
        ({"logprobs": True, "top_logprobs": 99}, "top_logprobs: "),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content: "),
        ({"messages": [{"role": "tool", "content": "4"}]}, "messages.0.tool_call_id: "),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "messages.0.content."),
        ({"tool_choice": "required"}, "tool_choice: required"),
        ({"tool_choice": {"type": "function", "function": {"name": "fly"}}}, "no tool is named fly"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "support feature: structured-outputs"),
        ({"messages": [{"role": "user", "content": "word " * 17_000}]}, "the context has 16384"),
        ({"tools": [{"type": "function"}]}, "tools.0.function: "),
        ({"extra_body": {"repetition_penalty": 0}}, "repetition_penalty: "),
    ],
)
def test_bad_requests_are_refused_as_the_service_does(emulator: Emulator, change: dict[str, Any], text: str) -> None:
    reason, error = refusal_of(lambda: ask(emulator, **change))
    assert (reason, error.status_code) == ("INVALID_REQUEST_BODY", 400)
    assert isinstance(error.body, dict)
    assert text in error.body["message"]
    assert emulator.requests[-1].status == 400


def test_what_is_no_request_is_refused(emulator: Emulator) -> None:
    for body, text in (
        (b"{", "not JSON"),
        (b"[]", "body: "),
        (b'{"model": "m"}', "messages: "),
        (b"\xff", "not JSON"),
        (b"[" * 99_999, "not JSON"),
    ):
        status, _, content = post(emulator, "/v3/openai/chat/completions", body)
        assert status == 400
        assert text in json.loads(content)["message"]
    assert refusal_of(lambda: complete(emulator, prompt=[]))[0] == "INVALID_REQUEST_BODY"


def test_an_unknown_model_is_refused_until_it_is_given(emulator: Emulator) -> None:
    reason, error = refusal_of(lambda: ask(emulator, model="my/model"))
    assert (reason, error.status_code) == ("MODEL_NOT_FOUND", 404)
    emulator.models = ["my/model", Model("small/model", context_size=16, features=())]
    assert ask(emulator, model="my/model").model == "my/model"
    tools: Any = [{"type": "function", "function": {"name": "cook"}}]
    assert refusal_of(lambda: ask(emulator, model="small/model", tools=tools))[0] == "INVALID_REQUEST_BODY"


# How much it lets through.


def test_more_requests_a_minute_than_allowed_are_refused() -> None:
    with Emulator(rpm={MODEL: 2}, retry_after=True) as emulator:
        ask(emulator)
        ask(emulator)
        reason, error = refusal_of(lambda: ask(emulator))
        assert reason == "RATE_LIMIT_EXCEEDED"
        assert 28_000 < int(error.response.headers["retry-after-ms"]) <= 30_000
        assert error.response.headers["retry-after"] == "30"
        assert ask(emulator, model=MODELS[1].id), "limits are per model"
        emulator.script.append(Fault("bad_gateway"))
        refusal_of(lambda: ask(emulator, model=MODELS[1].id))
        emulator.retry_after = False
        assert failure_of(refusal_of(lambda: ask(emulator))[1]).retry_after is None
        emulator.retry_after = 1.5
        assert failure_of(refusal_of(lambda: ask(emulator))[1]).retry_after == 1.5
        emulator.rpm = None
        assert ask(emulator)


def test_more_tokens_a_minute_than_allowed_are_refused() -> None:
    with Emulator(tpm=50) as emulator:
        reason, _ = refusal_of(lambda: [ask(emulator, max_tokens=20) for _ in range(3)])
        assert reason == "TOKEN_LIMIT_EXCEEDED"
        assert emulator.request_count in (2, 3)


def test_a_bucket_fills_at_its_rate_and_takes_from_none_where_one_is_too_empty() -> None:
    limiter = RateLimiter()

    def admit(now: float, tokens: float = 1) -> float:
        needs = (
            Need("RATE_LIMIT_EXCEEDED", "requests", 1.0, per_minute=60.0, burst=2.0),
            Need("TOKEN_LIMIT_EXCEEDED", "tokens", tokens, per_minute=600.0, burst=600.0),
        )
        try:
            limiter.admit("m", needs, 9, now)
        except ServiceError as refused:
            return refused.retry_after or -1
        return 0

    assert [admit(0), admit(0), admit(0)] == [0, 0, 1]
    assert [admit(0.5), admit(1)] == [0.5, 0]
    assert admit(10, tokens=10_000) == 0, "more than a bucket holds passes when it is full"
    assert admit(10, tokens=100) == 10
    assert [admit(10, tokens=0), admit(10, tokens=0)] == [0, 1], "what was refused took nothing"


def test_requests_in_flight_are_counted_for_each_model() -> None:
    with Emulator(concurrency=1, latency=0.5) as emulator, client_of(emulator) as client:
        thread = threading.Thread(target=lambda: client.chat.completions.create(**CHAT))
        thread.start()
        while emulator.request_count == 0:
            time.sleep(0.005)
        emulator.retry_after = 7
        reason, error = refusal_of(lambda: ask(emulator))
        assert (reason, failure_of(error).retry_after) == ("RATE_LIMIT_EXCEEDED", 7)
        thread.join()
        emulator.latency = 0
        assert ask(emulator)


def test_a_client_that_leaves_is_no_longer_in_flight() -> None:
    with Emulator(concurrency=1, latency=30) as emulator:
        with client_of(emulator, timeout=0.1) as client, pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(**CHAT)
        emulator.latency = 0
        assert eventually(lambda: emulator.open_connections == 0)
        assert ask(emulator)


def test_latency_and_intervals_are_waited() -> None:
    with Emulator(latency=(0.1, 0.2), chunk_interval=0.01) as emulator:
        emulator.script.append("one two three")
        start = time.monotonic()
        assert len(chunks_of(emulator)) == 5
        assert time.monotonic() - start > 0.1 + 5 * 0.01


# What goes wrong.


def test_drawn_faults_follow_from_the_seed_and_the_requests(emulator: Emulator) -> None:
    def outcomes(seed: int, order: list[int]) -> list[str | None]:
        with Emulator(faults={"bad_gateway": 0.3, "RATE_LIMIT_EXCEEDED": 0.2}, seed=seed) as faulty:
            for number in order:
                post(faulty, "/v3/openai/chat/completions", json.dumps(CHAT | {"seed": number}).encode())
            found = {(request.json["seed"]): request.fault for request in faulty.requests}
            return [found[number] for number in sorted(order)]

    forwards = outcomes(1, list(range(100)))
    assert forwards == outcomes(1, list(range(99, -1, -1)))
    assert forwards != outcomes(2, list(range(100)))
    assert 15 <= forwards.count("bad_gateway") <= 45
    assert 8 <= forwards.count("RATE_LIMIT_EXCEEDED") <= 35
    assert emulator.request_count == 0


def test_a_fault_cuts_at_the_byte_it_names(emulator: Emulator) -> None:
    port = int(emulator.base_url.split(":")[2].split("/")[0])
    body = json.dumps(COMPLETION).encode()
    request = f"POST /openai/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    bodies = []
    for fault in (Fault("no_done"), Fault("close", 0), Fault("close", 17), Fault("close"), Fault("garbage")):
        emulator.script.append(fault)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(request.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
            bodies.append(b"".join(iter(lambda: connection.recv(65_536), b"")))
    whole, head, seventeen, nothing, garbage = (received.partition(b"\r\n\r\n") for received in bodies)
    assert (head[2], seventeen[2], nothing) == (b"", whole[2][:17], (b"", b"", b""))
    assert garbage[0] == b"no status line"
    assert int(whole[0].lower().split(b"content-length: ")[1].split()[0]) == len(whole[2])


PARTS = (
    *(event({"choices": [{"index": 0, "text": text, "finish_reason": None}]}) for text in "ab"),
    event({"choices": [{"index": 0, "text": "c", "finish_reason": "stop"}]}),
    event("[DONE]"),
)
STREAM = Reply(headers={"content-type": "text/event-stream"}, parts=PARTS)


def test_an_event_waits_for_the_end_of_the_event_before_it() -> None:
    for after, kept in ((None, 0), (0, 0), (1, 1), (len(PARTS[0]), 1), (len(PARTS[0]) + 1, 2), (9_999, 4)):
        spoilt = Fault("error_event", after, reason="MODEL_NOT_AVAILABLE", message="gone").spoil(STREAM)
        assert spoilt.parts[:-1] == PARTS[:kept]
        assert b'"reason": "MODEL_NOT_AVAILABLE", "message": "gone"' in spoilt.parts[-1]


def test_a_fault_of_an_answer_leaves_a_refusal_as_it_is() -> None:
    refused = Fault("NOT_ENOUGH_BALANCE").spoil(STREAM)
    assert Fault("null_list").spoil(refused) == refused


def test_a_refusal_says_how_long_to_wait() -> None:
    reply = Fault("RATE_LIMIT_EXCEEDED", retry_after=2.5, message="slow").spoil(STREAM)
    assert (reply.status, reply.headers["retry-after"], json.loads(reply.body)["message"]) == (429, "2.5", "slow")


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_says_what_it_means(kind: str) -> None:
    assert FAULTS[kind].meaning
    assert Fault(kind).spoil(STREAM) != STREAM


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "rest"}, "'rest' is not a fault that the emulator knows; near it: reset"),
        ({"kind": "error_event", "reason": "RATE_LIMIT"}, "near it: RATE_LIMIT_EXCEEDED"),
        ({"kind": "zzz"}, "it knows: ACCESS_DENY"),
        ({"kind": "close", "after": -1}, "after must be None or a number of bytes from 0, not -1"),
        ({"kind": "close", "after": 1.5}, "not 1.5"),
        ({"kind": "RATE_LIMIT_EXCEEDED", "retry_after": -3}, "at least 0 seconds, not -3"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fault(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 70_000}, "port"),
        ({"faults": {"close": 1.5}}, "faults"),
        ({"faults": {"close": -0.5}}, "faults"),
        ({"faults": {"clos": 0.5}}, "near it: close"),
        ({"burst": 0.5}, "burst"),
        ({"burst": 0}, "burst"),
        ({"keys": "sk_test"}, "keys must be None, a list of keys, .*; what was given is not shown"),
        ({"keys": {"k": "much"}}, "keys"),
        ({"models": "my/model"}, "models"),
        ({"models": [5]}, "models"),
        ({"faults": {"close": "x"}}, "faults"),
        ({"chunk_interval": -1}, "chunk_interval"),
        ({"retry_after": -5}, "retry_after"),
        ({"rpm": "60"}, "rpm"),
        ({"faults": {"close": 0.6, "reset": 0.6}}, "faults must be .*: together they are 1.2"),
        ({"latency": (2, 1)}, "latency must be .*, not \\(2, 1\\): the least is more than the most"),
        ({"port": 80.5}, r"^port must be 0 \(a free one\) to 65535, not 80.5$"),
        ({"burst": True}, "burst must be None or at least 1 request, not True"),
        ({"latency": float("inf")}, "latency"),
        ({"rpm": 0}, "rpm"),
        ({"tpm": {MODEL: -1}}, "tpm"),
        ({"concurrency": 0}, "concurrency"),
        ({"latency": -1}, "latency"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Emulator(**options)
    emulator = Emulator()
    with pytest.raises(ValueError, match=message):
        setattr(emulator, *next(iter(options.items())))


# How it lives.


@pytest.mark.slow
def test_it_keeps_the_last_thousand_requests(emulator: Emulator) -> None:
    with client_of(emulator, "sk_secret") as client:
        for number in range(1_005):
            client.completions.create(**COMPLETION | {"seed": number, "max_tokens": 1})
    kept = emulator.requests
    assert [request.json["seed"] for request in kept] == list(range(5, 1_005))
    assert emulator.request_count == 1_005
    assert kept[0].headers["authorization"] == "Bearer sk_secret"
    assert "sk_secret" not in repr(kept[0]) + repr(emulator)
    assert kept[0].time <= kept[-1].time <= time.monotonic()


def test_it_starts_once_and_ends_with_its_block() -> None:
    emulator = Emulator()
    with pytest.raises(RuntimeError, match="not running"):
        _ = emulator.base_url
    threads = threading.active_count()
    with emulator:
        base_url = emulator.base_url
        with pytest.raises(RuntimeError, match="already running"):
            emulator.start()
        emulator.script.append(Fault("stall"))
        with client_of(emulator, timeout=0.2) as client, pytest.raises(openai.APITimeoutError):
            client.models.list()
    emulator.close()
    assert threading.active_count() == threads
    with OpenAI(api_key="k", base_url=base_url, max_retries=0) as client, pytest.raises(openai.APIConnectionError):
        client.models.list()
    with emulator:
        assert ask(emulator)


@pytest.mark.parametrize("options", [{}, {"latency": 60}, {"chunk_interval": 60}])
def test_closing_hangs_up_on_clients_that_are_being_answered(options: dict[str, Any]) -> None:
    emulator = Emulator(**options)
    failures: list[BaseException] = []

    def ask_in_vain() -> None:
        try:
            chunks_of(emulator)
        except openai.APIConnectionError as error:
            failures.append(error)

    with emulator:
        emulator.script.extend([] if options else [Fault("stall", 300)])
        thread = threading.Thread(target=ask_in_vain)
        thread.start()
        assert eventually(lambda: emulator.request_count == 1)
        start = time.monotonic()
    assert time.monotonic() - start < 5
    thread.join()
    assert len(failures) == 1


def test_keys_models_and_faults_can_be_changed_while_it_runs(emulator: Emulator) -> None:
    emulator.keys = {"sk_new": 2.0}
    assert refusal_of(lambda: ask(emulator))[0] == "FAILED_TO_AUTH"
    assert ask(emulator, "sk_new")
    assert emulator.credit is not None
    assert emulator.credit["sk_new"] != 2.0
    emulator.models = (name for name in ("my/model",))
    assert ask(emulator, "sk_new", model="my/model")
    assert ask(emulator, "sk_new", model="my/model")
    emulator.faults = {"NOT_ENOUGH_BALANCE": 1.0}
    assert refusal_of(lambda: ask(emulator, "sk_new", model="my/model"))[0] == "NOT_ENOUGH_BALANCE"


def test_faults_of_the_service_are_neither_limited_nor_charged() -> None:
    with Emulator(keys={"k": 1.0}, rpm=1) as emulator:
        emulator.script.extend(Fault(kind) for kind in ("bad_gateway", "MODEL_NOT_AVAILABLE", "RATE_LIMIT_EXCEEDED"))
        for _ in range(3):
            refusal_of(lambda: ask(emulator))
        assert emulator.credit == {"k": 1.0}
        assert ask(emulator)


def test_a_text_waits_for_a_request_that_is_answered(emulator: Emulator) -> None:
    emulator.script.extend(["Boil water.", Fault("reset")])
    with client_of(emulator) as client:
        assert client.models.list().data
        refusal_of(lambda: ask(emulator, model="none"))
        assert ask(emulator).choices[0].message.content == "Boil water."
        with pytest.raises(openai.APIConnectionError):
            client.models.list()
    assert not emulator.script


def wrong(_: object) -> str:
    raise LookupError("what the test did not expect")


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (wrong, LookupError),
        (42, TypeError),
        (lambda _: None, TypeError),
        ({"tool_calls": [1]}, TypeError),
        ({"text": "Hi"}, TypeError),
    ],
)
def test_a_script_that_fails_is_told_at_the_end(item: Any, error: type[Exception]) -> None:
    emulator = Emulator()
    with pytest.raises(error):  # noqa: SIM117, PT012 - what the block's end raises is what counts
        with emulator:
            emulator.script.append(item)
            with OpenAI(api_key="k", base_url=emulator.base_url) as client:
                reason, _ = refusal_of(lambda: client.chat.completions.create(**CHAT))
            assert (reason, emulator.request_count) == ("INVALID_REQUEST_BODY", 1)
            assert ask(emulator)
    emulator.close()


def test_logprobs_are_given_where_they_are_asked_for(emulator: Emulator) -> None:
    emulator.script.extend(["Boil water."] * 4)
    content = ask(emulator, logprobs=True, top_logprobs=1).choices[0].logprobs.content
    assert [each.token for each in content] == ["Boil", " water", "."]
    assert all(each.logprob < 0 and each.top_logprobs[0].token == each.token for each in content)
    logprobs = complete(emulator, logprobs=1).choices[0].logprobs
    assert (logprobs.tokens, logprobs.text_offset) == (["Boil", " water", "."], [0, 4, 10])
    assert complete(emulator, logprobs=0).choices[0].logprobs.top_logprobs == [{}, {}, {}]
    chunks = chunks_of(emulator, logprobs=True)
    assert [chunk.choices[0].logprobs.content[0].token for chunk in chunks if chunk.choices[0].logprobs] == [
        each.token for each in content
    ]


class Node(BaseModel):
    name: str
    children: list[Node]
    parent: Node | None


@pytest.mark.parametrize(
    ("schema", "is_fit"),
    [
        (Node.model_json_schema(), Node.model_validate),
        (
            {"definitions": {"a": {"type": "integer", "maximum": -5, "minimum": -6}}, "$ref": "#/definitions/a"},
            (-6).__le__,
        ),
        ({"type": "array", "items": True, "minItems": 3}, lambda value: len(value) == 3),
        ({"type": "string", "minLength": 9, "maxLength": 9}, lambda value: len(value) == 9),
        ({"type": "number", "exclusiveMinimum": 500}, lambda value: value > 500),
        ({"allOf": [{"const": 7}]}, (7).__eq__),
        ({"type": "boolean"}, lambda value: value in (True, False)),
    ],
)
def test_samples_fit_their_schema(schema: Any, is_fit: Callable[[Any], Any]) -> None:
    assert all(is_fit(sample(schema, Random(seed))) for seed in range(20))


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/none"},
        {"enum": []},
        {"type": "color"},
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"properties": ["a"]},
        {"type": "string", "minLength": "long"},
        {"enum": {"a": 1}},
    ],
)
def test_a_schema_that_nothing_fits_is_refused(schema: Any, emulator: Emulator) -> None:
    with pytest.raises(ServiceError, match="the JSON schema has"):
        sample(schema, Random(1))
    tools = [{"type": "function", "function": {"name": "cook", "parameters": schema}}]
    assert refusal_of(lambda: ask(emulator, tools=tools, tool_choice="required"))[0] == "INVALID_REQUEST_BODY"


def test_a_failure_to_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "SockSite", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no sockets left")))
    with pytest.raises(RuntimeError, match="no sockets left"):
        Emulator().start()


def test_a_taken_port_is_told() -> None:
    with Emulator() as first, pytest.raises(OSError, match="in use"):
        Emulator(port=int(first.base_url.split(":")[2].split("/")[0])).start()


def test_who_connects_while_it_closes_is_hung_up_on() -> None:
    for _ in range(20):
        with Emulator() as server:
            port = int(server.base_url.split(":")[2].split("/")[0])
            with socket.create_connection(("127.0.0.1", port)) as connection:
                server.close()
                connection.settimeout(10)
                with suppress(ConnectionError):
                    assert connection.recv(1) == b""
    gc.collect()  # what was left open is told of here, and fails the test


def test_it_works_inside_a_running_event_loop(emulator: Emulator) -> None:
    async def use() -> int:
        async with openai.AsyncOpenAI(api_key="k", base_url=emulator.base_url) as client:
            answers = await asyncio.gather(*(client.completions.create(**COMPLETION) for _ in range(50)))
            return len({answer.choices[0].text for answer in answers})

    assert asyncio.run(use()) == 1


@pytest.mark.slow
def test_without_aiohttp_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['aiohttp'] = None\nfrom novita_openai import emulator"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: the emulator needs aiohttp: {how_to_install('emulator')}"
    )


def test_tokens_lose_nothing() -> None:
    for text in ("", " ", "Boil  4 l.\n\nNow!", "水。 \t", "a" * 1_000):
        assert "".join(tokens_in(text)) == text


def test_the_clients_rules_know_every_refusal_of_the_emulator(emulator: Emulator) -> None:
    words = [kind for kind in FAULTS if kind.isupper()]
    emulator.script.extend(Fault(word) for word in words)
    rules = [classify(refusal_of(lambda: ask(emulator))[1]) for _ in words]
    assert [rule.reason for rule in rules] == words
    assert {rule.action for rule in rules} == {Action.FAIL, Action.WAIT, Action.RETRY}


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()
