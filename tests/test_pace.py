"""Calls that wait for their turn, over both clients; the emulator, the clients and the law share one quick clock."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import math
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from batch_jobs import rows
from calls import CHAT, MODEL, text_of
from conftest import Driver
from openai.types.chat import ChatCompletionChunk
from server import Server, chunk, error
from server import stream as streamed

from novita_openai import AsyncNovitaOpenAI, NovitaOpenAI, Pace, RetryPolicy, batch, create_async_client, create_client
from novita_openai.client import turns
from novita_openai.client.lending import LentTurns
from novita_openai.client.pace import ModelPace
from novita_openai.client.turns import Caller, PaceClock, Turns
from novita_openai.emulator import Emulator, Fault
from novita_openai.pacing import Pacer

SPEED = 60
"""Seconds of the emulator and of the pace in each second of the machine."""
OTHER = "qwen/qwen3-30b-a3b-fp8"
Build = Callable[..., Driver]


def quick(**limits: Any) -> Pace:
    pace = Pace(**limits)
    pace.clock.speed = SPEED
    return pace


def ask(client: Any, **options: Any) -> Any:
    return client.chat.completions.create(**CHAT | options)


def all_at_once(driver: Driver, count: int, call: Callable[[Any], Any] = ask) -> list[Any]:
    """Make calls at the same time, and return their answers or errors."""
    if driver.is_async:

        async def gather(client: Any) -> list[Any]:
            return await asyncio.gather(*(call(client) for _ in range(count)), return_exceptions=True)

        return list(driver.call(gather))

    def one(_: int) -> Any:
        try:
            return call(driver.client)
        except openai.OpenAIError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


class Stopwatch:
    """Counts the seconds of the pace."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return (time.monotonic() - self._began) * SPEED


def started(server: Emulator) -> list[float]:
    """Return when the requests came, in seconds of the emulator since the first."""
    return [(request.time - server.requests[0].time) * server.clock for request in server.requests]


@pytest.fixture
def service() -> Iterator[Emulator]:
    with Emulator(clock=SPEED) as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def build(request: pytest.FixtureRequest, service: Emulator) -> Iterator[Build]:
    kind: Any = NovitaOpenAI if request.param == "sync" else AsyncNovitaOpenAI
    drivers: list[Driver] = []
    with asyncio.Runner() as runner:

        def make(pace: Any = None, **options: Any) -> Driver:
            given = {"api_key": "k", "base_url": service.base_url, "pace": pace} | options
            drivers.append(Driver(kind(**given), runner))
            return drivers[-1]

        yield make
        for driver in drivers:
            driver.close()


def test_calls_at_the_same_time_come_in_the_pace_that_was_given(service: Emulator, build: Build) -> None:
    driver, watch = build(quick(rpm=30)), Stopwatch()
    answers = all_at_once(driver, 5)
    assert all(answer.choices for answer in answers)
    assert watch.seconds >= 4 * 2 * 0.9
    assert service.request_count == 5
    assert driver.client.pace[MODEL] == ModelPace(0.5, 0, 0, 0)


def test_each_model_has_a_pace_of_its_own(build: Build) -> None:
    driver, watch = build(quick(rpm=1)), Stopwatch()
    for model in (MODEL, OTHER):
        driver.call(partial(ask, model=model))
    assert watch.seconds < 60
    assert set(driver.client.pace) == {MODEL, OTHER}


def test_a_client_and_its_copies_share_a_pace(build: Build) -> None:
    driver, watch = build(quick(rpm=30)), Stopwatch()
    for options in ({}, {"timeout": 5}, {"pace": True}):
        driver.of(driver.client.with_options(**options)).call(ask)
    assert watch.seconds >= 2 * 2 * 0.9


def test_what_a_copy_asks_for_is_the_same_pace_each_time(build: Build) -> None:
    driver = build()
    copies = [driver.client.with_options(pace=True) for _ in range(2)]
    assert copies[0].paced_by is copies[1].paced_by is not None
    assert copies[0].with_options(pace=False).paced_by is None
    assert copies[0].with_options(pace=False).with_options(pace=True).paced_by is copies[0].paced_by
    given = Pace(rpm=3)
    assert copies[0].with_options(pace=given).paced_by is given
    assert driver.client.paced_by is None
    driver.call(ask)
    assert driver.client.pace == {}


@pytest.mark.parametrize("make", [NovitaOpenAI, AsyncNovitaOpenAI, create_client, create_async_client])
def test_constructors_and_factories_take_a_pace(make: Callable[..., Any]) -> None:
    pace = Pace(rpm=3)
    assert make(api_key="k", pace=pace).paced_by is pace
    assert make(api_key="k", pace=True).paced_by is not None
    assert make(api_key="k").pace == {}


def test_sync_and_async_clients_share_one_pace(service: Emulator) -> None:
    pace = quick(rpm=30)
    given: Any = {"api_key": "k", "base_url": service.base_url, "pace": pace}

    async def gather() -> None:
        async with AsyncNovitaOpenAI(**given) as client:
            await asyncio.gather(*(ask(client) for _ in range(3)))

    watch = Stopwatch()
    with NovitaOpenAI(**given) as client, ThreadPoolExecutor(6) as pool:
        threads = [pool.submit(ask, client) for _ in range(3)]
        loops = [pool.submit(lambda: asyncio.run(gather())) for _ in range(2)]
        assert all(each.result() is None or each.result().choices for each in [*threads, *loops])
    assert watch.seconds >= 8 * 2 * 0.9
    assert service.request_count == 9


def test_no_more_are_in_flight_than_allowed(service: Emulator, build: Build) -> None:
    service.latency, service.concurrency = 3.0, 2
    driver = build(quick(concurrency=2))
    assert all(answer.choices for answer in all_at_once(driver, 7))
    assert driver.client.pace[MODEL].refused == 0


def test_a_call_that_came_too_fast_waits_again_and_uses_up_no_attempt(service: Emulator, build: Build) -> None:
    service.script.extend([Fault("RATE_LIMIT_EXCEEDED")] * 4)
    driver = build(quick(), policy=RetryPolicy.off())
    assert driver.call(ask).choices
    assert driver.client.pace[MODEL].refused == 4
    assert {request.headers["x-stainless-retry-count"] for request in service.requests} == {"0"}


def test_patience_ends(service: Emulator, build: Build) -> None:
    service.script.extend([Fault("RATE_LIMIT_EXCEEDED")] * 50)
    driver = build(quick(patience=30))
    with pytest.raises(openai.RateLimitError) as caught:
        driver.call(ask)
    assert "within the patience of its pace (30 s)" in "\n".join(caught.value.__notes__)
    assert driver.client.pace[MODEL].waiting == 0


def test_a_time_that_the_service_asks_for_holds_for_all_of_the_model(service: Emulator, build: Build) -> None:
    service.script.append(Fault("RATE_LIMIT_EXCEEDED", retry_after=20))
    driver = build(quick())
    assert driver.call(ask).choices
    assert started(service)[1] >= 20
    service.script.append(Fault("MODEL_NOT_AVAILABLE", retry_after=60))
    with pytest.raises(openai.InternalServerError):
        driver.of(driver.client.with_options(policy=RetryPolicy.off())).call(ask)
    before = started(service)[-1]
    driver.call(lambda client: ask(client, model=OTHER))
    driver.call(ask)
    assert started(service)[-2] < before + 50
    assert started(service)[-1] >= before + 60


def test_a_time_beyond_its_patience_fails_the_call_at_once(service: Emulator, build: Build) -> None:
    service.script.append(Fault("RATE_LIMIT_EXCEEDED", retry_after=2_000))
    with pytest.raises(openai.RateLimitError):
        build(quick()).call(ask)
    assert service.request_count == 1


