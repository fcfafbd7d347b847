"""The typed public face: checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_type

import openai
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam, ParsedChatCompletion
from pydantic import BaseModel

import novita_openai
from novita_openai import (
    DEFAULT_MAX_RETRIES,
    NOT_GIVEN,
    RULES,
    Action,
    APIStatusError,
    AsyncOpenAI,
    Backoff,
    BatchReport,
    Client,
    DefaultHttpxClient,
    ErrorRule,
    NovitaOpenAI,
    OpenAI,
    Pace,
    RateLimitError,
    RetryBudget,
    RetryPolicy,
    Stream,
    Timeout,
    batch,
    classify,
    create_async_client,
    create_client,
    emulator,
    local,
    omit,
    partial_text,
    prompts,
    pydantic_function_tool,
    retry,
    types,
)


class Recipe(BaseModel):
    name: str


def check_client() -> None:
    client = OpenAI(api_key="k", policy=RetryPolicy.batch(), timeout=5, max_retries=1, default_headers={"a": "b"})
    assert_type(client, NovitaOpenAI)
    assert_type(create_client(api_key=lambda: "k", base_url="https://x"), NovitaOpenAI)
    assert_type(client.with_options(policy=RetryPolicy.off(), timeout=None), NovitaOpenAI)
    assert_type(client.copy(base_url=client.base_url), NovitaOpenAI)
    assert_type(client.policy, RetryPolicy)
    assert_type(client.with_options(pace=Pace(rpm=30, tpm=2e6, concurrency=8, patience=60)), NovitaOpenAI)
    assert_type(create_async_client(api_key="k", pace=True).pace["m"].rate, float)
    sdk: openai.OpenAI = client
    answer = sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    assert_type(answer, ChatCompletion)
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "x"}]
    stream = client.chat.completions.create(model="m", messages=messages, stream=True)
    assert_type(stream, openai.Stream[ChatCompletionChunk])
    assert_type(client.completions.create(model="m", prompt="p"), Completion)
    assert_type(client.embeddings.create(model="m", input="x"), CreateEmbeddingResponse)
    parsed = client.chat.completions.parse(model="m", messages=messages, response_format=Recipe)
    assert_type(parsed, ParsedChatCompletion[Recipe])
    assert_type(client.post("/x", cast_to=ChatCompletion), ChatCompletion)
    client.with_options(no_such_option=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    OpenAI(no_such_option=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def check_async_client() -> None:
    async def key() -> str:
        return "k"

    async with create_async_client(api_key=key) as client:
        assert_type(client, AsyncOpenAI)
        assert_type(await client.completions.create(model="m", prompt="p"), Completion)
        stream = await client.completions.create(model="m", prompt="p", stream=True)
        assert_type(stream, openai.AsyncStream[Completion])
        assert_type(client.with_options(api_key=lambda: "k"), AsyncOpenAI)


def check_names_of_the_sdk(error: Exception) -> None:
    assert_type(Client(api_key="k"), NovitaOpenAI)
    assert_type(novita_openai.AsyncClient(api_key="k"), AsyncOpenAI)
    kinds: list[type[openai.APIError]] = [RateLimitError, APIStatusError, novita_openai.APITimeoutError]
    assert_type(kinds[0] is openai.RateLimitError, bool)
    if isinstance(error, novita_openai.APIStatusError):
        assert_type(error.status_code, int)
    assert_type(partial_text(error), str)
    retries: int = DEFAULT_MAX_RETRIES
    assert_type(novita_openai.__version__, str)
    OpenAI(api_key="k", timeout=Timeout(5), max_retries=retries, http_client=DefaultHttpxClient())
    not_given: novita_openai.NotGiven = NOT_GIVEN
    omitted: novita_openai.Omit = omit
    tool = pydantic_function_tool(Recipe)
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "x"}]
    create = Client().chat.completions.create
    answer = create(model="m", messages=messages, tools=[tool], timeout=not_given, temperature=omitted)
    assert_type(answer, ChatCompletion)
    assert_type(create(model="m", messages=messages, stream=True), Stream[ChatCompletionChunk])
    usage: types.CompletionUsage | None = answer.usage
    assert_type(usage, novita_openai.types.CompletionUsage | None)
    _ = novita_openai.chat  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    _ = novita_openai.AzureOpenAI  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def check_policy(error: Exception) -> None:
    policy = RetryPolicy(attempts=5, deadline=60, budget=RetryBudget(tokens=5, share=0.2))
    assert_type(policy.backoffs, Mapping[Action, Backoff])
    assert_type(policy.delay(error, 1, random=0.1), float | None)
    assert_type(classify(error, (ErrorRule(None, "MINE", Action.WAIT, "m"), *RULES)), ErrorRule)

    @policy.wraps
    def work(number: int, *, word: str = "") -> list[str]:
        return [word] * number

    assert_type(work(1, word="x"), list[str])
    work("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with retry.no_wait():
        pass
    assert novita_openai.retry is retry


def check_local() -> None:
    with local.LocalModel() as server:
        assert_type(server.base_url, str)


def check_resumption() -> None:
    assert_type(OpenAI(resume_streams=True), NovitaOpenAI)
    assert_type(create_client(resume_streams=True), NovitaOpenAI)
    assert_type(create_async_client(resume_streams=True), AsyncOpenAI)
    client = create_client().with_options(resume_streams=False).copy(resume_streams=None)
    assert_type(client.resume_streams, bool)
    OpenAI(resume_streams="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "x"}]


def check_chat_over_completions(client: openai.OpenAI, *, stream: bool) -> None:
    assert_type(prompts.chat(client, model="m", messages=MESSAGES), ChatCompletion)
    assert_type(prompts.chat(client, model="m", messages=MESSAGES, stream=False, temperature=0), ChatCompletion)
    chunks = prompts.chat(client, model="m", messages=MESSAGES, stream=True, format="llama-3")
    assert_type(chunks, prompts.ChatStream)
    assert_type(next(chunks), ChatCompletionChunk)
    with chunks:
        assert_type(list(chunks), list[ChatCompletionChunk])
    either = prompts.chat(client, model="m", messages=MESSAGES, stream=stream)
    assert_type(either, ChatCompletion | prompts.ChatStream)


async def check_async_chat_over_completions(client: openai.AsyncOpenAI, *, stream: bool) -> None:
    assert_type(await prompts.achat(client, model="m", messages=MESSAGES), ChatCompletion)
    chunks = await prompts.achat(client, model="m", messages=MESSAGES, stream=True)
    assert_type(chunks, prompts.AsyncChatStream)
    async with chunks:
        assert_type([chunk async for chunk in chunks], list[ChatCompletionChunk])
    either = await prompts.achat(client, model="m", messages=MESSAGES, stream=stream)
    assert_type(either, ChatCompletion | prompts.AsyncChatStream)


def check_histories(client: OpenAI) -> None:
    fmt = prompts.get_format("llama-3")
    history = fmt.parse("USER: hi")
    assert_type(history, prompts.History)
    assert_type(client.chat.completions.create(model="m", messages=history), ChatCompletion)
    history.append({"role": "user", "content": "x"})
    messages: list[ChatCompletionMessageParam] = fmt.normalize(history)
    dicts: list[dict[str, Any]] = fmt.normalize(messages)
    assert_type(fmt.render(dicts), str)
    client.chat.completions.create(model="m", messages=fmt.normalize([*history, *MESSAGES]), stream=True)


def check_formats(client: OpenAI) -> None:
    found = prompts.check(client, "m", format=prompts.get_format("llama-3"))
    assert_type(found, prompts.Check)
    assert_type((found.verdict, found.format, found.formats), tuple[str, str | None, tuple[str, ...]])


async def check_batch(client: AsyncOpenAI) -> None:
    report = batch.run("requests.jsonl", "results.jsonl", client=client, concurrency=None, retry_failed=True)
    assert_type(report, BatchReport)
    assert_type(await batch.arun("requests.jsonl", "results.jsonl", rpm=60), BatchReport)
    assert_type((report.failed, report.cost, report.interrupted), tuple[int, float | None, bool])
    batch.run(
        "reviews.csv", "answers.csv", model="m", prompt="{text}", parameters={"max_tokens": 5}, id=None, image=None
    )
    assert_type(batch.table({"text": ["a"]}, prompt="{text}", checkpoint="answers.jsonl"), dict[str, list[str]])
    assert_type(await batch.atable(1.5, prompt="{text}", validate=Recipe), float)
    for result in batch.stream([{"custom_id": "a", "body": {}}], client=client):
        assert_type(result, dict[str, Any])
    async for result in batch.stream([]):
        assert_type(result, dict[str, Any])
    batch.run("requests.jsonl", "results.jsonl", no_such_option=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def check_emulator() -> None:
    with emulator.Emulator(models=["m"], rpm=60, faults={"reset": 0.1}) as server:
        assert_type(server, emulator.Emulator)
        assert_type(server.base_url, str)
        assert_type(server.requests, list[emulator.Request])
        server.script.extend(["Boil water.", emulator.Fault("reset", after=100)])
