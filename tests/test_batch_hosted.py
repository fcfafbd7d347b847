"""Batches that the service's own fleet runs: the same files and reports, and nothing twice that the service shows."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import MODEL, Job, read, row, rows, start, until
from structlog.testing import capture_logs

from novita_openai import batch
from novita_openai.backoff import no_wait
from novita_openai.emulator import Emulator, Fault, Model

OTHER = "qwen/qwen3-30b-a3b-fp8"
HOSTED: dict[str, Any] = {"via": "batch-api", "poll": 0.02}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(keys={"sk_test": None}, batch_seconds=0.05) as running:
        yield running


@pytest.fixture
def ledger(job: Job) -> Path:
    return job.folder / "results.batches.jsonl"


def steps(ledger: Path) -> list[str]:
    return [record["step"] for record in read(ledger)]


def created(emulator: Emulator) -> int:
    return len(emulator.batches)


def sent_online(emulator: Emulator) -> int:
    return sum(request.path.endswith("completions") for request in emulator.requests)


def test_a_job_runs_at_the_service_with_the_same_files_and_report(job: Job, emulator: Emulator, ledger: Path) -> None:
    report = job.run([*rows(20), row("bad", temperature=9)], **HOSTED)
    assert (report.total, report.succeeded, report.failed, report.unfinished, report.sent) == (21, 20, 1, 0, 21)
    assert report.cost is not None
    assert report.cost_is_estimate
    assert report.errors == {"INVALID_REQUEST_BODY": 1}
    assert (report.finish_reasons, report.models[MODEL].rows) == ({"length": 20}, 21)
    job.assert_complete([*(f"r{number}" for number in range(20)), "bad"])
    answer = job.answers()["r0"]
    assert answer["response"]["status_code"] == 200
    assert answer["spent"]["estimate"] is True
    failed = job.failures()["bad"]
    assert (failed["error"]["code"], failed["error"]["attempts"]) == ("INVALID_REQUEST_BODY", 1)
    assert failed["response"]["status_code"] == 400
    assert steps(ledger) == ["planned", "uploaded", "creating", "created", "collecting", "collected", "cleaned"]
    assert emulator.files == {}
    assert sent_online(emulator) == 0


def test_answers_are_those_of_an_online_run_at_half_the_price(job: Job, tmp_path: Path) -> None:
    hosted = job.run(rows(5), **HOSTED)
    other = tmp_path / "online.jsonl"
    online = batch.run(job.requests, other, client=job.client())
    bodies = {each["custom_id"]: each["response"]["body"] for each in read(other)}
    assert {name: each["response"]["body"] for name, each in job.answers().items()} == bodies
    assert hosted.tokens == online.tokens
    assert hosted.cost == pytest.approx((online.cost or 0) / 2)
    assert not online.cost_is_estimate
    estimates = [batch.estimate(job.requests, client=job.client(), via=via) for via in ("batch-api", "online")]
    assert estimates[0].cost == pytest.approx((estimates[1].cost or 0) / 2)


def test_rows_of_all_forms_go_in_parts_of_a_model_and_an_endpoint(job: Job, emulator: Emulator) -> None:
    given = [
        row("chat"),
        {"body": {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 3}},
        {"model": OTHER, "prompt": "Water", "max_tokens": 3},
        {"custom_id": "own", "model": OTHER, "messages": [{"role": "user", "content": "é"}], "max_tokens": 3},
        {**row("stream"), "metadata": {"place": 5}},
    ]
    report = job.run(given, **HOSTED)
    assert report.succeeded == 5
    answers = job.answers()
    assert answers.keys() == {"chat", "line-2", "line-3", "own", "stream"}
    assert answers["stream"]["metadata"] == {"place": 5}
    assert answers["line-2"]["response"]["body"]["usage"]["completion_tokens"] == 3
    asked = [json.loads(each.body) for each in emulator.requests if (each.method, each.path) == ("POST", "/batches")]
    assert sorted(each["endpoint"] for each in asked) == ["/v1/chat/completions"] * 2 + ["/v1/completions"]
    assert {each["completion_window"] for each in asked} == {"48h"}


def test_parts_hold_no_more_rows_and_bytes_than_the_service_takes(
    job: Job, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from novita_openai.batch.hosted import drafts

    monkeypatch.setattr(drafts, "MOST_ROWS", 4)
    assert job.run(rows(9), **HOSTED).succeeded == 9
    assert sorted(len(each.rows) for each in emulator.batches.values()) == [1, 4, 4]
    monkeypatch.setattr(drafts, "MOST_BYTES", 300)
    assert job.run(rows(12), **HOSTED).succeeded == 12
    assert created(emulator) == 6


@pytest.mark.parametrize("case", ["lower", "upper"])
def test_a_start_waits_for_what_another_has_submitted(job: Job, emulator: Emulator, case: Any) -> None:
    emulator.batch_status_case, emulator.batch_seconds = case, 0.6
    report = job.run(rows(5), **HOSTED, detach=True)
    assert (report.unfinished, report.sent, report.interrupted) == (5, 5, False)
    assert (report.stopped or "").startswith("submitted: 5 rows")
    with pytest.raises(batch.BatchStopped, match="5 rows wait at the service") as stopped:
        job.run()
    assert not stopped.value.needs_change
    assert (stopped.value.report.unfinished, sent_online(emulator)) == (5, 0)
    job.write([*rows(5), row("new")])
    with pytest.raises(batch.BatchStopped, match="5 rows wait"):
        job.run()
    assert ([*job.answers()], sent_online(emulator)) == (["new"], 1)
    report = job.run(**HOSTED)
    assert (report.succeeded, report.resumed, report.sent, created(emulator)) == (6, 1, 0, 1)


def test_an_online_start_first_collects_what_has_ended(job: Job, emulator: Emulator) -> None:
    job.run(rows(3), **HOSTED, detach=True)
    time.sleep(0.1)
    report = job.run([*rows(3), row("new")])
    assert (report.succeeded, report.resumed, report.sent, sent_online(emulator)) == (4, 0, 1, 1)
    assert report.cost == pytest.approx(report.job_cost)
    assert report.cost_is_estimate
    assert job.run().resumed == 4
    assert emulator.files == {}


def test_models_that_the_batch_api_does_not_run_are_refused_by_name(job: Job, emulator: Emulator, ledger: Path) -> None:
    emulator.models = [Model(MODEL, endpoints=("chat/completions",)), OTHER]
    with pytest.raises(batch.BatchInputError, match=f"{MODEL}.*'batch-api'.*online.*{OTHER}"):
        job.run(rows(2), **HOSTED)
    with pytest.raises(batch.BatchInputError, match="'none' is not in the models list"):
        job.run([row("a", model="none")], **HOSTED)
    with pytest.raises(batch.BatchInputError, match="embeddings"):
        job.run([{"model": OTHER, "input": "a"}], **HOSTED)
    assert (created(emulator), emulator.files, ledger.exists(), job.results.exists()) == (0, {}, False, False)
    assert batch.estimate(job.requests, client=job.client(), via="batch-api").problems


def test_a_part_that_the_service_fails_leaves_its_rows_and_says_why(job: Job, emulator: Emulator, ledger: Path) -> None:
    job.write(rows(2))
    job.run(via="batch-api", detach=True)
    next(iter(emulator.batches.values())).problem = "line 2 is no request"
    with pytest.raises(batch.BatchStopped, match=r"the service refuses batch .*: line 2 is no request") as stopped:
        job.run(**HOSTED)
    assert (stopped.value.needs_change, stopped.value.report.unfinished) == (True, 2)
    assert steps(ledger)[-2:] == ["refused", "cleaned"]
    assert emulator.files == {}
    assert job.run(**HOSTED).succeeded == 2


@pytest.mark.parametrize("of", ["POST /files", "POST /batches"])
def test_what_the_service_refuses_at_once_ends_with_its_text(job: Job, emulator: Emulator, of: str) -> None:
    emulator.script.append(Fault("INVALID_REQUEST_BODY", message="no such thing", of=of))
    with pytest.raises(batch.BatchStopped, match="no such thing") as stopped:
        job.run(rows(2), **HOSTED)
    assert (stopped.value.needs_change, created(emulator), emulator.files) == (True, 0, {})
    assert job.run(**HOSTED).succeeded == 2


@pytest.mark.parametrize("of", ["POST /files", "POST /batches"])
@pytest.mark.parametrize("kind", ["RATE_LIMIT_EXCEEDED", "MODEL_NOT_AVAILABLE"])
def test_what_was_not_taken_is_asked_for_again(job: Job, emulator: Emulator, of: str, kind: str) -> None:
    emulator.script.extend([Fault(kind, of=of)] * 3)
    with no_wait():
        assert job.run(rows(2), **HOSTED).succeeded == 2
    assert (created(emulator), emulator.files) == (1, {})


@pytest.mark.parametrize(("kind", "code"), [("FAILED_TO_AUTH", True), ("NOT_ENOUGH_BALANCE", False)])
@pytest.mark.parametrize("of", ["POST /files", "POST /batches", "GET /batches/*"])
def test_a_key_or_credit_that_is_refused_stops_the_job(
    job: Job, emulator: Emulator, kind: str, code: bool, of: str
) -> None:
    emulator.script.append(Fault(kind, of=of))
    with pytest.raises(batch.BatchStopped, match=kind) as stopped:
        job.run(rows(2), **HOSTED)
    assert (stopped.value.needs_change, stopped.value.report.unfinished) == (code, 2)
    assert job.run(**HOSTED).succeeded == 2
    assert created(emulator) == 1


@pytest.mark.parametrize("kind", ["late_gateway_timeout", "reset", "close"])
def test_a_create_that_was_lost_is_found_in_the_list(job: Job, emulator: Emulator, kind: str) -> None:
    emulator.script.append(Fault(kind, of="POST /batches"))
    emulator.batch_list_delay = 0.5
    with capture_logs() as logs:
        report = job.run(rows(3), **HOSTED)
    assert (report.succeeded, created(emulator)) == (3, 1)
    assert [each["event"] for each in logs] == ["batch.unknown_part"]


def test_an_upload_that_was_lost_is_found_in_the_list(job: Job, emulator: Emulator) -> None:
    emulator.script.append(Fault("late_gateway_timeout", of="POST /files"))
    assert job.run(rows(3), **HOSTED).succeeded == 3
    uploads = [each for each in emulator.requests if (each.method, each.path) == ("POST", "/files")]
    assert (len(uploads), created(emulator)) == (1, 1)


def test_a_create_of_which_nobody_knows_waits_until_it_is_to_be_created_again(
    job: Job, emulator: Emulator, ledger: Path
) -> None:
    emulator.script.append(Fault("gateway_timeout", of="POST /batches"))
    with no_wait(), pytest.raises(batch.BatchStopped, match="nobody knows whether the service made a batch") as stopped:
        job.run(rows(3), **HOSTED)
    assert (stopped.value.needs_change, created(emulator), len(emulator.files)) == (False, 0, 1)
    looks = [each for each in emulator.requests if (each.method, each.path) == ("GET", "/batches")]
    assert len(looks) > 20
    with pytest.raises(batch.BatchStopped, match="3 rows wait at the service"):
        job.run()
    with no_wait(), pytest.raises(batch.BatchStopped, match="nobody knows"):
        job.run(**HOSTED)
    with no_wait():
        report = job.run(**HOSTED, create_again=True)
    assert (report.succeeded, created(emulator), sent_online(emulator), emulator.files) == (3, 1, 0, {})
    order = [each.method for each in emulator.requests if each.path.startswith("/files") and each.method != "GET"]
    assert order[:3] == ["POST", "DELETE", "POST"]
    assert "dropped" in steps(ledger)


def test_a_batch_that_was_found_late_is_not_created_again(job: Job, emulator: Emulator) -> None:
    emulator.batch_list_delay = 1_000.0
    emulator.script.append(Fault("late_gateway_timeout", of="POST /batches"))
    with no_wait(), pytest.raises(batch.BatchStopped, match="nobody knows"):
        job.run(rows(3), **HOSTED)
    emulator.batch_list_delay = 0.0
    assert job.run(**HOSTED, create_again=True).succeeded == 3
    assert created(emulator) == 1


def test_a_batch_that_expires_leaves_rows_to_the_next_start(job: Job, emulator: Emulator) -> None:
    emulator.clock, emulator.batch_seconds = 1_000_000.0, 4 * 86_400.0
    with pytest.raises(
        batch.BatchStopped, match=r"of batch .*, \d+ rows? ha(s|ve) no result: start the same"
    ) as stopped:
        job.run(rows(10), **HOSTED)
    assert 0 < stopped.value.report.succeeded < 10
    assert not stopped.value.needs_change
    emulator.batch_seconds = 1_000.0
    report = job.run()
    assert report.succeeded == 10
    assert sent_online(emulator) == report.sent == 10 - stopped.value.report.succeeded


def test_cancelling_where_the_service_has_nothing_says_so(job: Job) -> None:
    assert job.run(rows(2), **HOSTED).stopped is None
    for more in ({}, {"via": "batch-api"}):
        report = job.run(**more, cancel=True)
        assert (report.succeeded, report.unfinished, report.stopped) == (
            2,
            0,
            "there was nothing to cancel: the service has no rows of this job",
        )


def test_cancelling_a_job_that_the_service_never_had_leaves_no_file(job: Job) -> None:
    assert job.run(rows(2)).succeeded == 2
    assert job.run(cancel=True).stopped == "there was nothing to cancel: the service has no rows of this job"
    assert sorted(path.name for path in job.folder.glob("results*")) == ["results.errors.jsonl", "results.jsonl"]


def test_what_is_run_online_after_the_batch_api_is_no_estimate(job: Job) -> None:
    report = job.run(rows(2), **HOSTED)
    assert (report.cost_is_estimate, report.job_cost_is_estimate) == (True, True)
    report = job.run(rows(3))
    assert (report.sent, report.cost_is_estimate, report.job_cost_is_estimate) == (1, False, True)


def test_cancelling_takes_back_what_is_at_the_service(job: Job, emulator: Emulator) -> None:
    emulator.batch_seconds = 20.0
    job.run(rows(5), **HOSTED, detach=True)
    report = job.run(**HOSTED, cancel=True)
    assert (report.unfinished, report.sent, created(emulator), sent_online(emulator)) == (5, 0, 1, 0)
    assert emulator.files == {}
    assert job.run().succeeded == 5
    assert job.run(cancel=True).succeeded == 5


def test_results_that_were_deleted_are_told_and_their_rows_go_on(job: Job, emulator: Emulator) -> None:
    job.run(rows(3), **HOSTED, detach=True)
    emulator.clock = 30_000_000.0
    time.sleep(0.2)
    emulator.clock = 1.0
    age(job)
    with pytest.raises(batch.BatchStopped, match="are deleted at the service, which keeps them for 30 days") as stopped:
        job.run(**HOSTED)
    assert stopped.value.report.unfinished == 3
    assert job.run(**HOSTED).succeeded == 3


def test_a_batch_that_is_gone_is_told_and_its_rows_go_on(job: Job, emulator: Emulator) -> None:
    job.run(rows(3), **HOSTED, detach=True)
    emulator.batches.clear()
    age(job)
    with pytest.raises(batch.BatchStopped, match="is not at the service any more"):
        job.run(**HOSTED)
    assert job.run(**HOSTED).succeeded == 3


def age(job: Job) -> None:
    """Have what the ledger says be long ago."""
    path = job.folder / "results.batches.jsonl"
    aged = [record | {"time": record["time"] - 31 * 86_400} for record in read(path)]
    path.write_text("".join(json.dumps(record) + "\n" for record in aged))


def test_polls_are_patient_with_whatever_is_no_word_on_the_key(job: Job, emulator: Emulator) -> None:
    kinds = ("RATE_LIMIT_EXCEEDED", "MODEL_NOT_AVAILABLE", "bad_gateway", "reset", "html", "gateway_timeout")
    emulator.script.extend(Fault(kind, of="GET /batches/*") for kind in kinds)
    emulator.script.extend(Fault(kind, of="GET /files/*/content") for kind in ("bad_gateway", "reset"))
    emulator.script.append(Fault("close", after=300, of="GET /files/*/content"))
    assert job.run(rows(30), **HOSTED).succeeded == 30
    job.assert_complete(f"r{number}" for number in range(30))
    assert not emulator.script


def test_files_stay_where_that_is_asked_for(job: Job, emulator: Emulator) -> None:
    assert job.run(rows(2), **HOSTED, keep_files=True).succeeded == 2
    assert job.run(**HOSTED).sent == 0
    assert len(emulator.files) == 2


def test_files_that_could_not_be_deleted_are_deleted_by_the_next_start(job: Job, emulator: Emulator) -> None:
    emulator.script.append(Fault("bad_gateway", of="DELETE /files/*"))
    with capture_logs() as logs:
        assert job.run(rows(2), **HOSTED).succeeded == 2
    assert [each["event"] for each in logs] == ["batch.file_not_deleted"]
    assert len(emulator.files) == 1
    job.run()
    assert emulator.files == {}


def test_changed_requests_are_refused_while_the_service_has_the_old_ones(job: Job, emulator: Emulator) -> None:
    emulator.batch_seconds = 100.0
    job.run(rows(2), **HOSTED, detach=True)
    with pytest.raises(batch.BatchInputError, match="'r1' is at the service, with another request"):
        job.run([row("r0"), row("r1", max_tokens=3)])


def test_rows_without_a_custom_id_are_found_by_their_requests(job: Job, emulator: Emulator) -> None:
    emulator.batch_seconds = 0.5
    bodies = [row(f"{number}")["body"] for number in range(4)]
    job.run(bodies[1:], **HOSTED, detach=True)
    job.write(bodies)
    with pytest.raises(batch.BatchStopped, match="3 rows wait"):
        job.run()
    assert job.run(**HOSTED).succeeded == 4
    assert job.run().resumed == 4
    contents = {name: each["response"]["body"]["id"] for name, each in job.answers().items()}
    other = job.folder / "other.jsonl"
    batch.run(job.requests, other, client=job.client())
    assert contents == {each["custom_id"]: each["response"]["body"]["id"] for each in read(other)}


def test_answers_that_do_not_pass_are_asked_for_again(job: Job, emulator: Emulator) -> None:
    seen: list[str] = []

    def check(result: batch.BatchResult) -> str | None:
        seen.append(result.custom_id)
        return "say it again" if seen.count(result.custom_id) < 3 and result.custom_id == "r1" else None

    report = job.run(rows(3), **HOSTED, validate=check)
    assert (report.succeeded, report.sent, created(emulator)) == (3, 5, 3)
    assert job.answers()["r1"]["spent"]["requests"] == 3
    report = job.run(
        [*rows(3), row("never")], **HOSTED, validate=lambda each: "no" if each.custom_id == "never" else None
    )
    assert (report.succeeded, report.failed, report.sent) == (3, 1, 3)
    failed = job.failures()["never"]
    assert (failed["error"]["code"], failed["error"]["attempts"]) == ("validation_failed", 3)


def test_equal_rows_are_sent_once(job: Job, emulator: Emulator) -> None:
    emulator.batch_seconds = 0.3
    same = [{"custom_id": f"r{number}", "body": row("same")["body"]} for number in range(4)]
    job.run(same, **HOSTED, dedupe=True, detach=True)
    report = job.run(**HOSTED, dedupe=True)
    assert (report.succeeded, report.deduplicated, report.sent, created(emulator)) == (4, 3, 0, 1)


def test_max_cost_holds_for_what_is_submitted(job: Job) -> None:
    job.write(rows(10))
    whole = batch.estimate(job.requests, client=job.client(), via="batch-api").cost
    assert whole is not None
    with pytest.raises(batch.BatchStopped, match="max_cost"):
        job.run(**HOSTED, max_cost=whole / 2)
    assert 0 < len(job.answers()) < 10
    assert job.run(**HOSTED, max_cost=2 * whole).succeeded == 10


def test_options_that_do_not_go_together_are_refused(job: Job, emulator: Emulator) -> None:
    for options in ({"via": "pigeon"}, {"detach": True}, {"create_again": True}, {"poll": 0, "via": "batch-api"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            job.run(rows(1), **options)
    with pytest.raises(ValueError, match="cancel"):
        job.run(rows(1), **HOSTED, detach=True, cancel=True)
    with pytest.raises(batch.BatchInputError, match="needs a file for the results"):
        batch.run(job.requests, "/dev/null", client=job.client(), via="batch-api")
    assert created(emulator) == 0


@pytest.mark.slow
def test_the_command_submits_collects_and_cancels(job: Job, emulator: Emulator) -> None:
    emulator.batch_seconds = 1_000.0
    job.write(rows(3))
    command = (job.requests, "-o", job.results, "--via", "batch-api", "--poll", "0.05")
    code, told = ran(job, *command, "--detach")
    assert (code, "submitted: 3 rows are at the service" in told) == (3, True)
    code, told = ran(job, job.requests, "-o", job.results)
    assert (code, "3 rows wait at the service" in told) == (3, True)
    finish(emulator)
    code, told = ran(job, *command)
    assert (code, "about $" in told) == (0, True)
    job.write(rows(5))
    emulator.batch_seconds = 20.0
    assert ran(job, *command, "--detach")[0] == 3
    code, told = ran(job, *command, "--cancel")
    assert (code, "cancelled: rows without a result are free" in told) == (3, True)
    assert ran(job, job.requests, "-o", job.results)[0] == 0
    assert ran(job, *command, "--cancel")[0] == 0
    emulator.models = [Model(MODEL, endpoints=("chat/completions",))]
    job.write(rows(6))
    assert ran(job, *command)[0] == 2
    assert ran(job, *command, "--check")[0] == 2


def finish(emulator: Emulator) -> None:
    """Have all batches end now."""
    for each in emulator.batches.values():
        each.seconds = 0.0


def ran(job: Job, *arguments: str | Path) -> tuple[int, str]:
    with start(job, *arguments) as process:
        told = process.communicate(timeout=60)[1]
    return process.returncode, told


def test_an_interrupt_leaves_the_fleet_at_work(job: Job, emulator: Emulator) -> None:
    emulator.batch_seconds = 1.0
    job.write(rows(3))
    command = (job.requests, "-o", job.results, "--via", "batch-api", "--poll", "0.05")
    with start(job, *command) as process:
        until(lambda: created(emulator))
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=60)[1]
    assert (process.returncode, "start the same again" in told) == (130, True)
    assert ran(job, *command)[0] == 0
    assert (created(emulator), len(job.answers())) == (1, 3)


def test_two_processes_do_not_write_one_job(job: Job, emulator: Emulator) -> None:
    emulator.batch_seconds = 1_000.0
    job.write(rows(3))
    command = (job.requests, "-o", job.results, "--via", "batch-api", "--poll", "0.05")
    with start(job, *command) as process:
        until(lambda: created(emulator))
        assert ran(job, *command)[0] == 3
        finish(emulator)
        assert process.wait(60) == 0
    assert created(emulator) == 1


def test_another_file_in_the_place_of_the_ledger_is_refused(job: Job, ledger: Path) -> None:
    for content in ('{"a": 1}\n', "[1]\n", "text\n"):
        ledger.write_text(content + content)
        with pytest.raises(batch.BatchInputError, match="no record of a batch"):
            job.run(rows(1))
        assert ledger.read_text() == content + content
