"""What is not a chat, a call or a tool is refused by name, and nothing but PromptError is ever raised for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from prompt_texts import DATE, FORMATS

from novita_openai.prompts import PromptError, PromptFormat, get_format

TOOL_FORMATS = [fmt for fmt in FORMATS if fmt.tools]
EACH = pytest.mark.parametrize("fmt", TOOL_FORMATS, ids=lambda fmt: fmt.name)
QUESTION: dict[str, Any] = {"role": "user", "content": "q"}
DEEP = '{"a":' * 20_000 + "1" + "}" * 20_000
ODD: tuple[Any, ...] = (5, True, b"x", {}, ["a"], {"a": 1}, object(), {1: 2}, {"a": {1, 2}}, [None], range(3))


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "description": "d", **function}}


def schema(**more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": {"type": "string", "description": "d", **more}}}


def asking(arguments: Any, **more: Any) -> list[dict[str, Any]]:
    call = {"id": "call00001", "type": "function", "function": {"name": "f", "arguments": arguments}, **more}
    result = {"role": "tool", "content": "r", "tool_call_id": call["id"]}
    return [QUESTION, {"role": "assistant", "content": None, "tool_calls": [call]}, result, QUESTION]


CHATS: tuple[Callable[[Any], Any], ...] = (
    lambda odd: odd,
    lambda odd: [odd],
    lambda odd: [{**QUESTION, "role": odd}],
    lambda odd: [{**QUESTION, "content": odd}],
    lambda odd: [QUESTION, {"role": "assistant", "content": "a", "reasoning_content": odd}],
    lambda odd: [QUESTION, {"role": "assistant", "content": "a", "tool_calls": odd}],
    lambda odd: [QUESTION, {"role": "assistant", "content": "a", "tool_calls": [odd]}],
    lambda odd: [*asking("{}")[:2], {"role": "tool", "content": "r", "tool_call_id": odd}],
    lambda odd: [*asking("{}")[:2], {"role": "tool", "content": "r", "name": odd}],
    lambda odd: asking("{}", id=odd),
    lambda odd: asking("{}", type=odd),
    lambda odd: asking("{}", function=odd),
    lambda odd: asking("{}", function={"name": odd, "arguments": "{}"}),
    asking,
    lambda odd: asking({"a": odd}),
)
TOOLS: tuple[Callable[[Any], Any], ...] = (
    lambda odd: odd,
    lambda odd: [odd],
    lambda odd: [{"type": "function", "function": odd}],
    lambda odd: [tool(name=odd)],
    lambda odd: [tool(description=odd)],
    lambda odd: [tool(parameters=odd)],
    lambda odd: [tool(parameters={"type": "object", "properties": odd})],
    lambda odd: [tool(parameters={"type": "object", "properties": {"a": odd}})],
    lambda odd: [tool(parameters={**schema(), "required": odd})],
    lambda odd: [tool(parameters=schema(type=odd))],
    lambda odd: [tool(parameters=schema(enum=odd))],
    lambda odd: [tool(parameters=schema(type="array", items=odd))],
)


def written(fmt: PromptFormat, chat: Any, **options: Any) -> None:
    """Render what may be no chat, and hold what is written against what it reads back as."""
    with suppress(PromptError):
        prompt = fmt.render(chat, date=DATE, **options)
        assert fmt.parse(prompt) == fmt.normalize(chat)


@EACH
def test_what_is_no_chat_or_no_tool_is_a_prompt_error(fmt: PromptFormat) -> None:
    for odd in ODD:
        for chat in CHATS:
            written(fmt, chat(odd))
        for tools in TOOLS:
            written(fmt, [QUESTION], tools=tools(odd))


@pytest.mark.parametrize(
    ("chat", "words"),
    [
        (5, "messages must be a list of messages, not int"),
        ([QUESTION, {"role": "assistant", "tool_calls": 5}], "tool_calls must be a list, not int"),
        ([QUESTION, {"role": "assistant", "tool_calls": [5]}], "a tool call must be a dict or an SDK object, not int"),
        (asking("{}", id=5)[:2], "the id of a tool call must be text, not int"),
        (asking({"a": {1}}), "cannot be written as JSON: {'a': {1}}"),
        (
            [*asking("{}")[:2], {"role": "tool", "content": "r", "tool_call_id": 5}],
            "tool_call_id must be text, not int",
        ),
    ],
)
def test_an_error_names_what_is_odd(chat: Any, words: str) -> None:
    with pytest.raises(PromptError) as caught:
        get_format("qwen3").render(chat)
    assert words in str(caught.value)


def test_tools_that_are_none_are_named() -> None:
    for tools in (5, ["f"], [tool(parameters={"a": {1}})]):
        with pytest.raises(PromptError, match="declared as"):
            get_format("qwen3").render([QUESTION], tools=tools)  # type: ignore[arg-type]
    undescribed = {"type": "function", "function": {"name": "f", "parameters": schema()}}
    with pytest.raises(PromptError, match="does not take a function without a description"):
        get_format("gpt-oss").render([QUESTION], tools=[undescribed], date=DATE)


@EACH
def test_more_levels_than_python_can_follow_are_refused(fmt: PromptFormat) -> None:
    nested: dict[str, Any] = {}
    for _ in range(5_000):
        nested = {"type": "object", "properties": {"a": nested}}
    with pytest.raises(PromptError):
        fmt.render(asking(DEEP), date=DATE)
    with pytest.raises(PromptError):
        fmt.normalize(asking(nested))
    for deep in (nested, json.loads('{"a":' * 400 + "1" + "}" * 400)):
        with suppress(PromptError):
            fmt.render([QUESTION], tools=[tool(parameters=deep)], date=DATE)


@EACH
def test_a_log_or_a_reply_with_too_many_levels_is_text_or_refused(fmt: PromptFormat) -> None:
    chat = [*asking({"a": "VALUE"})[:3]]
    declared = [tool(parameters=schema())]
    prompt = fmt.render(chat, date=DATE, tools=declared)
    question = prompt[: prompt.rindex("q") + 1]
    for deep in (DEEP, '{"a":' * 900 + "1" + "}" * 900, "[" * 20_000):
        log = prompt.replace('"VALUE"', deep).replace("VALUE", deep)
        with suppress(PromptError):
            is_same = fmt.render(fmt.parse(log)) == log  # apart from the assertion, which would show all of it
            assert is_same
        assert fmt.message(log.removeprefix(question))["role"] == "assistant"
        for start in {fmt.dialect.call_starts, *fmt.dialect.markers} if fmt.dialect is not None else ():
            assert fmt.message(start + deep)["role"] == "assistant"


@pytest.mark.parametrize("name", ["mistral-v3", "mistral-v7", "devstral-2", "ministral-3"])
def test_declarations_that_are_no_list_are_refused(name: str) -> None:
    fmt = get_format(name)
    prompt = fmt.render([QUESTION], tools=[tool(parameters=schema())])
    begin = prompt.index("[AVAILABLE_TOOLS]") + len("[AVAILABLE_TOOLS]")
    for odd in ("5", "true", "NaN", "{}", "null", "[5]"):
        with pytest.raises(PromptError):
            fmt.parse(prompt[:begin] + odd + prompt[prompt.index("[/AVAILABLE_TOOLS]") :])


@EACH
def test_tools_need_a_message_to_stand_beside(fmt: PromptFormat) -> None:
    for chat in ([{"role": "system", "content": "s"}, {"role": "assistant", "content": "a"}], [QUESTION]):
        for options in ({"continue_final": True}, {"reply": False}, {}):
            with suppress(PromptError):
                prompt = fmt.render(chat, tools=[tool(parameters=schema())], date=DATE, **options)
                assert fmt.parse(prompt) == fmt.normalize(chat)
                assert fmt.render(fmt.parse(prompt)) == prompt


def test_declarations_without_a_message_are_no_prompt() -> None:
    fmt = get_format("qwen3")
    declared = fmt.render([QUESTION], tools=[tool(parameters=schema())]).partition("<|im_start|>user")[0]
    with pytest.raises(PromptError, match="declares tools, and has no messages"):
        fmt.parse(declared + "<|im_start|>assistant\n")


@EACH
def test_two_prompts_in_one_log_are_refused_or_kept(fmt: PromptFormat) -> None:
    for tools in (None, [tool(parameters=schema())]):
        for chat in ([QUESTION, {"role": "assistant", "content": "a"}], [{"role": "system", "content": "s"}, QUESTION]):
            for options in ({"reply": False}, {}):
                with suppress(PromptError):
                    log = fmt.render(chat, tools=tools, date=DATE, **options)
                    assert fmt.render(fmt.parse(log + log)) == log + log
