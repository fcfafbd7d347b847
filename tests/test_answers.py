"""Answers that are none end in SDK errors, classified and retried like their proper form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pydantic
import pytest
from conftest import Driver
from openai.types import Completion
from openai.types.chat import ChatCompletion
from server import CHAT, COMPLETION, FILE, MODELS, Reply, Server

from novita_openai import RetryPolicy
from novita_openai.errors import reason_of

Call = Callable[[Driver], Any]
MESSAGES = [{"role": "user", "content": "Hi"}]


class Recipe(pydantic.BaseModel):
    name: str


def raw(driver: Driver) -> Any:
    return driver.call(lambda client: client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES))


def streamed(driver: Driver) -> Any:
    return driver.within(
        lambda client: client.chat.completions.with_streaming_response.create(model="m", messages=MESSAGES),
        lambda response: response.parse(),
    )


def parsed(driver: Driver) -> Any:
    return driver.call(
        lambda client: client.chat.completions.parse(model="m", messages=MESSAGES, response_format=Recipe)
    )


def posted(driver: Driver) -> Any:
    body = {"model": "m", "messages": MESSAGES}
    return driver.call(lambda client: client.post("/chat/completions", body=body, cast_to=object))


def listed(driver: Driver) -> Any:
    return driver.collect(lambda client: client.models.list())


CALLS: dict[str, Call] = {
    "chat": lambda driver: driver.chat(),
    "completions": lambda driver: driver.complete(),
    "raw": raw,
    "streamed": streamed,
    "parse": parsed,
    "post": posted,
    "models": listed,
}
UNREADABLE = {"html": "<html>no</html>", "nothing": "", "cut JSON": '{"id": "1", "cho', "not UTF-8": b'{"a": "\xff"}'}
JSON = {"null": "null", "a list": "[]", "text": '"text"', "an empty object": "{}"}
WITHOUT_CHOICES = {
    "null": CHAT | {"choices": None},
    "empty": CHAT | {"choices": []},
    "a list of null": CHAT | {"choices": [None]},
    "a list of numbers": CHAT | {"choices": [1]},
    "a list of nothing": CHAT | {"choices": [{}]},
    "text": CHAT | {"choices": "x"},
}
ERROR_OBJECTS = {
    "flat": {"code": 429, "reason": "RATE_LIMIT_EXCEEDED", "message": "slow"},
    "wrapped": {"error": {"code": "RATE_LIMIT_EXCEEDED", "message": "slow"}},
    "by number": {"error": {"code": 429, "message": "slow"}},
    "as text": {"error": "slow", "code": "429"},
}


@pytest.fixture
def patient(connect: Callable[..., Driver]) -> Driver:
    return connect(policy=RetryPolicy(budget=None))


def requests_of(call: str) -> int:
    """A streamed body is read after the call has returned, when nothing is retried any more."""
    return 1 if call == "streamed" else 3


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("body", UNREADABLE)
def test_a_body_that_is_no_json_is_an_sdk_error(call: str, body: str, patient: Driver, server: Server) -> None:
    server.always = Reply(
        200, UNREADABLE[body], {"content-type": "text/html" if body == "html" else "application/json"}
    )
    with pytest.raises(openai.APIResponseValidationError, match="Expected a JSON answer") as failure:
        CALLS[call](patient)
    assert reason_of(failure.value) == "invalid_answer"
    assert len(server.requests) == requests_of(call)


@pytest.mark.parametrize("call", ["chat", "completions", "raw", "streamed", "parse", "models"])
@pytest.mark.parametrize("body", JSON)
def test_json_that_holds_no_answer_is_an_sdk_error(call: str, body: str, patient: Driver, server: Server) -> None:
    server.always = Reply(200, JSON[body])
    with pytest.raises(openai.APIResponseValidationError, match="lacks what was asked for"):
        CALLS[call](patient)
    assert len(server.requests) == requests_of(call)


@pytest.mark.parametrize("call", ["chat", "completions", "raw", "streamed", "parse"])
@pytest.mark.parametrize("body", WITHOUT_CHOICES)
def test_an_answer_without_choices_is_an_sdk_error(call: str, body: str, patient: Driver, server: Server) -> None:
    server.always = Reply(200, WITHOUT_CHOICES[body])
    with pytest.raises(openai.APIResponseValidationError, match="choices"):
        CALLS[call](patient)
    assert len(server.requests) == requests_of(call)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("body", ERROR_OBJECTS)
def test_an_error_object_in_a_200_is_the_error_it_names(call: str, body: str, patient: Driver, server: Server) -> None:
    server.always = Reply(200, ERROR_OBJECTS[body], {"x-request-id": "r1"})
    with pytest.raises(openai.RateLimitError, match="Error code: 429 - ") as failure:
        CALLS[call](patient)
    assert (failure.value.status_code, failure.value.request_id) == (429, "r1")
    assert len(server.requests) == requests_of(call)


@pytest.mark.parametrize("call", ["chat", "completions", "raw", "streamed", "parse"])
def test_an_error_beside_the_choices_is_no_whole_answer(call: str, patient: Driver, server: Server) -> None:
    answer = COMPLETION if call == "completions" else CHAT
    server.always = Reply(200, answer | {"error": {"message": "upstream failed"}})
    with pytest.raises(openai.APIResponseValidationError, match=r"the service says .*upstream failed"):
        CALLS[call](patient)
    server.always = Reply(200, answer | {"error": {"code": 429, "message": "slow"}})
    with pytest.raises(openai.RateLimitError):
        CALLS[call](patient)
    assert len(server.requests) == 2 * requests_of(call)


def test_a_completion_that_has_ended_without_a_text_is_an_empty_one(driver: Driver, server: Server) -> None:
    def reply(**choice: Any) -> Reply:
        return Reply(200, COMPLETION | {"choices": [{"index": 0, "text": None, "logprobs": None, **choice}]})

    server.always = reply(finish_reason="stop")
    assert driver.complete().choices[0].text == ""
    server.always = reply(finish_reason=None)
    with pytest.raises(openai.APIResponseValidationError, match="choices"):
        driver.complete()


@pytest.mark.parametrize("call", ["chat", "completions", "raw", "streamed", "parse"])
@pytest.mark.parametrize("reason", ["error", "abort", "insufficient_system_resource"])
def test_a_finish_reason_that_is_a_failure_is_no_whole_answer(
    call: str, reason: str, patient: Driver, server: Server
) -> None:
    answer: Any = COMPLETION if call == "completions" else CHAT
    server.always = Reply(200, answer | {"choices": [answer["choices"][0] | {"finish_reason": reason}]})
    with pytest.raises(openai.APIResponseValidationError, match=f"its finish_reason is '{reason}'"):
        CALLS[call](patient)
    assert len(server.requests) == requests_of(call)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"reason": "INVALID_API_KEY"}, openai.AuthenticationError),
        ({"reason": "MODEL_NOT_AVAILABLE"}, openai.InternalServerError),
        ({"code": 418, "message": "m"}, openai.APIStatusError),
        ({"code": 599}, openai.InternalServerError),
        ({"code": 200, "reason": "NEW"}, openai.APIResponseValidationError),
        ({"error": {"message": "upstream failed"}}, openai.APIResponseValidationError),
    ],
)
def test_each_error_object_has_its_class(body: Any, kind: type[Exception], driver: Driver, server: Server) -> None:
    server.always = Reply(200, body)
    with pytest.raises(kind):
        driver.chat()


@pytest.mark.parametrize("data", [None, "x", ["x"], [None]])
def test_a_models_list_without_models_is_an_sdk_error(data: Any, patient: Driver, server: Server) -> None:
    server.always = Reply(200, MODELS | {"data": data})
    with pytest.raises(openai.APIResponseValidationError, match="data"):
        listed(patient)
    assert len(server.requests) == 3


@pytest.mark.parametrize("message", [None, "text", {"role": "assistant", "tool_calls": [None]}])
def test_a_message_that_is_none_is_an_sdk_error(message: Any, driver: Driver, server: Server) -> None:
    server.always = Reply(200, CHAT | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    with pytest.raises(openai.APIResponseValidationError):
        parsed(driver)


@pytest.mark.parametrize("data", [None, [], [1], [{"embedding": "A"}], [{"embedding": "AA=="}]])
def test_embeddings_that_are_none_are_an_sdk_error(data: Any, driver: Driver, server: Server) -> None:
    server.always = Reply(200, {"object": "list", "data": data})
    with pytest.raises(openai.APIResponseValidationError):
        driver.call(lambda client: client.embeddings.create(model="m", input="x"))


@pytest.mark.parametrize("kind", [object, list[ChatCompletion], ChatCompletion | Completion, dict[str, Any]])
def test_cut_json_is_an_sdk_error_whatever_type_is_asked_for(kind: Any, driver: Driver, server: Server) -> None:
    server.always = Reply(200, '[{"id": "1"')
    with pytest.raises(openai.APIResponseValidationError, match="Expected a JSON answer"):
        driver.call(lambda client: client.post("/x", cast_to=kind))


def test_json_too_deep_to_read_is_an_sdk_error(driver: Driver, server: Server) -> None:
    server.always = Reply(200, "[" * 200_000)
    with pytest.raises(openai.APIResponseValidationError):
        driver.chat()


UNTYPED = [
    (object, {"error": {"code": 400, "message": "a row failed"}, "id": "x", "status": "failed"}),
    (object, {"error": "none", "code": 500, "data": [1]}),
    (object, [1, 2]),
    (dict[str, Any], {"error": None}),
]


@pytest.mark.parametrize(("kind", "body"), UNTYPED)
def test_an_untyped_answer_may_tell_of_errors(kind: Any, body: Any, driver: Driver, server: Server) -> None:
    server.always = Reply(200, body)
    assert driver.call(lambda client: client.post("/x", cast_to=kind)) == body


def test_what_the_sdk_gives_as_text_stays_text(driver: Driver, server: Server) -> None:
    server.always = Reply(200, "pong", {"content-type": "text/plain"})
    assert driver.call(lambda client: client.post("/x", cast_to=object)) == "pong"
    server.always = Reply(204, "", {"content-type": "text/plain"})
    assert not driver.call(lambda client: client.delete("/x", cast_to=object))
    assert len(server.requests) == 2


def test_a_chat_without_a_body_is_said_to_be_empty(driver: Driver, server: Server) -> None:
    server.always = Reply(204, "")
    with pytest.raises(openai.APIResponseValidationError, match="got 0 bytes"):
        driver.chat()


def test_an_error_object_where_no_list_is_due_is_found_too(driver: Driver, server: Server) -> None:
    server.always = Reply(200, {"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": "no"})
    with pytest.raises(openai.PermissionDeniedError):
        driver.call(lambda client: client.files.retrieve("f"))
    server.always = Reply(200, FILE | {"error": None})
    assert driver.call(lambda client: client.files.retrieve("f")).id == "f"


def test_one_bad_answer_is_followed_by_the_good_one(patient: Driver, server: Server) -> None:
    server.script.extend([Reply(200, ""), Reply(200, {"reason": "MODEL_NOT_AVAILABLE"})])
    assert patient.chat().choices[0].message.content == "Boil water."
    assert len(server.requests) == 3


@pytest.mark.parametrize("fault", [Reply(200, CHAT, cut=30), Reply(fault="close"), Reply(fault="reset")])
@pytest.mark.parametrize("call", CALLS)
def test_a_connection_that_breaks_is_an_sdk_error(call: str, fault: Reply, patient: Driver, server: Server) -> None:
    server.always = fault
    with pytest.raises(openai.APIConnectionError):
        CALLS[call](patient)
    assert len(server.requests) == (1 if call == "streamed" and fault.fault is None else 3)


def test_a_body_that_stalls_while_it_is_parsed_is_a_timeout(connect: Callable[..., Driver], server: Server) -> None:
    server.always = Reply(200, CHAT, {"content-length": "9999"}, cut=None)
    driver = connect(timeout=0.2)
    with pytest.raises(openai.APITimeoutError):
        streamed(driver)


def test_good_answers_pass_in_every_shape(driver: Driver, server: Server) -> None:
    assert CALLS["chat"](driver).choices[0].message.content == "Boil water."
    assert CALLS["completions"](driver).choices[0].text == " Boil water."
    assert raw(driver).parse().id == "1" * 32
    assert streamed(driver).id == "1" * 32
    assert posted(driver) == CHAT
    assert [model.id for model in listed(driver)] == ["m"]
    server.script.append(Reply(200, MODELS | {"data": []}))
    assert listed(driver) == []
    server.script.append(Reply(200, COMPLETION | {"error": None}))
    assert driver.complete().choices


def test_parse_gives_the_users_type_and_keeps_the_users_errors(driver: Driver, server: Server) -> None:
    def reply(content: str, finish_reason: str) -> Reply:
        message = {"role": "assistant", "content": content}
        return Reply(200, CHAT | {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]})

    server.script.extend([reply('{"name": "pasta"}', "stop"), reply('{"name"', "length"), reply("{}", "stop")])
    assert parsed(driver).choices[0].message.parsed == Recipe(name="pasta")
    with pytest.raises(openai.LengthFinishReasonError) as cut:
        parsed(driver)
    with pytest.raises(pydantic.ValidationError):
        parsed(driver)
    assert not hasattr(cut.value, "__notes__")
    assert len(server.requests) == 3


def test_a_streamed_response_can_be_parsed_to_another_type(driver: Driver, server: Server) -> None:
    class Named(openai.BaseModel):
        model: str

    answer = driver.within(
        lambda client: client.chat.completions.with_streaming_response.create(model="m", messages=MESSAGES),
        lambda response: response.parse(to=Named),
    )
    assert answer.model == "m"
    assert len(server.requests) == 1


def test_what_users_ask_wrong_stays_the_sdks_error(driver: Driver, server: Server) -> None:
    kept: list[Any] = []

    def ask_for_a_tuple(response: Any) -> Any:
        kept.append(response)
        return response.parse(to=tuple)

    request: Any = {"model": "m", "messages": MESSAGES}
    with pytest.raises(RuntimeError, match="Unsupported type"):
        driver.within(lambda client: client.chat.completions.with_streaming_response.create(**request), ask_for_a_tuple)
    driver.within(lambda client: client.chat.completions.with_streaming_response.create(**request), kept.append)
    with pytest.raises(RuntimeError, match="closed"):
        driver.call(lambda _: kept[-1].parse())
    assert len(server.requests) == 2


def test_what_strict_validation_refuses_is_not_paid_twice(connect: Callable[..., Driver], server: Server) -> None:
    server.always = Reply(200, CHAT | {"created": "yesterday"})
    with pytest.raises(openai.APIResponseValidationError) as failure:
        connect(_strict_response_validation=True).chat()
    assert reason_of(failure.value) == "schema_mismatch"
    assert len(server.requests) == 1
