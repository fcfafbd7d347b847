"""The forms that rows of a batch may have, what is sent for each, and what of it comes back in the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import MODEL, Job, body, row
from server import EMBEDDINGS, Server, error

from novita_openai import batch
from novita_openai.batch import BatchInputError
from novita_openai.batch.extras import read_metadata

CHAT_BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
PROMPT_BODY = {"model": MODEL, "prompt": "USER: Hi"}
INPUT_BODY = {"model": "baai/bge-m3", "input": ["pasta", "rice"]}


@pytest.fixture
def scripted(tmp_path: Path, server: Server) -> Job:
    return Job(tmp_path, server.base_url)


def posts(server: Server) -> list[Any]:
    return [request for request in server.requests if request.method == "POST"]


@pytest.mark.parametrize(
    ("sent", "path"),
    [(CHAT_BODY, "/chat/completions"), (PROMPT_BODY, "/completions"), (INPUT_BODY, "/embeddings")],
)
def test_a_row_goes_where_its_url_says_or_else_its_body(
    scripted: Job, server: Server, sent: dict[str, Any], path: str
) -> None:
    bases = ("/v1", "", "/openai", "/openai/v1", "/v3/openai")
    scripted.run(
        [
            {"custom_id": "documented", "body": sent},
            {"custom_id": "method", "method": "POST", "body": sent},
            {"custom_id": "bare", **sent},
            *({"custom_id": f"url{base}", "url": base + path, "body": sent} for base in bases),
        ]
    )
    assert {request.path for request in posts(server)} == {path}
    assert [request.json for request in posts(server)] == [sent] * 8
    assert len(scripted.answers()) == 8


def test_embeddings_are_kept_as_they_come(scripted: Job) -> None:
    scripted.run([{"custom_id": "a", "body": INPUT_BODY}])
    assert scripted.answers()["a"]["response"]["body"] == EMBEDDINGS


def test_metadata_of_a_row_comes_back_in_its_result(scripted: Job, server: Server) -> None:
    metadata = {"row": 7, "tags": ["a", "ü\ud800"], "none": None}
    requests: list[dict[str, Any]] = [
        row("good") | {"metadata": metadata},
        row("text") | {"metadata": "abc"},
        row("null") | {"metadata": None},
        row("plain", metadata={"of": "the body"}),
    ]
    scripted.run(requests, concurrency=1)
    found = scripted.answers()
    assert (found["good"]["metadata"], found["text"]["metadata"]) == (metadata, "abc")
    assert "metadata" not in found["null"]
    assert "metadata" not in found["plain"]
    assert [request.json.get("metadata") for request in posts(server)] == [None, None, None, {"of": "the body"}]
    server.always = error(400, "INVALID_REQUEST_BODY")
    scripted.run([*requests, row("bad") | {"metadata": [1]}])
    assert scripted.failures()["bad"]["metadata"] == [1]


def test_metadata_of_a_bare_body_is_sent_and_comes_back(scripted: Job, server: Server) -> None:
    scripted.run([{"custom_id": "a", **CHAT_BODY, "metadata": {"k": "v"}}])
    assert posts(server)[0].json["metadata"] == scripted.answers()["a"]["metadata"] == {"k": "v"}


def test_metadata_of_a_program_that_is_no_json_is_refused(scripted: Job) -> None:
    with pytest.raises(BatchInputError, match="metadata is of the type set"):
        list(batch.stream([row("a") | {"metadata": {1, 2}}], client=scripted.client()))


def test_headers_of_a_row_are_sent_with_it_and_with_no_other(scripted: Job, server: Server) -> None:
    scripted.run([row("a") | {"headers": {"X-Team": "a"}}, row("b") | {"headers": None}, row("c")], concurrency=1)
    assert [request.headers.get("x-team") for request in posts(server)] == ["a", None, None]
    assert all(request.headers["authorization"] == "Bearer sk_test" for request in posts(server))


@pytest.mark.parametrize("name", ["headers", "extra_headers"])
def test_headers_are_sent_as_such_wherever_a_row_names_them(scripted: Job, server: Server, name: str) -> None:
    given: dict[str, Any] = {name: {"X-Team": "a"}}
    scripted.run([row("a") | given, row("b", **given), {"custom_id": "c", **CHAT_BODY, **given}], concurrency=1)
    assert [request.headers.get("x-team") for request in posts(server)] == ["a"] * 3
    assert not any(name in request.json for request in posts(server))
    with pytest.raises(BatchInputError, match="line 1: the header Host cannot be set by a row"):
        scripted.run([row("d") | {name: {"Host": "x"}}])


def test_a_query_of_a_row_is_refused(scripted: Job) -> None:
    with pytest.raises(BatchInputError, match=r"line 1: extra_query: the request of a row has no query; leave out {'a"):
        scripted.run([row("a", extra_query={"a": "b"})])
    assert scripted.run([row("a", extra_query=None)]).succeeded == 1


def test_a_custom_id_that_is_null_is_not_given(scripted: Job) -> None:
    scripted.run([row("a") | {"custom_id": None}, row("b")])
    scripted.assert_complete(["line-1", "b"])


def test_headers_of_a_row_are_sent_with_each_attempt(scripted: Job, server: Server) -> None:
    server.script.extend([error(500, "MODEL_NOT_AVAILABLE")] * 3)
    scripted.run([row("a") | {"headers": {"X-Team": "a"}}], attempts=5)
    assert {request.headers.get("x-team") for request in posts(server)} == {"a"}
    assert [request.headers["x-stainless-retry-count"] for request in posts(server)][-1] != "0"


def test_extra_body_is_part_of_the_body(scripted: Job, server: Server) -> None:
    inner = row("a", extra_body={"top_k": 5, "max_tokens": 3})
    scripted.run([inner, inner | {"custom_id": "b", "extra_body": {"top_k": 7}}, row("c", extra_body=None)])
    sent = {request.json["top_k"]: request.json for request in posts(server) if "top_k" in request.json}
    assert (sent[5], sent[7]) == (body("a", top_k=5, max_tokens=3), body("a", top_k=7, max_tokens=3))
    assert body("c") in [request.json for request in posts(server)]


def test_a_changed_extra_body_is_another_request(scripted: Job) -> None:
    scripted.run([row("a") | {"extra_body": {"top_k": 5}}])
    with pytest.raises(BatchInputError, match="of another request"):
        scripted.run([row("a") | {"extra_body": {"top_k": 7}}])


def test_a_row_that_asks_for_a_stream_gets_a_whole_answer(scripted: Job, server: Server) -> None:
    asked = row("a", stream=True, stream_options={"include_usage": True})
    assert scripted.run([asked]).succeeded == 1
    assert posts(server)[0].json["stream"] is True
    assert scripted.answers()["a"]["response"]["body"]["choices"]


OLD_ROWS = [
    '{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}',
    '{"custom_id": "b", "model": "m", "prompt": "x", "metadata": {"k": "v"}}',
    '{"custom_id": "c", "url": "/v1/completions", "body": {"model": "m", "prompt": "x", "extra_body": {"k": 1}}}',
]
"""Rows of version 0.1.0, whose digests it wrote as these."""
OLD_DIGESTS = [
    "e709f56fda22e30ae48f17be18282a53",
    "e827976b3a32f092cab63732fdb1168f",
    "f1c2c5c9cd1f532c79d78bdf7ee966c7",
]


def test_results_of_version_0_1_0_are_gone_on_with(scripted: Job, server: Server) -> None:
    response: dict[str, Any] = {"status_code": 200, "request_id": None, "body": {"choices": []}}
    scripted.results.write_text(
        "".join(
            json.dumps({"id": f"batch_req_{digest}", "custom_id": name, "response": response, "error": None}) + "\n"
            for name, digest in zip("abc", OLD_DIGESTS, strict=True)
        )
    )
    report = scripted.run([*OLD_ROWS, row("d")])
    assert (report.resumed, report.succeeded, len(posts(server))) == (3, 4, 1)


def test_lines_of_version_0_1_0_are_gone_on_with_as_raw_ones(scripted: Job, server: Server) -> None:
    text = scripted.folder / "prompts.txt"
    text.write_text("Hi\n")
    digest = "3f0401f08d20b55fd500e0946e157a40"
    old = {"id": f"batch_req_{digest}", "custom_id": "line-1", "response": None, "error": None}
    scripted.results.write_text(json.dumps(old) + "\n")
    options: Any = {"client": scripted.client(), "model": MODEL}
    assert batch.run(text, scripted.results, raw=True, **options).sent == 0
    assert posts(server) == []


@pytest.mark.parametrize("metadata", [{1, 2}, float("nan")])
def test_metadata_that_json_does_not_have_is_refused(metadata: object) -> None:
    with pytest.raises(ValueError, match="metadata cannot be written as JSON"):
        read_metadata(metadata)
