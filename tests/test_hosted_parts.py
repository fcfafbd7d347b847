"""The pure parts of jobs at the service, and the moments at which they may have been stopped."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from threading import Thread
from typing import Any

import openai
import pytest
from batch_jobs import MODEL, Job, no_file_above, policy, read, row, rows, until
from structlog.testing import capture_logs

from novita_openai import batch, sdk
from novita_openai.backoff import no_wait
from novita_openai.batch.hosted import drafts
from novita_openai.batch.hosted.answers import read_result
from novita_openai.batch.hosted.decisions import (
    Verdict,
    on_asked,
    on_created,
    on_sought,
    poll_delay,
    search_delays,
    wait_delay,
)
from novita_openai.batch.hosted.service import connected
from novita_openai.emulator import Emulator, Fault
from novita_openai.emulator.batches import Batch, Stage
from novita_openai.errors import Failure, classify, failure_of

HOSTED: dict[str, Any] = {"via": "batch-api", "poll": 0.02}
CHAT = "/chat/completions"


def failure(status: int | None, reason: str = "no_word", *, ambiguous: bool = False) -> Failure:
    if status is None:
        request = sdk.http_library().Request("POST", "http://127.0.0.1/")
        return replace(failure_of(openai.APIConnectionError(request=request)), is_ambiguous=ambiguous)
    body = {"code": status, "reason": reason, "message": "m"} if reason != "not_json" else None
    content = json.dumps(body).encode() if body else b"<html>"
    response = sdk.http_library().Response(
        status, content=content, request=sdk.http_library().Request("POST", "http://127.0.0.1/batches")
    )
    return failure_of(openai.APIStatusError("m", response=response, body=body))


@pytest.mark.parametrize(
    ("failed", "created", "asked"),
    [
        (failure(None, ambiguous=True), Verdict.UNKNOWN, Verdict.AGAIN),
        (failure(None), Verdict.AGAIN, Verdict.AGAIN),
        (failure(504, "not_json"), Verdict.UNKNOWN, Verdict.AGAIN),
        (failure(502, "not_json"), Verdict.UNKNOWN, Verdict.AGAIN),
        (failure(500, "INTERNAL"), Verdict.UNKNOWN, Verdict.AGAIN),
        (failure(503, "SERVICE_NOT_AVAILABLE"), Verdict.AGAIN, Verdict.AGAIN),
        (failure(409, "CONFLICT"), Verdict.UNKNOWN, Verdict.AGAIN),
        (failure(429, "RATE_LIMIT_EXCEEDED"), Verdict.AGAIN, Verdict.AGAIN),
        (failure(400, "INVALID_REQUEST_BODY"), Verdict.REFUSED, Verdict.AGAIN),
        (failure(404, "BATCH_NOT_FOUND"), Verdict.REFUSED, Verdict.GONE),
        (failure(401, "FAILED_TO_AUTH"), Verdict.STOP, Verdict.STOP),
        (failure(403, "NOT_ENOUGH_BALANCE"), Verdict.STOP, Verdict.STOP),
        (failure(404, "not_json"), Verdict.STOP, Verdict.STOP),
    ],
)
def test_what_a_failure_means_for_a_part(failed: Failure, created: Verdict, asked: Verdict) -> None:
    assert (on_created(failed), on_asked(failed, 1_000.0)) == (created, asked)
    assert on_asked(failed, 1.0) is (Verdict.AGAIN if asked is Verdict.GONE else asked)
    assert on_sought(failed) in (Verdict.AGAIN, Verdict.STOP)


def test_a_batch_is_looked_for_soon_then_every_30_s_for_10_minutes() -> None:
    delays = list(search_delays(0.0))
    assert delays[:7] == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
    assert set(delays[6:]) == {30.0}
    assert 600 <= sum(delays) < 631
    assert list(search_delays(10_000.0)) == [0.0]
    assert sum(search_delays(-5.0)) == sum(delays)
    assert len(list(search_delays(500.0))) < 10


def test_polls_grow_to_a_minute_and_waits_obey_the_service() -> None:
    times = [poll_delay(5.0, count, random=0.5) for count in range(200)]
    assert times[0] == 5.0
    assert list(accumulate(times, max)) == times
    assert max(times) == 60.0
    assert poll_delay(90.0, 5, random=0.5) == 90.0
    assert {poll_delay(5.0, 0, random=0.0), poll_delay(5.0, 0, random=1.0)} == {4.0, 6.0}
    assert [wait_delay(count, None, random=0.5) for count in (0, 3, 500)] == [1.0, 8.0, 60.0]
    assert wait_delay(0, 100.0, random=0.5) == 100.0


WHOLE = {"choices": [{"message": {"content": "a\ud800"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}


@pytest.mark.parametrize("error", [None, "", {}])
def test_an_answer_is_read_in_every_form(error: object) -> None:
    answer = read_result({"error": error, "response": {"body": WHOLE, "request_id": "r"}}, CHAT, "http://a/")
    assert (json.loads(answer.content), answer.usage, answer.finish_reasons) == (WHOLE, WHOLE["usage"], ("stop",))


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"response": {"status_code": 400, "body": {"code": 400, "reason": "BAD", "message": "m"}}}, "BAD"),
        ({"response": {"status_code": 429, "body": "slow down"}}, "not_json"),
        ({"response": {"status_code": 500, "body": {"message": "m"}}}, "no_word"),
        ({"response": {"status_code": 200, "body": {"code": 503, "reason": "SERVICE_NOT_AVAILABLE"}}},
         "SERVICE_NOT_AVAILABLE"),
        ({"response": {"status_code": 200, "body": {"choices": []}}}, "invalid_answer"),
        ({"response": {"status_code": "odd", "body": {"choices": [{"message": {}, "finish_reason": None}]}}},
         "invalid_answer"),
        ({"response": None, "error": {"code": "batch_expired", "message": "m"}}, "batch_expired"),
        ({"response": None, "error": "out of time"}, "not_json"),
        ({"response": {"status_code": 200, "body": None}, "error": {"message": "m"}}, "no_word"),
        ({"response": {"status_code": 200, "body": WHOLE}, "error": {"code": "odd"}}, "odd"),
        ({"response": {"status_code": 200, "body": {"choices": [{"message": {}, "finish_reason": None}]}}},
         "invalid_answer"),
        ({"response": {"status_code": 204, "body": {}}}, "invalid_answer"),
        ({}, "no_word"),
    ],
)  # fmt: skip
def test_an_error_is_read_in_every_form(result: dict[str, Any], reason: str) -> None:
    with pytest.raises(openai.APIError) as raised:
        read_result(result, CHAT, "http://a/")
    assert failure_of(raised.value).reason == reason
    assert classify(raised.value)


# Stopped between two steps.


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(keys={"sk_test": None}, batch_seconds=0.05) as running:
        yield running


@pytest.fixture
def ledger(job: Job) -> Path:
    return job.folder / "results.batches.jsonl"


def cut(path: Path, count: int) -> None:
    """Have a file hold its first lines alone."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:count]))


