"""Answers that take too long for a gateway: asked for as a stream, their results are ordinary ones."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import Job, body, policy, row, rows
from server import CHAT, Reply, Request, Server, chunk, error, stream

from novita_openai.emulator import Emulator, Fault

GATEWAY = Reply(504, b"<html>504 Gateway Time-out</html>", {"content-type": "text/html"})
TOOL = {"type": "function", "function": {"name": "boil", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def scripted(tmp_path: Path, server: Server) -> Job:
    return Job(tmp_path, server.base_url)


def posts(server: Server) -> list[Any]:
    return [request.json for request in server.requests if request.method == "POST"]


def unless_streamed(reply: Reply) -> Any:
    def answer(request: Request) -> Reply | None:
        return reply if request.method == "POST" and not request.json.get("stream") else None

    return answer


@pytest.mark.parametrize(
    "asked",
    [
        row("a"),
        row("a", n=2),
        row("a", logprobs=True, top_logprobs=2),
        row("a", tools=[TOOL], tool_choice="required"),
        row("a", max_tokens=1),
        {"custom_id": "a", "model": body()["model"], "prompt": "USER: Hi\nASSISTANT:", "max_tokens": 8, "logprobs": 1},
        {"custom_id": "a", "model": body()["model"], "prompt": ["x", "y"], "n": 2},
    ],
)
def test_a_stream_comes_to_the_same_result_as_an_answer_in_one_piece(
    job: Job, emulator: Emulator, asked: dict[str, Any]
) -> None:
    job.run([asked])
    whole = job.answers()["a"]
    job.results.unlink()
    emulator.script.extend([Fault("no_done"), Fault("late_gateway_timeout")])  # the first is no fault to a list
    report = job.run([asked])
    streamed = job.answers()["a"]
    assert (report.sent, emulator.requests[-1].json["stream"]) == (2, True)
    for each in (whole, streamed):
        del each["response"]["body"]["created"], each["response"]["request_id"], each["spent"]["requests"]
        for choice in each["response"]["body"]["choices"]:
            (choice.get("logprobs") or {}).pop("text_offset", None)  # chunks count it anew
    assert streamed == whole
    assert report.tokens == whole["response"]["body"]["usage"]["total_tokens"]


def test_a_row_that_met_a_silence_is_asked_as_a_stream(scripted: Job, server: Server) -> None:
    server.answer = unless_streamed(Reply(fault="stall"))
    server.script.extend([stream(chunk("Boil"), chunk(" water.", "stop"))])
    server.lists_apart = True
    report = scripted.run([row("a")], timeout=0.3)
    assert report.succeeded == 1
    assert [request.get("stream") for request in posts(server)] == [None, True]
    message = scripted.answers()["a"]["response"]["body"]["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "Boil water."}


def test_a_stream_that_breaks_is_asked_for_again(scripted: Job, server: Server) -> None:
    server.lists_apart = True
    server.script.extend([GATEWAY, stream(chunk("Boil")), error(500), stream(chunk("Boil water.", "stop"))])
    assert scripted.run([row("a")], client=scripted.client(resume_streams=True, policy=policy(8))).succeeded == 1
    assert [request.get("stream") for request in posts(server)] == [None, True, True, True]
    assert all("Boil" not in str(request) for request in posts(server)), "nothing is resumed"
    assert scripted.answers()["a"]["spent"]["requests"] == 4


def event(data: object) -> str:
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n"


REFUSED = {"code": 400, "reason": "INVALID_REQUEST_BODY", "message": "no"}
OVERLOADED = {"code": 503, "reason": "SERVICE_NOT_AVAILABLE", "message": "later"}
BEGUN = event(chunk("Boil"))
NAN = json.dumps(REFUSED | {"metadata": math.nan})
"""What JSON does not have is kept as text."""


@pytest.mark.parametrize(
    "asked",
    [
        {"url": "/v1/chat/completions", "messages": [{"role": "user", "content": "bad"}]},
        {"url": "/v1/completions", "prompt": "bad"},
    ],
    ids=["chat", "completion"],
)
@pytest.mark.parametrize(
    ("events", "failed"),
    [
        (BEGUN + event(REFUSED), ("INVALID_REQUEST_BODY", REFUSED)),
        (BEGUN + event({"error": REFUSED}), ("INVALID_REQUEST_BODY", REFUSED)),
        (event(REFUSED), ("INVALID_REQUEST_BODY", REFUSED)),
        (BEGUN + event(OVERLOADED), ("SERVICE_NOT_AVAILABLE", OVERLOADED)),
        (BEGUN + event(json.dumps(REFUSED | {"metadata": math.nan})), ("INVALID_REQUEST_BODY", NAN)),
        (BEGUN + event({"choices": 7}), ("unreadable_event", 7)),
        (BEGUN + "data: {", ("connection_error", None)),
        (BEGUN, ("connection_error", None)),
    ],
)
def test_an_error_within_a_stream_is_that_of_its_row_alone(
    scripted: Job, server: Server, asked: dict[str, Any], events: str, failed: tuple[str, object]
) -> None:
    reply = Reply(body=events, headers={"content-type": "text/event-stream"})
    server.answer = lambda request: reply if b'"bad"' in request.body else None
    bad = {"model": "m", "stream": True} | asked
    report = scripted.run([{"custom_id": "bad", "url": bad.pop("url"), "body": bad}, *rows(5)])
    code, kept = failed
    assert (report.succeeded, report.errors) == (5, {code: 1})
    response = scripted.failures()["bad"]["response"]
    assert (response and response["body"]) == kept


def test_a_document_in_place_of_the_stream_is_an_answer_too(scripted: Job, server: Server) -> None:
    server.answer = unless_streamed(GATEWAY)
    assert scripted.run([row("a")]).succeeded == 1
    got = scripted.answers()["a"]["response"]["body"]
    assert (got["object"], got["choices"][0]["message"]["content"]) == ("chat.completion", "Boil water.")
    assert got["usage"] == CHAT["usage"]


def test_only_the_row_that_met_it_is_asked_as_a_stream(scripted: Job, server: Server) -> None:
    server.lists_apart = True
    server.script.append(GATEWAY)
    scripted.run(rows(4), concurrency=1)
    assert [request.get("stream") for request in posts(server)].count(True) == 1


@pytest.mark.parametrize("streams", [True, False])
def test_an_answer_that_trickles_is_given_up_once_the_time_of_an_attempt_is_over(
    scripted: Job, server: Server, *, streams: bool
) -> None:
    pieces = (b"data: {", *[b" "] * 1_000) if streams else (b"{", *[b" "] * 1_000)
    drip = Reply(body=pieces, pause=0.05, headers={"content-type": "text/event-stream" if streams else "text/plain"})
    server.answer = lambda request: drip if b'"r3"' in request.body else None
    report = scripted.run([row(f"r{number}", stream=streams) for number in range(6)], timeout=0.5)
    assert (report.succeeded, report.errors) == (5, {"timeout": 1})
    assert report.elapsed < 10
    failed = scripted.failures()["r3"]["error"]
    assert (failed["attempts"], failed["message"]) == (3, "No event of the answer came within 0.5 s.")


def test_a_stream_may_take_longer_than_an_attempt_while_its_events_come(scripted: Job, server: Server) -> None:
    pieces = [event(chunk("Boil ")) for _ in range(12)] + [event(chunk("water.", "stop")), event("[DONE]")]
    server.answer = lambda _: Reply(
        body=tuple(piece.encode() for piece in pieces), pause=0.1, headers={"content-type": "text/event-stream"}
    )
    report = scripted.run([row("a", stream=True)], timeout=0.6)
    assert (report.succeeded, report.sent) == (1, 1)
    assert report.elapsed > 1


def test_embeddings_are_never_streams(scripted: Job, server: Server) -> None:
    server.lists_apart = True
    server.script.append(GATEWAY)
    report = scripted.run([{"custom_id": "a", "model": "m", "input": "x", "stream": True}])
    assert report.succeeded == 1
    assert ["stream" in request for request in posts(server)] == [False, False]


def test_the_headers_and_the_key_of_a_row_go_with_its_stream(scripted: Job, server: Server) -> None:
    server.answer = unless_streamed(GATEWAY)
    scripted.run([row("a") | {"headers": {"x-team": "red"}}])
    heads = [request.headers for request in server.requests if request.method == "POST"]
    assert [(each["x-team"], each["authorization"]) for each in heads] == [("red", "Bearer sk_test")] * 2
    assert heads[1]["x-stainless-retry-count"] == "1"
