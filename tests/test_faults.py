"""The fault matrix: every fault, at every place, over every way to ask, sync and async, against the emulator."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from calls import WAYS, Way
from conftest import Driver
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from thoroughness import examples

from novita_openai import RULES, Action, AsyncOpenAI, OpenAI, RetryPolicy, create_async_client
from novita_openai.emulator import FAULTS, Emulator, Fault
from novita_openai.emulator.replies import Reply
from novita_openai.retry import no_wait

BY_STATUS: dict[int | None, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    429: openai.RateLimitError,
}
PERMANENT = {
    rule.reason: BY_STATUS.get(rule.status, openai.APIStatusError)
    for rule in RULES
    if rule.reason in FAULTS and rule.action is Action.FAIL
}
NAMED: dict[str | None, type[openai.APIError]] = {
    **PERMANENT,
    "RATE_LIMIT_EXCEEDED": openai.RateLimitError,
    "TOKEN_LIMIT_EXCEEDED": openai.RateLimitError,
    "MODEL_NOT_AVAILABLE": openai.InternalServerError,
    "SERVICE_NOT_AVAILABLE": openai.InternalServerError,
    "bad_gateway": openai.InternalServerError,
    "gateway_timeout": openai.InternalServerError,
    "late_gateway_timeout": openai.InternalServerError,
    "error_object": openai.RateLimitError,
    "error_event": openai.RateLimitError,
    "wrapped_error": openai.RateLimitError,
    "named_error": openai.RateLimitError,
    "named_wrapped_error": openai.RateLimitError,
    "stall": openai.APITimeoutError,
}
# The faults that may also come when a part of the reply has arrived.
LATE = (
    "close",
    "reset",
    "stall",
    "truncated",
    "malformed",
    "not_utf8",
    "error_event",
    "wrapped_error",
    "named_error",
    "null_list",
)
# The faults that only the end of a stream shows.
FOUND_AT_THE_END = ("null_list", "empty_list", "no_finish_reason")
SILENCE = 0.25
"""Seconds, where silence may come."""
PATIENCE = RetryPolicy(budget=None)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as server:
        yield server


@pytest.fixture(scope="module")
def texts(emulator: Emulator) -> dict[str, str]:
    """Give the whole answer to each way of asking."""
    with OpenAI(api_key="k", base_url=emulator.base_url) as client, asyncio.Runner() as runner:
        return {name: way.read(Driver(client, runner)) for name, way in WAYS.items()}


@pytest.fixture(params=["sync", "async", "aiohttp"])
def driver(request: pytest.FixtureRequest, emulator: Emulator) -> Iterator[Driver]:
    emulator.script.clear()
    kinds: Any = {"sync": OpenAI, "async": AsyncOpenAI, "aiohttp": create_async_client}
    kind = kinds[request.param]
    is_answered = "kind" in request.fixturenames and request.getfixturevalue("kind") != "stall"
    with asyncio.Runner() as runner, no_wait():
        timeout = 60 if is_answered else SILENCE
        client = kind(api_key="k", base_url=emulator.base_url, timeout=timeout, policy=PATIENCE)
        yield Driver(client, runner)
        Driver(client, runner).close()


def is_retried(kind: str, way: Way) -> bool:
    """Tell whether a fault at the start of a reply shows while the call can still be repeated."""
    if kind in PERMANENT or (way.is_streamed and kind in FOUND_AT_THE_END):
        return False
    return way.is_read_inside or emulator_status(kind) != 200


def emulator_status(kind: str) -> int:
    """Return the status that a fault's reply has, 0 where nothing of HTTP comes."""
    spoilt = Fault(kind).spoil(Reply(parts=(b'{"choices": []}',)))
    return spoilt.status if spoilt.has_head else 0