@pytest.mark.parametrize("has_file", [True, False])
def test_a_planned_part_goes_on_with_its_file_or_is_planned_anew(
    job: Job, emulator: Emulator, ledger: Path, has_file: bool
) -> None:
    job.run(rows(3), **HOSTED, detach=True)
    cut(ledger, 1)
    emulator.batches.clear()
    if not has_file:
        emulator.files.clear()
    with pytest.raises(batch.BatchStopped, match="3 rows wait at the service: a new part"):
        job.run()
    assert job.run(**HOSTED).succeeded == 3
    assert [each["step"] for each in read(ledger)].count("planned") == 2 - has_file
    assert len(emulator.batches) == 1


def test_a_planned_part_waits_where_the_list_refuses_the_key(job: Job, emulator: Emulator, ledger: Path) -> None:
    job.run(rows(3), **HOSTED, detach=True)
    cut(ledger, 1)
    emulator.script.append(Fault("FAILED_TO_AUTH", of="GET /files"))
    with pytest.raises(batch.BatchStopped, match="FAILED_TO_AUTH"):
        job.run(**HOSTED)
    emulator.script.append(Fault("bad_gateway", of="GET /files"))
    assert job.run(**HOSTED).succeeded == 3


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_cancelling_frees_rows_at_every_step(job: Job, emulator: Emulator, ledger: Path, count: int) -> None:
    emulator.batch_seconds = 5.0
    job.run(rows(3), **HOSTED, detach=True)
    cut(ledger, count)
    if count < 3:
        emulator.batches.clear()
    with no_wait():
        assert job.run(**HOSTED, cancel=True).unfinished == 3
    assert job.run().succeeded == 3


