"""Streams that go on: wherever they break, the caller sees one stream; sync and async, completions and chat."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from conftest import Driver
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server import Reply, Server, chunk, stream
from structlog.testing import capture_logs
from thoroughness import examples

from novita_openai import AsyncOpenAI, OpenAI, RetryPolicy, create_async_client, create_client, prompts
from novita_openai.client.resumption import MOST_IN_A_ROW, MOST_IN_ALL
from novita_openai.emulator import MODELS, Emulator, Fault
from novita_openai.retry import no_wait

MODEL = "meta-llama/llama-3.1-8b-instruct"
THINKER = "qwen/qwen3-30b-a3b-fp8"
THINKERS = (THINKER, "deepseek/deepseek-r1-0528", "zai-org/glm-4.5", "moonshotai/kimi-k2.5", "deepseek/deepseek-v3.2")
NO_FORMAT = "nobody/knows-this"
PROMPT = "USER: How do I make pasta?\nASSISTANT:"
TEXT = " Boil the water, add salt. Stir it now and then, wait nine minutes; drain, serve."
THOUGHT = "They ask for pasta.\nSo water < salt, and a pot."
USAGE: Any = {"stream": True, "stream_options": {"include_usage": True}}
COMPLETION: Any = {"model": MODEL, "prompt": PROMPT, **USAGE}
MESSAGES: Any = [{"role": "user", "content": "How do I make pasta?"}]
CHAT: Any = {"model": MODEL, "messages": MESSAGES, **USAGE}
TIMEOUT = 0.2
MIDWAY = 1500
PATIENCE = RetryPolicy(budget=None)


@dataclass(eq=False, kw_only=True)
class BreakingEmulator(Emulator):
    """Says what the script says, and meets the next fault on the way."""

    breaks: deque[Fault | None] = field(default_factory=deque)

    def _drawn(self, body: bytes) -> Fault | None:
        del body
        return self.breaks.popleft() if self.breaks else None


@pytest.fixture(scope="module")
def shared() -> Iterator[BreakingEmulator]:
    with BreakingEmulator(models=[*MODELS, NO_FORMAT]) as server:
        yield server


@pytest.fixture
def emulator(shared: BreakingEmulator) -> BreakingEmulator:
    shared.script.clear()
    shared.breaks.clear()
    return shared


@pytest.fixture(params=["sync", "async"])
def driver(request: pytest.FixtureRequest, emulator: BreakingEmulator) -> Iterator[Driver]:
    kind: Any = OpenAI if request.param == "sync" else AsyncOpenAI
    with asyncio.Runner() as runner, no_wait(), capture_logs():
        client = kind(api_key="k", base_url=emulator.base_url, timeout=TIMEOUT, resume_streams=True, policy=PATIENCE)
        yield Driver(client, runner)
        Driver(client, runner).close()


def rest_of(text: str) -> Callable[[dict[str, Any]], str]:
    """Return a model that says a text, or what is left of it after a prompt."""
    return lambda body: text[len(body["prompt"]) - len(PROMPT) :]


rest = rest_of(TEXT)


def complete(driver: Driver, **options: Any) -> list[Any]:
    return driver.collect(lambda client: client.completions.create(**COMPLETION | options))


def chat(driver: Driver, **options: Any) -> list[Any]:
    return driver.collect(lambda client: client.chat.completions.create(**CHAT | options))


def said(chunks: list[Any]) -> dict[str, Any]:
    """Return what the chunks of a stream say together."""
    choices = [choice for chunk in chunks for choice in chunk.choices]
    parts = [getattr(choice, "delta", choice) for choice in choices]
    return {
        "thought": "".join(getattr(part, "reasoning_content", None) or "" for part in parts),
        "text": "".join((part.content if hasattr(part, "content") else part.text) or "" for part in parts),
        "heads": len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}),
        "ends": [choice.finish_reason for choice in choices if choice.finish_reason],
        "usage": [chunk.usage.to_dict() for chunk in chunks if chunk.usage],
    }


def run(driver: Driver, emulator: BreakingEmulator, ask: Callable[..., Any], *breaks: Fault, **options: Any) -> Any:
    """Ask while the answers break, and return what is said."""
    emulator.breaks.clear()
    emulator.breaks.extend(breaks)
    return said(ask(driver, **options))


def size_of(base_url: str) -> int:
    """Return the bytes of the body of the whole stream that the next request gets."""
    with (
        openai.OpenAI(api_key="k", base_url=base_url) as client,
        client.completions.with_streaming_response.create(**COMPLETION) as response,
    ):
        return len(b"".join(response.iter_bytes()))


@pytest.mark.slow
def test_a_completion_cut_at_every_byte_is_whole(emulator: BreakingEmulator) -> None:
    text = " Là 😀."
    emulator.script.append(rest_of(text))
    size = size_of(emulator.base_url)
    emulator.script.extend([rest_of(text)] * 4 * size)
    with no_wait(), OpenAI(api_key="k", base_url=emulator.base_url, resume_streams=True, policy=PATIENCE) as client:
        driver: Any = Driver(client, asyncio.Runner())
        whole = run(driver, emulator, complete)
        with capture_logs():
            for place in range(size):
                assert run(driver, emulator, complete, Fault("close", after=place)) == whole
    assert (whole["text"], whole["heads"], whole["ends"]) == (text, 1, ["stop"])


BREAKS = st.lists(
    st.builds(Fault, st.sampled_from(["close", "reset", "malformed", "error_event", "not_utf8"]), st.integers(0, 9000)),
    min_size=1,
    max_size=2,
)
OPTIONS: list[dict[str, Any]] = [{}, {"max_tokens": 9}, {"stop": [" now", " never"]}, {"stop": " drain"}]
PROPERTY = settings(
    max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@PROPERTY
@given(breaks=BREAKS)
def test_a_completion_that_breaks_anywhere_is_whole(
    breaks: list[Fault], options: dict[str, Any], driver: Driver, emulator: BreakingEmulator
) -> None:
    emulator.script.clear()
    emulator.script.extend([rest] * 9)
    whole = run(driver, emulator, complete, **options)
    assert run(driver, emulator, complete, *breaks, **options) == whole


def answer_of(model: str) -> Callable[[dict[str, Any]], Any]:
    """Return a model that thinks and speaks, or what is left of that after a prompt of its format."""
    form = prompts.format_for_model(model)
    head = form.render(MESSAGES).removesuffix(form.opening[0])
    raw = TEXT[1:] if form.thought is None else f"{form.thought.open}{THOUGHT}{form.thought.close}{TEXT[1:]}"

    def answer(body: dict[str, Any]) -> Any:
        if "messages" in body:
            return {"content": TEXT[1:]} | ({} if form.thought is None else {"reasoning_content": THOUGHT})
        assert (head + raw).startswith(body["prompt"])
        return (head + raw)[len(body["prompt"]) :]

    return answer


@pytest.mark.parametrize("model", [MODEL, *THINKERS])
@settings(PROPERTY, max_examples=examples(8))
@given(breaks=BREAKS)
def test_a_chat_that_breaks_anywhere_is_whole(
    breaks: list[Fault], model: str, driver: Driver, emulator: BreakingEmulator
) -> None:
    emulator.script.clear()
    emulator.script.extend([answer_of(model)] * 9)
    whole = run(driver, emulator, chat, model=model)
    assert (whole["thought"], whole["text"]) == (THOUGHT if model in THINKERS else "", TEXT[1:])
    broken = run(driver, emulator, chat, *breaks, model=model)
    del whole["usage"], broken["usage"]  # the emulator counts a chat's prompt in another way than its text
    assert broken == whole


@PROPERTY
@given(place=st.integers(0, 9000))
def test_a_stream_that_ends_too_early_is_whole(place: int, driver: Driver, emulator: BreakingEmulator) -> None:
    emulator.script.clear()
    emulator.script.extend([rest] * 9)
    whole = run(driver, emulator, complete)
    broken = run(driver, emulator, complete, Fault("truncated", after=place))
    # Where it ends between the text and its usage, none came, and nothing is broken.
    assert broken | {"usage": broken["usage"] or whole["usage"]} == whole


@PROPERTY
@given(breaks=BREAKS)
@pytest.mark.slow
def test_a_text_that_repeats_itself_loses_nothing(
    breaks: list[Fault], driver: Driver, emulator: BreakingEmulator
) -> None:
    emulator.script.clear()
    emulator.script.extend([rest_of(" ha ha ha," * 9)] * 9)
    whole = run(driver, emulator, complete)
    assert run(driver, emulator, complete, *breaks) == whole


@pytest.mark.parametrize("ask", [complete, chat])
def test_a_stream_that_falls_silent_is_whole(
    ask: Callable[..., Any], driver: Driver, emulator: BreakingEmulator
) -> None:
    emulator.script.extend([rest if ask is complete else answer_of(MODEL)] * 9)
    whole = run(driver, emulator, ask)
    broken = run(driver, emulator, ask, Fault("stall", after=MIDWAY), Fault("stall", after=MIDWAY))
    assert broken["text"] == whole["text"]
    assert [request.path for request in emulator.requests[-2:]] == ["/completions"] * 2


def test_each_resumption_is_logged(driver: Driver, emulator: BreakingEmulator) -> None:
    emulator.script.extend([rest] * 9)
    with capture_logs() as logs:
        run(driver, emulator, complete, Fault("close", after=MIDWAY), Fault("SERVICE_NOT_AVAILABLE"))
    assert [log["event"] for log in logs] == ["stream.resumed", "retry.scheduled"]
    assert (logs[0]["reason"], logs[0]["model"], logs[0]["attempt"]) == ("connection_error", MODEL, 1)
    assert 0 < logs[0]["tokens"] < 9
    assert TEXT[1:9] not in str(logs)


def fails(driver: Driver, ask: Callable[..., Any], kind: type[openai.APIError], **options: Any) -> str:
    """Return the text so far that the error carries."""
    with pytest.raises(kind) as failure:
        ask(driver, **options)
    return str(vars(failure.value)["partial_text"])


def test_the_resumptions_of_a_stream_are_bounded(driver: Driver, emulator: BreakingEmulator) -> None:
    emulator.script.extend([rest_of(" word" * 99)] * 30)
    emulator.breaks.extend([Fault("close", after=400)] * 30)
    before = emulator.request_count
    text = fails(driver, complete, openai.APIConnectionError)
    assert emulator.request_count - before == 1 + MOST_IN_ALL
    assert text == " word" * (1 + MOST_IN_ALL)


def test_resumptions_without_any_new_text_are_bounded_sooner(driver: Driver, emulator: BreakingEmulator) -> None:
    emulator.breaks.extend([Fault("close", after=400)] * 30)
    before = emulator.request_count
    assert fails(driver, chat, openai.APIConnectionError) == ""
    assert emulator.request_count - before == 1 + MOST_IN_A_ROW
    assert {request.path for request in emulator.requests[-4:]} == {"/chat/completions"}


@pytest.mark.parametrize("model", [MODEL, NO_FORMAT])
def test_a_chat_that_has_said_nothing_is_asked_anew(model: str, driver: Driver, emulator: BreakingEmulator) -> None:
    emulator.script.extend([TEXT] * 3)
    whole = run(driver, emulator, chat, model=model)
    broken = run(driver, emulator, chat, Fault("close", after=400), model=model)
    assert broken == whole
    assert emulator.requests[-1].path == "/chat/completions"


def test_permanent_errors_are_not_resumed(driver: Driver, emulator: BreakingEmulator) -> None:
    before = emulator.request_count
    emulator.script.extend([rest] * 9)
    emulator.breaks.append(Fault("error_event", after=MIDWAY, reason="NOT_ENOUGH_BALANCE"))
    with capture_logs() as logs:
        text = fails(driver, complete, openai.PermissionDeniedError)
    assert text
    assert TEXT.startswith(text)
    emulator.breaks.extend([Fault("close", after=MIDWAY), Fault("NOT_ENOUGH_BALANCE")])
    assert fails(driver, complete, openai.PermissionDeniedError) in text
    assert emulator.request_count - before == 3
    assert "stream.resumed" not in [log["event"] for log in logs]


def test_the_policy_decides(driver: Driver, emulator: BreakingEmulator) -> None:
    for policy in (RetryPolicy.off(), RetryPolicy(retry_ambiguous=False)):
        emulator.script.append(rest)
        emulator.breaks.append(Fault("close", after=MIDWAY))
        assert fails(driver.of(driver.client.with_options(policy=policy)), complete, openai.APIConnectionError)
    emulator.script.extend([rest] * 2)
    without_retries = driver.of(driver.client.with_options(max_retries=0))
    assert run(without_retries, emulator, complete, Fault("close", after=MIDWAY))["text"] == TEXT


def test_going_on_takes_no_token_of_the_budget(driver: Driver, emulator: BreakingEmulator) -> None:
    emulator.script.extend([rest] * 99)
    policy = RetryPolicy()
    spender = driver.of(driver.client.with_options(policy=policy))
    for _ in range(12):
        assert run(spender, emulator, complete, Fault("close", after=MIDWAY))["text"] == TEXT
    assert policy.budget is not None
    assert policy.budget.tokens == 10
    run(spender, emulator, complete, Fault("close", after=MIDWAY), Fault("SERVICE_NOT_AVAILABLE"))
    assert policy.budget.tokens == 9


@pytest.mark.parametrize("place", [1000, 1800, 2600])
def test_a_phrase_that_the_text_says_twice_is_kept_wherever_it_is_cut(
    place: int, driver: Driver, emulator: BreakingEmulator
) -> None:
    text = " add the salt and stir it add the salt and stir it."
    emulator.script.extend([rest_of(text)] * 2)
    broken = run(driver, emulator, complete, Fault("close", after=place))
    assert (broken["text"], emulator.requests[-1].json["prompt"] != PROMPT) == (text, True)


@pytest.mark.parametrize("stop", ["##END", ["###", "##END"]])
def test_a_stop_string_across_the_seam_ends_the_stream(
    stop: str | list[str], driver: Driver, emulator: BreakingEmulator
) -> None:
    emulator.script.extend([" Done ##", "END and more"])
    broken = run(driver, emulator, complete, Fault("close", after=900), stop=stop)
    assert emulator.requests[-1].json["prompt"] == PROMPT + " Done ##"
    assert (broken["text"], broken["ends"]) == (" Done ##", ["stop"])
    emulator.script.extend([" Done ##", "EN passant"])
    broken = run(driver, emulator, complete, Fault("close", after=900), stop=stop)
    assert (broken["text"], broken["ends"]) == (" Done ##EN passant", ["stop"])


def test_no_request_is_made_for_no_token(driver: Driver, emulator: BreakingEmulator) -> None:
    before = emulator.request_count
    emulator.script.append(TEXT)
    # The cut comes between the second word and the finish_reason.
    broken = run(driver, emulator, complete, Fault("close", after=600), max_tokens=2, stream_options=None)
    assert (broken["text"], broken["ends"], broken["usage"]) == (" Boil the", ["length"], [])
    assert emulator.request_count - before == 1


TURN = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
NOT_RESUMED: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (complete, {"n": 2}),
    (complete, {"best_of": 2}),
    (complete, {"logprobs": 0}),
    (complete, {"echo": True}),
    (complete, {"suffix": "!"}),
    (complete, {"prompt": [PROMPT]}),
    (complete, {"extra_body": {"guided_regex": "a+"}}),
    (complete, {"extra_body": {"grammar": "root ::= [a-z]+"}}),
    (chat, {"n": 2}),
    (chat, {"logprobs": True}),
    (chat, {"response_format": {"type": "json_object"}}),
    (chat, {"tools": [{"type": "function", "function": {"name": "f"}}]}),
    (chat, {"extra_body": {"enable_thinking": False}}),
    (chat, {"extra_body": {"thinking": {"type": "disabled"}}}),
    (chat, {"reasoning_effort": "low"}),
    (chat, {"metadata": {"a": "b"}}),
    (chat, {"model": NO_FORMAT}),
    (chat, {"model": "deepseek/deepseek-v3.2", "messages": [*MESSAGES, {"role": "assistant", "content": "So"}]}),
    (chat, {"model": "moonshotai/kimi-k2.5"}),
    (chat, {"messages": [{"role": "user", "content": f"Hi{TURN}Yes{TURN}No"}]}),
]


@pytest.mark.parametrize(("ask", "options"), NOT_RESUMED)
def test_what_cannot_be_gone_on_with_is_raised_as_before(
    ask: Callable[..., Any], options: dict[str, Any], driver: Driver, emulator: BreakingEmulator
) -> None:
    before = emulator.request_count
    emulator.script.append(TEXT)
    emulator.breaks.append(Fault("close", after=MIDWAY))
    text = fails(driver, ask, openai.APIConnectionError, **options)
    assert text
    assert TEXT.startswith(text)
    assert emulator.request_count - before == 1


def test_tool_calls_that_nobody_asked_for_are_not_resumed(driver: Driver, emulator: BreakingEmulator) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{" + " 1," * 99}}
    emulator.script.append({"tool_calls": [call]})
    emulator.breaks.append(Fault("close", after=MIDWAY))
    before = emulator.request_count
    assert fails(driver, chat, openai.APIConnectionError) == ""
    assert emulator.request_count - before == 1


def test_reasoning_of_a_model_without_a_format_for_it_is_not_resumed(
    driver: Driver, emulator: BreakingEmulator
) -> None:
    emulator.script.append({"content": TEXT, "reasoning_content": THOUGHT})
    emulator.breaks.append(Fault("close", after=MIDWAY))
    assert fails(driver, chat, openai.APIConnectionError) == ""


def test_a_chat_that_writes_the_end_of_a_turn_is_not_resumed(driver: Driver, emulator: BreakingEmulator) -> None:
    text = " A turn ends with <|eot_id|> there." + TEXT
    emulator.script.append(text)
    emulator.breaks.append(Fault("close", after=4000))
    before = emulator.request_count
    assert "<|eot_id|>" in fails(driver, chat, openai.APIConnectionError)
    assert emulator.request_count - before == 1


def with_extra(extra: dict[str, Any]) -> Reply:
    """Return a chat stream that ends too early, with fields besides the content."""
    first = chunk("Boil")
    first["choices"][0]["delta"] |= extra
    return stream(first)


@pytest.mark.parametrize("extra", [{"reasoning_content": ["So"]}, {"reasoning": "So"}])
def test_what_other_servers_say_besides_is_not_resumed(extra: dict[str, Any], driver: Driver, server: Server) -> None:
    server.script.append(with_extra(extra))
    elsewhere = driver.of(driver.client.with_options(base_url=server.base_url))
    assert fails(elsewhere, chat, openai.APIConnectionError) == "Boil"
    assert len(server.requests) == 1


def test_fields_that_say_nothing_do_not_matter(driver: Driver, server: Server) -> None:
    server.script.extend([with_extra({"reasoning_content": None, "name": ""}), stream(chunk(" it.", "stop"))])
    elsewhere = driver.of(driver.client.with_options(base_url=server.base_url))
    assert said(chat(elsewhere, stream_options=None))["text"] == "Boil it."


@pytest.mark.parametrize("model", [THINKER, "moonshotai/kimi-k2.5"])
def test_tags_of_reasoning_in_the_content_stay_there(model: str, driver: Driver, emulator: BreakingEmulator) -> None:
    text = f"<think>So.</think>{TEXT}"
    form = prompts.format_for_model(model)
    head = form.render(MESSAGES).removesuffix(form.opening[0])
    emulator.script.extend([text, lambda body: (head + text)[len(body["prompt"]) :]])
    broken = run(driver, emulator, chat, Fault("close", after=4500), model=model)
    assert (broken["text"], broken["thought"]) == (text, "")
    assert emulator.requests[-1].json["prompt"].startswith(f"{head}<think>So.</think> Boil")


def test_a_chats_prompt_has_the_formats_stops_and_the_callers_limits(
    driver: Driver, emulator: BreakingEmulator
) -> None:
    emulator.script.extend([answer_of(THINKER)] * 2)
    options = {"stop": [" never"], "max_tokens": 90, "temperature": 0, "extra_body": {"separate_reasoning": True}}
    whole = run(driver, emulator, chat, Fault("close", after=4500), model=THINKER, **options)
    assert (whole["thought"], whole["text"]) == (THOUGHT, TEXT[1:])
    sent = emulator.requests[-1].json
    assert sent["stop"] == ["<|im_end|>", " never", "<|endoftext|>"]
    assert 0 < sent["max_tokens"] < 90
    assert (sent["temperature"], sent["model"]) == (0, THINKER)
    assert "separate_reasoning" not in sent
    assert "messages" not in sent


def read_helper(driver: Driver) -> str:
    async def read_async(entered: Any) -> Any:
        return await entered.get_final_completion()

    use: Any = read_async if driver.is_async else lambda entered: entered.get_final_completion()
    ask = {name: value for name, value in CHAT.items() if name != "stream"}
    return str(driver.within(lambda client: client.chat.completions.stream(**ask), use).choices[0].message.content)


def read_raw(driver: Driver) -> str:
    async def read_async(client: Any) -> list[Any]:
        response = await client.completions.with_raw_response.create(**COMPLETION)
        return [each async for each in response.parse()]

    def read(client: Any) -> list[Any]:
        return list(client.completions.with_raw_response.create(**COMPLETION).parse())

    return str(said(driver.call(read_async if driver.is_async else read))["text"])


def read_streamed(driver: Driver) -> str:
    async def read_async(response: Any) -> list[Any]:
        return [each async for each in await response.parse()]

    use: Any = read_async if driver.is_async else lambda response: list(response.parse())
    chunks = driver.within(lambda client: client.completions.with_streaming_response.create(**COMPLETION), use)
    return str(said(chunks)["text"])


@pytest.mark.parametrize("read", [read_helper, read_raw, read_streamed])
def test_every_way_to_read_a_stream_goes_on(
    read: Callable[[Driver], str], driver: Driver, emulator: BreakingEmulator
) -> None:
    emulator.script.extend([answer_of(MODEL) if read is read_helper else rest] * 3)
    emulator.breaks.extend([Fault("close", after=MIDWAY)] * 2)
    assert read(driver).strip() == TEXT.strip()
    assert emulator.requests[-1].path == "/completions"
    assert "x-stainless-raw-response" not in emulator.requests[-1].headers


def take(stream: Any, count: int) -> list[Any]:
    return [next(stream) for _ in range(count)]


async def take_async(stream: Any, count: int) -> list[Any]:
    return [await anext(stream) for _ in range(count)]


def test_leaving_a_stream_that_went_on_closes_it(driver: Driver, emulator: BreakingEmulator) -> None:
    emulator.script.extend([rest] * 9)

    async def leave_async(stream: Any) -> None:
        await take_async(stream, 12)
        async for _ in stream:
            break

    def leave(stream: Any) -> None:
        take(stream, 12)
        for _ in stream:
            break

    async def enter_async(response: Any) -> None:
        await take_async(await response.parse(), 12)

    def enter(response: Any) -> None:
        take(response.parse(), 12)

    async def ask_and_leave(client: Any) -> None:
        await leave_async(await client.completions.create(**COMPLETION))

    ask: Any = ask_and_leave if driver.is_async else lambda client: leave(client.completions.create(**COMPLETION))
    for _ in range(3):
        emulator.breaks.append(Fault("close", after=MIDWAY))
        driver.call(ask)
        emulator.breaks.append(Fault("close", after=MIDWAY))
        driver.within(
            lambda client: client.completions.with_streaming_response.create(**COMPLETION),
            enter_async if driver.is_async else enter,
        )
    assert emulator.request_count >= 12
    assert eventually(lambda: emulator.open_connections <= 1)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize("build", [OpenAI, AsyncOpenAI, create_client, create_async_client])
def test_resuming_is_an_option_that_copies_inherit(build: Any) -> None:
    client = build(api_key="k")
    assert client.resume_streams is False
    resuming = client.with_options(resume_streams=True)
    assert resuming.resume_streams is True
    assert resuming.copy(timeout=1).resume_streams is True
    assert resuming.with_options(resume_streams=False).resume_streams is False
    assert build(api_key="k", resume_streams=True).resume_streams is True


def test_a_stream_is_not_resumed_unless_asked(driver: Driver, emulator: BreakingEmulator) -> None:
    emulator.script.append(rest)
    emulator.breaks.append(Fault("close", after=MIDWAY))
    assert fails(driver.of(driver.client.with_options(resume_streams=False)), complete, openai.APIConnectionError)
