"""Chats asked of the completions endpoint, and the check of a format against a server; over real connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from conftest import Driver
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from test_cli_prompt import run

from novita_openai import AsyncOpenAI, OpenAI, RetryPolicy, prompts
from novita_openai.emulator import Emulator
from novita_openai.emulator.replies import document, error_reply
from novita_openai.local import LocalModel
from novita_openai.retry import no_wait

MODEL = "qwen/qwen3-30b-a3b-fp8"
MESSAGES: Any = [{"role": "system", "content": "You cook."}, {"role": "user", "content": "How do I make pasta?"}]
ASKED: Any = {"model": MODEL, "messages": MESSAGES}
REPLY = "<think>\nSo.\n</think>\n\nBoil water, add salt."
TOOL: Any = {"type": "function", "function": {"name": "boil", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as server:
        yield server


@pytest.fixture(params=["sync", "async"])
def driver(request: pytest.FixtureRequest, emulator: Emulator) -> Iterator[Driver]:
    kind: Any = OpenAI if request.param == "sync" else AsyncOpenAI
    with asyncio.Runner() as runner, no_wait():
        client = kind(api_key="k", base_url=emulator.base_url, timeout=5)
        yield Driver(client, runner)
        Driver(client, runner).close()


def ask(driver: Driver, **options: Any) -> Any:
    function: Any = prompts.achat if driver.is_async else prompts.chat
    return driver.call(lambda client: function(client, **ASKED | options))


def read(driver: Driver, **options: Any) -> list[Any]:
    function: Any = prompts.achat if driver.is_async else prompts.chat
    return driver.collect(lambda client: function(client, **ASKED | options, stream=True))


def test_an_answer_is_a_chat_completion(driver: Driver, emulator: Emulator) -> None:
    emulator.script.append(REPLY)
    answer: Any = ask(driver, max_tokens=90, stop=["never"], temperature=0, extra_body={"top_k": 1})
    assert type(answer) is ChatCompletion
    message: Any = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("Boil water, add salt.", "So.")
    assert (answer.choices[0].finish_reason, answer.model) == ("stop", MODEL)
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 5
    sent = emulator.requests[-1]
    form = prompts.format_for_model(MODEL)
    assert sent.path == "/completions"
    assert (sent.json["prompt"], sent.json["stop"][:2]) == (form.render(MESSAGES), [form.stop[0], "never"])
    assert (sent.json["max_tokens"], sent.json["top_k"]) == (90, 1)


def test_a_stream_is_one_of_chat_chunks(driver: Driver, emulator: Emulator) -> None:
    emulator.script.append(REPLY)
    chunks = read(driver, stream_options={"include_usage": True})
    assert {type(chunk) for chunk in chunks} == {ChatCompletionChunk}
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == "Boil water, add salt."
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "So."
    assert chunks[-1].usage.completion_tokens > 5


@pytest.mark.parametrize("form", ["chatml", prompts.get_format("chatml")])
def test_a_format_can_be_named_or_given(form: Any, driver: Driver, emulator: Emulator) -> None:
    ask(driver, format=form)
    assert emulator.requests[-1].json["prompt"] == prompts.get_format("chatml").render(MESSAGES)


def test_tools_go_where_the_format_has_them(driver: Driver, emulator: Emulator) -> None:
    emulator.script.append('<tool_call>\n{"name": "boil", "arguments": {}}\n</tool_call>')
    choice = ask(driver, tools=[TOOL], tool_choice="auto").choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls[0].function.name == "boil"


def test_what_has_no_place_is_refused_before_anything_is_sent(driver: Driver, emulator: Emulator) -> None:
    for options in ({"model": "nobody/knows"}, {"format": "chatmil"}, {"response_format": {"type": "json_object"}}):
        with pytest.raises(prompts.PromptError):
            ask(driver, **options)
    assert emulator.requests == []


def test_a_stream_can_be_stepped_through_left_and_closed(driver: Driver, emulator: Emulator) -> None:
    async def step_async(client: Any) -> Any:
        stream = await prompts.achat(client, **ASKED, stream=True)
        async with stream:
            first = await anext(stream)
        assert stream.response.is_closed
        async for _ in (again := await prompts.achat(client, **ASKED, stream=True)):
            break
        await again.close()
        return first, again.response.is_closed

    def step(client: Any) -> Any:
        with prompts.chat(client, **ASKED, stream=True) as stream:
            first = next(stream)
        assert stream.response.is_closed
        for _ in (again := prompts.chat(client, **ASKED, stream=True)):
            break
        return first, again.response.is_closed

    emulator.script.extend(["Boil water. " * 99] * 2)
    first, is_closed = driver.call(step_async if driver.is_async else step)
    assert first.choices[0].delta.role == "assistant"
    assert is_closed


@dataclass(eq=False, kw_only=True)
class CountingEmulator(Emulator):
    """Counts the characters of prompts; chats are written in a format, and the BOS counts as so many more."""

    form: str = "llama-3"
    extra: int = 0
    refuses_system: bool = False
    has_usage: bool = True

    def _reply(self, received: Any, path: str, item: Any) -> Any:
        del item
        body = json.loads(received.body)
        if path == "/completions":
            tokens = len(body["prompt"])
            choice: dict[str, Any] = {"text": "x"}
        else:
            if self.refuses_system and body["messages"][0]["role"] == "system":
                return "", error_reply("INVALID_REQUEST_BODY")
            tokens = len(prompts.get_format(self.form).render(body["messages"])) - self.extra
            choice = {"message": {"role": "assistant", "content": "x"}}
        usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}
        answer = {"id": "a", "object": "text_completion", "created": 1, "model": body["model"]}
        answer |= {"choices": [choice | {"index": 0, "finish_reason": "length"}]}
        return "", document(answer | ({"usage": usage} if self.has_usage else {}))


def check(server: Emulator, model: str, **options: Any) -> prompts.Check:
    with OpenAI(api_key="k", base_url=server.base_url, policy=RetryPolicy.off()) as client:
        return prompts.check(client, model, **options)


@pytest.mark.parametrize(
    ("extra", "verdict"), [(0, "right format"), (1, "double BOS"), (-1, "missing BOS"), (7, "another format")]
)
def test_the_verdict_follows_from_the_counts(extra: int, verdict: str) -> None:
    with CountingEmulator(extra=extra) as server:
        found = check(server, "any", format="llama-3")
        assert (found.verdict, found.format, "llama-3" in found.formats) == (verdict, "llama-3", extra != 7)
        assert [prompt - chat for chat, prompt in found.counts if chat and prompt] == [extra] * 3
        assert extra == 7 or server.request_count == 6
        assert server.request_count < 120


def test_the_formats_that_fit_are_found() -> None:
    with CountingEmulator(form="vicuna-v1.1") as server:
        found = check(server, "nobody/knows")
        assert (found.verdict, found.format) == ("another format", None)
        assert "vicuna-v1.1" in found.formats
        assert "llama-3" not in found.formats
        assert check(server, "any", format=prompts.get_format("llama-3")).verdict == "another format"


def test_a_history_that_the_server_refuses_does_not_count() -> None:
    with CountingEmulator(form="gemma-3" if "gemma-3" in prompts.format_names() else "chatml") as server:
        server.refuses_system = True
        found = check(server, "any", format=server.form)
    assert found.verdict == "right format"
    assert found.counts[-1] == (None, None)


def test_a_server_without_usage_cannot_be_checked() -> None:
    with CountingEmulator(has_usage=False) as server, pytest.raises(prompts.PromptError, match="reports no usage"):
        check(server, "any", format="chatml")


def test_the_command_prints_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOVITA_API_KEY", "k")
    with CountingEmulator() as server:
        where = ["--base-url", server.base_url]
        code, shown, _ = run("check", "any", "--format", "llama-3", *where)
        assert (code, shown.split("\t")[0]) == (0, "right format")
        assert "llama-3" in shown
        code, shown, _ = run("check", "any", "-f", "chatml", "--json", *where)
        assert (code, json.loads(shown)["verdict"]) == (1, "another format")
        code, _, told = run("check", "any", "-f", "chatmil", *where)
        assert (code, "chatml" in told) == (1, True)


@pytest.mark.slow
def test_a_real_server_is_judged_by_its_counts(local_model: LocalModel) -> None:
    with OpenAI(base_url=local_model.base_url, api_key="local", timeout=60) as client:
        assert prompts.check(client, "gemma", format="chatml").verdict == "another format"
        answer = prompts.chat(client, model="gemma", messages=MESSAGES[1:], format="alpaca", max_tokens=4)
        assert answer.choices[0].message.content
