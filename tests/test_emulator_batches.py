"""The emulator's files and batches are those of the service's documentation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import openai
import pytest
from calls import MODEL

from novita_openai.emulator import Emulator, Fault

DAY = 86_400
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}


@pytest.fixture
def server() -> Iterator[Emulator]:
    """Run an emulator on which a day takes 24 ms."""
    with Emulator(keys={"sk_test": 1.0}, clock=3_600_000, batch_seconds=DAY) as server:
        yield server


@pytest.fixture
def sdk(server: Emulator) -> Iterator[openai.OpenAI]:
    """Return the SDK's own client, at the only address where files and batches are."""
    with openai.OpenAI(api_key="sk_test", base_url=hosted_url(server), max_retries=0) as client:
        yield client


def hosted_url(server: Emulator) -> str:
    return server.base_url.replace("/v3/openai", "/openai/v1")


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def rows(count: int = 3, **changes: object) -> list[dict[str, Any]]:
    return [{"custom_id": f"row-{number}", "body": BODY | changes} for number in range(count)]


def upload(sdk: openai.OpenAI, content: bytes, name: str = "rows.jsonl") -> str:
    return sdk.files.create(file=(name, content), purpose="batch").id


def create(sdk: openai.OpenAI, *given: object, endpoint: str = "/v1/chat/completions") -> Any:
    window: Any = "48h"
    file = upload(sdk, lines(*(given or rows())))
    return sdk.batches.create(input_file_id=file, endpoint=endpoint, completion_window=window)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def end_of(sdk: openai.OpenAI, batch: Any) -> Any:
    """Look at a batch until nothing more will happen to it."""
    ends = ("COMPLETED", "FAILED", "EXPIRED", "CANCELLED")
    return next(found for found in iter(lambda: sdk.batches.retrieve(batch.id), None) if found.status in ends)


def results(sdk: openai.OpenAI, file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in sdk.files.content(file).text.splitlines()]


def refusal_of(call: Callable[[], object]) -> tuple[int, str, str]:
    with pytest.raises(openai.APIStatusError) as refused:
        call()
    body: Any = refused.value.body
    return refused.value.status_code, body["reason"], body["message"]


def test_an_uploaded_file_is_shown_as_the_service_shows_it(server: Emulator, sdk: openai.OpenAI) -> None:
    content = lines(*rows(2)) + b"\xff\r\r\n"
    file = upload(sdk, content)
    shown = sdk.files.retrieve(file).to_dict()
    assert shown.pop("created_at") == pytest.approx(time.time(), abs=400 * DAY)
    assert shown == {
        "id": file,
        "object": "file",
        "bytes": len(content),
        "filename": "rows.jsonl",
        "purpose": "batch",
        "metadata": {"total_requests": 3},
    }
    assert sdk.files.content(file).content == content == server.files[file].content
    listed: Any = sdk.files.with_raw_response.list().http_response.json()
    assert (listed["code"], [each["id"] for each in listed["data"]]) == ("200", [file])
    assert sdk.files.delete(file).to_dict() == {"deleted": True, "id": file, "object": "file"}
    assert refusal_of(lambda: sdk.files.retrieve(file)) == (404, "FILE_NOT_FOUND", f"file not found: {file}")


def test_uploads_of_another_kind_are_refused(server: Emulator, sdk: openai.OpenAI) -> None:
    purpose: Any = "fine-tune"
    assert "'fine-tune'" in refusal_of(lambda: sdk.files.create(file=("a.jsonl", b"{}"), purpose=purpose))[2]
    assert "'a.csv'" in refusal_of(lambda: upload(sdk, b"{}", "a.csv"))[2]
    assert "form" in refusal_of(lambda: sdk.post("/files", body={"file": "x"}, cast_to=object))[2]
    assert not server.files


def test_a_batch_is_checked_runs_and_leaves_its_results(server: Emulator, sdk: openai.OpenAI) -> None:
    batch = create(sdk, *rows(2), {"custom_id": "bad", "body": BODY | {"temperature": 9}})
    assert (batch.status, batch.request_counts.total, batch.completion_window) == ("VALIDATING", 0, "48h")
    assert (batch.errors, batch.output_file_id, batch.error_file_id, batch.completed_at) == ("", "", "", None)
    ended = end_of(sdk, batch)
    assert ended.status == "COMPLETED"
    assert ended.request_counts.to_dict() == {"total": 3, "completed": 2, "failed": 1}
    assert ended.created_at < ended.in_progress_at < ended.completed_at < ended.expires_at
    assert ended.completed_at[-6:] == "+08:00"
    good, bad = results(sdk, ended.output_file_id), results(sdk, ended.error_file_id)
    assert [each["custom_id"] for each in good] == ["row-0", "row-1"]
    assert good[0]["response"]["body"]["choices"][0]["finish_reason"] == "length"
    assert good[0] | {"response": 0} == {"custom_id": "row-0", "id": "batch_req_row-0", "error": None, "response": 0}
    assert [(each["custom_id"], each["response"]["status_code"]) for each in bad] == [("bad", 400)]
    assert bad[0]["response"]["body"]["reason"] == "INVALID_REQUEST_BODY"
    output = sdk.files.retrieve(ended.output_file_id)
    assert (output.purpose, output.expires_at) == ("batch_output", output.created_at + 30 * DAY)
    assert server.batches[batch.id].output_file_id == output.id


