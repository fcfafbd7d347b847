"""How a program reads the results of a batch: both files, each row once, as much of it as there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import MODEL, Job, row
from server import CHAT, EMBEDDINGS, Reply, Server, error

from novita_openai import batch
from novita_openai.batch import BatchInputError, BatchResult
from novita_openai.emulator import Emulator


def result(body: Any = None, **fields: Any) -> dict[str, Any]:
    response = None if body is None else {"status_code": 200, "request_id": None, "body": body}
    return {"id": "batch_req_0", "custom_id": "a", "response": response, "error": None} | fields


def write(path: Path, *rows: dict[str, Any], tail: str = "") -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows) + tail)
    return path


def test_results_come_from_both_files(job: Job, emulator: Emulator) -> None:
    emulator.script.extend(['{"dish": "pasta"}'] * 2)
    job.run(
        [row("a", max_tokens=50) | {"metadata": {"k": 1}}, row("b", n=2, max_tokens=50), row("bad", model="no/such")],
        concurrency=1,
    )
    found = {each.custom_id: each for each in batch.results(job.results)}
    assert sorted(found) == ["a", "b", "bad"]
    good, several, bad = found["a"], found["b"], found["bad"]
    assert good.row == job.answers()["a"]
    assert (good.text, good.finish_reason, good.error) == ('{"dish": "pasta"}', "stop", None)
    assert (good.parsed, good.metadata) == ({"dish": "pasta"}, {"k": 1})
    assert good.usage
    assert good.body
    assert good.usage["total_tokens"] == good.body["usage"]["total_tokens"] > 0
    assert good.body["model"] == MODEL
    assert (good.cost or 0) > 0
    assert several.texts == ['{"dish": "pasta"}'] * 2
    assert bad.error
    assert bad.error["code"] == "MODEL_NOT_FOUND"
    assert (bad.text, bad.texts, bad.finish_reason, bad.usage, bad.parsed, bad.metadata) == (
        None,
        [],
        None,
        None,
        None,
        None,
    )


def test_embeddings_are_in_the_body(tmp_path: Path, server: Server) -> None:
    job = Job(tmp_path, server.base_url)
    job.run([{"custom_id": "a", "body": {"model": "m", "input": "x"}}])
    (found,) = batch.results(str(job.results))
    assert (found.body, found.texts, found.usage) == (EMBEDDINGS, [], EMBEDDINGS["usage"])


@pytest.mark.parametrize(
    ("choices", "texts"),
    [
        ([{"index": 1, "text": "b"}, {"index": 0, "text": "a"}], ["a", "b"]),
        ([{"message": {"content": "a"}}, {"message": {"content": None, "tool_calls": []}}], ["a", None]),
        ([{"message": None}], [None]),
        ("no list", []),
    ],
)
def test_texts_are_those_of_the_choices_by_index(choices: Any, texts: list[str | None]) -> None:
    found = BatchResult(result({"choices": choices}))
    assert found.texts == texts
    assert found.text == (texts[0] if texts else None)


@pytest.mark.parametrize(("text", "parsed"), [("[1]", [1]), ("no JSON", None), ("NaN", None), (None, None)])
def test_json_in_a_text_is_parsed(text: str | None, parsed: Any) -> None:
    assert BatchResult(result({"choices": [{"message": {"content": text}}]})).parsed == parsed


def test_rows_of_version_0_1_0_have_no_cost() -> None:
    assert BatchResult(result(CHAT)).cost is None
    assert BatchResult(result(CHAT, spent={"requests": 1, "tokens": 3, "dollars": None})).cost is None


def test_each_row_comes_once_and_a_line_that_is_being_written_not_yet(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", result(CHAT), result(CHAT, custom_id="b"), tail='{"id": "batch_req')
    write(tmp_path / "r.errors.jsonl", *[result(error={"code": "X"}), result(error={}, custom_id="c")] * 2)
    assert [each.custom_id for each in batch.results(path)] == ["a", "b", "c"]
    (tmp_path / "r.errors.jsonl").unlink()
    assert [each.custom_id for each in batch.results(path)] == ["a", "b"]


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"custom_id": 7}'])
def test_a_line_that_is_no_result_is_named(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "r.jsonl", result(CHAT), tail=f"{line}\n")
    with pytest.raises(BatchInputError, match=r"r\.jsonl, line 2: "):
        list(batch.results(path))


def test_results_that_are_missing_are_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(batch.results(tmp_path / "none.jsonl"))


def test_a_refused_answer_keeps_its_body(tmp_path: Path, server: Server) -> None:
    job = Job(tmp_path, server.base_url)
    server.always = error(400, "INVALID_REQUEST_BODY")
    job.run([row("a")])
    (found,) = batch.results(job.results)
    assert found.body
    assert found.body["reason"] == "INVALID_REQUEST_BODY"
    server.always = Reply(400, "<html>")
    job.run([row("a")], retry_failed=True)
    assert next(batch.results(job.results)).body is None