def test_a_deadline_counts_the_wait_and_fails_before_it(service: Emulator, build: Build) -> None:
    driver = build(Pace(rpm=1), policy=RetryPolicy(deadline=10))
    driver.call(ask)
    began = time.monotonic()
    with pytest.raises(openai.APITimeoutError) as caught:
        driver.call(ask)
    assert time.monotonic() - began < 5
    assert f"by the pace of {MODEL} its turn does not come before the deadline of 10 s" in caught.value.__notes__[0]
    assert service.request_count == 1


def test_a_deadline_ends_the_wait_of_a_call_that_was_refused(service: Emulator, build: Build) -> None:
    service.script.append(Fault("RATE_LIMIT_EXCEEDED", retry_after=60))
    with pytest.raises(openai.RateLimitError) as caught:
        build(quick(), policy=RetryPolicy(deadline=0.5)).call(ask)
    assert "after the deadline of 0.5 s" in "\n".join(caught.value.__notes__)


def test_an_unknown_turn_is_waited_for_until_the_deadline(service: Emulator, build: Build) -> None:
    driver = build(quick(concurrency=1))
    opened = driver.call(stream)
    hurried = driver.client.with_options(policy=RetryPolicy(deadline=0.2))
    with pytest.raises(openai.APITimeoutError):
        driver.of(hurried).call(ask)
    assert service.request_count == 1
    driver.call(lambda _: opened.close())


def test_an_upload_that_cannot_be_sent_twice_is_not(service: Emulator, build: Build) -> None:
    class Pipe(BytesIO):
        def seekable(self) -> bool:
            return False

    service.script.append(Fault("RATE_LIMIT_EXCEEDED"))
    with pytest.raises(openai.RateLimitError) as caught:
        build(quick()).call(lambda client: client.audio.transcriptions.create(model=MODEL, file=("a.wav", Pipe(b"a"))))
    assert "the upload cannot be rewound" in "\n".join(caught.value.__notes__)


@pytest.mark.parametrize("status", ["INVALID_REQUEST", "MODEL_NOT_AVAILABLE"])
def test_other_errors_are_what_they_are_and_give_the_place_back(service: Emulator, build: Build, status: str) -> None:
    driver = build(quick(concurrency=1), policy=RetryPolicy.off())
    service.script.append(Fault(status if status != "INVALID_REQUEST" else "INVALID_API_KEY"))
    with pytest.raises(openai.APIStatusError):
        driver.call(ask)
    assert driver.client.pace[MODEL].in_flight == 0
    assert driver.call(ask).choices


def test_an_error_of_the_program_gives_the_place_back(build: Build) -> None:
    driver = build(quick(concurrency=1))
    with pytest.raises(TypeError):
        driver.call(lambda client: ask(client, extra_body={"a": {1, 2}}))
    assert driver.client.pace[MODEL].in_flight == 0


