"""A job that version 0.1.0 began, and was killed in, goes on: its files as that version wrote them, in small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from batch_jobs import MODEL, Job, row
from server import Server

from novita_openai import batch


def chat(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 4} | fields


def asked(custom_id: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


REQUESTS = [
    asked("a", chat("Hé\u2028")),
    {"custom_id": "b", "url": "/v1/completions", "body": {"model": MODEL, "prompt": "x", "max_tokens": 4}},
    chat("unnamed"),
    asked("d", chat("x", model="no/such")),
    asked("e", chat("x", temperature="hot")),
    asked("f", chat("cut")),
    chat("unnamed too"),
]
USAGE = '"usage": {"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10}'
SAID = '{"message": {"role": "assistant", "content": "Gently\u2028"}, "index": 0, "finish_reason": "length"}'
CHAT = f'{{"id": "1", "object": "chat.completion", "created": 1, "model": "{MODEL}", "choices": [{SAID}], {USAGE}}}'
ANSWERS = [
    f'{{"id": "batch_req_{digest}", "custom_id": "{name}", "response": {{"status_code": 200, "request_id": "2", '
    f'"body": {CHAT}}}, "error": null}}'
    for name, digest in {
        "a": "e7fb7e26f5e296f13c91e4bbad9cee52",
        "line-3": "b16d005a46992e2b8541dcd7044441f0",
        "b": "199f4d33f7b4a4b87ad2ca9235fba3d6",
    }.items()
]
CUT = '{"id": "batch_req_869194f187f8b0f60f2c4762bfa2da5a", "custom_id": "f", "response": {"status_co'
FAILURES = [
    f'{{"id": "batch_req_{digest}", "custom_id": "{name}", "response": {{"status_code": {status}, "request_id": "5", '
    f'"body": {{"code": {status}, "reason": "{word}", "message": "no", "metadata": {{}}}}}}, '
    f'"error": {{"code": "{word}", "message": "no", "attempts": 1}}}}'
    for name, digest, status, word in (
        ("d", "de3a119808537ea238502ba78910584f", 404, "MODEL_NOT_FOUND"),
        ("e", "421416e15170280f8e8cfd8653d51b38", 400, "INVALID_REQUEST_BODY"),
    )
]
IDS = ["a", "b", "line-3", "d", "e", "f", "line-7"]


@pytest.fixture
def old(tmp_path: Path, server: Server) -> Job:
    job = Job(tmp_path, server.base_url)
    job.write(REQUESTS)
    job.results.write_text("".join(f"{line}\n" for line in ANSWERS) + CUT, encoding="utf-8")
    job.errors.write_text("".join(f"{line}\n" for line in FAILURES), encoding="utf-8")
    server.lists_apart = True
    return job


def sent(server: Server) -> list[str]:
    bodies = [request.json for request in server.requests if request.method == "POST"]
    return sorted(str(body.get("prompt") or body["messages"][0]["content"]) for body in bodies)


def test_only_what_has_no_result_is_asked(old: Job, server: Server) -> None:
    report = old.run()
    assert (report.resumed, report.succeeded, report.failed, report.unfinished) == (5, 5, 2, 0)
    assert report.errors == {"MODEL_NOT_FOUND": 1, "INVALID_REQUEST_BODY": 1}
    assert sent(server) == ["cut", "unnamed too"]
    old.assert_complete(IDS)
    assert old.results.read_text(encoding="utf-8").split("\n")[:3] == ANSWERS
    assert old.run(ordered=True).sent == 0
    assert list(old.answers()) == ["a", "b", "line-3", "f", "line-7"]


def test_failed_rows_are_asked_again_where_that_is_wanted(old: Job, server: Server) -> None:
    report = old.run(retry_failed=True)
    assert (report.succeeded, report.failed) == (7, 0)
    assert sent(server) == ["cut", "unnamed too", "x", "x"]
    old.assert_complete(IDS)
    assert old.answers()["e"]["spent"]["requests"] == 1


def test_rows_without_a_custom_id_are_found_where_lines_were_inserted(old: Job, server: Server) -> None:
    old.run([row("new"), *REQUESTS])
    assert sent(server) == ["cut", "new", "unnamed too"]
    old.assert_complete(["new", "a", "b", "line-4", "d", "e", "f", "line-8"])


def test_what_was_reported_is_counted_into_the_money_of_the_job(old: Job) -> None:
    status = batch.status(old.requests, old.results)
    assert (status.succeeded, status.failed, status.requests, status.tokens, status.cost) == (3, 2, 3, 30, None)
