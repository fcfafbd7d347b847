"""Checks of a batch's answers: what passes, what is asked again and how, what fails, and what earlier runs left."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from batch_jobs import Job, body, row
from pydantic import BaseModel, field_validator
from server import CHAT, COMPLETION, Reply, Server

from novita_openai import batch
from novita_openai.batch import BatchResult, rechecks
from novita_openai.batch.checks import check_of, corrected
from novita_openai.batch.worklist import Worklist
from novita_openai.installing import how_to_install

SCHEMA = {
    "title": "The label!",
    "type": "object",
    "properties": {"label": {"enum": ["pos", "neg"]}, "score": {"type": "number"}},
    "required": ["label"],
}
GOOD = '{"label": "pos"}'
CHOICE: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None}
LISTED: dict[str, Any] = {"object": "model", "created": 1, "context_size": 4096}


class Label(BaseModel):
    label: Literal["pos", "neg"]


class Broken(BaseModel):
    label: str

    @field_validator("label")
    @classmethod
    def fail(cls, value: str) -> str:
        raise KeyError(value)


def reply(*texts: str | None) -> Reply:
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for index, text in enumerate(texts)
    ]
    return Reply(body=CHAT | {"choices": choices})


def models(*features: str) -> Reply:
    return Reply(body={"data": [LISTED | {"id": body()["model"], "features": list(features)}]})


@pytest.fixture
def scripted(tmp_path: Path, server: Server) -> Job:
    return Job(tmp_path, server.base_url)


def posts(server: Server) -> list[Any]:
    return [request.json for request in server.requests if request.method == "POST"]


def run(job: Job, server: Server, *replies: Reply, rows: list[Any] | None = None, **options: Any) -> batch.BatchReport:
    """Run with these replies, after that of the models list, which is asked for progress."""
    server.requests.clear()
    server.script.clear()
    server.script.extend([models(), *replies])
    return job.run([row("a")] if rows is None else rows, concurrency=1, on_progress=lambda _: None, **options)


def short(result: BatchResult) -> str | None:
    return "it is too long" if len(result.text or "") > 3 else None


def result_of(*texts: str | None) -> BatchResult:
    return BatchResult({"custom_id": "a", "response": {"body": reply(*texts).body}})


@pytest.mark.parametrize(
    ("texts", "flaw"),
    [
        ([GOOD], None),
        ([GOOD, '{"label": "neg"}'], None),
        (['{"label": "x"}'], "$.label: 'x' is not one of ['pos', 'neg']"),
        (['{"score": "x"}'], "$: 'label' is a required property; $.score: 'x' is not of type 'number'"),
        ([GOOD, "[]"], "$: [] is not of type 'object'"),
        (["```json\n{}```"], "it is not JSON (Expecting value at line 1, column 1): give the JSON alone"),
        (['{"score": NaN}'], "it is not JSON (NaN is not JSON)"),
        ([None], "there is no text in it"),
        ([""], "there is no text in it"),
        ([], "there is no text in it"),
    ],
)
def test_a_schema_says_what_is_wrong(texts: list[str | None], flaw: str | None) -> None:
    pytest.importorskip("jsonschema")
    check = check_of(SCHEMA)
    assert check
    found = check.flaw(result_of(*texts))
    assert found is None if flaw is None else (found or "").startswith(flaw)


def test_only_the_first_flaws_are_told() -> None:
    pytest.importorskip("jsonschema")
    check = check_of({"type": "object", "additionalProperties": {"type": "number"}})
    assert check
    found = check.flaw(result_of(json.dumps({str(number): "x" for number in range(9)})))
    assert (found or "").count(" is not of type 'number'") == 5
    assert (found or "").endswith("; and 4 more")


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        (GOOD, None),
        ('{"label": "x"}', "$.label: Input should be 'pos' or 'neg'"),
        ("no JSON", "$: Invalid JSON: expected ident at line 1 column 2"),
        (None, "there is no text in it"),
    ],
)
def test_a_model_says_what_is_wrong(text: str | None, flaw: str | None) -> None:
    check = check_of(Label)
    assert check
    assert check.flaw(result_of(text)) == flaw


@pytest.mark.parametrize(
    ("validate", "kind", "message"),
    [
        ("a text", TypeError, "validate='a text': give a JSON Schema"),
        ({"type": "thing"}, ValueError, "this is no JSON Schema: "),
    ],
)
def test_what_is_no_check_is_refused(scripted: Job, server: Server, validate: Any, kind: type, message: str) -> None:
    if isinstance(validate, dict):
        pytest.importorskip("jsonschema")
    with pytest.raises(kind, match=message):
        run(scripted, server, validate=validate)
    assert server.requests == []


def test_without_the_extra_a_schema_is_refused_with_the_way_out(
    scripted: Job, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jsonschema", None)
    with pytest.raises(ImportError, match=re.escape(how_to_install("schema"))):
        run(scripted, server, validate=SCHEMA)


def test_an_answer_that_does_not_pass_is_asked_again_with_what_was_wrong(scripted: Job, server: Server) -> None:
    report = run(scripted, server, reply("too long"), reply("ok"), validate=short)
    assert (report.succeeded, report.failed, report.sent, report.retries) == (1, 0, 2, 1)
    first, second = posts(server)
    assert first == body("a")
    told = "This answer cannot be used: it is too long\nAnswer the request again, with that put right."
    last = [{"role": "assistant", "content": "too long"}, {"role": "user", "content": told}]
    assert second == first | {"messages": first["messages"] + last}
    assert scripted.answers()["a"]["response"]["body"]["choices"][0]["message"]["content"] == "ok"


@pytest.mark.parametrize(("options", "tries"), [({}, 3), ({"validate_attempts": 0}, 1), ({"validate_attempts": 3}, 4)])
def test_a_row_that_never_passes_fails_and_keeps_its_last_answer(
    scripted: Job, server: Server, options: dict[str, Any], tries: int
) -> None:
    replies = [reply(f"answer {number}") for number in range(1, 5)]
    report = run(scripted, server, *replies, validate=short, **options)
    assert (report.succeeded, report.failed, report.sent) == (0, 1, tries)
    found = scripted.failures()["a"]
    assert found["error"] == {"code": "validation_failed", "message": "it is too long", "attempts": tries}
    assert found["response"]["status_code"] == 200
    assert BatchResult(found).text == f"answer {tries}"
    assert len(posts(server)[-1]["messages"]) == 1 + 2 * (tries - 1)


def test_a_value_error_of_a_function_is_a_verdict(scripted: Job, server: Server) -> None:
    def check(result: BatchResult) -> None:
        json.loads(result.text or "")

    run(scripted, server, reply("no"), reply("1"), validate=check)
    assert "Expecting value" in posts(server)[1]["messages"][-1]["content"]

    def silent(_: BatchResult) -> None:
        raise ValueError

    run(scripted, server, reply("no"), rows=[row("b")], validate=silent, validate_attempts=0, retry_failed=True)
    assert scripted.failures()["b"]["error"]["message"] == "ValueError"


@pytest.mark.parametrize(
    ("validate", "kind"),
    [(lambda _: 1 / 0, ZeroDivisionError), (lambda _: False, TypeError), (Broken, KeyError)],
)
def test_any_other_error_of_a_check_stops_the_batch(scripted: Job, server: Server, validate: Any, kind: type) -> None:
    with pytest.raises(kind) as caught:
        run(scripted, server, reply('{"label": "x"}'), validate=validate)
    assert caught.value.__notes__ == ["validate raised it for the answer to 'a'; only a ValueError is a verdict."]
    assert not scripted.results.read_text()
    assert run(scripted, server, reply("ok")).succeeded == 1


@pytest.mark.parametrize(
    ("validate", "name"), [(SCHEMA, "The_label"), (Label, "Label"), ({"type": "object"}, "answer")]
)
def test_a_model_with_structured_outputs_is_asked_for_the_form(
    scripted: Job, server: Server, validate: Any, name: str
) -> None:
    if isinstance(validate, dict):
        pytest.importorskip("jsonschema")
    own = {"type": "json_object"}
    asked = [
        row("a"),
        row("own", response_format=own),
        row("text", url="/v1/completions") | {"body": {"model": body()["model"], "prompt": "x"}},
    ]
    text = COMPLETION | {"choices": [CHOICE | {"text": GOOD}]}
    server.script.extend([models("structured-outputs"), reply(GOOD), reply(GOOD), Reply(body=text)])
    scripted.run(asked, concurrency=1, validate=validate)
    schema = Label.model_json_schema() if validate is Label else validate
    wanted = {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}
    assert [sent.get("response_format") for sent in posts(server)] == [wanted, own, None]
    assert len(scripted.answers()) == 3
    assert scripted.run(asked, validate=validate).sent == 0


def test_a_model_without_structured_outputs_is_checked_alone(scripted: Job, server: Server) -> None:
    assert run(scripted, server, reply(GOOD), validate=Label).succeeded == 1
    assert posts(server) == [body("a")]


def test_a_models_list_that_cannot_be_read_leaves_the_check_alone(scripted: Job, server: Server) -> None:
    server.script.extend([Reply(500, {}), Reply(500, {}), reply(GOOD)])
    assert scripted.run([row("a")], validate=Label).succeeded == 1
    assert "response_format" not in posts(server)[0]


CHAT_REQUEST = {"messages": [{"role": "user", "content": "x"}]}
TOLD = "This answer cannot be used: bad\nAnswer the request again, with that put right."


@pytest.mark.parametrize(
    ("path", "asked", "text", "again"),
    [
        ("/chat/completions", CHAT_REQUEST, None, [{"role": "user", "content": TOLD}]),
        ("/completions", {"prompt": "x "}, "y", f"x y\n\n{TOLD}\n\n"),
        ("/completions", {"prompt": ["x", "y"]}, "y", ["x", "y"]),
        ("/embeddings", {"input": "x"}, None, "x"),
    ],
)
def test_a_correction_says_what_was_wrong_where_it_can(path: str, asked: Any, text: str | None, again: Any) -> None:
    (field,) = asked
    expected = asked[field] + again if field == "messages" else again
    assert corrected(path, asked, text, "bad") == {field: expected}


def test_a_schema_does_not_check_embeddings(scripted: Job, server: Server) -> None:
    with pytest.raises(batch.BatchInputError, match="line 1: embeddings have no text that validate= could check"):
        run(scripted, server, rows=[{"model": "m", "input": "x"}], validate=Label)
    assert posts(server) == []


def test_a_function_checks_embeddings(scripted: Job) -> None:
    def check(result: BatchResult) -> str | None:
        return None if result.body and len(result.body["data"]) == 1 else "one is wanted"

    assert scripted.run([{"model": "m", "input": "x"}], validate=check).succeeded == 1


def test_a_stream_is_checked_too(scripted: Job, server: Server) -> None:
    async def collect() -> list[dict[str, Any]]:
        server.script.extend([models("structured-outputs"), reply("no"), reply(GOOD)])
        return [found async for found in batch.stream([row("a")], client=scripted.client(), validate=Label)]

    (found,) = asyncio.run(collect())
    assert BatchResult(found).parsed == {"label": "pos"}
    assert "response_format" in posts(server)[1]


def test_another_check_asks_again_for_the_stored_answers_that_do_not_pass_it(scripted: Job, server: Server) -> None:
    rows = [row("a"), row("b"), row("c")]
    run(scripted, server, reply("one"), reply("three"), reply("seven"), rows=rows)
    report = run(scripted, server, reply("two"), reply("six"), rows=rows, validate=short)
    assert (report.succeeded, report.sent, report.resumed) == (3, 2, 1)
    assert posts(server) == [body("b"), body("c")]
    assert {name: BatchResult(found).text for name, found in scripted.answers().items()} == {
        "a": "one",
        "b": "two",
        "c": "six",
    }
    assert run(scripted, server, rows=rows, validate=short).sent == 0


def test_another_check_takes_the_last_answers_of_failed_rows_that_pass_it(scripted: Job, server: Server) -> None:
    rows = [row("a"), row("b")]
    run(scripted, server, *[reply("four")] * 3, Reply(400, {"reason": "X"}), rows=rows, validate=short)
    assert sorted(scripted.failures()) == ["a", "b"]
    assert run(scripted, server, rows=rows, validate=short).sent == 0
    report = run(scripted, server, rows=rows, validate=lambda _: None)
    assert (report.succeeded, report.failed, report.sent) == (1, 1, 0)
    assert scripted.answers()["a"]["error"] is None
    scripted.assert_complete(["a", "b"])


def test_a_check_that_fails_on_a_stored_answer_changes_no_file(scripted: Job, server: Server) -> None:
    run(scripted, server, reply("one"))
    before = scripted.results.read_bytes()
    with pytest.raises(ZeroDivisionError):
        run(scripted, server, validate=lambda _: 1 / 0)
    assert scripted.results.read_bytes() == before


def test_a_row_of_which_nothing_was_spent_is_opened_again() -> None:
    worklist = Worklist()
    worklist.answered = 1
    worklist.reopen("a", None)
    assert (worklist.answered, worklist.is_answered("a")) == (0, False)


def test_a_recheck_that_is_stopped_changes_nothing() -> None:
    line = b'{"custom_id": "a", "response": null, "error": null}'
    journal = SimpleNamespace(rows=lambda: iter([(0, line)] * 2))
    files: Any = SimpleNamespace(answers=journal, errors=journal)
    check: Any = SimpleNamespace(flaw=lambda _: "bad")
    asyncio.run(rechecks.recheck(files, Worklist(), check, lambda: True))
