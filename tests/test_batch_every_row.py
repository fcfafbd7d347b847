"""Every row of a batch ends, whatever it meets, and only what concerns all rows stops all."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import Job, policy, row, rows
from server import CHAT, Reply, Request, Server, error
from structlog.testing import capture_logs

from novita_openai import batch
from novita_openai.batch import BatchStopped
from novita_openai.batch.outcomes import moment
from novita_openai.sdk import http_library

PAGE = Reply(403, b"<html>Request blocked</html>", {"content-type": "text/html"})
TOO_LARGE = error(429, "TOKEN_LIMIT_EXCEEDED")
DOWN = error(503, "SERVICE_NOT_AVAILABLE")
GATEWAY = Reply(502, b"<html>Bad Gateway</html>", {"content-type": "text/html"})
STALL = Reply(fault="stall")
DRIP = Reply(body=(b"{", *[b" "] * 100), pause=0.2)


def to_rows(*names: str, reply: Reply) -> Callable[[Request], Reply | None]:
    """Give a reply to some rows, the usual one to the others."""

    def answer(request: Request) -> Reply | None:
        asked = request.path.endswith("completions") and request.json["messages"][0]["content"]
        return reply if asked in names else None

    return answer


def sent_for(server: Server, name: str) -> int:
    return sum(name in request.body.decode() for request in server.requests)


@pytest.fixture
def scripted(tmp_path: Path, server: Server) -> Job:
    return Job(tmp_path, server.base_url)


@pytest.mark.parametrize(
    ("reply", "options", "code"),
    [
        (PAGE, {}, "not_json"),
        (error(401, "NEW_WORD"), {}, "NEW_WORD"),
        (STALL, {"timeout": 0.2}, "timeout"),
        (DRIP, {"row_timeout": 0.8}, "row_timeout"),
        (DRIP, {"timeout": 0.3}, "timeout"),
        (TOO_LARGE, {"row_timeout": 0.8}, "row_timeout"),
        (GATEWAY, {}, "not_json"),
        (DOWN, {}, "SERVICE_NOT_AVAILABLE"),
        (Reply(fault="reset"), {}, "connection_error"),
    ],
)
def test_a_bad_row_fails_and_the_others_succeed(
    scripted: Job, server: Server, reply: Reply, options: dict[str, Any], code: str
) -> None:
    server.answer = to_rows("r3", reply=reply)
    report = scripted.run(rows(20), **options)
    assert (report.succeeded, report.failed, report.stopped) == (19, 1, None)
    assert report.errors == {code: 1}
    assert scripted.failures()["r3"]["error"]["code"] == code


def test_a_row_that_is_always_refused_is_told_with_its_time_and_its_last_failure(scripted: Job, server: Server) -> None:
    server.answer = to_rows("r3", reply=TOO_LARGE)
    scripted.run(rows(5), row_timeout=1.5)
    told = scripted.failures()["r3"]["error"]
    assert re.match(r"no answer within 1.5 s; the last failure: (429 TOKEN_LIMIT_EXCEEDED|timeout): ", told["message"])
    assert told["attempts"] == 1


def test_a_refusal_by_status_alone_is_tried_three_times(scripted: Job, server: Server) -> None:
    server.answer = to_rows("r3", reply=PAGE)
    scripted.run(rows(5), client=scripted.client(policy=policy(attempts=8)))
    assert sent_for(server, '"r3"') == 3
    assert scripted.failures()["r3"]["error"]["attempts"] == 3


def test_a_page_that_every_row_meets_stops_the_job_and_fails_none(scripted: Job, server: Server) -> None:
    server.lists_apart, server.always = True, PAGE
    with pytest.raises(BatchStopped, match="403 not_json: Refused without a word") as caught:
        scripted.run(rows(20))
    report = caught.value.report
    assert (report.failed, report.unfinished, caught.value.needs_change) == (0, 20, False)
    assert report.stopped is not None
    assert report.stopped.startswith("403 not_json: Refused without a word")
    assert report.sent >= 3


@pytest.mark.parametrize("reply", [DOWN, TOO_LARGE, GATEWAY], ids=["a word", "too fast", "a page"])
def test_an_outage_fails_no_row(scripted: Job, server: Server, reply: Reply) -> None:
    started = time.monotonic()

    server.answer = lambda _: reply if 0.3 < time.monotonic() - started < 3.3 else None
    with capture_logs() as logs:
        report = scripted.run(rows(400), concurrency=20, rpm=6_000, row_timeout=2.0)
    assert (report.succeeded, report.failed) == (400, 0)
    assert report.elapsed > 3
    assert Counter(each["event"] for each in logs)["batch.outage"] == 1


def test_single_failures_are_no_outage(scripted: Job, server: Server) -> None:
    server.lists_apart = True
    for _ in range(5):
        server.script.extend([TOO_LARGE, DOWN, Reply(body=CHAT)])
    with capture_logs() as logs:
        assert scripted.run(rows(20), concurrency=1).succeeded == 20
    assert "batch.outage" not in {each["event"] for each in logs}


def test_a_handful_of_rows_that_are_never_answered_ends_where_the_service_is_up(scripted: Job, server: Server) -> None:
    server.answer = lambda request: GATEWAY if request.path.endswith("completions") else None
    report = scripted.run(rows(5))
    assert (report.failed, report.errors) == (5, {"not_json": 5})


def test_malformed_requests_never_stop_a_job_and_are_not_all_sent(scripted: Job, server: Server) -> None:
    server.lists_apart, server.always = True, error(400, "INVALID_REQUEST_BODY")
    report = scripted.run(rows(1_000), concurrency=10)
    assert (report.failed, report.stopped) == (1_000, None)
    assert 100 <= report.sent < 120
    assert Counter(each["error"]["attempts"] for each in scripted.failures().values()) == {
        1: report.sent,
        0: 1_000 - report.sent,
    }


def test_refusals_raise_the_rate_as_answers_do(scripted: Job, server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "answered"
    folder.mkdir()
    answered = replace(scripted, folder=folder).run(rows(600))
    server.answer = lambda request: None if b'"r0"' in request.body else error(400, f"WORD_{len(server.requests)}")
    report = scripted.run(rows(600))
    assert (answered.succeeded, report.failed, report.succeeded) == (600, 599, 1)
    assert report.elapsed < 3 * answered.elapsed + 3  # at the first rate, 50 a second, it would be 12 s at least


def test_a_host_that_cannot_be_reached_stops_the_job_at_once(scripted: Job) -> None:
    for url, cause in {
        "http://127.0.0.1:9/v3/openai": "it refuses connections",
        "https://no-such-host.invalid/v1": "no-such-host",
    }.items():
        with pytest.raises(BatchStopped, match="connection_error") as caught:
            scripted.run(rows(3), client=scripted.client(base_url=url))
        assert cause in str(caught.value)
        assert (caught.value.needs_change, caught.value.report.failed) == (False, 0)


def test_a_stream_of_rows_ends_as_a_file_does(scripted: Job, server: Server) -> None:
    server.answer = to_rows("r3", reply=GATEWAY)
    results = list(batch.stream(rows(10), client=scripted.client(), concurrency=1))
    assert {result["custom_id"]: result["error"] and result["error"]["code"] for result in results} == {
        f"r{number}": "not_json" if number == 3 else None for number in range(10)
    }


def test_answers_without_an_end_are_asked_for_once_more_and_have_failed(scripted: Job, server: Server) -> None:
    choice = CHAT["choices"][0]  # type: ignore[index]
    for reason in (None, "abort", "insufficient_system_resource", ""):
        server.answer = to_rows("r1", reply=Reply(body=CHAT | {"choices": [choice | {"finish_reason": reason}]}))
        report = scripted.run(rows(3), client=scripted.client(policy=policy(attempts=8)))
        assert (report.succeeded, report.failed, report.errors) == (2, 1, {"invalid_answer": 1})
        failed = scripted.failures()["r1"]
        assert failed["spent"]["requests"] == 2
        assert failed["response"]["body"]["choices"][0]["finish_reason"] == reason
        scripted.results.unlink()
        scripted.errors.unlink()


def test_the_report_says_what_happened(scripted: Job, server: Server) -> None:
    choice = CHAT["choices"][0]  # type: ignore[index]
    replies = {
        "r1": error(422, "TOO_LONG"),
        "r2": Reply(body=CHAT | {"choices": [choice | {"finish_reason": "length"}]}),
    }

    def answer(request: Request) -> Reply | None:
        return next((reply for name, reply in replies.items() if f'"{name}"' in request.body.decode()), None)

    server.answer = answer
    report = scripted.run([*rows(4), row("other", model="b")])
    assert report.errors == {"TOO_LONG": 1}
    assert report.finish_reasons == {"stop": 3, "length": 1}
    assert {model: (each.rows, each.tokens) for model, each in report.models.items()} == {
        "meta-llama/llama-3.1-8b-instruct": (4, 15),
        "b": (1, 5),
    }
    assert scripted.run().errors == {"TOO_LONG": 1}
    replies.clear()
    assert scripted.run(retry_failed=True).errors == {}


def test_each_reason_is_logged_once(scripted: Job, server: Server) -> None:
    server.lists_apart = True
    server.script.extend([error(500), error(500), Reply(fault="reset")])
    with capture_logs() as logs:
        scripted.run(rows(5), concurrency=1)
    told = [(each["status"], each["reason"]) for each in logs if each["event"] == "batch.failure"]
    assert told == [(500, "SOME_REASON"), (None, "connection_error")]
    assert all(each["host"] for each in logs if each["event"] == "batch.failure")


def test_a_model_that_is_put_off_leaves_a_stream_of_rows_to_the_others(scripted: Job, server: Server) -> None:
    wait = error(429, "RATE_LIMIT_EXCEEDED", retry_after="3600")
    server.answer = lambda request: wait if b'"model":"slow"' in request.body else None
    results = batch.stream(
        [row(f"r{number}", model="slow" if number % 2 else "quick") for number in range(40)],
        client=scripted.client(),
        concurrency=1,
    )
    done: list[str] = []
    with pytest.raises(BatchStopped, match=r"asks to wait 3600 s for slow, above max_wait .*: start again after "):
        done.extend(result["custom_id"] for result in results)
    assert done == [f"r{number}" for number in range(0, 40, 2)]


def test_a_model_that_is_put_off_leaves_a_file_to_the_others(scripted: Job, server: Server) -> None:
    wait = error(429, "RATE_LIMIT_EXCEEDED", retry_after="3600")
    server.answer = lambda request: wait if b'"model":"slow"' in request.body else None
    sorted_by_model = [row(f"{model}{number}", model=model) for model in ("slow", "quick") for number in range(1_500)]
    with pytest.raises(BatchStopped, match="asks to wait 3600 s for slow") as caught:
        scripted.run(sorted_by_model)
    assert (caught.value.report.succeeded, caught.value.report.failed, caught.value.needs_change) == (1_500, 0, False)
    server.answer = lambda _: None
    assert scripted.run().succeeded == 3_000


def test_a_model_of_which_many_rows_are_asked_to_wait_is_put_off_once(scripted: Job, server: Server) -> None:
    wait = error(429, "RATE_LIMIT_EXCEEDED", retry_after="3600")
    told_late = Reply(429, (json.dumps(wait.body).encode(),), wait.headers, pause=0.5)
    server.answer = to_rows("r1", "r2", "r3", reply=told_late)
    with capture_logs() as logs, pytest.raises(BatchStopped, match="asks to wait 3600 s") as caught:
        scripted.run(rows(4), concurrency=3)
    assert [sent_for(server, f"r{number}") for number in range(4)] == [1, 1, 1, 1]
    assert [each["seconds"] for each in logs if each["event"] == "batch.model_put_off"] == [3600.0]
    assert (list(scripted.answers()), scripted.failures(), caught.value.report.unfinished) == (["r0"], {}, 3)


@pytest.mark.parametrize("asked", ["1e999", "9999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_wait_of_which_no_calendar_has_the_end_puts_a_model_off(scripted: Job, server: Server, asked: str) -> None:
    server.answer = to_rows("r0", reply=error(429, "RATE_LIMIT_EXCEEDED", retry_after=asked))
    with pytest.raises(BatchStopped, match=r"asks to wait .* start again after 2"):
        scripted.run([row("r0", model="slow"), row("r1")])
    assert list(scripted.answers()) == ["r1"]


@pytest.mark.parametrize("charset", ["hex", "idna", "undefined", "zlib"])
@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("own", [False, True])
def test_a_charset_that_no_text_has_fails_its_row_alone(
    scripted: Job, server: Server, charset: str, status: int, *, own: bool
) -> None:
    page = Reply(status, b"caf\xe9, not JSON", {"content-type": f"text/plain; charset={charset}"})
    server.answer = to_rows("r0", reply=page)
    client = scripted.client(**({"http_client": http_library().AsyncClient()} if own else {}))
    report = scripted.run(rows(5), client=client)
    assert (report.succeeded, report.failed) == (4, 1)
    scripted.assert_complete(f"r{number}" for number in range(5))


def test_a_time_is_told_with_its_date_where_it_is_not_today() -> None:
    now = datetime(2026, 11, 26, 23, 30, tzinfo=UTC)
    assert moment(now + timedelta(minutes=20), now) == "23:50:00 UTC"
    assert moment(now + timedelta(hours=1), now) == "2026-11-27 00:30:00 UTC"