def test_a_batch_costs_half_and_fails_rows_that_nobody_can_pay(server: Emulator, sdk: openai.OpenAI) -> None:
    end_of(sdk, create(sdk, *rows(1)))
    with openai.OpenAI(api_key="sk_test", base_url=server.base_url) as online:
        assert server.credit is not None
        left = server.credit["sk_test"] or 0.0
        online.chat.completions.create(**BODY)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    assert left - (server.credit["sk_test"] or 0.0) == pytest.approx(2 * (1.0 - left))
    server.credit["sk_test"] = 0.0
    [row] = results(sdk, end_of(sdk, create(sdk, *rows(1))).error_file_id)
    assert row["response"]["body"]["reason"] == "NOT_ENOUGH_BALANCE"


def test_completions_run_too_and_streams_are_whole_answers(sdk: openai.OpenAI) -> None:
    row = {"custom_id": "a", "body": {"model": MODEL, "prompt": "Hi", "stream": True}}
    [result] = results(sdk, end_of(sdk, create(sdk, row, endpoint="/v1/completions")).output_file_id)
    assert result["response"]["body"]["object"] == "text_completion"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (lines(*rows(1), *rows(1)), "line 2: custom_id must be a text that no other line has, body an object"),
        (lines({"custom_id": "a", "body": 1}), "line 1: custom_id must"),
        (b"{", "line 1 is no request"),
        (lines({"custom_id": "a"}), "line 1 is no request: KeyError('body')"),
        (b"", "the file has 0 requests"),
        (lines(*rows(1), {"custom_id": "b", "body": {"model": "other"}}), "the same model, not meta-llama/"),
        (lines(*rows(1, model="none")), "model not found: none"),
    ],
)
def test_a_file_that_cannot_be_run_fails_the_batch(sdk: openai.OpenAI, content: bytes, problem: str) -> None:
    file = upload(sdk, content)
    batch = sdk.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h")
    ended: Any = end_of(sdk, batch)
    assert ended.status == "FAILED"
    assert problem in ended.errors


def test_a_file_that_is_too_large_fails_the_batch(sdk: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    from novita_openai.emulator import batches

    monkeypatch.setattr(batches, "MOST_BYTES", 10)
    assert "more than 10" in end_of(sdk, create(sdk)).errors


def test_what_no_batch_can_be_is_refused_at_once(server: Emulator, sdk: openai.OpenAI) -> None:
    assert refusal_of(lambda: create(sdk, endpoint="/v1/embeddings"))[:2] == (400, "INVALID_REQUEST_BODY")
    assert refusal_of(lambda: sdk.batches.retrieve("no"))[:2] == (404, "BATCH_NOT_FOUND")
    for body in (b"{", b"[]"):
        assert send(server, "POST", "/openai/v1/batches", body)[0] == 400
    assert not server.batches


def test_a_batch_that_takes_too_long_expires_with_the_answers_so_far(server: Emulator, sdk: openai.OpenAI) -> None:
    server.batch_seconds = 4 * DAY
    ended = end_of(sdk, create(sdk, *rows(10)))
    assert (ended.status, ended.request_counts.total) == ("EXPIRED", 10)
    assert 0 < ended.request_counts.completed < 10
    assert len(results(sdk, ended.output_file_id)) == ended.request_counts.completed
    assert ended.expired_at == ended.expires_at


def test_a_batch_that_is_cancelled_keeps_the_answers_so_far(server: Emulator, sdk: openai.OpenAI) -> None:
    server.clock, server.batch_seconds = 1.0, 5.0
    batch = create(sdk, *rows(2_000))
    while not sdk.batches.retrieve(batch.id).request_counts.completed:  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess]
        pass
    assert str(sdk.batches.cancel(batch.id).status) == "CANCELLING"
    server.clock = 1_000.0
    ended = end_of(sdk, batch)
    assert (ended.status, sdk.batches.cancel(batch.id).status) == ("CANCELLED", "CANCELLED")
    assert 0 < len(results(sdk, ended.output_file_id)) == ended.request_counts.completed < 2_000
    assert ended.cancelling_at < ended.cancelled_at