def breaks(kind: str, way: Way) -> bool:
    return FAULTS[kind].breaks_streams if way.is_streamed else FAULTS[kind].breaks_documents


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("name", WAYS)
def test_a_fault_ends_in_a_whole_answer_or_in_its_sdk_error(
    name: str, kind: str, driver: Driver, emulator: Emulator, texts: dict[str, str]
) -> None:
    way, before = WAYS[name], emulator.request_count
    emulator.script.extend([Fault(kind)] * 3)
    if not breaks(kind, way):
        assert way.read(driver) == texts[name]
        assert emulator.request_count == before + 1
        return
    with capture_logs() as logs, pytest.raises(NAMED.get(kind, openai.APIError)) as failure:
        way.read(driver)
    sent = emulator.request_count - before
    assert sent == (3 if is_retried(kind, way) else 1)
    assert getattr(failure.value, "partial_text", "") in ("", texts[name] if kind == "no_finish_reason" else "")
    told = ["retry.scheduled"] * (sent - 1) + ["retry.gave_up"]
    assert [log["event"] for log in logs] == (told if sent > 1 else [])


@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if way.is_streamed])
def test_a_stream_that_breaks_midway_is_not_sent_again_and_keeps_its_text(
    name: str, kind: str, driver: Driver, emulator: Emulator, texts: dict[str, str]
) -> None:
    before = emulator.request_count
    emulator.script.append(Fault(kind, after=700))
    with pytest.raises(NAMED.get(kind, openai.APIConnectionError)) as failure:
        WAYS[name].read(driver)
    assert emulator.request_count == before + 1
    partial = failure.value.partial_text  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    assert 0 < len(partial) < len(texts[name])
    assert texts[name].startswith(partial)


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind not in PERMANENT])
@pytest.mark.parametrize("name", WAYS)
def test_a_passing_fault_costs_one_more_request(
    name: str, kind: str, driver: Driver, emulator: Emulator, texts: dict[str, str]
) -> None:
    way, before = WAYS[name], emulator.request_count
    if breaks(kind, way) and not is_retried(kind, way):
        pytest.skip("this way shows it too late")
    emulator.script.append(Fault(kind))
    with capture_logs():
        assert way.read(driver) == texts[name]
    assert emulator.request_count == before + (2 if breaks(kind, way) else 1)


FAULT = st.builds(Fault, st.sampled_from(sorted(FAULTS)), st.none() | st.integers(0, 6_000))
SCHEDULES = st.lists(st.none() | FAULT, max_size=8)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedule=SCHEDULES, names=st.lists(st.sampled_from(sorted(WAYS)), min_size=1, max_size=4))
@pytest.mark.slow
def test_whatever_happens_a_caller_gets_a_whole_answer_or_an_sdk_error(
    schedule: list[Fault | None], names: list[str], driver: Driver, emulator: Emulator, texts: dict[str, str]
) -> None:
    emulator.script.clear()
    for fault in schedule:
        emulator.script.append(Fault("no_done") if fault is None else fault)
    threads = own_threads()
    for name in names:
        check_one(WAYS[name], texts[name], driver, emulator)
    if driver.is_async:
        assert driver.call(tasks_left) == 0
    assert own_threads() <= threads
    assert eventually(lambda: emulator.open_connections <= 1), "calls one after the other need one connection"


def check_one(way: Way, text: str, driver: Driver, emulator: Emulator) -> None:
    before = emulator.request_count
    partial, whole = outcome(way, driver)
    assert whole in (text, None)
    assert text.startswith(partial)
    sent = emulator.requests[before - emulator.request_count :]
    assert 1 <= len(sent) <= 3
    assert all(request.fault not in PERMANENT for request in sent[:-1])


def own_threads() -> set[threading.Thread]:
    """Return all threads but those of the event loop's pool, which looks up names."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}


def outcome(way: Way, driver: Driver) -> tuple[str, str | None]:
    """Return the text of an SDK error, or the whole text; let every other exception through."""
    with capture_logs():
        try:
            return "", way.read(driver)
        except openai.APIError as error:
            return getattr(error, "partial_text", ""), None


async def tasks_left(_: object) -> int:
    """Count the tasks that do not end; the loop closes what a broken stream leaves in short ones, one by one."""
    deadline = time.monotonic() + 10
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        if time.monotonic() > deadline:
            break
        await asyncio.wait(others, timeout=0.1)
    return len(others)


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_no_connection_is_left_behind(kind: str, driver: Driver, emulator: Emulator) -> None:
    assert eventually(lambda: emulator.open_connections == 0)
    for way in WAYS.values():
        emulator.script.append(Fault(kind, after=700 if way.is_streamed else 60))
        outcome(way, driver.of(driver.client.with_options(max_retries=0)))
    driver.close()
    assert eventually(lambda: emulator.open_connections == 0)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()
