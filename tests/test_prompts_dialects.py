"""What is particular to single families' ways of writing tools: thoughts before calls, types, nested values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prompt_texts import DATE

from novita_openai.prompts import PromptError, get_format
from novita_openai.prompts.over_completions.deltas import Deltas
from novita_openai.prompts.tool_calls.kimi import KIMI_3

QUESTION = {"role": "user", "content": "weather in Paris?"}
ARGUMENTS = {"city": "Paris", "days": 3, "part": 0.5, "wind": True, "more": {"list": [1, "é", {"b": False}]}}


def called(arguments: Any = None, reasoning: str | None = None, **more: Any) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": json.dumps(ARGUMENTS if arguments is None else arguments)}
    calls = [{"id": "call_9aGxYb2LkQ", "type": "function", "function": function}]
    message = {"role": "assistant", "content": None, "tool_calls": calls, **more}
    return message if reasoning is None else {**message, "reasoning_content": reasoning}


def answer(text: str = "12") -> dict[str, Any]:
    return {"role": "tool", "content": text, "tool_call_id": "call_9aGxYb2LkQ"}


def declared(properties: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, **parameters}
    return {"type": "function", "function": {"name": "f", "description": "Do it.", "parameters": schema}}


TODAY = [
    "command-a-plus",
    "command-r7b-tools",
    "gemma-4",
    "gpt-oss",
    "granite-3",
    "granite-3.1",
    "kimi-k3",
    "minimax-m3",
    "ministral-3",
    "olmo-3",
    "smollm3",
]


@pytest.mark.parametrize("name", TODAY)
def test_arguments_of_every_kind_read_back(name: str) -> None:
    fmt = get_format(name)
    chat = [QUESTION, called(), answer('a\n"b"'), {"role": "assistant", "content": "Fine."}]
    prompt = fmt.render(chat, date=DATE, reply=False)
    history = fmt.parse(prompt)
    assert history == fmt.normalize(chat)
    assert json.loads(history[1]["tool_calls"][0]["function"]["arguments"]) == ARGUMENTS
    assert history[2]["content"] == 'a\n"b"'
    assert fmt.render(history) == prompt


@pytest.mark.parametrize("name", ["command-a-plus", "command-r7b-tools", "gemma-4", "gpt-oss", "kimi-k3", "minimax-m3"])
def test_a_thought_before_a_call_reads_back(name: str) -> None:
    fmt = get_format(name)
    chat = [QUESTION, called(reasoning="Hm."), answer(), called({}, reasoning="So."), answer("5")]
    for tools in (None, [declared({"a": {"type": "string"}})]):
        prompt = fmt.render(chat, tools=tools, date=DATE)
        history = fmt.parse(prompt)
        assert history == fmt.normalize(chat)
        assert [message.get("reasoning_content") for message in history] == [None, "Hm.", None, "So.", None]
        assert history.tools == tools
        assert fmt.render(history) == prompt


@pytest.mark.parametrize("name", ["command-a-plus", "command-r7b-tools", "gemma-4", "gpt-oss"])
def test_a_call_after_a_thought_needs_its_result(name: str) -> None:
    with pytest.raises(PromptError, match="only with its result after it"):
        get_format(name).render([QUESTION, called(reasoning="Hm.")], date=DATE, reply=False)
    prompt = get_format(name).render([QUESTION, called()], date=DATE, reply=False)
    assert get_format(name).parse(prompt)[1]["tool_calls"]


@pytest.mark.parametrize("name", ["gemma-4", "gpt-oss", "command-r7b-tools"])
def test_thoughts_that_the_template_drops_are_refused(name: str) -> None:
    fmt = get_format(name)
    chat = [QUESTION, {"role": "assistant", "content": "12.", "reasoning_content": "Hm."}, QUESTION]
    with pytest.raises(PromptError, match="drops this reasoning_content"):
        fmt.render(chat, date=DATE)
    chain = [QUESTION, called(reasoning="Hm."), answer(), {"role": "assistant", "content": "12."}, QUESTION]
    if name != "command-r7b-tools":  # which writes the thoughts of all calls
        with pytest.raises(PromptError, match="drops this reasoning_content"):
            fmt.render(chain, date=DATE)
    kept = fmt.render(chain, date=DATE, keep_reasoning=True)
    assert fmt.render(fmt.parse(kept)) == kept


@pytest.mark.parametrize("name", ["command-a-plus", "gemma-4", "gpt-oss", "granite-3", "mistral-small-3.2", "smollm3"])
def test_content_beside_calls_is_refused_where_the_template_drops_or_moves_it(name: str) -> None:
    with pytest.raises(PromptError, match="content beside tool calls"):
        get_format(name).render([QUESTION, called({}, content="Let me see."), answer()], date=DATE)


def test_a_reply_that_ends_a_harmony_chat_keeps_its_thought() -> None:
    fmt = get_format("gpt-oss")
    chat = [QUESTION, called({}), answer(), {"role": "assistant", "content": "12.", "reasoning_content": "Hm."}]
    prompt = fmt.render(chat, date=DATE, reply=False)
    assert prompt.endswith(
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>12.<|return|>"
    )
    assert fmt.parse(prompt) == fmt.normalize(chat)
    two = called({})
    two["tool_calls"] = two["tool_calls"] * 2
    with pytest.raises(PromptError, match="one tool call a message, and this one has 2"):
        fmt.render([QUESTION, two], date=DATE, reply=False)


HARMONY = [
    (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
        '<|constrain|>json<|message|>{"city": "Paris"}<|call|>'
    ),
    (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=functions.get_weather<|channel|>commentary json"
        '<|message|>{"city": "Paris"}<|call|>'
    ),
]


@pytest.mark.parametrize("text", HARMONY)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_call_after_a_thought_is_taken_out_of_a_completion(text: str, step: int) -> None:
    fmt = get_format("gpt-oss")
    message = fmt.message(text, "stop")
    assert (message["content"], message["reasoning_content"]) == (None, "Hm.")
    assert message["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    deltas = Deltas(fmt)
    out = [delta for place in range(0, len(text), step) for delta in deltas.feed(text[place : place + step])]
    out += deltas.finish("stop")
    assert "".join(delta.get("reasoning_content", "") for delta in out) == "Hm."
    assert not any(delta.get("content") for delta in out)
    assert out[-1]["tool_calls"][0]["function"] == message["tool_calls"][0]["function"]


def test_what_is_no_call_of_harmony_stays_text() -> None:
    fmt = get_format("gpt-oss")
    text = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>[1]"
    assert fmt.message(text, "stop")["content"] == text
    assert fmt.message("<|channel|>final<|message|>Hi.", "stop") == {"role": "assistant", "content": "Hi."}


def test_a_plain_reply_of_kimi_k3_ends_where_its_part_ends() -> None:
    fmt = get_format("kimi-k3")
    text = "Hm.<|close|>think<|sep|><|open|>response<|sep|>Hi.<|close|>response<|sep|>"
    text += "<|close|>message<|sep|><|end_of_msg|>"
    message = {"role": "assistant", "content": "Hi.", "reasoning_content": "Hm."}
    assert fmt.message(text, "stop") == message
    assert fmt.parse(fmt.render([QUESTION], date=DATE) + text) == [QUESTION, message]


@pytest.mark.parametrize("text", ["x", "{value:5", "{value:[1", ' tool="f" index="1"x'])
@pytest.mark.parametrize("name", ["gpt-oss", "kimi-k3", "gemma-4", "command-a-plus"])
def test_what_is_no_result_is_refused(name: str, text: str) -> None:
    fmt = get_format(name)
    prompt = fmt.render([QUESTION, called({}), answer("@@@")], date=DATE)
    before = fmt.separators["calls" if name != "kimi-k3" else "assistant", "tool"]
    begin, end = prompt.rindex(before) + len(before), prompt.rindex(fmt.separators["tool", "reply"])
    with pytest.raises(PromptError, match="not how the format writes the result"):
        fmt.parse(f"{prompt[:begin]}{text}{prompt[end:]}")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("command-a-plus", "<|END_THINKING|><|START_ACTION|>[5]<|END_ACTION|>"),
        ("minimax-m3", '@<tool_call>\n@<invoke name="f">x@</invoke>\n@</tool_call>'.replace("@", "]<]minimax[>[")),
        ("gemma-4", "<|tool_call>call:f{a:}<tool_call|>"),
        ("mistral-small-3.2", "[TOOL_CALLS]f[ARGS][]"),
    ],
)
def test_what_is_no_call_stays_text(name: str, text: str) -> None:
    message = get_format(name).message(text, "stop")
    assert "tool_calls" not in message
    assert text.endswith(message["content"])


@pytest.mark.parametrize(("said", "unsaid"), [("one?: string", "one?: 5"), ('default: "a"', "default: a")])
def test_what_is_no_type_is_refused(said: str, unsaid: str) -> None:
    fmt = get_format("gpt-oss")
    prompt = fmt.render([QUESTION], tools=[declared({"one": {"type": "string", "default": "a"}})], date=DATE)
    assert said in prompt
    with pytest.raises(PromptError, match="declarations of tools are none"):
        fmt.parse(prompt.replace(said, unsaid))


SAID = [
    {"type": "string", "description": "Which?", "default": "a"},
    {"type": "string", "enum": ["c", "f"], "default": "c"},
    {"type": "number", "default": 5},
    {"type": "boolean"},
    {"type": "array", "items": {"type": "string"}},
    {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
    {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "number"}}, "required": ["a"]},
    {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}},
    {"type": ["string", "number"]},
    {"type": "string", "nullable": True},
    {"type": "array", "items": {"type": "number"}, "nullable": True},
    {"type": "object"},
    {},
]


@pytest.mark.parametrize("schema", SAID, ids=json.dumps)
def test_typescript_says_the_types_of_parameters(schema: dict[str, Any]) -> None:
    fmt = get_format("gpt-oss")
    tools = [declared({"one": schema, "two": {"type": "string"}}, required=["two"]), declared({})]
    prompt = fmt.render([QUESTION], tools=tools, date=DATE)
    assert fmt.parse(prompt).tools == tools
    assert fmt.render(fmt.parse(prompt)) == prompt


def test_typescript_leaves_out_what_only_narrows_a_value_down() -> None:
    fmt = get_format("gpt-oss")
    tool = declared({"n": {"type": "integer", "minimum": 1}}, additionalProperties=False)
    history = fmt.parse(fmt.render([QUESTION], tools=[tool], date=DATE))
    assert history.tools == [declared({"n": {"type": "number"}})]


LOST: list[dict[str, Any]] = [
    {"anyOf": [{"type": "string"}, {"type": "number"}]},
    {"type": "array", "items": {"type": "string", "enum": ["a"]}},
    {"type": "object", "properties": {"a": {"type": "string", "description": "Lost."}}},
    {"type": "string", "enum": ['"']},
]


@pytest.mark.parametrize("schema", LOST, ids=json.dumps)
@pytest.mark.parametrize("name", ["gpt-oss", "gemma-4"])
def test_declarations_that_would_lose_more_are_refused(name: str, schema: dict[str, Any]) -> None:
    if name == "gemma-4" and "anyOf" not in schema:
        return  # it writes the others
    with pytest.raises(PromptError, match="drops or changes a part of these declarations"):
        get_format(name).render([QUESTION], tools=[declared({"one": schema})], date=DATE)
    with pytest.raises(PromptError, match="declared as"):
        get_format(name).render([QUESTION], tools=[{"type": "function"}], date=DATE)


WRITTEN: list[dict[str, Any]] = [
    {"type": "string", "description": "Which?", "enum": ["c", "f"]},
    {"type": "integer"},
    {"type": "array", "items": {"type": "string"}},
    {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
    {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]},
    {"type": "string", "nullable": True},
]


@pytest.mark.parametrize("schema", WRITTEN, ids=json.dumps)
def test_gemma_declares_parameters_by_their_types(schema: dict[str, Any]) -> None:
    fmt = get_format("gemma-4")
    tools = [declared({"one": schema, "two": {"type": "string"}}, required=["two"]), declared({})]
    prompt = fmt.render([QUESTION], tools=tools)
    assert fmt.parse(prompt).tools == tools
    with pytest.raises(PromptError, match="drops or changes a part"):
        fmt.render([QUESTION], tools=[declared({"type": schema})])  # a name that the template passes over


def test_null_is_refused_where_the_template_drops_it() -> None:
    with pytest.raises(PromptError, match="no null in arguments"):
        get_format("gemma-4").render([QUESTION, called({"a": [None]}), answer()])
    with pytest.raises(PromptError, match="would read back otherwise"):
        get_format("minimax-m3").render([QUESTION, called({"a": None}), answer()])


TYPED = declared({"zip": {"type": "string"}, "deep": {"type": "object", "properties": {"n": {"type": "string"}}}})


def test_nested_texts_that_look_like_numbers_need_a_declared_type() -> None:
    fmt = get_format("minimax-m3")
    call = called({"zip": "75001", "deep": {"n": "5"}, "list": ["a", "b"]})
    call["tool_calls"][0]["function"]["name"] = "f"
    prompt = fmt.render([QUESTION, call, answer()], tools=[TYPED])
    assert fmt.parse(prompt) == fmt.normalize([QUESTION, call, answer()])
    unreadable: list[dict[str, Any]] = [{"zip": "75001"}, {"a": []}, {"a": {}}, {"a": {"item": "x"}}]
    for arguments in unreadable:
        with pytest.raises(PromptError, match="would read back otherwise"):
            fmt.render([QUESTION, called(arguments), answer()])


def test_quotes_in_names_are_escaped_as_the_template_does_it() -> None:
    fmt = get_format("kimi-k3")
    chat = [QUESTION, called({'a "b" & c': "x"}), answer()]
    prompt = fmt.render(chat, date=DATE)
    assert 'key="a &quot;b&quot; &amp; c"' in prompt
    assert fmt.parse(prompt) == fmt.normalize(chat)


@pytest.mark.parametrize("name", ["command-a-plus", "gemma-4", "gpt-oss", "kimi-k3"])
def test_what_stands_for_declarations_and_is_none_is_refused(name: str) -> None:
    fmt = get_format(name)
    prompt = fmt.render([QUESTION], tools=[declared({"a": {"type": "string"}})], date=DATE)
    for place in range(prompt.index("Do it.") - 12, prompt.rindex("string" if name != "gemma-4" else "STRING"), 3):
        changed = prompt[:place] + prompt[place + 2 :]
        try:
            history = fmt.parse(changed)
        except PromptError:
            continue
        assert fmt.render(history) == changed
    begin = prompt.index("Do it.") - 20
    with pytest.raises(PromptError):
        fmt.parse(prompt[:begin] + "@" + prompt[prompt.rindex("tring" if name != "gemma-4" else "TRING") :])


def test_joined_messages_lose_no_call() -> None:
    fmt = get_format("ministral-3")
    with pytest.raises(PromptError, match="cannot stand after an assistant message"):
        fmt.render([QUESTION, {"role": "assistant", "content": "Hm."}, called(), answer()])
    chat = [QUESTION, {"role": "assistant", "content": "A"}, {"role": "assistant", "content": "B"}, QUESTION]
    assert fmt.parse(fmt.render(chat))[1]["content"] == "A\n\nB"


def test_several_calls_of_smollm3_read_back() -> None:
    fmt = get_format("smollm3")
    two = called({"a": 1})
    two["tool_calls"] = [two["tool_calls"][0], {**two["tool_calls"][0], "id": "call_b"}]
    chat = [QUESTION, two, answer(), {**answer("5"), "tool_call_id": "call_b"}, {"role": "assistant", "content": "So."}]
    prompt = fmt.render(chat, date=DATE, reply=False)
    assert fmt.parse(prompt) == fmt.normalize(chat)
    with pytest.raises(PromptError, match="a user message cannot stand after a tool message"):
        fmt.render([*chat[:4], QUESTION], date=DATE)
    assert fmt.message("<tool_call>\nwell\n</tool_call>", "stop")["content"] == "<tool_call>\nwell\n</tool_call>"


@pytest.mark.parametrize("name", ["granite-3", "granite-3.1", "smollm3"])
def test_declarations_that_are_cut_are_no_declarations(name: str) -> None:
    fmt = get_format(name)
    prompt = fmt.render([QUESTION], tools=[declared({"a": {"type": "string"}}), declared({})], date=DATE)
    begin = prompt.index("Do it.")
    with pytest.raises(PromptError, match="declarations of tools are none"):
        fmt.parse(prompt[:begin] + prompt[begin + 8 :])


def test_what_follows_the_mark_of_calls_and_is_none_stays_text() -> None:
    fmt = get_format("granite-3.1")
    for text in ("<|tool_call|>well", "<|tool_call|>[5]", "<|tool_call|>{}"):
        assert fmt.message(text, "stop") == {"role": "assistant", "content": text}


def test_a_reply_of_kimi_3_that_is_closed_without_calls_has_none() -> None:
    assert KIMI_3.read_calls("Yes.<|close|>response<|sep|>") == ("Yes.", ())
    assert KIMI_3.read_calls("Yes.<|close|>response<|sep|><|close|>message<|sep|>") == ("Yes.", ())


def test_olmo_calls_functions_as_python_does() -> None:
    fmt = get_format("olmo-3")
    calls = 'f(a=1, b="x)\\n", c=[{"d": null}])\ng()'
    for text in ("", "Let me see.\n"):
        message = fmt.message(f"{text}<function_calls>{calls}</function_calls><|im_end|>")
        names = [(call["function"]["name"], call["function"]["arguments"]) for call in message["tool_calls"]]
        assert names == [("f", '{"a": 1, "b": "x)\\n", "c": [{"d": null}]}'), ("g", "{}")]
        assert (message["content"] or "") == text
        assert fmt.render([QUESTION, message], reply=False).endswith(
            f"{text}<function_calls>{calls}</function_calls><|im_end|>"
        )
    for inside in ("", "f", "f(", "f(a)", "f(a=)", "f(a=x)", "f(a=1", "f()x", " f()", "f(=1)", "f(a=" + "[" * 20_000):
        assert fmt.message(f"<function_calls>{inside}</function_calls>") == {
            "role": "assistant",
            "content": f"<function_calls>{inside}</function_calls>",
        }
    for text in ("<function_calls>f()", "<function_calls>f()</function_calls>x"):
        assert fmt.message(text)["content"] == text


@pytest.mark.parametrize("name", ["f(", "f=1", "f g", "a,b", ""])
def test_a_name_that_olmo_cannot_call_is_refused(name: str) -> None:
    chat = [QUESTION, called()]
    chat[1]["tool_calls"][0]["function"]["name"] = name
    with pytest.raises(PromptError):
        get_format("olmo-3").render(chat, reply=False)
