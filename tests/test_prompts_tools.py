"""Tool calls in prompts: declared, called, answered, and read back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessageToolCall

from novita_openai.prompts import PromptError, get_format

WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
QUESTION = {"role": "user", "content": "weather in Paris?"}
SYSTEM = {"role": "system", "content": "Be brief."}
NAMES = [
    "hermes-2-pro",
    "hermes-3",
    "qwen2.5",
    "qwen3",
    "llama-3.1",
    "mistral-v3",
    "mistral-v3-tekken",
    "mistral-v7",
    "deepseek-v3",
]
EACH = pytest.mark.parametrize("name", NAMES)


def call(arguments: Any = '{"city": "Paris"}', call_id: str = "abcdefghi", name: str = "get_weather") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def asked(*calls: Any, content: str | None = None) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": [*calls]}


def answer(text: str = '{"temp": 12}', call_id: str | None = "abcdefghi") -> dict[str, Any]:
    return {"role": "tool", "content": text, "tool_call_id": call_id}


@EACH
@pytest.mark.parametrize("system", [[], [SYSTEM]])
def test_a_cycle_reads_back(name: str, system: list[dict[str, Any]]) -> None:
    fmt = get_format(name)
    cycle = [
        QUESTION,
        asked(call()),
        answer(),
        {"role": "assistant", "content": "12 degrees."},
        {"role": "user", "content": "and Rome?"},
    ]
    for messages, tools in [
        ([QUESTION], [WEATHER]),
        (cycle[:3], [WEATHER, TIME]),
        (cycle, [WEATHER]),
        (cycle, None),
    ]:
        if system and name.startswith("mistral-v3") and messages[-1]["role"] != "user":
            continue  # the system text would be lost
        prompt = fmt.render([*system, *messages], tools=tools)
        history = fmt.parse(prompt)
        assert history == fmt.normalize([*system, *messages])
        assert history.tools == tools
        assert fmt.render(history) == prompt


@EACH
@pytest.mark.parametrize("arguments", ['{"city": "Paris"}', {"city": "Paris"}])
def test_arguments_are_decoded_once(name: str, arguments: Any) -> None:
    fmt = get_format(name)
    prompt = fmt.render([QUESTION, asked(call(arguments)), answer()])
    assert '{"city": "Paris"}' in prompt
    found = fmt.parse(prompt)[1]["tool_calls"][0]["function"]
    assert json.loads(found["arguments"]) == {"city": "Paris"}
    sdk = ChatCompletionMessageToolCall.model_validate(call())
    assert fmt.render([QUESTION, asked(sdk), answer()]) == prompt


@EACH
@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([QUESTION, asked(call("[1]"))], "a JSON object, not list"),
        ([QUESTION, asked(call("{"))], "not JSON"),
        ([QUESTION, asked({"type": "custom", "custom": {}})], "'custom'"),
        ([QUESTION, asked(call(name=""))], "the name of a function, not ''"),
        ([QUESTION, asked(call()), answer(call_id="another")], "right after its call"),
        ([QUESTION, answer()], "right after its call"),
    ],
)
def test_what_is_no_call_is_refused(name: str, messages: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(PromptError, match=words):
        get_format(name).render(messages, reply=False)


@pytest.mark.parametrize("name", ["qwen3", "deepseek-v3"])
def test_several_calls_with_content_read_back(name: str) -> None:
    fmt = get_format(name)
    second = call("{}", "second", "get_time")
    messages = [QUESTION, asked(call(), second, content="Let me see."), answer(), answer("noon", "second")]
    prompt = fmt.render(messages, tools=[WEATHER, TIME])
    history = fmt.parse(prompt)
    assert history == fmt.normalize(messages)
    assert [each["id"] for each in history[1]["tool_calls"]] == ["call_0", "call_1"]
    assert [message["tool_call_id"] for message in history[2:]] == ["call_0", "call_1"]
    assert fmt.render(history) == prompt


def test_some_families_say_less() -> None:
    second = call("{}", "second", "get_time")
    for name in ("llama-3.1", "mistral-v3"):
        with pytest.raises(PromptError, match="content beside"):
            get_format(name).render([QUESTION, asked(call(), content="So"), answer()])
    with pytest.raises(PromptError, match="one tool call"):
        get_format("llama-3.1").render([QUESTION, asked(call(), second)], reply=False)
    with pytest.raises(PromptError, match="9 letters"):
        get_format("mistral-v3").render([QUESTION, asked(call(call_id="call_1")), answer(call_id="call_1")])
    with pytest.raises(PromptError, match="first user message"):
        get_format("llama-3.1").render([{"role": "assistant", "content": "x"}], tools=[WEATHER], reply=False)
    with pytest.raises(PromptError, match="declared as"):
        get_format("qwen3").render([QUESTION], tools=[{"type": "function"}])
    with pytest.raises(PromptError, match="declare tools"):
        get_format("chatml").render([QUESTION], tools=[WEATHER])


def test_a_prompt_with_a_result_but_no_call_is_refused_with_its_format_and_place() -> None:
    fmt = get_format("qwen2.5")
    prompt = fmt.render([QUESTION, asked(call()), answer()])
    begin, end = prompt.index("<tool_call>"), prompt.rindex("</tool_call>") + len("</tool_call>")
    prompt = prompt[:begin] + "Let me see." + prompt[end:]
    with pytest.raises(PromptError, match="right after its call") as caught:
        fmt.parse(prompt)
    place = prompt.index("<tool_response>\n") + len("<tool_response>\n")
    assert (caught.value.format, caught.value.index, caught.value.offset) == ("qwen2.5", None, place)


CALLS = {
    "qwen2.5": '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>',
    "llama-3.1": '{"name": "get_weather", "parameters": {"city": "Paris"}}',
    "mistral-v3": '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Paris"}}]',
    "deepseek-v3": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
    '{"city": "Paris"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_taken_out_of_completions(name: str) -> None:
    fmt = get_format(name)
    message = fmt.message(CALLS[name], "stop")
    assert message["content"] is None
    assert message["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    history = [QUESTION, message, answer(call_id=message["tool_calls"][0]["id"])]
    assert fmt.parse(fmt.render(history)) == fmt.normalize(history) == history
    assert fmt.message(CALLS[name][:-1], "length")["content"] == CALLS[name][:-1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qwen2.5", "<tool_call>\nwell\n</tool_call>"),
        ("qwen2.5", "<tool_call>\n{}\n</tool_call>"),
        ("qwen2.5", CALLS["qwen2.5"] + " x " + CALLS["qwen2.5"]),
        ("llama-3.1", '{"name": 5, "parameters": {}}'),
        ("llama-3.1", '{"name": "f", "parameters": []}'),
        ("llama-3.1", '{"name": "f"}'),
        ("llama-3.1", "{"),
        ("mistral-v3", "[TOOL_CALLS] {}"),
        ("mistral-v3", "[TOOL_CALLS] [5]"),
        ("deepseek-v3", CALLS["deepseek-v3"] + "x"),
        ("deepseek-v3", CALLS["deepseek-v3"].replace('{"city"', '{"city')),
    ],
)
def test_what_is_no_whole_call_stays_text(name: str, text: str) -> None:
    assert get_format(name).message(text, "stop") == {"role": "assistant", "content": text}


@pytest.mark.parametrize("name", sorted({*NAMES} - {"mistral-v3", "mistral-v7"}))  # a blank tells theirs from text
def test_text_that_reads_as_a_call_is_refused(name: str) -> None:
    fmt = get_format(name)
    text = fmt.render([QUESTION, asked(call())], reply=False)
    plain = fmt.render([QUESTION, {"role": "assistant", "content": "@"}], reply=False)
    begin, end = plain.split("@")
    inside = text.removeprefix(begin.rstrip()).removesuffix(end).removeprefix("\n")
    with pytest.raises(PromptError):
        fmt.render([QUESTION, {"role": "assistant", "content": inside}, QUESTION])
    with pytest.raises(PromptError):
        fmt.render([QUESTION, {"role": "assistant", "content": inside}], reply=False)


@EACH
def test_prompts_that_almost_use_tools_are_read_or_refused(name: str) -> None:
    fmt = get_format(name)
    prompt = fmt.render([QUESTION, asked(call()), answer()], tools=[WEATHER, TIME])
    for place in range(0, len(prompt), 7):
        for changed in (
            prompt[:place] + prompt[place + 1 :],
            f"{prompt[:place]}x{prompt[place:]}",
            f'{prompt[:place]}"{prompt[place:]}',
        ):
            try:
                history = fmt.parse(changed)
            except PromptError:
                continue
            assert fmt.render(history) == changed
