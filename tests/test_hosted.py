"""Files, batches and responses of the client: where they are sent, and OpenAI's own loops over them end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from calls import CHAT, MODEL
from conftest import Driver
from server import Reply, Server

from novita_openai import OpenAI, RetryPolicy
from novita_openai.client.hosted import as_promised, hosted_url, unix_seconds
from novita_openai.emulator import Emulator, Fault

ROWS = b"".join(json.dumps({"custom_id": f"{number}", "body": CHAT}).encode() + b"\n" for number in range(3))
WINDOW: Any = "48h"


@pytest.fixture
def service() -> Iterator[Emulator]:
    with Emulator(keys={"sk_test": 9.0}, batch_seconds=0.05) as running:
        yield running


@pytest.fixture
def driver(connect: Callable[..., Driver], service: Emulator) -> Driver:
    return connect(base_url=service.base_url)


def upload(driver: Driver) -> Any:
    return driver.call(lambda client: client.files.create(file=("rows.jsonl", ROWS), purpose="batch"))


def create(driver: Driver) -> Any:
    options = {"endpoint": "/v1/chat/completions", "completion_window": WINDOW}
    file = upload(driver)
    return driver.call(lambda client: client.batches.create(input_file_id=file.id, **options))


def retrieve(driver: Driver, batch: str) -> Any:
    return driver.call(lambda client: client.batches.retrieve(batch))


@pytest.mark.parametrize("case", ["lower", "upper"])
@pytest.mark.parametrize("base_path", ["/v3/openai", "/openai/", "/openai/v1"])
def test_a_batch_runs_as_in_the_examples_of_openai(
    connect: Callable[..., Driver], service: Emulator, base_path: str, case: Any
) -> None:
    service.batch_status_case = case
    driver = connect(base_url=service.base_url.replace("/v3/openai", base_path))
    batch = create(driver)
    seen = {batch.status}
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        batch = retrieve(driver, batch.id)
        seen.add(batch.status)
    assert seen <= {"validating", "in_progress", "completed"}
    assert (batch.errors, batch.error_file_id, batch.failed_at, batch.cancelled_at) == (None, None, None, None)
    assert (
        batch.created_at <= batch.in_progress_at <= batch.completed_at < batch.expires_at == batch.created_at + 172_800
    )
    content = driver.call(lambda client: client.files.content(batch.output_file_id))
    assert [json.loads(line)["custom_id"] for line in content.text.splitlines()] == ["0", "1", "2"]
    assert driver.call(lambda client: client.files.delete(batch.output_file_id)).deleted


def test_waiting_for_a_file_ends(driver: Driver) -> None:
    file = upload(driver)
    assert file.status == "processed"
    assert driver.call(lambda client: client.files.wait_for_processing(file.id)).id == file.id


def test_a_failed_batch_says_why_in_the_type_of_the_sdk(driver: Driver, service: Emulator) -> None:
    service.models = ["another"]
    batch = create(driver)
    while batch.status == "validating":
        batch = retrieve(driver, batch.id)
    assert batch.status == "failed"
    assert batch.errors.data[0].message == f"model not found: {MODEL}"
    assert batch.failed_at >= batch.created_at


@pytest.mark.parametrize("has_pages", [True, False])
def test_lists_end_and_hold_each_item_once(driver: Driver, service: Emulator, has_pages: bool) -> None:
    service.batch_list_pages, service.batch_seconds = has_pages, 100.0
    batches = [create(driver).id for _ in range(3)]
    assert [batch.id for batch in driver.collect(lambda client: client.batches.list(limit=2))] == batches[::-1]
    files = driver.collect(lambda client: client.files.list(limit=2))
    assert [file.id for file in files] == [*service.files][::-1]
    assert {file.status for file in files} == {"processed"}


@pytest.mark.parametrize("body", [{"data": None, "object": "list"}, {"code": "200", "message": "", "data": None}])
def test_no_list_is_an_empty_list(driver: Driver, connect: Callable[..., Driver], server: Any, body: Any) -> None:
    del driver
    server.always = Reply(body=body)
    for name in ("files", "batches"):
        page = connect().call(lambda client: getattr(client, name).list())  # noqa: B023 - called at once
        assert page.data == []


def test_an_error_in_place_of_a_list_is_an_error(connect: Callable[..., Driver], server: Any) -> None:
    server.always = Reply(body={"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": "", "metadata": {}})
    with pytest.raises(openai.PermissionDeniedError):
        connect().call(lambda client: client.batches.list())
    server.always = Reply(body={"object": "list", "data": None})
    with pytest.raises(openai.APIResponseValidationError):
        connect(max_retries=0).call(lambda client: client.models.list())


def test_raw_replies_stay_as_the_service_sent_them(driver: Driver) -> None:
    raw = driver.call(lambda client: client.batches.with_raw_response.list())
    assert raw.http_response.json()["data"] == []
    batch = create(driver)
    raw = driver.call(lambda client: client.batches.with_raw_response.retrieve(batch.id))
    assert raw.http_response.json()["error_file_id"] == ""


@pytest.mark.parametrize("kind", ["late_gateway_timeout", "reset", "close"])
def test_creating_is_never_repeated_after_an_ambiguous_failure(driver: Driver, service: Emulator, kind: str) -> None:
    file = upload(driver)
    for create_again in (
        lambda client: client.files.create(file=("rows.jsonl", ROWS), purpose="batch"),
        lambda client: client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window=WINDOW
        ),
    ):
        service.script.append(Fault(kind))
        before = service.request_count
        with pytest.raises(openai.APIError):
            driver.call(create_again)
        assert service.request_count == before + 1
    assert (len(service.files), len(service.batches)) == (2, 1)


def test_creating_is_repeated_where_nothing_was_created(driver: Driver, service: Emulator) -> None:
    service.script.append(Fault("RATE_LIMIT_EXCEEDED"))
    assert create(driver).status == "validating"


def test_responses_are_where_the_service_has_them(driver: Driver, service: Emulator) -> None:
    with pytest.raises(openai.NotFoundError):
        driver.call(lambda client: client.responses.create(model=MODEL, input="Hi"))
    assert service.requests[-1].path == "/responses"


@pytest.mark.parametrize(
    ("url", "base_url", "expected"),
    [
        ("/files", "https://api.novita.ai/v3/openai/", "https://api.novita.ai/openai/v1/files"),
        ("/batches/b/cancel", "https://api.novita.ai/openai", "https://api.novita.ai/openai/v1/batches/b/cancel"),
        ("/responses", "http://127.0.0.1:80/openai/v1/", "http://127.0.0.1:80/openai/v1/responses"),
        ("/files", "http://127.0.0.1/v1/", "/files"),
        ("/chat/completions", "https://api.novita.ai/v3/openai/", "/chat/completions"),
    ],
)
def test_only_the_base_paths_of_the_service_are_changed(url: str, base_url: str, expected: str) -> None:
    assert hosted_url(url, base_url) == expected


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2025-08-11T16:31:52.949816948+08:00", 1_754_901_112),
        ("2025-08-11T08:31:52Z", 1_754_901_112),
        ("1754901112", 1_754_901_112),
        (1_754_901_112.5, 1_754_901_112),
        ("", None),
        (None, None),
        ("0001-01-01T00:00:00Z", None),
        ({"Time": "", "Valid": False}, None),
        ("soon", None),
    ],
)
def test_times_of_every_form_are_seconds(time: object, expected: int | None) -> None:
    assert unix_seconds(time) == expected


@pytest.mark.parametrize(
    ("errors", "messages"),
    [("bad file", ["bad file"]), (["a", "b"], ["a", "b"]), ("", None), (None, None), ([], None)],
)
def test_errors_of_every_form_are_of_the_type_of_the_sdk(errors: object, messages: list[str] | None) -> None:
    batch = as_promised(openai.types.Batch.construct(status="CANCELED", errors=errors), None)
    assert batch.status == "cancelled"
    assert (batch.errors and [each.message for each in batch.errors.data]) == messages


def test_errors_of_the_type_and_unknown_words_stay() -> None:
    batch: Any = openai.types.Batch.construct(status="PAUSED", errors={"object": "list", "data": [{"message": "m"}]})
    assert as_promised(batch, None).errors.data[0].message == "m"
    assert batch.status == "paused"
    assert as_promised(openai.types.Batch.construct(status=None), None).status is None


def test_the_key_goes_with_what_the_address_was_changed_for(service: Emulator) -> None:
    with OpenAI(api_key="sk_test", base_url=service.base_url) as client:
        assert client.files.list().data == []
    assert service.requests[-1].headers["authorization"] == "Bearer sk_test"


def test_files_of_other_servers_stay_where_they_are(server: Server) -> None:
    base_url = server.base_url.replace("/v3/openai", "/v1")
    with OpenAI(api_key="k", base_url=base_url, policy=RetryPolicy.off()) as client, pytest.raises(openai.APIError):
        client.files.list()
    assert server.requests[-1].path == "/v1/files"
