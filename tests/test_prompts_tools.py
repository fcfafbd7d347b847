"""Tool calls in prompts: declared, called, answered, and read back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessageToolCall
from prompt_texts import DATE

from novita_openai.prompts import PromptError, PromptFormat, get_format
from novita_openai.prompts.tool_calls.arguments import JSON
from novita_openai.prompts.tool_calls.llama import _leading_objects

NONE: dict[str, Any] = {"type": "object", "properties": {}}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Now.", "parameters": NONE}}
TIME = {"type": "function", "function": {"name": "get_time", "description": "Is it late?", "parameters": NONE}}
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
    "deepseek-v3.1",
    "deepseek-v3.2",
    "deepseek-v4",
    "glm-4.5",
    "glm-4.6v",
    "glm-4.7",
    "glm-5.1",
    "glm-5.2",
    "hy3",
    "kimi-k2",
    "kimi-k2.5",
    "mimo-v2.5",
    "minimax-m2",
    "nemotron-3",
    "qwen3-coder",
    "qwen3-coder-next",
    "qwen3.5",
    "qwen3.6",
    "step-3.7",
    "command-a-plus",
    "command-r7b-tools",
    "devstral-1.1",
    "gemma-4",
    "gpt-oss",
    "granite-3",
    "granite-3.1",
    "granite-3.3-8b",
    "granite-4.0",
    "kimi-k3",
    "ling-3",
    "minimax-m3",
    "ministral-3",
    "mistral-medium-3.5",
    "mistral-small-3.2",
    "mistral-v7-tekken",
    "qwen3-omni",
    "qwen3-omni-thinking",
    "smollm3",
]
TAGGED = {name for name in NAMES if getattr(get_format(name).dialect, "arguments", JSON) is not JSON}
EACH = pytest.mark.parametrize("name", NAMES)


def rendered(fmt: PromptFormat, messages: Any, **options: Any) -> str:
    return fmt.render(messages, date=getattr(messages, "date", None) or DATE, **options)


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
        prompt = rendered(fmt, [*system, *messages], tools=tools)
        history = fmt.parse(prompt)
        assert history == fmt.normalize([*system, *messages])
        assert history.tools == tools
        assert rendered(fmt, history) == prompt


@EACH
@pytest.mark.parametrize("arguments", ['{"city": "Paris"}', {"city": "Paris"}])
def test_arguments_are_decoded_once(name: str, arguments: Any) -> None:
    fmt = get_format(name)
    prompt = rendered(fmt, [QUESTION, asked(call(arguments)), answer()])
    assert name in TAGGED | {"gemma-4", "kimi-k3"} or '{"city": "Paris"}' in prompt
    found = fmt.parse(prompt)[1]["tool_calls"][0]["function"]
    assert json.loads(found["arguments"]) == {"city": "Paris"}
    sdk = ChatCompletionMessageToolCall.model_validate(call())
    assert rendered(fmt, [QUESTION, asked(sdk), answer()]) == prompt


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
        rendered(get_format(name), messages, reply=False)


@pytest.mark.parametrize("name", ["qwen3", "deepseek-v3"])
def test_several_calls_with_content_read_back(name: str) -> None:
    fmt = get_format(name)
    second = call("{}", "second", "get_time")
    messages = [QUESTION, asked(call(), second, content="Let me see."), answer(), answer("noon", "second")]
    prompt = rendered(fmt, messages, tools=[WEATHER, TIME])
    history = fmt.parse(prompt)
    assert history == fmt.normalize(messages)
    assert [each["id"] for each in history[1]["tool_calls"]] == ["call_0", "call_1"]
    assert [message["tool_call_id"] for message in history[2:]] == ["call_0", "call_1"]
    assert rendered(fmt, history) == prompt


def test_some_families_say_less() -> None:
    second = call("{}", "second", "get_time")
    for name in ("llama-3.1", "mistral-v3"):
        with pytest.raises(PromptError, match="content beside"):
            rendered(get_format(name), [QUESTION, asked(call(), content="So"), answer()])
    with pytest.raises(PromptError, match="one tool call"):
        rendered(get_format("llama-3.1"), [QUESTION, asked(call(), second)], reply=False)
    with pytest.raises(PromptError, match="first user message"):
        rendered(get_format("llama-3.1"), [{"role": "assistant", "content": "x"}], tools=[WEATHER], reply=False)
    with pytest.raises(PromptError, match="declared as"):
        rendered(get_format("qwen3"), [QUESTION], tools=[{"type": "function"}])
    with pytest.raises(PromptError, match="declare tools"):
        rendered(get_format("chatml"), [QUESTION], tools=[WEATHER])


def test_a_prompt_with_a_result_but_no_call_is_refused_with_its_format_and_place() -> None:
    fmt = get_format("qwen2.5")
    prompt = rendered(fmt, [QUESTION, asked(call()), answer()])
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
    "deepseek-v3.1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
    '{"city": "Paris"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "deepseek-v4": '\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter name="city" '
    'string="true">Paris</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>',
    "glm-4.5": "\n<think></think>\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
    "</tool_call>",
    "glm-4.7": "</think><tool_call>get_weather<arg_key>city</arg_key><arg_value>Paris</arg_value></tool_call>",
    "hy3": "<tool_calls:opensource>\n<tool_call:opensource>get_weather<tool_sep:opensource>\n<arg_key:opensource>city"
    "</arg_key:opensource>\n<arg_value:opensource>Paris</arg_value:opensource>\n</tool_call:opensource>\n"
    "</tool_calls:opensource>",
    "kimi-k2": "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
    '{"city": "Paris"}<|tool_call_end|><|tool_calls_section_end|>',
    "minimax-m2": '</think>\n\n\n<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Paris'
    "</parameter>\n</invoke>\n</minimax:tool_call>",
    "qwen3-coder": "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n"
    "</tool_call>",
    "qwen3.5": "</think>\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n"
    "</tool_call>",
}


ARGS = '{"city": "Paris"}'
CALLS |= {
    "command-a-plus": f'<|END_THINKING|><|START_ACTION|>[\n    {{"tool_call_id": "0", "tool_name": "get_weather", '
    f'"parameters": {ARGS}}}\n]<|END_ACTION|>',
    "devstral-1.1": f"[TOOL_CALLS]get_weather[ARGS]{ARGS}",
    "gemma-4": '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>',
    "gpt-oss": f"<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{ARGS}",
    "granite-3.3-8b": f'<|tool_call|>[{{"name": "get_weather", "arguments": {ARGS}}}]',
    "granite-4.0": CALLS["qwen2.5"],
    "smollm3": CALLS["qwen2.5"],
    "kimi-k3": "<|close|>think<|sep|><|open|>response<|sep|><|close|>response<|sep|><|open|>tools<|sep|><|open|>call "
    'tool="get_weather" index="1"<|sep|><|open|>argument key="city" type="string"<|sep|>Paris<|close|>argument<|sep|>'
    "<|close|>call<|sep|><|close|>tools<|sep|><|close|>message<|sep|>",
    "ling-3": "</think><tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n</tool_call>",
    "minimax-m3": ']<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name="get_weather">]<]minimax[>[<city>Paris'
    "]<]minimax[>[</city>]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>",
    "mistral-small-3.2": f"[TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{ARGS}",
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_taken_out_of_completions(name: str) -> None:
    fmt = get_format(name)
    message = fmt.message(CALLS[name], "stop")
    assert message["content"] is None
    assert message["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    history = [QUESTION, message, answer(call_id=message["tool_calls"][0]["id"])]
    assert fmt.parse(rendered(fmt, history)) == fmt.normalize(history) == history
    assert "tool_calls" not in fmt.message(CALLS[name][:-1], "length")
    assert "tool_calls" not in fmt.message(f"{CALLS[name]} and so on", "stop")


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


@pytest.mark.parametrize(
    "name", sorted({*NAMES} - {"mistral-v3", "mistral-v7", "mistral-v7-tekken", "hy3", "kimi-k3", "nemotron-3"})
)  # a blank tells theirs from text
def test_text_that_reads_as_a_call_is_refused(name: str) -> None:
    fmt = get_format(name)
    text = rendered(fmt, [QUESTION, asked(call())], reply=False)
    plain = rendered(fmt, [QUESTION, {"role": "assistant", "content": "@@@"}], reply=False)
    begin, end = plain.split("@@@")
    inside = text.removeprefix(begin.rstrip()).removesuffix(end).removeprefix("\n")
    with pytest.raises(PromptError):
        rendered(fmt, [QUESTION, {"role": "assistant", "content": inside}, QUESTION])
    with pytest.raises(PromptError):
        rendered(fmt, [QUESTION, {"role": "assistant", "content": inside}], reply=False)


@EACH
def test_prompts_that_almost_use_tools_are_read_or_refused(name: str) -> None:
    fmt = get_format(name)
    prompt = rendered(fmt, [QUESTION, asked(call()), answer()], tools=[WEATHER, TIME])
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
            assert rendered(fmt, history) == changed


IDS = {
    "mistral-v3": ("000000000", "abcDEF123"),
    "mistral-v7": ("000000000", "abcDEF123"),
    "kimi-k2": ("functions.get_weather:0", "functions.get_weather:7"),
    "qwen3": ("call_0", None),
    "glm-4.5": ("call_0", None),
}


@pytest.mark.parametrize("name", IDS)
def test_ids_of_any_form_are_carried_or_mapped(name: str) -> None:
    fmt, (mapped, native) = get_format(name), IDS[name]
    for call_id, expected in [("call_9aGxYb2LkQ", mapped), (native or "toolu_01", native or mapped)]:
        history = fmt.parse(rendered(fmt, [QUESTION, asked(call(call_id=call_id)), answer(call_id=call_id)]))
        assert (history[1]["tool_calls"][0]["id"], history[2]["tool_call_id"]) == (expected, expected)
        assert fmt.normalize(history) == history


def test_the_name_of_a_result_is_kept_where_the_prompt_holds_it() -> None:
    fmt = get_format("kimi-k2")
    named = [QUESTION, asked(call()), {**answer(), "name": "get_weather"}]
    assert "<|im_system|>get_weather<|im_middle|>## Return of functions.get_weather:0\n" in rendered(fmt, named)
    assert fmt.parse(rendered(fmt, named))[2]["name"] == "get_weather"
    unnamed = rendered(fmt, [QUESTION, asked(call()), answer()])
    assert "<|im_system|>tool<|im_middle|>## Return of" in unnamed
    assert "name" not in fmt.parse(unnamed)[2]
    with pytest.raises(PromptError, match="result of a call"):
        fmt.parse(unnamed.replace("## Return of", "## Result of"))
    assert "name" not in get_format("glm-4.5").normalize(named)[2]


@pytest.mark.parametrize("name", ["mistral-v3", "mistral-v3-tekken"])
@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('{"t": 5}', '{"t": 5}'),
        ('{"t":5}', '{"t": 5}'),
        ('say "hi"', '"say \\"hi\\""'),
        ("", '""'),
        ("5", "5"),
        ("null", "null"),
    ],
)
def test_a_result_is_json_as_the_vendor_s_library_writes_it(name: str, text: str, written: str) -> None:
    fmt = get_format(name)
    messages = [QUESTION, asked(call()), answer(text)]
    prompt = rendered(fmt, messages)
    assert f'{{"content": {written}, "call_id": "abcdefghi"}}[/TOOL_RESULTS]' in prompt
    assert fmt.parse(prompt) == fmt.normalize(messages)
    assert json.loads(json.dumps(fmt.parse(prompt)[2]["content"])) in (text, written)


def test_a_result_that_is_a_quoted_string_is_refused() -> None:
    with pytest.raises(PromptError, match="loses its quotes"):
        rendered(get_format("mistral-v3"), [QUESTION, asked(call()), answer('"hi"')])


TYPED: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Now.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
KINDS = {"city": "Paris", "days": 3, "deep": True, "no": None, "more": {"a": [1, "é"]}, "long": "a\n\nb\n"}


@pytest.mark.parametrize("name", sorted(TAGGED))
def test_arguments_keep_their_types(name: str) -> None:
    fmt = get_format(name)
    kinds = {key: value for key, value in KINDS.items() if value is not None or name != "minimax-m3"}  # it has no null
    for arguments, tools in [(kinds, [TYPED]), (kinds, None), ({**kinds, "city": "75001"}, [TYPED])]:
        prompt = rendered(fmt, [SYSTEM, QUESTION, asked(call(arguments)), answer()], tools=tools)
        history = fmt.parse(prompt)
        assert json.loads(history[2]["tool_calls"][0]["function"]["arguments"]) == arguments
        assert history.tools == tools
        assert rendered(fmt, history) == prompt


@pytest.mark.parametrize("name", sorted(TAGGED))
def test_a_text_that_would_read_as_a_number_needs_a_declared_type(name: str) -> None:
    fmt = get_format(name)
    messages = [QUESTION, asked(call({"city": "75001"})), answer()]
    if "deepseek" in name:  # it writes which arguments are strings
        assert fmt.parse(rendered(fmt, messages)) == fmt.normalize(messages)
        return
    with pytest.raises(PromptError, match="types of its parameters") as caught:
        rendered(fmt, messages)
    assert caught.value.index == 1
    untyped = {"type": "function", "function": {"name": "get_weather", "description": "Now.", "parameters": NONE}}
    with pytest.raises(PromptError, match="types of its parameters"):
        rendered(fmt, messages, tools=[untyped])
    with pytest.raises(PromptError, match="would read back otherwise"):
        rendered(fmt, [QUESTION, asked(call({"city": 5})), answer()], tools=[TYPED])


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("minimax-m2", {"strict": True}),
        ("glm-5.2", {"function": {**TYPED["function"], "strict": True}}),
        ("qwen3-coder", {"function": {**TYPED["function"], "description": " padded "}}),
        ("qwen3-coder", {"function": {"name": "f"}}),
        ("deepseek-v3.1", {"function": {"name": "f", "parameters": NONE}}),
    ],
)
def test_a_declaration_that_would_not_read_back_is_refused(name: str, changed: dict[str, Any]) -> None:
    with pytest.raises(PromptError, match="drops or changes a part of these declarations"):
        rendered(get_format(name), [QUESTION], tools=[TYPED | changed])


@pytest.mark.parametrize("name", ["qwen3-coder", "deepseek-v3.1"])
def test_what_stands_for_declarations_and_is_none_is_refused(name: str) -> None:
    fmt = get_format(name)
    prompt = rendered(fmt, [QUESTION], tools=[WEATHER])
    begin, end = prompt.index("get_weather"), prompt.rindex("Now.")
    with pytest.raises(PromptError):
        fmt.parse(prompt[:begin] + prompt[end:])


def test_thoughts_of_calls_are_kept_until_a_reply_without_calls() -> None:
    fmt = get_format("kimi-k2.5")
    thinking = {**asked(call(call_id="functions.get_weather:0")), "reasoning_content": "hm"}
    chain = [QUESTION, thinking, answer(call_id="functions.get_weather:0")]
    prompt = rendered(fmt, chain)
    assert "<think>hm</think><|tool_calls_section_begin|>" in prompt
    assert fmt.parse(prompt) == chain
    with pytest.raises(PromptError, match="drops this reasoning"):
        rendered(fmt, [*chain, {"role": "assistant", "content": "12."}, QUESTION])


@pytest.mark.parametrize("name", ["hy3", "kimi-k3", "nemotron-3"])
def test_calls_that_the_template_ends_otherwise_without_results_are_refused(name: str) -> None:
    with pytest.raises(PromptError, match="with their results after them"):
        rendered(get_format(name), [QUESTION, asked(call())], reply=False)
    with pytest.raises(PromptError, match="with their results after them"):
        rendered(get_format(name), [QUESTION, asked(call()), QUESTION])


def test_declarations_that_are_no_tools_are_refused() -> None:
    for name in ("glm-4.5", "qwen3-coder"):
        with pytest.raises(PromptError, match="declared as"):
            rendered(get_format(name), [QUESTION], tools=[{"type": "function"}])


def test_a_parameter_may_have_any_fields() -> None:
    fields = {"enum": ["c", "f"], "default": "c", "minimum": 1, "nullable": None}
    parameters = {"type": "object", "properties": {"unit": fields}, "required": []}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters, "strict": True}}
    for name in ("qwen3-coder", "mimo-v2.5"):
        fmt = get_format(name)
        prompt = rendered(fmt, [QUESTION], tools=[tool])
        assert fmt.parse(prompt).tools == [tool]
        assert rendered(fmt, fmt.parse(prompt)) == prompt


def test_objects_that_no_blank_line_follows_are_text() -> None:
    assert _leading_objects('{"a": 1} and more') == ([], '{"a": 1} and more')
