"""Batches from Python: what is sent, what the two files hold, what ends a job, and how it goes on."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import MODEL, Clock, Job, body, policy, read, row, rows
from server import CHAT, MODELS, Reply, Server, error
from structlog.testing import capture_logs

import novita_openai
from novita_openai import OpenAI, RetryPolicy, batch
from novita_openai.backoff import Backoff
from novita_openai.batch import BatchInputError, BatchProgress, BatchReport, BatchStopped
from novita_openai.batch.files import ResultFiles
from novita_openai.batch.requests import Source
from novita_openai.batch.streaming import STREAM_BUFFER
from novita_openai.emulator import Emulator, Fault
from novita_openai.errors import Action
from novita_openai.installing import how_to_install
from novita_openai.pacing import MOST_IN_FLIGHT


@pytest.fixture
def scripted(tmp_path: Path, server: Server) -> Job:
    server.lists_apart = True
    return Job(tmp_path, server.base_url)


def posts(server: Emulator) -> list[Any]:
    return [request.json for request in server.requests if request.method == "POST"]


def test_answers_come_in_openais_batch_format(scripted: Job, server: Server) -> None:
    server.script.append(Reply(body=CHAT, headers={"x-request-id": "req_1"}))
    report = scripted.run([row("a")])
    (found,) = read(scripted.results)
    assert found["id"].startswith("batch_req_")
    assert found == {
        "id": found["id"],
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": "req_1", "body": CHAT},
        "error": None,
        "spent": {"requests": 1, "tokens": 5, "dollars": None},
    }
    assert (report.total, report.succeeded, report.failed, report.sent, report.tokens) == (1, 1, 0, 1, 5)
    assert read(scripted.errors) == []


def test_rows_that_fail_for_good_go_to_the_second_file(scripted: Job, server: Server) -> None:
    server.script.append(error(400, "INVALID_REQUEST_BODY", x_request_id="req_2"))
    report = scripted.run([row("b")])
    (found,) = read(scripted.errors)
    assert found["response"]["status_code"] == 400
    assert found["response"]["request_id"] == "req_2"
    assert found["response"]["body"]["reason"] == "INVALID_REQUEST_BODY"
    message = "the INVALID_REQUEST_BODY message"
    assert found["error"] == {"code": "INVALID_REQUEST_BODY", "message": message, "attempts": 1}
    assert (report.succeeded, report.failed, read(scripted.results)) == (0, 1, [])


def test_a_row_without_any_response_has_none(scripted: Job, server: Server) -> None:
    server.always = Reply(fault="reset")
    report = scripted.run([row("c")])
    (found,) = read(scripted.errors)
    assert (found["response"], found["error"]["code"], found["error"]["attempts"]) == (None, "connection_error", 3)
    assert (report.sent, report.retries) == (3, 2)


@pytest.mark.parametrize("reply", [Reply(fault="garbage"), Reply(body=CHAT, cut=20)])
def test_what_is_no_http_is_a_lost_connection(scripted: Job, server: Server, reply: Reply) -> None:
    server.always = reply
    scripted.run([row("a")])
    assert scripted.failures()["a"]["error"]["code"] == "connection_error"
    server.always = None
    assert scripted.run(retry_failed=True).succeeded == 1


def test_the_body_and_nothing_else_is_sent(scripted: Job, server: Server) -> None:
    sent = body("Wie geht's?", top_k=5, enable_thinking=False)
    scripted.run([{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": sent}])
    (request,) = [request for request in server.requests if request.method == "POST"]
    assert (request.path, request.json) == ("/chat/completions", sent)
    assert request.headers["authorization"] == "Bearer sk_test"
    assert request.headers["content-type"] == "application/json"


def test_completions_and_bare_bodies_are_taken(scripted: Job, server: Server) -> None:
    prompt = {"model": MODEL, "prompt": "USER: Hi"}
    scripted.run([{"custom_id": "mine", **body()}, "", prompt, row("c", url="/v1/completions", prompt="x")])
    paths = sorted(request.path for request in server.requests if request.method == "POST")
    assert paths == ["/chat/completions", "/completions", "/completions"]
    assert all("custom_id" not in request.json for request in server.requests if request.method == "POST")
    assert sorted(scripted.answers()) == ["c", "line-3", "mine"]


def test_rows_that_name_no_model_get_the_one_for_all(job: Job, emulator: Emulator) -> None:
    other = "deepseek/deepseek_v3"
    emulator.models = (*emulator.models, other)
    unnamed, null = body(), row("null", model=None)
    del unnamed["model"]
    job.run([unnamed, null, row("named", model=other)], model=MODEL)
    assert sorted(sent["model"] for sent in posts(emulator)) == [other, MODEL, MODEL]


def test_a_gzip_file_is_read_by_its_suffix(job: Job) -> None:
    packed = job.folder / "requests.jsonl.gz"
    packed.write_bytes(gzip.compress(json.dumps(row("a")).encode()))
    assert batch.run(packed, job.results, client=job.client()).succeeded == 1


def test_a_text_file_holds_users_messages(job: Job, emulator: Emulator) -> None:
    text = job.folder / "questions.txt"
    text.write_text("How do I make pasta?\n\nAnd rice?\n")
    batch.run(text, job.results, client=job.client(), model=MODEL, max_tokens=5)
    sent = sorted(posts(emulator), key=str)
    message = {"role": "user", "content": "And rice?"}
    assert sent[0] == {"model": MODEL, "max_tokens": 5, "messages": [message]}
    assert [each.path for each in emulator.requests if each.method == "POST"] == ["/chat/completions"] * 2
    assert sorted(job.answers()) == ["line-1", "line-3"]


def test_raw_lines_are_prompts(job: Job, emulator: Emulator) -> None:
    text = job.folder / "prompts.txt"
    text.write_text("How do I make pasta?\n\nAnd rice?\n")
    batch.run(text, job.results, client=job.client(), model=MODEL, max_tokens=5, raw=True)
    assert sorted(sent["prompt"] for sent in posts(emulator)) == ["And rice?", "How do I make pasta?"]
    assert sorted(job.answers()) == ["line-1", "line-3"]
    with pytest.raises(BatchInputError, match="no model"):
        batch.run(text, job.folder / "other.jsonl", client=job.client())


def test_lines_of_a_text_are_rendered_in_a_format(job: Job, emulator: Emulator) -> None:
    text = job.folder / "prompts.txt"
    text.write_text("How do I make pasta?\n")
    batch.run(text, job.results, client=job.client(), model=MODEL, format="llama-3", max_tokens=5)
    (sent,) = posts(emulator)
    assert "<|start_header_id|>user<|end_header_id|>" in sent["prompt"]
    assert (sent["model"], sent["max_tokens"], "stop" in sent) == (MODEL, 5, True)
    with pytest.raises(ValueError, match="lama-3"):
        batch.run(text, job.results, client=job.client(), model=MODEL, format="lama-3")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "bad JSON"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[]", "a row must be a JSON object, not list"),
        ("{}", "a row must have url and body, or be a body"),
        (row("a", url="/v1/images"), "url must be one of /v1/chat/completions, /v1/completions, /v1/embeddings"),
        (row("a") | {"url": None}, "url must be one of"),
        ({"custom_id": "a", "body": {"model": "m"}}, "with one of messages, prompt and input"),
        (row("a") | {"headers": ["X"]}, "headers must be a JSON object, not list"),
        (
            row("a") | {"headers": {"Authorization": "Bearer x"}},
            "Authorization cannot be set by a row: the client's key",
        ),
        (row("a") | {"headers": {"X Y": "z"}}, "'X Y' is not the name of a header"),
        (row("a") | {"headers": {"X": 7}}, "the header X must be a text of printable ASCII, not 7"),
        (row("a") | {"extra_body": "x"}, "extra_body must be a JSON object, not str"),
        (row("a", extra_body=[]), "extra_body must be a JSON object, not list"),
        (row("a") | {"method": "GET"}, "method must be POST"),
        (row("a") | {"body": []}, "body must be a JSON object"),
        (row("a", model=None), "no model in the body of 'a'"),
        (row("a") | {"custom_id": 7}, "custom_id must be a text that is not empty, not 7"),
        ('{"model": "m", "prompt": "\\ud800"}', "half a character"),
        ('{"model": "m", "prompt": 1e999}', "too large"),
        (row("one"), "custom_id 'one' was given before"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(job: Job, emulator: Emulator, line: Any, problem: str) -> None:
    with pytest.raises(BatchInputError, match="line 2: ") as caught:
        job.run([row("one"), line, row("three")])
    assert problem in str(caught.value)
    assert len(caught.value.errors) == 1
    assert emulator.requests == []
    assert not job.results.exists()
    assert not job.errors.exists()


def test_bad_input_prints_no_results(job: Job, emulator: Emulator, capfd: pytest.CaptureFixture[str]) -> None:
    job.write(["{"])
    with pytest.raises(BatchInputError, match="line 1: bad JSON"):
        batch.run(job.requests, "-", client=job.client())
    assert (capfd.readouterr().out, emulator.requests) == ("", [])


def test_all_input_errors_are_told_at_once(job: Job) -> None:
    with pytest.raises(BatchInputError) as caught:
        job.run(["{"] * 250)
    assert len(caught.value.errors) == 250
    assert str(caught.value).splitlines()[-1] == "and 150 more"
    job.requests.write_bytes(b'{"prompt": "\xff"}')
    with pytest.raises(BatchInputError, match="line 1: not UTF-8: byte 12"):
        job.run()
    job.requests.write_text("\n")
    with pytest.raises(BatchInputError, match="holds no requests"):
        job.run()


def test_a_byte_order_mark_and_line_separators_do_no_harm(job: Job) -> None:
    job.requests.write_text("\ufeff" + json.dumps(row("a\u2028b"), ensure_ascii=False) + "\r\n", encoding="utf-8")
    assert job.run().succeeded == 1
    assert list(job.answers()) == ["a\u2028b"]


def test_a_compressed_file_that_is_none_is_refused(job: Job) -> None:
    for content in (b"plain", gzip.compress(b"{}" * 999)[:-9]):
        packed = job.folder / "requests.gz"
        packed.write_bytes(content)
        with pytest.raises(BatchInputError, match=r"requests\.gz"):
            batch.run(packed, job.results, client=job.client())


def test_a_job_started_again_sends_only_what_is_left(job: Job, emulator: Emulator) -> None:
    job.run(rows(5))
    report = job.run(rows(8))
    assert (report.total, report.succeeded, report.resumed, report.sent) == (8, 8, 5, 3)
    before = job.results.read_bytes()
    assert job.run().sent == 0
    assert job.results.read_bytes() == before
    assert len(posts(emulator)) == 8
    job.assert_complete(f"r{number}" for number in range(8))


def test_a_torn_last_row_is_sent_again(job: Job) -> None:
    job.run(rows(3))
    job.results.write_bytes(job.results.read_bytes()[:-20])
    report = job.run()
    assert (report.resumed, report.sent) == (2, 1)
    job.assert_complete(["r0", "r1", "r2"])


@pytest.mark.parametrize(
    ("line", "problem"), [("{", "bad JSON"), (json.dumps(row("new")), "custom_id 'new' was not in it before")]
)
def test_input_that_changes_while_it_is_run_ends_the_job(job: Job, line: str, problem: str) -> None:
    def change(_: BatchProgress) -> None:
        job.requests.write_text(f"{json.dumps(row('r0'))}\n{line}\n")

    with pytest.raises(BatchInputError, match=f"line 2: the input changed during the run: {problem}"):
        job.run(rows(3), on_progress=change)
    job.assert_complete(["r0"])
    assert job.run(rows(3)).resumed == 1
    job.assert_complete(["r0", "r1", "r2"])


def test_a_row_that_moves_to_the_place_of_another_is_not_sent_twice(job: Job, emulator: Emulator) -> None:
    lines = [f"{json.dumps(each):<20000}" for each in rows(9)]  # longer than what is read ahead of a file

    def move(progress: BatchProgress) -> None:
        if progress.succeeded:
            job.write([lines[0], *lines])

    emulator.latency = 0.1
    with pytest.raises(BatchInputError, match=r"line .: the input changed during the run: another row is there"):
        job.run(lines, concurrency=1, on_progress=move)
    assert job.run(lines).succeeded == 9
    job.assert_complete(f"r{number}" for number in range(9))


def test_a_changed_request_is_not_taken_for_done(job: Job, emulator: Emulator) -> None:
    job.run(rows(2))
    count = len(posts(emulator))
    with pytest.raises(BatchInputError, match="line 2: custom_id 'r1' has a result already, of another request"):
        job.run([row("r0"), row("r1", temperature=1)])
    assert len(posts(emulator)) == count
    assert len(job.answers()) == 2


def test_failed_rows_are_sent_again_only_when_asked(scripted: Job, server: Server) -> None:
    server.script.extend([error(400, "INVALID_REQUEST_BODY")])
    scripted.run([row("a")])
    report = scripted.run()
    assert (report.sent, report.failed, report.resumed) == (0, 1, 1)
    with pytest.raises(BatchInputError, match="or send it again with retry_failed=True"):
        scripted.run([row("a", temperature=0)])
    report = scripted.run(retry_failed=True)
    assert (report.sent, report.failed, report.succeeded) == (1, 0, 1)
    assert (read(scripted.errors), list(scripted.answers())) == ([], ["a"])


def test_a_failure_that_is_answered_leaves_the_errors(job: Job) -> None:
    job.run(rows(2))
    failed = read(job.results)[0] | {"response": None, "error": {}}
    job.errors.write_text(json.dumps(failed) + "\n")
    report = job.run()
    assert (report.succeeded, report.failed, report.sent) == (2, 0, 0)
    assert read(job.errors) == []


def test_results_that_are_none_are_left_alone(job: Job) -> None:
    for content in ("hello\n", '{"custom_id": "a", "id": "other"}\n', "[]\n", '{"id": "batch_req_1"}\n'):
        job.results.write_text(content)
        with pytest.raises(BatchInputError, match="line 1: this is not a row of a batch's results"):
            job.run(rows(1))
        assert job.results.read_text() == content


def test_results_that_hold_a_row_twice_are_refused(job: Job) -> None:
    job.run(rows(1))
    job.results.write_bytes(job.results.read_bytes() * 2)
    with pytest.raises(BatchInputError, match="'r0' twice"):
        job.run()


def test_results_of_rows_that_are_no_more_stay(job: Job) -> None:
    job.run(rows(3))
    report = job.run(rows(2))
    assert (report.total, report.succeeded) == (2, 2)
    assert len(job.answers()) == 3


def test_the_results_cannot_be_the_input(job: Job) -> None:
    job.write(rows(1))
    for results in (job.requests, job.folder / "sub" / ".." / "requests.jsonl"):
        (job.folder / "sub").mkdir(exist_ok=True)
        with pytest.raises(BatchInputError, match="overwrite the input"):
            batch.run(job.requests, results, client=job.client())
    job.requests.rename(job.errors)
    with pytest.raises(BatchInputError, match="overwrite the input"):
        batch.run(job.errors, job.results, client=job.client())
    with pytest.raises(BatchInputError, match=r"without \.gz"):
        batch.run(job.errors, job.folder / "x.gz", client=job.client())


def test_an_input_that_is_missing_is_an_error_of_the_system(job: Job) -> None:
    with pytest.raises(FileNotFoundError):
        job.run()
    job.write(rows(1))
    with pytest.raises(FileNotFoundError):
        batch.run(job.requests, job.folder / "no" / "such" / "results.jsonl", client=job.client())
    job.errors.mkdir()
    with pytest.raises(IsADirectoryError):
        job.run()


def test_a_pipe_is_read_once_and_kept(job: Job) -> None:
    pipe = job.folder / "pipe"
    os.mkfifo(pipe)
    content = "".join(json.dumps(each) + "\n" for each in rows(3))
    threading.Thread(target=pipe.write_text, args=(content,)).start()
    assert batch.run(pipe, job.results, client=job.client()).succeeded == 3


def test_results_can_be_brought_into_the_order_of_the_input(job: Job) -> None:
    assert job.run(rows(1), ordered=True).succeeded == 1
    bad = [row(f"bad{number}", model="no/such") for number in range(5)]
    job.run([*rows(30), *bad])
    for path in (job.results, job.errors):
        backwards = sorted(read(path), key=lambda row: int(row["custom_id"].lstrip("bad r")), reverse=True)
        path.write_text("".join(json.dumps(each) + "\n" for each in backwards))
    report = job.run([*bad[:3], *rows(20)], ordered=True)
    assert report.sent == 0
    assert list(job.failures()) == ["bad0", "bad1", "bad2", "bad4", "bad3"]
    assert list(job.answers()) == [f"r{number}" for number in [*range(20), *reversed(range(20, 30))]]


def test_only_files_without_rows_are_removed_after_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with Source("/dev/null") as source, ResultFiles(path, source) as files:
        files.write(b"{}", succeeded=True)
        files.discard_new()
    assert [each.name for each in tmp_path.iterdir()] == ["results.jsonl"]


@pytest.mark.slow
def test_passing_faults_are_retried(job: Job, emulator: Emulator) -> None:
    emulator.faults = {"MODEL_NOT_AVAILABLE": 0.1, "reset": 0.1}
    report = job.run(rows(100), client=job.client(policy=policy(attempts=8)))
    assert (report.succeeded, report.retries) == (100, report.sent - 100)
    assert report.retries > 0


def test_attempts_are_the_policys_or_the_clients(scripted: Job, server: Server) -> None:
    server.always = error(500, "MODEL_NOT_AVAILABLE")
    with novita_openai.retry.no_wait():
        cases: list[tuple[dict[str, Any], int]] = [
            ({"policy": policy(attempts=5)}, 5),
            ({"policy": policy(attempts=None), "max_retries": 1}, 2),
            ({"policy": policy(attempts=5), "max_retries": 1}, 2),
        ]
        for number, (options, attempts) in enumerate(cases):
            scripted.write([row(f"a{number}")])
            scripted.run(client=scripted.client(**options))
            assert scripted.failures()[f"a{number}"]["error"]["attempts"] == attempts


def test_no_wait_skips_the_waits_of_rows_and_of_models(scripted: Job, server: Server) -> None:
    patient = RetryPolicy(3, backoffs={action: Backoff(60, 60) for action in (Action.WAIT, Action.RETRY)}, budget=None)
    too_fast, down = error(429, "RATE_LIMIT_EXCEEDED", retry_after="60"), error(500, "MODEL_NOT_AVAILABLE")
    server.script.extend([too_fast, down, error(500, "MODEL_NOT_AVAILABLE", retry_after="60")])
    with novita_openai.retry.no_wait():
        report = scripted.run([row("a")], client=scripted.client(policy=patient))
    assert (report.succeeded, report.sent) == (1, 4)
    assert report.elapsed < 60


@pytest.mark.slow
def test_too_fast_uses_up_no_attempt(scripted: Job, server: Server) -> None:
    server.script.extend([error(429, "RATE_LIMIT_EXCEEDED")] * 6)
    report = scripted.run([row("a")], client=scripted.client(policy=policy(attempts=2)))
    assert (report.succeeded, report.sent, report.retries) == (1, 7, 6)


def test_a_pause_that_is_asked_for_holds_all_rows_of_the_model(job: Job, emulator: Emulator) -> None:
    other, clock = "deepseek/deepseek_v3", Clock()
    emulator.models = (*emulator.models, other)

    def end_the_pause(_: Any) -> str:
        clock.ahead = 110
        return "Boil water."

    models = Fault("no_done")  # no fault to a list
    limit = Fault("RATE_LIMIT_EXCEEDED", retry_after=100)
    emulator.script.extend([models, limit, *["Boil water."] * 4, end_the_pause])
    job.write([*rows(3), *(row(f"o{number}", model=other) for number in range(5))])
    report = job.run_on(clock, concurrency=1)
    assert (report.succeeded, report.retries) == (8, 1)
    assert [sent["model"] for sent in posts(emulator)] == [MODEL, *[other] * 5, *[MODEL] * 3]


def test_a_longer_pause_than_the_policy_allows_stops_the_batch(scripted: Job, server: Server) -> None:
    server.always = error(429, "RATE_LIMIT_EXCEEDED", retry_after="3600")
    with pytest.raises(BatchStopped, match="asks to wait 3600 s"):
        scripted.run(rows(3))
    scripted.assert_complete([])


@pytest.mark.parametrize(
    "reply",
    [
        error(401, "INVALID_API_KEY"),
        error(403, "NOT_ENOUGH_BALANCE"),
        Reply(403, {"message": "no word"}),
        Reply(403, "<html>"),
    ],
)
@pytest.mark.slow
def test_what_every_request_would_meet_stops_the_batch(scripted: Job, server: Server, reply: Reply) -> None:
    server.always = reply
    with pytest.raises(BatchStopped, match=r"200 of 200 rows are unfinished: .*start the same again") as caught:
        scripted.run(rows(200), concurrency=8)
    report = caught.value.report
    assert (report.total, report.succeeded, report.failed, report.unfinished) == (200, 0, 0, 200)
    assert report.sent <= 16
    scripted.assert_complete([])
    server.always = None
    assert scripted.run().succeeded == 200


@pytest.mark.slow
def test_credit_that_runs_out_stops_the_batch_and_loses_nothing(job: Job, emulator: Emulator) -> None:
    emulator.credit = {"sk_test": 0.00001}
    with pytest.raises(BatchStopped, match="403 NOT_ENOUGH_BALANCE: The account's credit is used up"):
        job.run(rows(300), concurrency=8)
    assert 0 < len(job.answers()) < 300
    refused = [request for request in emulator.requests if request.status == 403]
    assert 1 <= len(refused) <= 8
    emulator.credit = {"sk_test": None}
    assert job.run().succeeded == 300
    job.assert_complete(f"r{number}" for number in range(300))


def test_a_model_that_is_none_fails_its_rows_unsent(job: Job, emulator: Emulator) -> None:
    requests = [*(row(f"n{number}", model="no/such-model") for number in range(1_200)), *rows(10)]
    report = job.run(requests, concurrency=4)
    assert (report.succeeded, report.failed) == (10, 1_200)
    sent = [sent for sent in posts(emulator) if sent["model"] == "no/such-model"]
    assert 1 <= len(sent) <= 4
    unsent = [row for row in job.failures().values() if row["error"]["attempts"] == 0]
    assert len(unsent) == 1_200 - len(sent)
    assert {(row["response"], row["error"]["code"]) for row in unsent} == {(None, "MODEL_NOT_FOUND")}


def test_a_model_that_is_forbidden_fails_its_rows_unsent(scripted: Job, server: Server) -> None:
    server.always = error(403, "ACCESS_DENY")
    report = scripted.run(rows(50), concurrency=2)
    assert (report.failed, report.unfinished) == (50, 0)
    assert report.sent <= 2


def test_more_failures_than_allowed_stop_the_batch(scripted: Job, server: Server) -> None:
    server.always = error(400, "INVALID_REQUEST_BODY")
    with pytest.raises(BatchStopped, match="max_errors=3") as caught:
        scripted.run(rows(100), max_errors=3, concurrency=2)
    assert 4 <= caught.value.report.failed <= 6
    assert len(scripted.failures()) == caught.value.report.failed


@pytest.mark.slow
def test_a_batch_stops_before_it_costs_more_than_allowed(job: Job) -> None:
    full = job.run(rows(100))
    assert full.cost is not None
    limit = full.cost / 2
    for path in (job.results, job.errors):
        path.unlink()
    with pytest.raises(BatchStopped, match="max_cost is") as caught:
        job.run(max_cost=limit, concurrency=4)
    report = caught.value.report
    assert report.cost is not None
    assert 0.5 * limit < report.cost <= limit
    assert len(job.answers()) == report.succeeded
    assert job.run(max_cost=1.0).succeeded == 100


def test_a_limit_in_dollars_needs_prices(scripted: Job, server: Server) -> None:
    assert MODELS["data"]
    with pytest.raises(BatchInputError, match=f"none for {MODEL}"):
        scripted.run(rows(1), max_cost=1.0)
    assert [request.path for request in server.requests] == ["/models"]


def test_the_cost_is_unknown_without_a_models_list(scripted: Job, server: Server) -> None:
    server.lists_apart = False
    server.script.extend([error(500), Reply(body=CHAT)])
    report = scripted.run(rows(1))
    assert (report.succeeded, report.tokens, report.cost, report.job_cost) == (1, 5, None, None)


def test_an_answer_that_is_none_is_retried(scripted: Job, server: Server) -> None:
    server.script.extend(
        [Reply(body="<html>"), Reply(body={"choices": []}), Reply(body=error(500).body), Reply(204, "")]
    )
    report = scripted.run([row("a")], client=scripted.client(policy=policy(attempts=5)))
    assert (report.succeeded, report.sent) == (1, 5)


def test_answers_are_kept_as_they_came(scripted: Job, server: Server) -> None:
    text = json.dumps(CHAT, indent=2).replace("Boil water.", "Boil\u2028water. é").encode()
    server.script.append(Reply(body=text))
    scripted.run([row("a")])
    assert text.replace(b"\n", b" ") in scripted.results.read_bytes()


def test_answers_that_are_no_strict_json_are_written_anew(scripted: Job, server: Server) -> None:
    odd = [json.dumps(CHAT | {"x": float("nan")}), json.dumps(CHAT).encode("utf-16")]
    server.script.extend(Reply(body=body) for body in odd)
    assert scripted.run(rows(2)).succeeded == 2
    bodies = [answer["response"]["body"] for answer in scripted.answers().values()]
    assert sorted(bodies, key=len) == [CHAT, CHAT | {"x": None}]


def test_the_key_is_in_no_row_and_no_message(scripted: Job, server: Server) -> None:
    reply = {"reason": "INVALID_REQUEST_BODY", "message": "bad key sk_test", "metadata": {"sent": "Bearer sk_test"}}
    server.script.extend([Reply(400, reply), Reply(400, "no JSON, sk_test")])
    scripted.run(rows(2))
    assert "sk_test" not in scripted.errors.read_text()
    assert "bad key ***" in scripted.errors.read_text()


def test_two_runs_on_one_output_are_refused(job: Job, emulator: Emulator) -> None:
    emulator.latency = 0.3
    job.write(rows(2))

    async def both() -> list[Any]:
        options: Any = {"client": job.client()}
        runs = [batch.arun(job.requests, job.results, **options) for _ in range(2)]
        return await asyncio.gather(*runs, return_exceptions=True)

    first, second = asyncio.run(both())
    assert isinstance(first, BatchReport)
    assert isinstance(second, OSError)
    assert "another process" in str(second)
    job.assert_complete(["r0", "r1"])


def test_run_inside_a_running_loop_says_what_to_use(job: Job) -> None:
    async def inside() -> None:
        job.run(rows(1))

    with pytest.raises(RuntimeError, match=r"await batch\.arun"):
        asyncio.run(inside())


def test_progress_is_told(job: Job, emulator: Emulator) -> None:
    seen: list[BatchProgress] = []
    all_sent = threading.Event()

    def answer(_: Any) -> str:
        assert all_sent.wait(60)
        return "Boil water."

    def watch(progress: BatchProgress) -> None:
        seen.append(progress)
        if progress.in_flight == 3:
            all_sent.set()

    emulator.script.append(answer)
    report = job.run(rows(3), concurrency=3, on_progress=watch)
    assert (seen[0].total, seen[0].succeeded) == (3, 0)
    assert (seen[-1].succeeded, seen[-1].in_flight, seen[-1].errors) == (3, 0, {})
    assert seen[-1].cost == report.cost is not None


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0},
        {"concurrency": 10_000_000},
        {"concurrency": True},
        {"rpm": 0},
        {"tpm": -1},
        {"max_errors": -1},
        {"max_cost": float("nan")},
        {"timeout": 0},
        {"row_timeout": "10"},
        {"max_wait": -1},
        {"drain": -0.5},
        {"attempts": 0},
        {"attempts": 1.5},
    ],
)
def test_limits_that_cannot_be_are_refused(job: Job, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))}="):
        job.run(rows(1), **options)


def test_a_client_of_another_kind_is_refused(job: Job) -> None:
    with pytest.raises(TypeError, match="create_async_client"):
        job.run(rows(1), client=OpenAI(api_key="x"))


def test_without_a_client_the_environment_counts(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOVITA_API_KEY", "sk_test")
    monkeypatch.setenv("NOVITA_BASE_URL", job.base_url)
    assert job.run(rows(2), client=None).succeeded == 2
    monkeypatch.delenv("NOVITA_API_KEY")
    with pytest.raises(novita_openai.MissingAPIKeyError):
        job.run(client=None)


def test_without_aiohttp_a_batch_runs_and_says_what_to_install(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(**_: Any) -> None:
        raise RuntimeError("install aiohttp")

    monkeypatch.setattr("openai.DefaultAioHttpClient", missing)
    with capture_logs() as logs:
        assert job.run(rows(20)).succeeded == 20
        assert job.run(rows(21), concurrency=2).succeeded == 21
    hint = how_to_install("fast")
    assert logs == [{"event": "batch.slow_transport", "hint": hint, "log_level": "warning"}] * 2


@pytest.mark.slow
def test_requests_a_minute_are_a_hard_limit(job: Job) -> None:
    report = job.run(rows(11), rpm=600)
    assert (report.succeeded, report.retries) == (11, 0)
    assert report.elapsed >= 0.9


@pytest.mark.slow
def test_tokens_a_minute_are_a_hard_limit(job: Job, emulator: Emulator) -> None:
    emulator.tpm = 60_000
    report = job.run(rows(30), tpm=6_000)
    assert report.retries == 0
    assert report.elapsed >= 2


def take(results: batch.stream, into: list[dict[str, Any]]) -> None:
    """Take results one by one, so that those before an error are known."""
    for result in results:
        into.append(result)  # noqa: PERF402


def test_an_estimate_sends_nothing(job: Job, emulator: Emulator) -> None:
    job.write([*rows(3), row("x", max_tokens=None)])
    estimate = batch.estimate(job.requests, client=job.client())
    assert (estimate.total, estimate.models, estimate.answer_tokens, estimate.unbounded) == (4, (MODEL,), 24, 1)
    assert estimate.prompt_tokens > 0
    assert estimate.cost is not None
    assert posts(emulator) == []
    assert batch.estimate(job.requests).cost is None


@pytest.mark.parametrize("kind", ["for", "async for"])
def test_a_stream_yields_results_as_they_come(job: Job, kind: str) -> None:
    requests = [*rows(3), {"custom_id": "bare", **body()}, row("bad", model="no/such")]
    stream = batch.stream(iter(requests), client=job.client())

    async def collect() -> list[dict[str, Any]]:
        return [result async for result in stream]

    results = list(stream) if kind == "for" else asyncio.run(collect())
    assert sorted(result["custom_id"] for result in results) == ["bad", "bare", "r0", "r1", "r2"]
    assert {result["custom_id"] for result in results if result["error"]} == {"bad"}


def test_a_stream_takes_requests_as_they_are_needed(job: Job) -> None:
    taken: list[int] = []

    def endless() -> Iterator[dict[str, Any]]:
        number = 0
        while True:
            taken.append(number)
            yield row(f"r{number}")
            number += 1

    results = iter(batch.stream(endless(), client=job.client(), concurrency=4))
    for _ in range(5):
        assert next(results)["error"] is None
    results.close()  # type: ignore[attr-defined]
    assert len(taken) < 5_000


@pytest.mark.parametrize("bad", [row("r0"), {}, row("x", extra_body=7)])
def test_a_stream_ends_at_a_row_that_is_none(job: Job, bad: dict[str, Any]) -> None:
    results: list[dict[str, Any]] = []
    with pytest.raises(BatchInputError, match="request 4: "):
        take(batch.stream([*rows(3), bad, row("never")], client=job.client()), results)
    assert len(results) == 3


@pytest.mark.parametrize("kind", ["for", "async for"])
def test_what_a_programs_requests_raise_ends_a_stream(job: Job, kind: str) -> None:
    def requests() -> Iterator[dict[str, Any]]:
        yield row("r0")
        raise ZeroDivisionError

    stream = batch.stream(requests(), client=job.client())

    async def collect() -> list[dict[str, Any]]:
        return [result async for result in stream]

    with pytest.raises(ZeroDivisionError):
        _ = list(stream) if kind == "for" else asyncio.run(collect())


@pytest.mark.slow
def test_a_stream_rests_while_a_program_is_behind(job: Job, emulator: Emulator) -> None:
    clock = Clock()

    async def slow() -> int:
        results = aiter(batch.stream(rows(2_500), client=job.client()))
        await anext(results)
        before, sent = 0, emulator.request_count
        while sent < 1_000 or sent > before:
            await asyncio.sleep(0.5)
            before, sent = sent, emulator.request_count
        assert sent <= 1 + STREAM_BUFFER + MOST_IN_FLIGHT
        rests = clock.selector.rests
        await asyncio.sleep(0.01)
        assert clock.selector.rests > rests
        return 1 + len([result async for result in results])

    with asyncio.Runner(loop_factory=lambda: clock) as runner:
        assert runner.run(slow()) == 2_500


def test_a_stream_stops_as_a_batch_does(scripted: Job, server: Server) -> None:
    server.always = error(401, "INVALID_API_KEY")
    with pytest.raises(BatchStopped, match="401 INVALID_API_KEY"):
        list(batch.stream(rows(5), client=scripted.client()))


def test_a_stream_can_have_a_limit_in_dollars(job: Job) -> None:
    results: list[dict[str, Any]] = []
    with pytest.raises(BatchStopped, match="max_cost") as caught:
        take(batch.stream(rows(500), client=job.client(), max_cost=0.00001, concurrency=2), results)
    assert 0 < len(results) < 500
    assert caught.value.report.succeeded == len(results)
