"""When a request is sent again: the pure decisions as tables, then what a server sees."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import functools
import gc
import math
import pickle
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from email.utils import format_datetime
from typing import Any

import openai
import pytest
from conftest import Driver
from hypothesis import given
from hypothesis import strategies as st
from server import CHAT, MODELS, Reply, Server, chunk, error, stream
from structlog.testing import capture_logs

from novita_openai import (
    RULES,
    Action,
    AsyncOpenAI,
    Backoff,
    ErrorRule,
    RetryBudget,
    RetryPolicy,
    create_async_client,
    create_client,
    retry,
    sdk,
)
from novita_openai.errors import is_ambiguous, reason_of


def unlimited(**options: Any) -> RetryPolicy:
    return RetryPolicy(budget=None, **options)


@pytest.fixture
def failure_of(server: Server) -> Callable[[Reply], openai.APIError]:
    """Return a function that gives the error which a reply makes of a call."""
    client = openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=0)

    def failure_of(reply: Reply) -> openai.APIError:
        server.script.append(reply)
        with pytest.raises(openai.APIError) as failure:
            client.models.list()
        return failure.value

    return failure_of


def http_date(seconds: float) -> str:
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    return format_datetime(moment, usegmt=True)


# What the header says: seconds to wait, None to give up, "backoff" where it names no time ahead.
RETRY_AFTER = [
    ("retry-after", "7", 7),
    ("retry-after", "0.25", 0.25),
    ("retry-after", "120", 120),
    ("retry-after", "120.001", None),
    ("retry-after", "1e999", None),
    ("retry-after", "0", "backoff"),
    ("retry-after", "-3", "backoff"),
    ("retry-after", "-1e999", "backoff"),
    ("retry-after", "nan", "backoff"),
    ("retry-after", "inf", "backoff"),
    ("retry-after", "", "backoff"),
    ("retry-after", "soon", "backoff"),
    ("retry-after", "Wed, 99 Foo 2026 25:61:00 GMT", "backoff"),
    ("retry-after-ms", "1500", 1.5),
    ("retry-after-ms", "120000", 120),
    ("retry-after-ms", "120001", None),
    ("retry-after-ms", "0", "backoff"),
    ("retry-after-ms", "soon", "backoff"),
]


@pytest.mark.parametrize(("header", "value", "expected"), RETRY_AFTER)
def test_what_the_service_asks_is_obeyed_up_to_the_cap(
    header: str, value: str, expected: Any, failure_of: Callable[[Reply], openai.APIError]
) -> None:
    policy = RetryPolicy()
    for status, action in ((429, Action.WAIT), (503, Action.RETRY)):
        delay = policy.delay(failure_of(Reply(status, "", {header: value})), 1)
        assert delay == (policy.backoffs[action].initial if expected == "backoff" else expected)


def test_a_date_is_obeyed_and_a_past_one_is_none(failure_of: Callable[[Reply], openai.APIError]) -> None:
    delay = RetryPolicy().delay(failure_of(Reply(429, "", {"retry-after": http_date(60)})), 1)
    assert delay == pytest.approx(60, abs=5)
    assert RetryPolicy().delay(failure_of(Reply(429, "", {"retry-after": http_date(-60)})), 1) == 2
    assert RetryPolicy().delay(failure_of(Reply(429, "", {"retry-after": http_date(600)})), 1) is None


def test_a_date_without_a_zone_is_utc(
    failure_of: Callable[[Reply], openai.APIError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    date = http_date(60).replace("GMT", "-0000")
    delay = RetryPolicy().delay(failure_of(Reply(429, "", {"retry-after": date})), 1)
    monkeypatch.undo()
    time.tzset()
    assert delay == pytest.approx(60, abs=5)


def test_milliseconds_come_before_seconds(failure_of: Callable[[Reply], openai.APIError]) -> None:
    assert RetryPolicy().delay(failure_of(Reply(429, "", {"retry-after-ms": "500", "retry-after": "9"})), 1) == 0.5
    assert RetryPolicy().delay(failure_of(Reply(429, "", {"retry-after-ms": "x", "retry-after": "9"})), 1) == 9


# status, x-should-retry, is it sent again
SHOULD_RETRY = [
    (422, None, False),
    (422, "true", True),
    (418, "true", True),
    (400, "true", True),
    (401, "true", True),
    (404, "true", True),
    (429, "false", False),
    (500, "false", False),
    (408, None, True),
    (409, None, True),
    (502, None, True),
]


@pytest.mark.parametrize(("status", "wish", "again"), SHOULD_RETRY)
def test_the_services_wish_counts_as_it_does_for_the_sdk(
    status: int, wish: str | None, again: bool, failure_of: Callable[[Reply], openai.APIError]
) -> None:
    headers = {} if wish is None else {"x-should-retry": wish}
    assert (RetryPolicy().delay(failure_of(Reply(status, "", headers)), 1) is not None) is again


def test_delays_double_up_to_the_maximum() -> None:
    backoff = Backoff(0.5, 3)
    assert [backoff.delay(attempt) for attempt in (1, 2, 3, 4, 5000)] == [0.5, 1, 2, 3, 3]
    assert Backoff(2, 100).delay(1, random=0) == 1.5
    assert Backoff(2, 100).delay(1, random=0.999) == pytest.approx(2.5, abs=0.01)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1), st.integers(1, 10_000), st.floats(0, 1))
def test_a_delay_is_never_negative_and_never_above_the_maximum(
    first: float, second: float, jitter: float, attempt: int, random: float
) -> None:
    backoff = Backoff(min(first, second), max(first, second), jitter)
    assert 0 <= backoff.delay(attempt, random=random) <= backoff.maximum


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Backoff(2, 1),
        lambda: Backoff(-1, 1),
        lambda: Backoff(0, math.inf),
        lambda: Backoff(0, math.nan),
        lambda: Backoff(0, 1, jitter=2),
        lambda: RetryBudget(tokens=-1),
        lambda: RetryBudget(share=2),
        lambda: RetryPolicy(attempts=0),
        lambda: RetryPolicy(deadline=0),
        lambda: RetryPolicy(retry_after_cap=-1),
        lambda: RetryPolicy(backoffs={Action.FAIL: Backoff(1, 2)}),
    ],
)
def test_wrong_options_are_refused_where_they_are_written(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"Backoff|RetryBudget|attempts|deadline|retry_after_cap|backoffs"):
        wrong()


def test_the_attempts_of_a_policy_end_its_delays(failure_of: Callable[[Reply], openai.APIError]) -> None:
    failure = failure_of(error(500, "MODEL_NOT_AVAILABLE"))
    assert [RetryPolicy(attempts=3).delay(failure, attempt) for attempt in (1, 2, 3)] == [1, 2, None]
    assert RetryPolicy.off().delay(failure, 1) is None
    assert RetryPolicy(backoffs={}).delay(failure, 1) is None
    patient = [RetryPolicy.batch().delay(failure, attempt) for attempt in range(1, 9)]
    assert patient == [2, 4, 8, 16, 32, 64, 120, None]


def test_max_retries_keeps_the_sdks_meaning(connect: Callable[..., Driver], server: Server) -> None:
    server.always = error(500, "MODEL_NOT_AVAILABLE")
    for options, requests in (({}, 3), ({"max_retries": 0}, 1), ({"max_retries": 4}, 5)):
        server.requests.clear()
        with pytest.raises(openai.InternalServerError):
            connect(policy=unlimited(), **options).chat()
        assert len(server.requests) == requests


GIVEN = [
    ({"policy": unlimited(attempts=2), "max_retries": 5}, [], 6),
    ({"policy": unlimited(attempts=5), "max_retries": 0}, [], 1),
    ({"policy": unlimited(attempts=2)}, [{"timeout": 9}, {}], 2),
    ({"policy": unlimited(attempts=5)}, [{"max_retries": 0}], 1),
    ({"policy": unlimited(attempts=5)}, [{"max_retries": 0}, {}, {"timeout": 9}], 1),
    ({"policy": unlimited(attempts=2)}, [{"max_retries": 7}], 8),
    ({"policy": unlimited(attempts=5)}, [{"max_retries": openai.NOT_GIVEN}], 5),
    ({"policy": unlimited(), "max_retries": 0}, [{"policy": unlimited(attempts=2)}], 2),
    ({"policy": unlimited(), "max_retries": 0}, [{"policy": unlimited(attempts=2)}, {"timeout": 9}], 2),
    ({"policy": unlimited(), "max_retries": 3}, [{"policy": unlimited()}], 4),
    ({}, [{"policy": unlimited(attempts=5), "max_retries": 1}, {}], 2),
    ({"policy": unlimited(attempts=5), "max_retries": 0}, [{"max_retries": 1}, {"max_retries": 3}, {}], 4),
]


@pytest.mark.parametrize(("options", "copies", "requests"), GIVEN)
def test_max_retries_that_is_given_wins_over_the_policys_attempts(
    options: dict[str, Any], copies: list[dict[str, Any]], requests: int, connect: Callable[..., Driver], server: Server
) -> None:
    server.always = error(500, "MODEL_NOT_AVAILABLE")
    driver = connect(**options)
    for changed in copies:
        driver = driver.of(driver.client.with_options(**changed))
    with pytest.raises(openai.InternalServerError) as failure:
        driver.chat()
    assert len(server.requests) == requests
    assert f"attempt {requests} of {requests}: " in failure.value.__notes__[-1]


@pytest.mark.parametrize("create", [create_client, create_async_client])
def test_max_retries_of_a_factory_wins_over_the_policys_attempts(create: Any) -> None:
    client = create(api_key="k", policy=RetryPolicy(attempts=5, deadline=9), max_retries=0)
    assert (client.max_retries, client.policy.attempts, client.policy.deadline) == (0, None, 9)
    client.policy = RetryPolicy(attempts=4)
    assert client.copy().policy.attempts == 4


@pytest.mark.parametrize(("retries", "requests"), [(0, 1), (1, 2), (6, 7)])
def test_max_retries_of_a_call_wins_over_the_policys_attempts(
    retries: int, requests: int, connect: Callable[..., Driver], server: Server
) -> None:
    server.always = error(500, "MODEL_NOT_AVAILABLE")
    driver, options = connect(policy=unlimited(attempts=3), max_retries=2), {"max_retries": retries}
    with pytest.raises(openai.InternalServerError):
        driver.call(lambda client: client.post("/chat/completions", cast_to=object, body={}, options=options))
    assert len(server.requests) == requests


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_permanent_errors_cost_exactly_one_request(status: int, driver: Driver, server: Server) -> None:
    for reply in (error(status), Reply(status, "plain text")):
        server.requests.clear()
        server.always = reply
        for call in (driver.chat, driver.complete):
            with pytest.raises(openai.APIStatusError):
                call()
        assert len(server.requests) == 2


def test_a_row_of_users_is_followed(connect: Callable[..., Driver], server: Server) -> None:
    rules = (ErrorRule(None, "WARMING_UP", Action.WAIT, "The model is loaded: wait."), *RULES)
    server.script.append(error(400, "WARMING_UP"))
    assert connect(policy=RetryPolicy(rules=rules)).chat().id
    assert len(server.requests) == 2


def test_ambiguous_failures_are_repeated_only_where_the_policy_says_so(
    connect: Callable[..., Driver], server: Server
) -> None:
    for fault in (Reply(fault="close"), Reply(200, "")):
        for ambiguous, requests in ((True, 3), (False, 1)):
            server.requests.clear()
            server.always = fault
            with pytest.raises(openai.APIError):
                connect(policy=unlimited(retry_ambiguous=ambiguous)).chat()
            assert len(server.requests) == requests


def test_the_factorys_transport_knows_what_is_ambiguous_too(server: Server) -> None:
    async def requests_after(fault: Reply) -> int:
        server.requests.clear()
        server.always = fault
        policy = unlimited(retry_ambiguous=False)
        async with create_async_client(api_key="k", base_url=server.base_url, policy=policy, timeout=0.5) as client:
            with pytest.raises(openai.APIConnectionError) as failure:
                await client.completions.create(model="m", prompt="p")
            reasons.append(reason_of(failure.value))
        return len(server.requests)

    reasons: list[str] = []
    with retry.no_wait(), capture_logs():
        faults = [Reply(fault="close"), Reply(fault="reset"), Reply(200, "x", cut=0), Reply(fault="stall")]
        assert [asyncio.run(requests_after(fault)) for fault in faults] == [1, 1, 1, 1]
    assert reasons == ["connection_error"] * 3 + ["timeout"]


def test_the_factorys_transport_tries_again_where_it_never_connected() -> None:
    async def call() -> None:
        policy = unlimited(retry_ambiguous=False)
        async with create_async_client(api_key="k", base_url="http://127.0.0.1:1/v1", policy=policy) as client:
            await client.models.list()

    with retry.no_wait(), capture_logs() as logs, pytest.raises(openai.APIConnectionError):
        asyncio.run(call())
    assert [event["reason"] for event in logs] == ["connection_error"] * 3


def test_what_the_system_says_of_a_connection_is_understood() -> None:
    for raised in (OSError("x"), ConnectionResetError("x")):
        failure = openai.APIConnectionError(request=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        failure.__cause__ = raised
        assert sdk.was_tried(failure)
    assert not is_ambiguous(ConnectionRefusedError())
    assert is_ambiguous(ConnectionResetError())


def test_a_connection_that_was_never_made_is_always_tried_again(connect: Callable[..., Driver]) -> None:
    policy = unlimited(retry_ambiguous=False)
    with capture_logs() as logs, pytest.raises(openai.APIConnectionError):
        connect(policy=policy, base_url="http://127.0.0.1:1/v3/openai").chat()
    assert [event["event"] for event in logs] == ["retry.scheduled", "retry.scheduled", "retry.gave_up"]


def test_the_log_tells_each_retry_and_the_end_and_is_silent_on_success(
    connect: Callable[..., Driver], server: Server
) -> None:
    driver = connect(max_retries=1)
    shared = {"log_level": "warning", "attempts": 2, "model": "m", "request_id": "r1"}
    limited = {"reason": "RATE_LIMIT_EXCEEDED", "status": 429} | shared
    scheduled = {"event": "retry.scheduled", "attempt": 1, "wait": 7.0} | limited
    with capture_logs() as logs:
        driver.chat()
    assert logs == []
    server.script.append(error(429, "RATE_LIMIT_EXCEEDED", retry_after="7", x_request_id="r1"))
    with capture_logs() as logs:
        driver.chat()
    assert logs == [scheduled]
    server.always = error(429, "RATE_LIMIT_EXCEEDED", retry_after="7", x_request_id="r1")
    with capture_logs() as logs, pytest.raises(openai.RateLimitError):
        driver.chat()
    end = {"event": "retry.gave_up", "attempt": 2, "wait": None, "stopped_by": "attempts"} | limited
    assert logs == [scheduled, end]


@pytest.mark.parametrize("reply", [error(401, "INVALID_API_KEY"), error(500, "MODEL_NOT_AVAILABLE")])
def test_an_error_after_which_nothing_was_sent_again_is_no_log_line(
    reply: Reply, connect: Callable[..., Driver], server: Server
) -> None:
    server.always = reply
    with capture_logs() as logs, pytest.raises(openai.APIStatusError):
        connect(max_retries=0).chat()
    assert (len(server.requests), logs) == (1, [])


def test_a_final_error_after_a_retry_is_told(driver: Driver, server: Server) -> None:
    server.script.extend([error(500, "MODEL_NOT_AVAILABLE"), error(401, "INVALID_API_KEY")])
    with capture_logs() as logs, pytest.raises(openai.AuthenticationError):
        driver.chat()
    assert [event["event"] for event in logs] == ["retry.scheduled", "retry.gave_up"]
    assert (logs[-1]["stopped_by"], logs[-1]["attempt"], logs[-1]["status"]) == ("error", 2, 401)


def test_neither_keys_nor_prompts_nor_replies_are_logged(connect: Callable[..., Driver], server: Server) -> None:
    server.always = Reply(500, {"reason": "MODEL_NOT_AVAILABLE", "message": "SECRET-REPLY"})
    with capture_logs() as logs, pytest.raises(openai.InternalServerError) as failure:
        connect(api_key="sk_SECRET").chat(messages=[{"role": "user", "content": "SECRET-PROMPT"}])
    assert len(logs) == 3
    assert "SECRET" not in str(logs)
    assert "SECRET" not in str(failure.value.__notes__)


def stopped_by(driver: Driver) -> tuple[str, str]:
    """Return why a failing call gave up, from the log ("" where it was sent only once), and the note about it."""
    with capture_logs() as logs, pytest.raises(openai.APIError) as failure:
        driver.chat()
    notes = [note for note in failure.value.__notes__ if note.startswith("Not sent again")]
    return "".join(event["stopped_by"] for event in logs if event["event"] == "retry.gave_up"), "".join(notes)


def test_a_longer_wish_than_the_cap_fails_at_once_and_says_so(driver: Driver, server: Server) -> None:
    server.always = error(429, "RATE_LIMIT_EXCEEDED", retry_after="3600")
    why, note = stopped_by(driver)
    assert why == ""
    assert "3600 s" in note
    assert "120 s" in note
    assert len(server.requests) == 1
    server.script.append(error(500, "MODEL_NOT_AVAILABLE"))
    assert stopped_by(driver) == ("retry_after", note)


def test_a_delay_that_passes_the_deadline_is_not_begun(connect: Callable[..., Driver], server: Server) -> None:
    server.always = error(429, "RATE_LIMIT_EXCEEDED", retry_after="31")
    why, note = stopped_by(connect(policy=RetryPolicy(deadline=30)))
    assert (why, "30 s" in note, len(server.requests)) == ("", True, 1)
    server.script.append(error(500, "MODEL_NOT_AVAILABLE"))
    assert stopped_by(connect(policy=RetryPolicy(deadline=30)))[0] == "deadline"


@pytest.mark.slow
def test_the_deadline_shrinks_the_timeout_of_each_attempt(connect: Callable[..., Driver], server: Server) -> None:
    server.always = Reply(fault="stall")
    started = time.monotonic()
    for timeout in (openai.Timeout(600, connect=5), 600.0, None, (5, 600, 600, 5)):
        with pytest.raises(openai.APITimeoutError):
            connect(policy=RetryPolicy(deadline=0.3), timeout=timeout).chat()
    assert time.monotonic() - started < 20
    server.always = None
    server.requests.clear()
    connect(policy=RetryPolicy(deadline=50)).complete()
    connect(policy=RetryPolicy(deadline=50)).complete(timeout=2)
    sent = [float(request.headers["x-stainless-read-timeout"]) for request in server.requests]
    assert 40 < sent[0] <= 50
    assert sent[1] == 2


def test_the_budget_refuses_when_too_many_calls_fail(connect: Callable[..., Driver], server: Server) -> None:
    server.always = error(500, "MODEL_NOT_AVAILABLE")
    driver = connect(policy=RetryPolicy(budget=RetryBudget(tokens=3, share=0)))
    assert [stopped_by(driver)[0] for _ in range(3)] == ["attempts", "budget", ""]
    assert len(server.requests) == 3 + 2 + 1
    assert "RetryBudget(tokens=3, share=0)" in stopped_by(driver)[1]


def test_an_outage_meets_a_tenth_more_requests_than_calls_and_ten(
    connect: Callable[..., Driver], server: Server
) -> None:
    server.always = error(500, "MODEL_NOT_AVAILABLE")
    driver = connect()
    for _ in range(50):
        with pytest.raises(openai.InternalServerError):
            driver.chat()
    assert len(server.requests) <= 50 + 10 + 5


def test_a_call_that_is_put_off_takes_nothing_from_the_budget(connect: Callable[..., Driver], server: Server) -> None:
    server.always = error(429, "RATE_LIMIT_EXCEEDED")
    driver = connect(policy=RetryPolicy(budget=RetryBudget(tokens=1, share=0)))
    assert [stopped_by(driver)[0] for _ in range(3)] == ["attempts"] * 3
    assert driver.client.policy.budget is not None
    assert driver.client.policy.budget.tokens == 1


def test_what_is_no_policy_is_refused_where_it_is_written(connect: Callable[..., Driver]) -> None:
    with pytest.raises(TypeError, match=r"policy='batch': give a RetryPolicy, such as RetryPolicy.batch\(\)"):
        connect(policy="batch")


def test_a_budget_is_filled_by_calls_up_to_its_capacity() -> None:
    budget = RetryBudget(tokens=1, share=0.5)
    assert [budget.withdraw(), budget.withdraw(), budget.tokens] == [True, False, 0]
    for tokens in (0.5, 1, 1):
        budget.deposit()
        assert budget.tokens == tokens


def test_copies_share_the_budget_and_clients_do_not(connect: Callable[..., Driver]) -> None:
    first, second = connect().client, connect().client
    assert first.with_options(timeout=1).policy.budget is first.policy.budget
    assert first.policy.budget is not second.policy.budget


def test_no_wait_skips_the_sleep_and_nothing_else() -> None:
    calls: list[int] = []

    @RetryPolicy(attempts=4).wraps
    def fail() -> None:
        calls.append(1)
        raise TimeoutError

    started = time.monotonic()
    with retry.no_wait(), retry.no_wait(), capture_logs() as logs, pytest.raises(TimeoutError):
        fail()
    assert time.monotonic() - started < 1
    assert len(calls) == 4
    assert logs[0]["wait"] > 0
    calls.clear()
    short = RetryPolicy(attempts=2, backoffs={Action.RETRY: Backoff(0.2, 0.2, jitter=0)})
    with capture_logs(), pytest.raises(TimeoutError):
        short.wraps(fail.__wrapped__)()  # type: ignore[attr-defined]
    assert time.monotonic() - started >= 0.2


class Flaky:
    """Fails twice, then answers; callable sync and async."""

    def __init__(self) -> None:
        self.calls = 0

    def answer(self, word: str, *, end: str = "!") -> str:
        """Say it."""
        self.calls += 1
        if self.calls < 3:
            raise ConnectionResetError
        return word + end

    async def answer_async(self, word: str, *, end: str = "!") -> str:
        """Say it."""
        return self.answer(word, end=end)

    async def __call__(self, word: str) -> str:
        return self.answer(word)


def test_wraps_retries_any_function_and_keeps_its_face() -> None:
    flaky = Flaky()
    wrapped = RetryPolicy().wraps(flaky.answer)
    with retry.no_wait(), capture_logs() as logs:
        assert wrapped("ok", end="?") == "ok?"
    assert [event["attempt"] for event in logs] == [1, 2]
    assert (wrapped.__name__, wrapped.__doc__) == ("answer", "Say it.")


def test_wraps_retries_async_functions_of_every_kind() -> None:
    for make in (lambda it: it.answer_async, lambda it: it, lambda it: functools.partial(it.answer_async, end="!")):
        flaky = Flaky()
        with retry.no_wait(), capture_logs():
            wrapped: Any = RetryPolicy().wraps(make(flaky))
            assert asyncio.run(wrapped("ok")) == "ok!"
        assert flaky.calls == 3


def test_wraps_retries_what_only_looks_like_a_plain_function(server: Server) -> None:
    """The SDK's async methods are no ``async def``, and neither is a lambda around one."""

    async def call() -> list[str]:
        async with openai.AsyncOpenAI(api_key="k", base_url=server.base_url, max_retries=0) as client:
            models: Any = await RetryPolicy().wraps(client.models.list)()
            chat = await RetryPolicy().wraps(client.chat.completions.create)(model="m", messages=[])
            flaky = Flaky()
            return [models.data[0].id, chat.model, await RetryPolicy().wraps(lambda: flaky.answer_async("ok"))()]

    server.script.extend([error(500), error(500), Reply(200, MODELS), error(429), Reply(200, CHAT)])
    with retry.no_wait(), capture_logs():
        assert asyncio.run(call()) == ["m", "m", "ok!"]
    assert len(server.requests) == 5