def test_a_cancel_that_the_service_refuses_is_told(job: Job, emulator: Emulator) -> None:
    job.run(rows(3), **HOSTED, detach=True)
    emulator.script.append(Fault("INVALID_REQUEST_BODY", of="POST /batches/*/cancel"))
    with capture_logs() as logs:
        assert job.run(**HOSTED, cancel=True).succeeded == 3
    assert [each["event"] for each in logs] == ["batch.not_cancelled"]


@pytest.mark.parametrize("named", [True, False])
def test_a_part_that_was_half_written_is_written_once(job: Job, emulator: Emulator, ledger: Path, named: bool) -> None:
    given = [each if named else each["body"] for each in [*rows(6), row("bad", temperature=9)]]
    job.run(given, **HOSTED, keep_files=True)
    ids = [each["custom_id"] for path in (job.results, job.errors) for each in read(path)]
    cut(ledger, 5)
    cut(job.results, 4)
    assert job.run(**HOSTED).unfinished == 0
    job.assert_complete(ids)
    assert len(emulator.batches) == 1


def test_a_part_that_was_half_written_leaves_other_results_alone(job: Job, emulator: Emulator, ledger: Path) -> None:
    job.run(rows(2))
    job.run(rows(6), **HOSTED, keep_files=True)
    cut(ledger, 5)
    cut(job.results, 4)
    assert job.run(**HOSTED).succeeded == 6
    job.assert_complete(f"r{number}" for number in range(6))
    assert len(emulator.batches) == 1


def test_an_interrupt_while_results_are_written_leaves_the_rest_to_the_next_start(job: Job, emulator: Emulator) -> None:
    job.run(rows(450), **HOSTED, detach=True)
    time.sleep(0.1)

    def check(result: batch.BatchResult) -> None:
        if result.custom_id == "r50":
            os.kill(os.getpid(), signal.SIGINT)

    report = job.run(**HOSTED, validate=check)
    assert report.interrupted
    assert 0 < len(job.answers()) < 450
    assert job.run(**HOSTED).succeeded == 450
    job.assert_complete(f"r{number}" for number in range(450))
    assert len(emulator.batches) == 1


def test_an_interrupt_ends_a_request_that_lasts_after_the_drain(job: Job, emulator: Emulator) -> None:
    emulator.script.append(Fault("stall", of="POST /batches"))
    job.write(rows(2))

    def interrupt() -> None:
        until(lambda: emulator.request_count >= 3)
        os.kill(os.getpid(), signal.SIGINT)

    thread = Thread(target=interrupt)
    thread.start()
    report = job.run(**HOSTED, drain=0.1)
    thread.join()
    assert (report.interrupted, report.unfinished) == (True, 2)
    assert job.run(**HOSTED).succeeded == 2
    assert len(emulator.batches) == 1


def test_an_error_of_the_check_ends_the_job_as_itself(job: Job) -> None:
    def check(_: batch.BatchResult) -> None:
        raise OSError("the program's own")

    with pytest.raises(OSError, match="own"):
        job.run(rows(2), **HOSTED, validate=check)