def test_a_batch_that_is_cancelled_at_once_has_no_results(server: Emulator, sdk: openai.OpenAI) -> None:
    server.clock, server.batch_seconds = 1.0, 100.0
    batch = create(sdk)
    assert str(sdk.batches.cancel(batch.id).status) == "CANCELLING"
    server.clock = 1e6
    ended = end_of(sdk, batch)
    assert (ended.status, ended.output_file_id, ended.in_progress_at) == ("CANCELLED", "", None)


def test_results_are_deleted_after_thirty_days(server: Emulator, sdk: openai.OpenAI) -> None:
    ended = end_of(sdk, create(sdk))
    server.clock = 1e9
    time.sleep(0.01)
    assert refusal_of(lambda: sdk.files.content(ended.output_file_id))[1] == "FILE_NOT_FOUND"


def test_the_status_is_written_in_either_case(server: Emulator, sdk: openai.OpenAI) -> None:
    server.batch_status_case = "lower"
    assert create(sdk).status == "validating"
    with pytest.raises(ValueError, match="batch_status_case must be 'lower' or 'upper', not 'Upper'"):
        server.batch_status_case = "Upper"  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]


def test_lists_have_pages_or_ignore_them_and_may_be_late(server: Emulator, sdk: openai.OpenAI) -> None:
    made = [create(sdk).id for _ in range(3)]
    assert [each.id for each in sdk.batches.list(limit=2)] == made[::-1]
    page = sdk.batches.list(limit=2)
    assert (page.has_more, [each.id for each in page.data]) == (True, made[:0:-1])
    server.batch_list_pages = False
    assert [each.id for each in sdk.batches.list(limit=1, after=made[0]).data] == made[::-1]
    server.batch_list_delay = 1e9
    assert sdk.batches.list().data == []


def test_a_create_can_be_carried_out_and_answered_with_504(server: Emulator, sdk: openai.OpenAI) -> None:
    file = upload(sdk, lines(*rows()))
    server.script.append(Fault("late_gateway_timeout"))
    with pytest.raises(openai.InternalServerError):
        sdk.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h")
    assert [each.input_file_id for each in sdk.batches.list()] == [file]
    assert Fault("late_gateway_timeout").is_instead is False


def test_drawn_errors_of_the_service_meet_rows_too(server: Emulator, sdk: openai.OpenAI) -> None:
    batch = create(sdk, *rows(20))
    server.faults = {"MODEL_NOT_AVAILABLE": 0.5}
    while send(server, "GET", f"/openai/v1/batches/{batch.id}")[0] != 200 or not server.batches[batch.id].is_collected:
        pass
    server.faults = {}
    failed = results(sdk, server.batches[batch.id].error_file_id)
    assert {row["response"]["status_code"] for row in failed} == {500}
    assert 0 < len(failed) < 20


def test_files_and_batches_need_a_key_and_are_under_one_path(server: Emulator) -> None:
    assert send(server, "GET", "/openai/v1/batches")[0] == 200
    assert b"FAILED_TO_AUTH" in send(server, "GET", "/openai/v1/batches", key="wrong")[1]
    assert b"INVALID_API_KEY" in send(server, "GET", "/openai/v1/files", key="")[1]
    for path in ("/v3/openai/batches", "/openai/files", "/openai/v1/batches/a/b", "/openai/v1/else"):
        assert send(server, "GET", path) == (404, b"404 page not found")


def test_one_model_can_be_asked_for(sdk: openai.OpenAI) -> None:
    assert sdk.models.retrieve(MODEL).id == MODEL
    assert refusal_of(lambda: sdk.models.retrieve("none"))[1] == "MODEL_NOT_FOUND"


def test_a_fast_clock_makes_limits_and_latencies_pass_faster(server: Emulator) -> None:
    server.clock, server.rpm, server.latency = 100.0, 1, 3.0
    with openai.OpenAI(api_key="sk_test", base_url=server.base_url, max_retries=0) as client:
        start = time.monotonic()
        client.chat.completions.create(**BODY)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
        assert time.monotonic() - start >= 0.03
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(**BODY)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
        while time.monotonic() - start < 0.64:
            time.sleep(0.01)
        assert client.chat.completions.create(**BODY)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
        assert time.monotonic() - start < 60


def send(server: Emulator, method: str, path: str, body: bytes = b"", key: str = "sk_test") -> tuple[int, bytes]:
    """Send what no SDK would."""
    connection = HTTPConnection("127.0.0.1", int(server.base_url.split(":")[2].split("/")[0]), timeout=10)
    connection.request(method, path, body, {"authorization": f"Bearer {key}"})
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer
