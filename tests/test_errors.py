"""The error table: which row an error gets, and what its notes say. Errors are caught from a real server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from conftest import Driver
from server import Reply, Server, error
from structlog.testing import capture_logs

from novita_openai import RULES, Action, ErrorRule, RetryPolicy, classify
from novita_openai.errors import UNKNOWN, is_ambiguous, reason_of
from novita_openai.sdk.replies import status_of

STATUS_ERRORS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    408: openai.APIStatusError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
}


def caught(driver: Driver) -> Any:
    """Return the error that a call ends in, without retries."""
    with pytest.raises(openai.OpenAIError) as failure:
        driver.of(driver.client.with_options(policy=RetryPolicy.off())).chat()
    return failure.value


@pytest.fixture
def catch(driver: Driver, server: Server) -> Callable[[Reply], Any]:
    def catch(reply: Reply) -> Any:
        server.always = reply
        return caught(driver)

    return catch


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.status and (rule.reason or "").isupper()])
def test_every_documented_word_finds_its_row(rule: ErrorRule, catch: Callable[[Reply], Any]) -> None:
    assert rule.status is not None
    assert rule.reason is not None
    failure = catch(error(rule.status, rule.reason))
    assert isinstance(failure, STATUS_ERRORS.get(rule.status, openai.InternalServerError))
    assert (classify(failure), status_of(failure), reason_of(failure)) == (rule, rule.status, rule.reason)


# status, body, action, whether it stops a batch
WITHOUT_A_KNOWN_WORD = [
    (400, {"message": "bad"}, Action.FAIL, False),
    (401, "no", Action.FAIL, True),
    (403, {"code": 403, "message": "no"}, Action.FAIL, True),
    (403, "<html>", Action.FAIL, True),
    (403, {"reason": "IDENTITY_VERIFICATION"}, Action.FAIL, False),
    (404, "404 page not found", Action.FAIL, False),
    (404, {"message": "no"}, Action.FAIL, False),
    (408, "", Action.RETRY, False),
    (409, "", Action.RETRY, False),
    (418, "", Action.FAIL, False),
    (422, "", Action.FAIL, False),
    (429, "", Action.WAIT, False),
    (500, "[]", Action.RETRY, False),
    (502, "<html>", Action.RETRY, False),
    (504, "", Action.RETRY, False),
    (599, "", Action.RETRY, False),
]


@pytest.mark.parametrize(("status", "body", "action", "stops"), WITHOUT_A_KNOWN_WORD)
def test_the_status_is_the_fallback(
    status: int, body: Any, action: Action, stops: bool, catch: Callable[[Reply], Any]
) -> None:
    rule = classify(catch(Reply(status, body)))
    assert (rule.action, rule.stops_batch) == (action, stops)


@pytest.mark.parametrize(
    "body",
    [
        {"code": 429, "reason": "RATE_LIMIT_EXCEEDED"},
        {"error": {"reason": "RATE_LIMIT_EXCEEDED"}},
        {"error": {"code": "RATE_LIMIT_EXCEEDED"}},
        {"error": "plain text", "reason": "RATE_LIMIT_EXCEEDED"},
        {"error": {"message": "m"}, "reason": "RATE_LIMIT_EXCEEDED"},
    ],
)
def test_the_word_decides_wherever_it_stands_and_whatever_the_status(body: Any, catch: Callable[[Reply], Any]) -> None:
    for status in (400, 500, 503):
        assert classify(catch(Reply(status, body))).reason == "RATE_LIMIT_EXCEEDED"


def test_message_text_decides_nothing(catch: Callable[[Reply], Any]) -> None:
    failure = catch(Reply(400, {"message": "RATE_LIMIT_EXCEEDED 429 MODEL_NOT_FOUND"}))
    assert classify(failure).action is Action.FAIL
    assert classify(failure).status == 400


def test_classify_is_total_and_rows_of_users_come_first(catch: Callable[[Reply], Any]) -> None:
    assert classify(ValueError("x")) is UNKNOWN
    assert classify(openai.OpenAIError("x"), ()) is UNKNOWN
    mine = ErrorRule(None, "NEW_WORD", Action.WAIT, "mine")
    assert classify(catch(error(400, "NEW_WORD")), (mine, *RULES)) is mine
    assert classify(ValueError("x"), (ErrorRule(None, "ValueError", Action.RETRY, ""), *RULES)).action is Action.RETRY


def test_the_network_has_words_too(connect: Callable[..., Driver], server: Server) -> None:
    def failure_of(reply: Reply | None, **options: Any) -> Any:
        server.always = reply
        return caught(connect(**options))

    timeout = failure_of(Reply(fault="stall"), timeout=0.2)
    hung_up = failure_of(Reply(fault="close"))
    refused = failure_of(None, base_url="http://127.0.0.1:1/v3/openai")
    no_answer = failure_of(Reply(200, "<html>"))
    errors = (timeout, hung_up, refused, no_answer)
    assert [reason_of(each) for each in errors] == ["timeout", "connection_error", "connection_error", "invalid_answer"]
    assert [classify(each).action for each in errors] == [Action.RETRY] * 4
    assert [is_ambiguous(each) for each in errors] == [True, True, False, True]
    assert [reason_of(each) for each in (TimeoutError(), ConnectionResetError())] == ["timeout", "connection_error"]


def test_an_error_event_of_a_stream_is_read_too(driver: Driver, server: Server) -> None:
    body = 'data: {"error": {"code": "MODEL_NOT_AVAILABLE", "message": "m"}}\n\n'
    server.always = Reply(body=body, headers={"content-type": "text/event-stream"})
    with pytest.raises(openai.APIError) as failure:
        driver.collect(lambda client: client.completions.create(model="m", prompt="p", stream=True))
    assert classify(failure.value).reason == "MODEL_NOT_AVAILABLE"


def test_a_request_that_can_never_be_sent_is_not_tried_again(connect: Callable[..., Driver], server: Server) -> None:
    driver = connect(default_headers={"x-note": "line\nbreak"})
    with capture_logs() as logs, pytest.raises(openai.APIConnectionError) as failure:
        driver.chat()
    assert server.requests == []
    assert (logs, reason_of(failure.value)) == ([], "not_sent")


NOTES = {
    (401, "INVALID_API_KEY"): "https://novita.ai/settings/key-management",
    (403, "NOT_ENOUGH_BALANCE"): "credit",
    (404, "MODEL_NOT_FOUND"): "https://novita.ai/llm-api",
    (429, "RATE_LIMIT_EXCEEDED"): "https://novita.ai/docs/guides/llm-rate-limits",
    (500, "MODEL_NOT_AVAILABLE"): "maintenance",
}


@pytest.mark.parametrize(("status", "reason"), NOTES)
def test_the_notes_say_the_meaning_the_way_out_and_every_attempt(
    status: int, reason: str, connect: Callable[..., Driver], server: Server
) -> None:
    server.always = error(status, reason)
    with pytest.raises(openai.APIStatusError) as failure:
        connect(policy=RetryPolicy(budget=None)).chat()
    meaning, *attempts = failure.value.__notes__
    assert NOTES[status, reason] in meaning
    assert len(attempts) == len(server.requests)
    assert attempts[-1] == f"attempt {len(attempts)} of 3: {status} {reason}"


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"max_completion_tokens": 5}, "use `max_tokens`"),
        ({"messages": [{"role": "developer", "content": "x"}]}, "use `system`"),
    ],
)
def test_the_note_on_a_refused_request_says_what_to_use(
    options: dict[str, Any], hint: str, connect: Callable[..., Driver], server: Server
) -> None:
    driver = connect(translate=False)
    server.always = error(400, "INVALID_REQUEST_BODY")
    with pytest.raises(openai.BadRequestError) as failure:
        driver.chat(**options)
    assert hint in failure.value.__notes__[1]
    with pytest.raises(openai.BadRequestError) as failure:
        driver.chat()
    assert not any("use `" in note for note in failure.value.__notes__)


@pytest.mark.parametrize("messages", [5, None, [5], [{"role": ["x"]}], {"role": "developer"}])
def test_a_request_of_any_shape_gets_the_services_error(messages: Any, driver: Driver, server: Server) -> None:
    server.always = error(400, "INVALID_REQUEST_BODY")
    with pytest.raises(openai.BadRequestError):
        driver.call(lambda client: client.post("/chat/completions", body={"messages": messages}, cast_to=object))
