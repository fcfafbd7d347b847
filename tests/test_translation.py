"""What OpenAI accepts in a chat and the service refuses is sent as the service takes it, from clients and batches."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from batch_jobs import Job, row
from conftest import Driver
from server import Server, chunk, stream

from novita_openai import AsyncOpenAI, OpenAI, create_client
from novita_openai.client.translation import translated
from novita_openai.emulator import Emulator

ASKED = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
TAKEN = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]

# A body, what extra_body adds, and the two as they are sent.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "another name": ({"max_completion_tokens": 5}, {}, {"max_tokens": 5}, {}),
    "the smaller": ({"max_completion_tokens": 5, "max_tokens": 9}, {}, {"max_tokens": 5}, {}),
    "the smaller, turned round": ({"max_completion_tokens": 9, "max_tokens": 5}, {}, {"max_tokens": 5}, {}),
    "null": ({"max_completion_tokens": None}, {}, {"max_tokens": None}, {}),
    "null beside a number": ({"max_completion_tokens": None, "max_tokens": 5}, {}, {"max_tokens": 5}, {}),
    "no number": ({"max_completion_tokens": "5", "max_tokens": 9}, {}, {"max_tokens": "5"}, {}),
    "in extra_body": ({"max_tokens": 9}, {"max_completion_tokens": 5, "top_k": 1}, {"max_tokens": 5}, {"top_k": 1}),
    "left out by extra_body": (
        {"max_completion_tokens": 5},
        {"max_completion_tokens": openai.Omit()},
        {"max_completion_tokens": 5},
        {"max_completion_tokens": openai.Omit()},
    ),
    "a role": ({"messages": ASKED}, {}, {"messages": TAKEN}, {}),
    "a role in extra_body": ({"messages": []}, {"messages": ASKED}, {"messages": TAKEN}, {}),
}
UNCHANGED: list[dict[str, Any]] = [
    {"max_tokens": 5, "messages": TAKEN},
    {"messages": "developer"},
    {"messages": [5, None, {"role": ["developer"]}]},
    {},
]


@pytest.mark.parametrize("case", CASES)
def test_a_body_becomes_what_the_service_takes(case: str) -> None:
    body, extra, sent, sent_extra = CASES[case]
    before = copy.copy(body), copy.copy(extra)
    taken, more = translated(body, extra)
    assert taken == sent
    assert more.keys() == sent_extra.keys()
    assert (body, extra) == before


@pytest.mark.parametrize("body", UNCHANGED)
def test_a_body_that_the_service_takes_is_left_as_the_same_object(body: dict[str, Any]) -> None:
    assert translated(body)[0] is body


def plain(client: Any) -> Any:
    return client.chat.completions.create(model="m", messages=ASKED, max_completion_tokens=5)


def raw(client: Any) -> Any:
    return client.chat.completions.with_raw_response.create(model="m", messages=ASKED, max_completion_tokens=5)


def by_extra_body(client: Any) -> Any:
    return client.chat.completions.create(
        model="m", messages=ASKED, max_tokens=9, extra_body={"max_completion_tokens": 5}
    )


def streamed(client: Any) -> Any:
    return client.chat.completions.create(model="m", messages=ASKED, max_completion_tokens=5, stream=True)


def posted(client: Any) -> Any:
    body = {"model": "m", "messages": ASKED, "max_completion_tokens": 5}
    return client.post("/chat/completions", body=body, cast_to=object)


@pytest.mark.parametrize("ask", [plain, raw, by_extra_body, streamed, posted])
def test_a_chat_is_sent_as_the_service_takes_it(ask: Callable[[Any], Any], driver: Driver, server: Server) -> None:
    asked = copy.deepcopy(ASKED)
    if ask is streamed:
        server.script.append(stream(chunk("Hi", "stop")))
        driver.collect(ask)
    else:
        driver.call(ask)
    sent = server.requests[-1].json
    assert sent["max_tokens"] == 5
    assert sent["messages"] == TAKEN
    assert "max_completion_tokens" not in sent
    assert asked == ASKED


def test_a_chat_that_is_sent_again_is_translated_again(driver: Driver, server: Server) -> None:
    server.script.append(stream())
    driver.call(
        lambda client: client.with_options(max_retries=2).chat.completions.create(
            model="m", messages=ASKED, max_completion_tokens=5
        )
    )
    assert len(server.requests) == 2
    assert [each.json["max_tokens"] for each in server.requests] == [5, 5]


def test_without_translation_a_chat_is_sent_as_it_is(connect: Callable[..., Driver], server: Server) -> None:
    driver = connect(translate=False)
    for each in (
        driver,
        driver.of(driver.client.with_options(timeout=9)),
        connect().of(connect().client.copy(translate=False)),
    ):
        each.call(plain)
        assert server.requests[-1].json["max_completion_tokens"] == 5
        assert server.requests[-1].json["messages"] == ASKED
    driver.of(driver.client.with_options(translate=True)).call(plain)
    assert server.requests[-1].json["max_tokens"] == 5


def test_only_chats_are_translated(driver: Driver, server: Server) -> None:
    driver.complete(extra_body={"max_completion_tokens": 5})
    assert server.requests[-1].json["max_completion_tokens"] == 5


def test_a_factory_takes_it_too(server: Server) -> None:
    with create_client(api_key="k", base_url=server.base_url, translate=False) as client:
        plain(client)
    assert server.requests[-1].json["messages"] == ASKED
    assert not client.translate
    assert OpenAI(api_key="k").translate
    assert AsyncOpenAI(api_key="k").translate


def test_a_batch_sends_what_the_service_takes_and_knows_its_rows_as_they_are_written(
    job: Job, emulator: Emulator
) -> None:
    job.write([row("a", messages=ASKED, max_completion_tokens=5), row("b", max_tokens=5)])
    report = job.run()
    assert report.succeeded == 2
    bodies = [json.loads(each.body) for each in emulator.requests if each.path == "/chat/completions"]
    assert [body["max_tokens"] for body in bodies] == [5, 5]
    assert [body["messages"] for body in bodies].count(TAKEN) == 1
    assert job.run().resumed == 2