def test_what_is_interrupted_gives_the_place_back(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = build(quick(concurrency=1))

    class Interrupted(BaseException):
        pass

    def interrupt(*_: Any, **__: Any) -> Any:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(driver.client, "_client", SimpleNamespace(build_request=interrupt))
        with pytest.raises(Interrupted):
            driver.call(ask)
    assert driver.client.pace[MODEL].in_flight == 0


def stream(client: Any) -> Any:
    return ask(client, stream=True)


def raw_stream(client: Any) -> Any:
    return client.chat.completions.with_raw_response.create(**CHAT, stream=True)


def test_a_stream_holds_its_place_to_its_end(service: Emulator, build: Build) -> None:
    driver = build(quick(concurrency=1))
    assert "".join(map(text_of, driver.collect(stream)))
    assert driver.client.pace[MODEL].in_flight == 0

    def in_flight_while_read(client: Any) -> Any:
        if not driver.is_async:
            return [client.pace[MODEL].in_flight for _ in stream(client)]

        async def read() -> list[int]:
            return [client.pace[MODEL].in_flight async for _ in await stream(client)]

        return read()

    assert driver.call(in_flight_while_read)[0] == 1
    assert service.request_count == 2


@pytest.mark.parametrize("make", [stream, raw_stream])
def test_a_stream_that_is_closed_or_dropped_gives_its_place_back(build: Build, make: Callable[[Any], Any]) -> None:
    driver = build(quick(concurrency=1))
    opened = [driver.call(make)]
    assert driver.client.pace[MODEL].in_flight == 1
    if make is stream:
        driver.call(lambda _: opened.pop().close())
        assert driver.client.pace[MODEL].in_flight == 0
        opened.append(driver.call(make))
    opened.clear()
    gc.collect()
    assert driver.client.pace[MODEL].in_flight == 0
    assert driver.call(ask).choices


def test_a_raw_response_that_is_parsed_as_a_stream_holds_its_place_to_the_end(build: Build) -> None:
    driver = build(quick(concurrency=1), timeout=None)
    opened = driver.call(raw_stream)
    assert "".join(map(text_of, driver.collect(lambda _: opened.parse())))
    assert driver.client.pace[MODEL].in_flight == 0


def test_a_raw_response_of_a_whole_answer_gives_its_place_back(build: Build) -> None:
    driver = build(quick(concurrency=1))
    assert driver.call(lambda client: client.chat.completions.with_raw_response.create(**CHAT)).parse().choices
    assert driver.client.pace[MODEL].in_flight == 0


def test_a_streaming_response_holds_its_place_until_it_is_left(build: Build) -> None:
    driver = build(quick(concurrency=1))
    seen = driver.within(
        lambda client: client.chat.completions.with_streaming_response.create(**CHAT),
        lambda _: driver.client.pace[MODEL].in_flight,
    )
    assert seen == 1
    assert driver.client.pace[MODEL].in_flight == 0


def test_a_stream_that_nobody_reads_gives_its_place_back_after_the_timeout(build: Build) -> None:
    driver = build(quick(concurrency=1), timeout=0.3)
    opened = driver.call(stream)
    began = time.monotonic()
    assert driver.call(ask).choices
    assert 0.2 <= time.monotonic() - began < 3
    assert driver.client.pace[MODEL].in_flight == 0
    driver.call(lambda _: opened.close())
    assert driver.client.pace[MODEL].in_flight == 0


def test_a_refusal_that_comes_in_a_stream_is_one(service: Emulator, build: Build) -> None:
    service.script.append(Fault("error_object"))
    driver = build(quick(concurrency=1), policy=RetryPolicy.off())
    assert "".join(map(text_of, driver.collect(stream)))
    state = driver.client.pace[MODEL]
    assert (state.in_flight, state.waiting, state.refused) == (0, 0, 1)


def test_a_stream_that_is_resumed_waits_for_a_turn_again(service: Emulator, build: Build) -> None:
    service.script.append(Fault("close", after=1_500))
    driver = build(quick(concurrency=1), resume_streams=True)
    assert "".join(map(text_of, driver.collect(lambda client: ask(client, stream=True, max_tokens=64))))
    assert driver.client.pace[MODEL].in_flight == 0
    assert service.request_count == 2


def test_calls_that_are_cancelled_leave_the_line_and_give_their_places_back(service: Emulator) -> None:
    service.latency = 120.0
    pace = quick(concurrency=1)

    async def main() -> None:
        async with AsyncNovitaOpenAI(api_key="k", base_url=service.base_url, pace=pace) as client:
            tasks = [asyncio.create_task(ask(client)) for _ in range(3)]
            while client.pace.get(MODEL) is None or client.pace[MODEL].waiting < 2:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
            assert (client.pace[MODEL].in_flight, client.pace[MODEL].waiting) == (1, 2)
            service.latency = 0.0
            tasks[1].cancel()
            tasks[0].cancel()
            assert (await tasks[2]).choices
            service.latency = 120.0
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ask(client), 0.05)
            assert (client.pace[MODEL].in_flight, client.pace[MODEL].waiting) == (0, 0)

    asyncio.run(main())


