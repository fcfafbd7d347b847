"""Streams of a real model in a real process that is killed or stopped midway: resumed, they say what uncut ones say.

The texts are the likeliest ones and go round and round: what is hardest to put together where it was cut.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from calls import text_of
from conftest import Driver
from structlog.testing import capture_logs

from novita_openai import Action, AsyncOpenAI, Backoff, OpenAI, RetryPolicy, prompts
from novita_openai.local import LocalModel, packaged_model

pytestmark = pytest.mark.slow

DAYS = "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday, "
# As a file of one's own, the packaged model is given the template of models that name none: that of this id.
MODEL = "nousresearch/hermes-2-pro-llama-3-8b"
ASK: Any = {"role": "user", "content": "Days"}
TOKENS = 48
SHARED: Any = {
    "model": MODEL,
    "max_tokens": TOKENS,
    "temperature": 0,
    "stream": True,
    "stream_options": {"include_usage": True},
}
COMPLETION: Any = SHARED | {"prompt": DAYS[:16]}
CHAT: Any = SHARED | {"messages": [ASK, {"role": "assistant", "content": DAYS * 4}, ASK]}
SOON = 6
"""The chunk after which the model is hit: the text goes on for seconds then."""

SECONDS = 90
AGAIN = Backoff(0.1, 0.5)
PATIENCE = RetryPolicy(attempts=1000, backoffs={Action.RETRY: AGAIN, Action.WAIT: AGAIN}, deadline=SECONDS, budget=None)
SILENCE = 3.0
"""Seconds, far more than the model takes for its first token."""

Ask = Callable[[Any], Any]


def complete(client: Any) -> Any:
    return client.completions.create(**COMPLETION)


def chat(client: Any) -> Any:
    return client.chat.completions.create(**CHAT)


def chat_over_completions(client: Any) -> Any:
    function: Any = prompts.achat if isinstance(client, AsyncOpenAI) else prompts.chat
    return function(client, **CHAT)


@pytest.fixture(scope="module")
def model() -> Iterator[LocalModel]:
    with LocalModel(packaged_model()) as running:
        running.port = urlsplit(running.base_url).port or 0  # for the next start
        yield running


def said(chunks: list[Any]) -> dict[str, Any]:
    """Return what the chunks of a stream say together."""
    usage = [chunk.usage for chunk in chunks if chunk.usage]
    return {
        "text": "".join(map(text_of, chunks)),
        "ids": len({chunk.id for chunk in chunks}),
        "ends": [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason],
        "usage": [(each.prompt_tokens, each.completion_tokens, each.total_tokens) for each in usage],
    }


@pytest.fixture(scope="module")
def whole(model: LocalModel) -> dict[Ask, dict[str, Any]]:
    """What the streams say that nothing happens to."""
    with OpenAI(base_url=model.base_url, api_key="local", timeout=SECONDS) as client:
        asks = (complete, chat, chat_over_completions)
        return {ask: said(list(ask(client))) for ask in asks}


@pytest.fixture(params=["sync", "async"])
def driver(request: pytest.FixtureRequest, model: LocalModel) -> Iterator[Driver]:
    kind: Any = OpenAI if request.param == "sync" else AsyncOpenAI
    with asyncio.Runner() as runner:
        client = kind(base_url=model.base_url, api_key="local", resume_streams=True, policy=PATIENCE)
        yield Driver(client, runner)
        Driver(client, runner).close()


def read(driver: Driver, ask: Ask, soon: Callable[[], None]) -> dict[str, Any]:
    """Return what a stream says, early in which something is done."""

    async def watch_async(client: Any) -> Any:
        place = 0
        async for chunk in await ask(client):
            yield chunk
            place += 1
            if place == SOON:
                soon()

    def watch(client: Any) -> Iterator[Any]:
        for place, chunk in enumerate(ask(client), 1):
            yield chunk
            if place == SOON:
                soon()

    return said(driver.collect(watch_async if driver.is_async else watch))


def restart(model: LocalModel) -> None:
    model.close()
    model.start()


@pytest.mark.parametrize("ask", [complete, chat, chat_over_completions])
def test_the_stream_of_a_killed_model_goes_on_when_it_is_started_again(
    ask: Ask, driver: Driver, model: LocalModel, whole: dict[Ask, dict[str, Any]]
) -> None:
    restarts: list[Future[None]] = []

    def kill() -> None:
        model.process.kill()
        restarts.append(pool.submit(restart, model))

    with ThreadPoolExecutor(1) as pool, capture_logs() as logs:
        broken = read(driver, ask, kill)
        restarts[0].result(SECONDS)
    assert broken == whole[ask]
    assert [log["reason"] for log in logs if log["event"] == "stream.resumed"] == ["connection_error"]


@pytest.mark.parametrize("ask", [complete, chat])
def test_the_stream_of_a_stopped_model_goes_on_when_it_is_continued(
    ask: Ask, driver: Driver, model: LocalModel, whole: dict[Ask, dict[str, Any]]
) -> None:
    wakings: list[Future[None]] = []

    def wake() -> None:
        deadline = time.monotonic() + SECONDS
        while "stream.resumed" not in [log["event"] for log in logs] and time.monotonic() < deadline:
            time.sleep(0.01)
        model.process.send_signal(signal.SIGCONT)

    def stop() -> None:
        model.process.send_signal(signal.SIGSTOP)
        wakings.append(pool.submit(wake))

    impatient = driver.of(driver.client.with_options(timeout=SILENCE))
    with ThreadPoolExecutor(1) as pool, capture_logs() as logs:
        broken = read(impatient, ask, stop)
    assert wakings
    assert broken == whole[ask]
    assert "stream.resumed" in [log["event"] for log in logs]


def test_the_uncut_texts_go_round_and_end_by_their_limit(whole: dict[Ask, dict[str, Any]]) -> None:
    for each in whole.values():
        assert each["text"].count("Saturday, Sunday") >= 2
        assert (each["ids"], each["ends"]) == (1, ["length"])
        assert [completion for _, completion, _ in each["usage"]] == [TOKENS]


def test_the_local_chat_is_written_in_the_format_that_goes_on_with_it(model: LocalModel) -> None:
    with OpenAI(base_url=model.base_url, api_key="local", timeout=SECONDS) as client:
        assert prompts.check(client, MODEL).verdict == "right format"
