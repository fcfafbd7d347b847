"""Rows with equal requests: which are sent once, what the others get, and what a report says of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from batch_jobs import Job, body, no_file_above
from server import CHAT, Reply, Server, error

from novita_openai import batch
from novita_openai.batch import BatchStopped
from novita_openai.batch.dedupe import _copy, asks_for_samples


@pytest.fixture
def scripted(tmp_path: Path, server: Server) -> Job:
    return Job(tmp_path, server.base_url)


def same(custom_id: str, text: str = "same", **fields: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "body": body(text, **fields)}


def sent(server: Server) -> int:
    return sum(request.method == "POST" for request in server.requests)


@pytest.mark.parametrize(
    ("fields", "asks"),
    [
        ({}, False),
        ({"temperature": 0}, False),
        ({"temperature": 0.0, "n": 1, "best_of": 1, "seed": None}, False),
        ({"temperature": None, "n": None}, False),
        ({"temperature": 0.1}, True),
        ({"temperature": 1}, True),
        ({"n": 2}, True),
        ({"best_of": 3}, True),
        ({"seed": 0}, True),
    ],
)
def test_a_row_asks_for_samples_in_words(fields: dict[str, Any], *, asks: bool) -> None:
    assert asks_for_samples(body("x", **fields)) == asks


def test_equal_requests_are_sent_once(scripted: Job, server: Server) -> None:
    rows = [same("a") | {"metadata": 1}, same("b") | {"metadata": 2}, same("other", "x"), same("c")]
    report = scripted.run(rows, dedupe=True)
    assert (report.succeeded, report.failed, report.sent, report.deduplicated) == (4, 0, 2, 2)
    assert sent(server) == 2
    found = scripted.answers()
    assert [found[name]["response"]["body"] for name in "abc"] == [CHAT] * 3
    assert [found[name].get("metadata") for name in "abc"] == [1, 2, None]
    assert found["b"]["id"] == found["a"]["id"]
    scripted.assert_complete(["a", "b", "other", "c"])
    again = scripted.run(rows, dedupe=True)
    assert (again.sent, again.resumed, again.deduplicated) == (0, 4, 0)


def test_a_copy_has_cost_nothing(scripted: Job) -> None:
    scripted.run([same("a"), same("b")], dedupe=True)
    spent = [scripted.answers()[name]["spent"] for name in "ab"]
    assert [each["requests"] for each in spent] == [1, 0]
    assert spent[1] == {"requests": 0, "tokens": 0, "dollars": 0.0}


@pytest.mark.parametrize("fields", [{"temperature": 0.7}, {"n": 2}, {"seed": 7}])
def test_rows_that_ask_for_samples_are_all_sent(scripted: Job, server: Server, fields: dict[str, Any]) -> None:
    report = scripted.run([same("a", **fields), same("b", **fields)], dedupe=True)
    assert (report.sent, report.deduplicated, sent(server)) == (2, 0, 2)


def test_rows_with_headers_are_all_sent(scripted: Job) -> None:
    rows = [same("a") | {"headers": {"X-Team": "a"}}, same("b") | {"headers": {"X-Team": "b"}}]
    assert scripted.run(rows, dedupe=True).sent == 2


def test_without_the_option_all_rows_are_sent(scripted: Job) -> None:
    report = scripted.run([same("a"), same("b")])
    assert (report.sent, report.deduplicated) == (2, 0)


def test_a_failure_is_shared_too_and_sent_once_again(scripted: Job, server: Server) -> None:
    server.always = error(400, "INVALID_REQUEST_BODY")
    report = scripted.run([same("a"), same("b")], dedupe=True)
    assert (report.failed, report.sent, report.deduplicated) == (2, 1, 1)
    assert sorted(each["error"]["attempts"] for each in scripted.failures().values()) == [0, 1]
    server.always = None
    report = scripted.run(dedupe=True, retry_failed=True)
    assert (report.succeeded, report.failed, report.sent, report.deduplicated) == (2, 0, 1, 1)


def test_results_of_earlier_runs_are_shared(scripted: Job) -> None:
    scripted.run([same("a")])
    report = scripted.run([same("a"), same("b"), same("c", "x"), same("d", seed=1)], dedupe=True)
    assert (report.succeeded, report.sent, report.resumed, report.deduplicated) == (4, 2, 1, 1)


def test_rows_wait_for_a_run_that_answers_their_like(scripted: Job, server: Server) -> None:
    server.always = error(401, "INVALID_API_KEY")
    with pytest.raises(BatchStopped) as caught:
        scripted.run([same("a"), same("b")], dedupe=True)
    assert (caught.value.report.unfinished, caught.value.report.deduplicated) == (2, 0)
    server.always = Reply(body=CHAT)
    assert scripted.run(dedupe=True).deduplicated == 1


def test_a_full_disk_stops_the_copying(scripted: Job) -> None:
    long = CHAT | {"padding": "x" * 3_000}
    scripted.write([same("a"), same("b")])
    with no_file_above(4_000), pytest.raises(BatchStopped, match=r"cannot write .*: File too large") as caught:
        server_always(scripted, long)
    assert caught.value.report.unfinished == 1
    report = scripted.run(dedupe=True)
    assert (report.succeeded, report.sent, report.deduplicated) == (2, 0, 1)


def server_always(job: Job, answer: dict[str, Any]) -> None:
    with Server() as server:
        server.always = Reply(body=answer)
        job.run(client=job.client(base_url=server.base_url), dedupe=True)


def test_rows_that_are_printed_cannot_be_shared(scripted: Job, server: Server) -> None:
    scripted.write([same("a"), same("b")])
    with pytest.raises(ValueError, match="dedupe=True: equal rows get a copy from the file of results"):
        batch.run(scripted.requests, "-", client=scripted.client(), dedupe=True)
    assert sent(server) == 0


def test_a_result_without_spent_is_copied_without_it() -> None:
    request: Any = SimpleNamespace(custom_id="b", metadata=b"")
    assert _copy(b'{"custom_id": "a", "error": null}', request) == {"custom_id": "b", "error": None}