def test_those_who_wait_in_an_event_loop_that_has_ended_hold_nobody_up(service: Emulator) -> None:
    pace = quick(concurrency=1)
    given: Any = {"api_key": "k", "base_url": service.base_url, "pace": pace}
    with NovitaOpenAI(**given) as client:
        opened = stream(client)
        loop = asyncio.new_event_loop()
        other = AsyncNovitaOpenAI(**given)
        task = loop.create_task(ask(other))
        loop.run_until_complete(asyncio.sleep(0.05))
        assert client.pace[MODEL].waiting == 1
        loop.close()
        opened.close()
        assert client.pace[MODEL].waiting == 0
        assert ask(client).choices
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task, other
    gc.collect()


def test_tokens_a_minute_are_kept(service: Emulator, build: Build) -> None:
    service.tpm = 6_000
    driver = build(quick(tpm=6_000))
    all_at_once(driver, 4, lambda client: ask(client, max_tokens=200))
    all_at_once(driver, 3)
    assert driver.client.pace[MODEL].refused == 0


def test_what_names_no_model_waits_for_no_turn(build: Build) -> None:
    driver = build(quick(rpm=1))
    for _ in range(3):
        driver.collect(lambda client: client.models.list())
    assert driver.client.pace == {}


def test_nor_does_a_stream_that_names_none(connect: Callable[..., Driver], server: Server) -> None:
    server.always = streamed(chunk("Boil water.", "stop"))
    driver = connect(pace=True)
    kind: Any = openai.AsyncStream if driver.is_async else openai.Stream
    options = {"cast_to": ChatCompletionChunk, "stream": True, "stream_cls": kind[ChatCompletionChunk]}
    assert driver.collect(lambda client: client.post("/chat/completions", body={"messages": []}, **options))
    assert driver.client.pace == {}


@pytest.mark.parametrize("name", ["rpm", "tpm", "concurrency", "patience"])
@pytest.mark.parametrize("value", [0, -1, math.nan, -math.inf, "30", True])
def test_wrong_numbers_are_refused_where_they_are_written(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Pace(**{name: value})


@pytest.mark.parametrize("limits", [{"rpm": math.inf}, {"concurrency": 1.5}, {"patience": None}])
def test_so_are_numbers_that_say_nothing(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        Pace(**limits)


def test_a_pace_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match=r"pace=30: give True, False, or a Pace"):
        NovitaOpenAI(api_key="k", pace=30)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_pace_is_asked_of_what_its_number_is() -> None:
    with pytest.raises(TypeError, match=r"Pace\(30\): say of what, as in Pace\(rpm=30\)"):
        Pace(30)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pace: pickle.loads(pickle.dumps(pace))])  # noqa: S301 - our own
def test_a_copy_of_a_pace_learns_by_itself(service: Emulator, copied: Callable[[Pace], Pace]) -> None:
    pace = Pace(rpm=600, tpm=1e6, concurrency=3, patience=5)
    with NovitaOpenAI(api_key="k", base_url=service.base_url, pace=pace) as client:
        ask(client)
    other = copied(pace)
    assert repr(other) == repr(pace) == "Pace(rpm=600, tpm=1000000.0, concurrency=3, patience=5)"
    assert (set(pace.models), other.models) == ({MODEL}, {})


def test_a_batch_shares_the_pace_of_its_client(service: Emulator, tmp_path: Path) -> None:
    pace, watch = Pace(rpm=600), Stopwatch()
    (tmp_path / "requests.jsonl").write_text("\n".join(json.dumps(row) for row in rows(5)), encoding="utf-8")

    async def main() -> None:
        async with AsyncNovitaOpenAI(api_key="k", base_url=service.base_url, pace=pace) as client:
            report = await batch.arun(tmp_path / "requests.jsonl", tmp_path / "results.jsonl", client=client)
            assert report.succeeded == 5
            async for result in batch.stream(rows(1), client=client):
                assert result["response"]["status_code"] == 200
            state = client.pace[MODEL]
            assert (state.in_flight, state.waiting) == (0, 0)
            with pytest.raises(ValueError, match="the client has a pace"):
                await batch.arun(tmp_path / "requests.jsonl", tmp_path / "more.jsonl", client=client, rpm=5)

    asyncio.run(main())
    assert watch.seconds >= 5 * 0.1 * SPEED * 0.9