def test_an_answer_that_did_not_pass_is_nothing_to_a_start_without_a_check(job: Job, emulator: Emulator) -> None:
    job.run(rows(2), **HOSTED, detach=True)
    time.sleep(0.1)
    emulator.script.append(Fault("INVALID_REQUEST_BODY", of="POST /files"))
    with pytest.raises(batch.BatchStopped):
        job.run(**HOSTED, validate=lambda each: "no" if each.custom_id == "r1" else None)
    report = job.run(**HOSTED)
    assert (report.succeeded, job.answers()["r1"]["spent"]["requests"]) == (2, 2)


def test_cancelling_waits_where_the_file_of_an_unknown_part_cannot_be_deleted(
    job: Job, emulator: Emulator, ledger: Path
) -> None:
    job.run(rows(2), **HOSTED, detach=True)
    cut(ledger, 3)
    emulator.batches.clear()
    emulator.script.append(Fault("bad_gateway", of="DELETE /files/*"))
    with no_wait():
        assert job.run(**HOSTED, cancel=True).unfinished == 2
        with pytest.raises(batch.BatchStopped, match="2 rows wait"):
            job.run()
        assert job.run(**HOSTED, create_again=True).succeeded == 2


@pytest.mark.parametrize("cancel", [False, True])
@pytest.mark.parametrize("of", ["GET /batches/*", "GET /batches"])
def test_a_key_that_is_refused_ends_a_start_at_once(
    job: Job, emulator: Emulator, ledger: Path, of: str, cancel: bool
) -> None:
    emulator.batch_seconds = 1_000.0
    job.run([*rows(2), row("other", model="qwen/qwen3-30b-a3b-fp8")], **HOSTED, detach=True)
    cut(ledger, 4 if of.endswith("*") else 3)
    emulator.script.extend([Fault("FAILED_TO_AUTH", of=of)] * 3)
    with no_wait(), pytest.raises(batch.BatchStopped, match="FAILED_TO_AUTH"):
        job.run(**HOSTED, cancel=cancel)


def test_results_that_go_nowhere_have_no_ledger(job: Job) -> None:
    job.write(rows(1))
    assert batch.run(job.requests, "/dev/null", client=job.client()).succeeded == 1


def test_results_of_an_earlier_place_do_not_take_that_of_another_row(job: Job, emulator: Emulator) -> None:
    emulator.batch_seconds = 1_000.0
    bodies = [row(f"{number}")["body"] for number in range(3)]
    job.run(bodies[1:], **HOSTED, detach=True)
    job.write([bodies[0], row("x")["body"], *bodies[1:]])
    with pytest.raises(batch.BatchStopped):
        job.run()  # answers line-1 and line-2, the names under which the service has the others
    for each in emulator.batches.values():
        each.seconds = 0.0
    assert job.run().succeeded == 4
    job.assert_complete([f"line-{number}" for number in range(1, 5)])


def test_a_full_disk_stops_the_collecting_and_a_start_goes_on(job: Job, emulator: Emulator) -> None:
    job.run(rows(40), **HOSTED, detach=True)
    with no_file_above(8_000), pytest.raises(batch.BatchStopped, match="cannot write"):
        job.run(**HOSTED)
    assert job.run(**HOSTED).succeeded == 40
    job.assert_complete(f"r{number}" for number in range(40))
    assert len(emulator.batches) == 1


# What the service may say.


def test_rows_that_nobody_could_pay_stay_unfinished(job: Job, emulator: Emulator) -> None:
    emulator.keys = {"sk_test": 1.0}
    job.run(rows(3), **HOSTED, detach=True)
    assert emulator.credit is not None
    emulator.credit["sk_test"] = 0.0
    with pytest.raises(batch.BatchStopped, match="NOT_ENOUGH_BALANCE") as stopped:
        job.run(**HOSTED)
    assert (stopped.value.report.unfinished, stopped.value.needs_change) == (3, False)
    emulator.credit["sk_test"] = 1.0
    assert job.run(**HOSTED).succeeded == 3


def test_more_failed_rows_than_allowed_stop_the_job(job: Job) -> None:
    with pytest.raises(batch.BatchStopped, match="max_errors=0"):
        job.run([row("bad", temperature=9), row("good")], **HOSTED, max_errors=0)


