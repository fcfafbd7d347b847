"""What only old results, programs that stop, and callers of single functions bring about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from calls import CHAT, COMPLETION
from conftest import Driver
from server import Reply, Server

from novita_openai import OpenAI, RetryPolicy
from novita_openai.batch import rechecks
from novita_openai.batch.dedupe import _copy
from novita_openai.batch.extras import read_metadata
from novita_openai.batch.worklist import Worklist
from novita_openai.errors import reason_of
from novita_openai.prompts.tool_calls.llama import _leading_objects


def test_a_result_without_spent_is_copied_without_it() -> None:
    request: Any = SimpleNamespace(custom_id="b", metadata=b"")
    assert _copy(b'{"custom_id": "a", "error": null}', request) == {"custom_id": "b", "error": None}


@pytest.mark.parametrize("metadata", [{1, 2}, float("nan")])
def test_metadata_that_json_does_not_have_is_refused(metadata: object) -> None:
    with pytest.raises(ValueError, match="metadata cannot be written as JSON"):
        read_metadata(metadata)


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


def test_a_streamed_response_that_is_never_parsed_is_closed(driver: Driver, server: Server) -> None:
    server.always = Reply(body="data: [DONE]\n\n", headers={"content-type": "text/event-stream"})
    options = {**COMPLETION, "stream": True}
    status = driver.within(
        lambda client: client.completions.with_streaming_response.create(**options),
        lambda response: response.status_code,
    )
    assert status == 200


def test_a_client_of_another_process_is_told_so_where_a_connection_fails(driver: Driver, server: Server) -> None:
    driver.client.process_id = -1
    for reply, is_said in (
        (Reply(401, {"reason": "INVALID_API_KEY", "message": "no"}), False),
        (Reply(fault="close"), True),
    ):
        server.always = reply
        with pytest.raises(openai.APIError) as failure:
            driver.call(lambda client: client.chat.completions.create(**CHAT))
        assert ("made in another process" in " ".join(failure.value.__notes__)) == is_said


def test_files_of_other_servers_stay_where_they_are(connect: Callable[..., Driver], server: Server) -> None:
    base_url = server.base_url.replace("/v3/openai", "/v1")
    with OpenAI(api_key="k", base_url=base_url, policy=RetryPolicy.off()) as client, pytest.raises(openai.APIError):
        client.files.list()
    assert server.requests[-1].path == "/v1/files"
    del connect


def test_an_error_of_the_system_is_its_own_reason() -> None:
    assert reason_of(OSError("x")) == "OSError"


def test_objects_that_no_blank_line_follows_are_text() -> None:
    assert _leading_objects('{"a": 1} and more') == ([], '{"a": 1} and more')