def test_a_batch_that_is_cancelled_gives_its_places_back(service: Emulator) -> None:
    service.latency = 60.0
    pace = Pace()

    async def main() -> None:
        async with AsyncNovitaOpenAI(api_key="k", base_url=service.base_url, pace=pace) as client:

            async def read() -> None:
                async for _ in batch.stream(rows(3), client=client):
                    raise AssertionError

            task = asyncio.create_task(read())
            while MODEL not in pace.models or not pace.models[MODEL].in_flight:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    gc.collect()
    assert pace.models[MODEL].in_flight == 0


# The line itself.


def test_places_are_given_back_once_whoever_holds_the_lock() -> None:
    line = Turns(Pacer(0.0, concurrency=1), PaceClock())
    place = line.take_now(Caller())
    assert place is not None
    with line:
        del place
        assert line.in_flight == 1
    assert line.in_flight == 0


def test_a_place_that_is_given_back_twice_counts_once() -> None:
    line = Turns(Pacer(0.0, concurrency=2), PaceClock())
    places = [line.take(Caller()), line.take(Caller())]
    for _ in range(2):
        assert places[0] is not None
        places[0].give_back()
    assert line.in_flight == 1


def test_an_answer_that_does_not_say_its_tokens_came_to_as_many_as_expected() -> None:
    line = Turns(Pacer(0.0, tpm=60), PaceClock())
    place = line.take_now(Caller(30.0))
    assert place is not None
    line.answered(place, None, 0.0)
    assert (line.in_flight, line.usual_answer) == (0, 0.0)
    assert line.take_now(Caller()) is None


def test_faults_that_a_batch_meets_pause_the_model_for_all() -> None:
    line = Turns(Pacer(0.0), PaceClock())
    lent, now = LentTurns(line), time.monotonic()
    lent.failed(lent.start(now), now, 0.0, 60.0)
    assert (line.in_flight, line.take_now(Caller())) == (0, None)


def test_a_refusal_that_a_batch_meets_is_known_to_all() -> None:
    line = Turns(Pacer(0.0), PaceClock())
    lent, now = LentTurns(line), time.monotonic()
    lent.refused(lent.start(now), now, 60.0)
    assert (line.refusals, line.take_now(Caller())) == (1, None)
    lent.ended(lent.start(now))
    assert line.in_flight == 0


def test_the_first_who_came_goes_first() -> None:
    line, order = Turns(Pacer(0.0, concurrency=1), PaceClock()), list[int]()
    held = line.take_now(Caller())
    threads = []

    def go(number: int) -> None:
        place = line.take(Caller())
        order.append(number)
        assert place is not None
        place.give_back()

    for number in range(5):
        threads.append(threading.Thread(target=go, args=(number,)))
        threads[-1].start()
        while line.state()[2] != number + 1:
            time.sleep(0.001)
    assert held is not None
    held.give_back()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_under_trio_its_own_token_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    token = SimpleNamespace(run_sync_soon=lambda function: function())
    lowlevel = SimpleNamespace(current_trio_token=lambda: token)
    monkeypatch.setitem(sys.modules, "trio", SimpleNamespace(lowlevel=lowlevel))
    assert turns._caller_of_loop() is token.run_sync_soon


def test_a_call_that_names_no_model_is_retried_without_a_turn(connect: Callable[..., Driver], server: Server) -> None:
    server.script.append(error(500))
    driver = connect(pace=Pace(rpm=1))
    assert [model.id for model in driver.collect(lambda client: client.models.list())] == ["m"]
    assert dict(driver.client.pace) == {}