def test_an_unknown_status_is_told_once_and_waited_for(
    job: Job, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    del emulator
    shown: list[Callable[..., dict[str, Any]]] = [Batch.shown]
    seen: list[str] = []

    def odd(self: Batch, stage: Stage, *, upper: bool) -> dict[str, Any]:
        seen.append(stage.status)
        return shown[0](self, stage, upper=upper) | ({"status": "PAUSED"} if len(seen) < 5 else {})

    monkeypatch.setattr(Batch, "shown", odd)
    with capture_logs() as logs:
        assert job.run(rows(2), **HOSTED).succeeded == 2
    assert [each["event"] for each in logs] == ["batch.unknown_status"]


def test_rows_that_are_none_or_of_nobody_are_left_out(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.run(rows(2), **HOSTED, detach=True)
    whole: Any = Batch.lines

    def with_more(self: Batch, *, failed: bool) -> bytes:
        return bytes(whole(self, failed=failed)) + b'{\n[1]\n\n{"custom_id": 5}'

    monkeypatch.setattr(Batch, "lines", with_more)
    with capture_logs() as logs:
        assert job.run(**HOSTED).succeeded == 2
    assert {each["event"] for each in logs} == {"batch.unknown_rows"}


def test_a_reply_without_an_id_is_looked_for_in_the_list(
    job: Job, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: Any = Batch.shown
    seen: list[str] = []

    def nameless(self: Batch, stage: Stage, *, upper: bool) -> dict[str, Any]:
        seen.append(stage.status)
        return dict(shown(self, stage, upper=upper)) | ({"id": ""} if len(seen) == 1 else {})

    monkeypatch.setattr(Batch, "shown", nameless)
    assert job.run(rows(2), **HOSTED).succeeded == 2
    assert len(emulator.batches) == 1


@pytest.mark.parametrize("kind", ["FAILED_TO_AUTH", "bad_gateway"])
def test_a_list_that_cannot_be_read_leaves_a_part_unknown(job: Job, emulator: Emulator, kind: str) -> None:
    emulator.script.append(Fault("late_gateway_timeout", of="POST /batches"))
    emulator.script.extend([Fault(kind, of="GET /batches")] * 40)
    with no_wait(), pytest.raises(batch.BatchStopped, match=r"FAILED_TO_AUTH|nobody knows"):
        job.run(rows(2), **HOSTED)
    emulator.script.clear()
    assert job.run(**HOSTED).succeeded == 2
    assert len(emulator.batches) == 1


def test_an_online_start_looks_once_for_what_may_be_there(job: Job, emulator: Emulator, ledger: Path) -> None:
    job.run(rows(2), **HOSTED, detach=True)
    cut(ledger, 3)
    time.sleep(0.1)
    assert job.run().succeeded == 2
    assert sum(each.path.endswith("completions") for each in emulator.requests) == 0


def test_a_service_out_of_reach_ends_the_job_in_the_end(job: Job, emulator: Emulator) -> None:
    emulator.script.extend([Fault("MODEL_NOT_AVAILABLE", of="POST /files")] * 200)
    with no_wait(), pytest.raises(batch.BatchStopped, match="MODEL_NOT_AVAILABLE"):
        job.run(rows(2), **HOSTED)


def test_results_that_cannot_be_downloaded_wait_for_the_next_look(job: Job, emulator: Emulator) -> None:
    emulator.script.extend([Fault("bad_gateway", of="GET /files/*/content")] * 6)
    assert job.run(rows(2), **HOSTED).succeeded == 2
    job.run([*rows(2), row("new")], **HOSTED, detach=True)
    emulator.script.append(Fault("FAILED_TO_AUTH", of="GET /files/*/content"))
    with pytest.raises(batch.BatchStopped, match="FAILED_TO_AUTH"):
        job.run(**HOSTED)
    assert job.run(**HOSTED).succeeded == 3


def test_without_the_models_list_nothing_is_submitted(job: Job, emulator: Emulator) -> None:
    emulator.script.extend([Fault("bad_gateway", of="GET /models")] * 20)
    with pytest.raises(batch.BatchStopped, match="the models list cannot be read"):
        job.run(rows(2), **HOSTED)
    assert emulator.batches == {}


def test_rows_with_headers_are_refused(job: Job, emulator: Emulator) -> None:
    with pytest.raises(batch.BatchInputError, match="'r0' has headers"):
        job.run([row("r0") | {"headers": {"x-a": "b"}}, row("r1") | {"headers": {"x-a": "b"}}], **HOSTED)
    assert emulator.files == {}


def test_the_ledger_is_not_the_input(job: Job, ledger: Path) -> None:
    ledger.write_text(json.dumps(row("a")) + "\n")
    with pytest.raises(batch.BatchInputError, match="would be written into the input"):
        batch.run(ledger, job.results, client=job.client(), **HOSTED)


def test_several_prompts_in_a_row_are_counted(job: Job) -> None:
    given = [{"custom_id": "two", "model": MODEL, "prompt": ["a", "b"], "max_tokens": 3}]
    assert job.run(given, **HOSTED, client=job.client(policy=policy())).succeeded == 1
    assert (job.answers()["two"]["spent"]["dollars"] or 0) > 0
    assert math.isfinite(job.answers()["two"]["spent"]["tokens"])


OTHER = "qwen/qwen3-30b-a3b-fp8"


def test_what_is_not_submitted_yet_is_dropped_where_the_job_ends(
    job: Job, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafts, "MOST_ROWS", 2)
    emulator.script.append(Fault("INVALID_REQUEST_BODY", of="POST /files"))
    with pytest.raises(batch.BatchStopped, match="the service refuses a new part"):
        job.run([row("other", model=OTHER), *rows(5)], **HOSTED)
    assert emulator.batches == {}
    assert job.run(**HOSTED).succeeded == 6


def test_the_first_part_that_finds_the_key_refused_speaks_for_all(job: Job, emulator: Emulator) -> None:
    job.run([row("other", model=OTHER), row("a")], **HOSTED, detach=True)
    emulator.script.append(Fault("FAILED_TO_AUTH", of="GET /batches/*"))
    with pytest.raises(batch.BatchStopped, match="FAILED_TO_AUTH"):
        job.run(**HOSTED)
    assert job.run(**HOSTED).succeeded == 2


@pytest.mark.parametrize("count", [1, 3])
def test_files_and_batches_of_others_are_passed_by(job: Job, emulator: Emulator, ledger: Path, count: int) -> None:
    job.run(rows(2), **HOSTED, detach=True)
    cut(ledger, count)
    if count == 1:
        emulator.batches.clear()
    other = Job(job.folder / "other", job.base_url)
    other.folder.mkdir()
    other.run(rows(3), **HOSTED, detach=True)
    assert job.run(**HOSTED).succeeded == 2
    assert other.run(**HOSTED).succeeded == 3
    assert len(emulator.batches) == 2


def test_what_is_no_failure_of_the_network_passes_through_a_download() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        raise ValueError("the program's own")

    async def read_all() -> list[bytes]:
        return [chunk async for chunk in connected(chunks(), None)]

    with pytest.raises(ValueError, match="own"):
        asyncio.run(read_all())


def test_an_interrupt_before_anything_is_collected_leaves_it_to_the_next_start(job: Job, emulator: Emulator) -> None:
    job.run(rows(2), **HOSTED, detach=True)
    count, emulator.latency = emulator.request_count, 7_200.0

    def interrupt() -> None:
        until(lambda: emulator.request_count > count)
        os.kill(os.getpid(), signal.SIGINT)

    thread = Thread(target=interrupt)
    thread.start()
    report = job.run(**HOSTED, max_cost=1.0)
    thread.join()
    assert (report.interrupted, report.succeeded) == (True, 0)
    emulator.latency = 0.0
    assert job.run(**HOSTED).succeeded == 2
