"""How far a job is, what it came to, and what programs read of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import PROGRAM, Job, environment, row, rows, start, until
from server import CHAT, Reply, Request, Server, error

from novita_openai import batch
from novita_openai.batch import BatchStopped
from novita_openai.batch.explanations import explained
from novita_openai.cli.reports import described_status
from novita_openai.emulator import Emulator


@pytest.fixture
def scripted(tmp_path: Path, server: Server) -> Job:
    return Job(tmp_path, server.base_url)


def run(job: Job, *options: str) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, str(job.requests), "-o", str(job.results), *options]
    return subprocess.run(command, env=environment(job), capture_output=True, text=True, timeout=120, check=False)


def bad_rows(request: Request) -> Reply | None:
    choice = CHAT["choices"][0]  # type: ignore[index]
    cut = Reply(body=CHAT | {"choices": [choice | {"finish_reason": "length"}]})
    replies = {"r1": error(422, "TOO_LONG"), "r2": cut, "r3": error(400, "INVALID_REQUEST_BODY")}
    return next((reply for name, reply in replies.items() if f'"{name}"' in request.body.decode()), None)


def test_the_end_of_a_job_names_what_failed_and_the_way_out(scripted: Job, server: Server) -> None:
    server.answer = bad_rows
    scripted.write([*rows(6), row("b", model="other")])
    done = run(scripted)
    assert done.returncode == 1
    lines = [line.removeprefix("novita-openai: ") for line in done.stderr.splitlines()]
    assert f"5 of 7 rows succeeded, 2 failed ({scripted.errors})" in done.stderr
    assert "1 failed with TOO_LONG, such as r1: the TOO_LONG message" in lines
    assert "when that is put right: --retry-failed sends the failed rows again" in lines
    assert any(
        line.startswith("1 failed with INVALID_REQUEST_BODY, such as r3: the INVALID_REQUEST_BODY message")
        for line in lines
    )
    assert "1 answer ended with length: cut at its max_tokens, or at the model's longest answer" in lines
    assert "other: 1 row, 5 tokens, 1 answer of unknown cost" in lines
    again = json.loads(run(scripted, "--json", "-q").stdout)
    assert again["errors"] == {"TOO_LONG": 1, "INVALID_REQUEST_BODY": 1}
    assert again["examples"] == {"TOO_LONG": "r1", "INVALID_REQUEST_BODY": "r3"}
    assert again["said"]["TOO_LONG"] == "the TOO_LONG message"


def test_programs_read_lines_of_json(scripted: Job, server: Server) -> None:
    server.answer = bad_rows
    scripted.write(rows(5))
    done = run(scripted, "--log-json", "--json")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    failures = [(each["status"], each["reason"]) for each in events if each["event"] == "batch.failure"]
    assert sorted(failures) == [(400, "INVALID_REQUEST_BODY"), (422, "TOO_LONG")]
    done_event = events[-1]
    assert done_event["event"] == "batch.done"
    assert (done_event["exit_code"], done_event["total"], done_event["failed"], done_event["stopped"]) == (
        1,
        5,
        2,
        None,
    )
    assert (done_event["unfinished"], done_event["cost"], done_event["unpriced"]) == (0, None, 3)
    report = json.loads(done.stdout)
    assert (report["finish_reasons"], report["stopped"]) == ({"stop": 2, "length": 1}, None)
    assert report["models"]["meta-llama/llama-3.1-8b-instruct"]["rows"] == 5


def test_a_status_sends_nothing_and_changes_nothing(job: Job, emulator: Emulator) -> None:
    job.write([*rows(3), row("bad", model="no/such")])
    assert (run(job, "--status").stdout, job.results.exists()) == (
        "0 of 4 rows succeeded, 0 failed, 4 to do\nspent on finished rows: 0 requests, 0 tokens, $0.0000\n",
        False,
    )
    job.run()
    before = len(emulator.requests), job.results.read_bytes()
    status = json.loads(run(job, "--status", "--json").stdout)
    assert (status["succeeded"], status["failed"], status["unfinished"]) == (3, 1, 0)
    assert status["errors"] == {"MODEL_NOT_FOUND": 1}
    assert status["requests"] >= 4
    assert (len(emulator.requests), job.results.read_bytes()) == before
    told = run(job, "--status").stdout
    assert "failed rows: 1 x MODEL_NOT_FOUND" in told


def test_a_job_that_runs_can_be_asked_for_its_status(job: Job, emulator: Emulator) -> None:
    emulator.latency = 0.1
    job.write(rows(500))
    running = start(job, job.requests, "-o", job.results, "-q")
    try:
        until(lambda: job.results.exists() and job.results.stat().st_size > 0)
        status = batch.status(job.requests, job.results)
        assert 0 < status.succeeded < status.total == 500
    finally:
        running.kill()
        running.communicate()


def test_a_table_has_a_status_too(job: Job) -> None:
    table = job.folder / "table.csv"
    table.write_text("text\none\ntwo\n", encoding="utf-8")
    options: Any = {"prompt": "Say: {text}", "model": "meta-llama/llama-3.1-8b-instruct"}
    assert batch.status(table, job.folder / "answers.csv", **options).unfinished == 2
    batch.run(table, job.folder / "answers.csv", client=job.client(), **options)
    assert batch.status(table, job.folder / "answers.csv", **options).succeeded == 2


def test_what_the_service_has_of_a_job_is_told(job: Job, emulator: Emulator) -> None:
    emulator.batch_seconds = 60.0
    job.run(rows(2), via="batch-api", detach=True)
    parts = batch.status(job.requests, job.results).at_service
    assert len(parts) == 1
    assert parts[0].startswith("created: batch ")
    (job.folder / "results.batches.jsonl").write_text('{"step": "odd"}\n', encoding="utf-8")
    with pytest.raises(batch.BatchInputError, match="this is no record of a batch"):
        batch.status(job.requests, job.results)


def test_prices_that_may_come_later_stop_a_job_with_a_limit(scripted: Job, server: Server) -> None:
    server.always = error(503, "SERVICE_NOT_AVAILABLE")
    with pytest.raises(BatchStopped, match="max_cost needs prices, and the models list cannot be read") as caught:
        scripted.run(rows(2), max_cost=1.0)
    assert (caught.value.needs_change, caught.value.report.unfinished) == (False, 2)
    assert not scripted.results.exists()


def test_the_example_of_a_reason_is_a_row_that_still_fails(scripted: Job, server: Server) -> None:
    server.answer = lambda request: Reply(body=CHAT) if b"messages" in request.body else None
    job = scripted
    job.run(rows(2), validate=lambda _: "not good", validate_attempts=0, concurrency=1)
    report = job.run(validate=lambda result: None if result.custom_id == "r0" else "bad", validate_attempts=0)
    assert (report.succeeded, report.failed) == (1, 1)
    assert (report.examples, report.said) == ({"validation_failed": "r1"}, {"validation_failed": "not good"})


def test_a_row_that_left_the_input_is_no_example(scripted: Job, server: Server) -> None:
    server.answer = lambda request: error(422, "TOO_LONG") if b"messages" in request.body else None
    assert scripted.run(rows(3), concurrency=1).examples == {"TOO_LONG": "r0"}
    assert scripted.run(rows(3)[1:]).examples == {"TOO_LONG": "r1"}


def test_the_first_failure_of_each_reason_is_told_with_what_it_means(scripted: Job, server: Server) -> None:
    server.answer = bad_rows
    scripted.write(rows(4))
    lines = [line.removeprefix("novita-openai: ") for line in run(scripted).stderr.splitlines()]
    host = scripted.base_url.split("/")[2]
    assert f"422 TOO_LONG ({host})" in lines
    meaning = "The model does not take this request. Models: https://novita.ai/llm-api or 'novita-openai models'"
    assert f"400 INVALID_REQUEST_BODY ({host}): {meaning}" in lines


def test_own_codes_are_explained() -> None:
    assert "row_timeout" in explained("row_timeout")
    assert explained("RATE_LIMIT_EXCEEDED").startswith("Too many requests a minute.")
    assert explained("a word of somebody") == ""


def test_what_the_service_has_is_in_the_lines_of_a_status() -> None:
    status = batch.BatchStatus(total=2, succeeded=0, failed=0, at_service=("created: batch b (2 rows of m)",))
    assert list(described_status(status))[-1] == "at the service: created: batch b (2 rows of m)"