def test_wraps_refuses_generators() -> None:
    def generator() -> Any:
        yield 1

    async def async_generator() -> Any:
        yield 1

    for function in (generator, async_generator):
        with pytest.raises(TypeError, match="generator"):
            RetryPolicy().wraps(function)


def test_foreign_errors_pass_as_they_came() -> None:
    @RetryPolicy().wraps
    def fail(error: BaseException) -> None:
        raise error

    for raised in (ValueError("mine"), KeyboardInterrupt()):
        with capture_logs() as logs, pytest.raises(type(raised)) as failure:
            fail(raised)
        assert failure.value is raised
        assert logs == []
        assert not hasattr(raised, "__notes__")


def test_a_foreign_error_after_a_retry_passes_as_it_came() -> None:
    steps = iter([ConnectionResetError(), ValueError("mine")])

    @RetryPolicy().wraps
    def fail() -> None:
        raise next(steps)

    with retry.no_wait(), capture_logs() as logs, pytest.raises(ValueError, match="mine") as failure:
        fail()
    assert [event["event"] for event in logs] == ["retry.scheduled"]
    assert not hasattr(failure.value, "__notes__")


def test_an_error_raised_twice_has_its_notes_once() -> None:
    same = TimeoutError()

    @RetryPolicy(attempts=1).wraps
    def fail() -> None:
        raise same

    for _ in range(2):
        with capture_logs(), pytest.raises(TimeoutError):
            fail()
    assert len(same.__notes__) == 2


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "reply",
    [
        error(401),
        error(500),
        Reply(fault="close"),
        Reply(200, ""),
        Reply(200, "{}"),
        replace(stream(chunk("Boil"), chunk(" water")), cut=300),
        Reply(200, 'data: {"choices": [{"index": 0, "text": "Boil"}]}\n\ndata: {"error": {"message": "no"}}\n\n'),
    ],
)
def test_an_error_that_is_dropped_is_gone_at_once(
    reply: Reply,
    is_stream: bool,
    connect: Callable[..., Driver],
    server: Server,
) -> None:
    server.always = reply
    driver = connect(policy=unlimited())
    raised: list[weakref.ref[BaseException]] = []

    async def call_async(client: Any) -> None:  # asyncio itself makes a cycle of an error that leaves its runner
        try:
            answer = await client.completions.create(model="m", prompt="p", stream=is_stream)
            [None async for _ in answer]
        except openai.APIError as failure:
            raised.append(weakref.ref(failure))

    def call() -> None:
        if driver.is_async:
            driver.call(call_async)
            return
        try:
            deque(driver.complete(stream=is_stream), maxlen=0)
        except openai.APIError as failure:
            raised.append(weakref.ref(failure))

    with capture_logs():
        call()
        gc.collect()
        gc.disable()
        try:
            raised.clear()
            call()
            assert [each() for each in raised] == [None]
        finally:
            gc.enable()


def test_a_policy_can_be_copied_and_sent_to_another_process() -> None:
    policy = RetryPolicy(attempts=4, budget=RetryBudget(tokens=7, share=0.5))
    for copied in (copy.deepcopy(policy), pickle.loads(pickle.dumps(policy))):  # noqa: S301 - our own bytes
        assert (copied.attempts, repr(copied.budget)) == (4, "RetryBudget(tokens=7, share=0.5)")


def test_an_interrupt_between_attempts_is_not_taken_for_a_failure() -> None:
    steps = iter([ConnectionResetError(), KeyboardInterrupt()])

    @RetryPolicy().wraps
    def fail() -> None:
        raise next(steps)

    with retry.no_wait(), capture_logs() as logs, pytest.raises(KeyboardInterrupt) as interrupt:
        fail()
    assert [event["event"] for event in logs] == ["retry.scheduled"]
    assert not hasattr(interrupt.value, "__notes__")


def test_a_cancelled_task_stops_waiting() -> None:
    @RetryPolicy(backoffs={Action.RETRY: Backoff(60, 60)}).wraps
    async def fail() -> None:
        raise ConnectionResetError

    async def cancel() -> None:
        task = asyncio.ensure_future(fail())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with capture_logs():
        asyncio.run(cancel())


def test_many_tasks_of_one_client_retry_each_for_itself(server: Server) -> None:
    async def run() -> list[Any]:
        async with AsyncOpenAI(api_key="k", base_url=server.base_url, policy=unlimited(), max_retries=40) as client:
            return await asyncio.gather(*(client.models.list() for _ in range(40)))

    server.script.extend([error(503, "SERVICE_NOT_AVAILABLE")] * 40)
    with retry.no_wait(), capture_logs():
        pages = asyncio.run(run())
    assert len(pages) == 40
    assert len(server.requests) == 80


def test_the_deadline_counts_from_the_first_attempt(connect: Callable[..., Driver], server: Server) -> None:
    server.script.append(error(500, "MODEL_NOT_AVAILABLE"))
    driver = connect(policy=RetryPolicy(deadline=20))
    driver.chat()
    first, second = (float(request.headers["x-stainless-read-timeout"]) for request in server.requests)
    assert second < first <= 20
