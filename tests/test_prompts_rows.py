"""Rows of data sets as messages: OpenAI's, ShareGPT's and Alpaca's shapes, and nothing that is lost in silence."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from novita_openai.prompts import History, PromptError, get_format, messages_from
from novita_openai.prompts.rows import row_of

CHAT = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "a"},
]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize(
    "row",
    [
        CHAT,
        tuple(CHAT),
        {"messages": CHAT},
        {"messages": CHAT, "id": None, "notes": []},
        {"conversations": CHAT},
        {
            "conversations": [
                {"from": "system", "value": "s"},
                {"from": "human", "value": "q"},
                {"from": "gpt", "value": "a"},
            ]
        },
        {"conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}], "system": "s"},
        {"instruction": "q", "input": "", "output": "a", "system": "s"},
        {"instruction": "", "input": "q", "output": "a", "system": "s"},
    ],
)
def test_the_same_chat_is_read_from_each_shape(row: Any) -> None:
    read = messages_from(row)
    assert (read, read.ending) == (CHAT, "closed")
    assert get_format("chatml").render(read).endswith("<|im_start|>assistant\na<|im_end|>\n")


def test_an_instruction_without_output_asks_for_the_reply() -> None:
    row = {"instruction": "Translate.", "input": "Hallo", "output": "", "history": [["q", "a"]]}
    read = messages_from(row)
    assert [message["content"] for message in read] == ["q", "a", "Translate.\nHallo"]
    assert read.ending == "reply"


def test_calls_and_results_of_sharegpt_are_read() -> None:
    row = {
        "conversations": [
            {"from": "human", "value": "q"},
            {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
            {"from": "observation", "value": "7"},
            {"from": "gpt", "value": "Seven."},
        ],
        "tools": json.dumps([TOOL["function"]]),
    }
    read, fmt = messages_from(row), get_format("qwen2.5")
    assert read.tools == [TOOL]
    again = fmt.parse(fmt.render(read))
    assert again[-3]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"x": 1}'}
    assert messages_from({**row, "tools": [TOOL]}).tools == [TOOL]


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"messages": CHAT, "id": 7, "lang": "de"}, "unknown fields of the row: 'id', 'lang'"),
        ({"messages": [{**CHAT[1], "weight": 0}]}, "message 0: unknown fields of a message: 'weight'"),
        ({"conversations": [{"from": "human", "value": "q", "loss": 1}]}, "'loss'"),
        ({"instruction": "q", "output": "a", "text": "x"}, "'text'"),
    ],
)
def test_unknown_fields_are_named_and_ignored_on_request(row: dict[str, Any], names: str) -> None:
    with pytest.raises(PromptError, match=names):
        messages_from(row)
    assert messages_from(row, ignore_unknown=True)[0]["role"] in {"system", "user"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("text", "an object or a list of messages, not str"),
        ({"prompt": "x"}, "'messages', 'conversations', 'instruction'; it has 'prompt'"),
        ({"messages": []}, "no messages"),
        ({"messages": "x"}, "'messages' must be a list, not str"),
        ({"messages": ["x"]}, "message 0: a message must be an object, not str"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "unknown role 'robot'"),
        ({"conversations": [{"from": "robot", "value": "x"}]}, "unknown speaker 'robot'"),
        ({"conversations": [{"from": ["gpt"], "value": "x"}]}, "unknown speaker"),
        ({"conversations": [{"from": "function_call", "value": "f(x)"}]}, "function_call must be JSON"),
        ({"instruction": ["x"]}, "'instruction' must be text, not list"),
        ({"instruction": "x", "history": [["q"]]}, "'history' must be a list of pairs"),
        ({"messages": CHAT, "ending": "open"}, "'ending' must be one of"),
        ({"messages": CHAT, "bos": "yes"}, "'bos' must be true or false"),
        ({"messages": CHAT, "date": "today"}, "'date' must be a date"),
        ({"messages": CHAT, "date": 7}, "'date' must be a date"),
        ({"messages": CHAT, "tools": "{"}, "'tools' is not JSON"),
        ({"messages": CHAT, "tools": "{}"}, None),
        ({"messages": CHAT, "tools": {"a": 1}}, "'tools' must be a list"),
    ],
)
def test_a_row_that_cannot_be_read_says_why(row: Any, words: str | None) -> None:
    if words is None:
        assert messages_from(row).tools is None
        return
    with pytest.raises(PromptError, match=words):
        messages_from(row)


def test_a_row_is_not_changed() -> None:
    row = {"messages": [{"role": "user", "content": "q"}]}
    messages_from(row)[0]["content"] = "other"
    assert row["messages"][0]["content"] == "q"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("chatml", {}),
        ("chatml", {"reply": False}),
        ("llama-3", {"bos": True, "continue_final": True}),
        ("llama-3.1", {"date": dt.date(2026, 1, 2), "reply": False}),
        ("qwen2.5", {"tools": [TOOL], "reply": False}),
    ],
)
def test_a_parsed_prompt_goes_through_json_and_is_written_again(name: str, options: dict[str, Any]) -> None:
    fmt = get_format(name)
    messages = CHAT if options else CHAT[:2]
    prompt = fmt.render(messages, **options)
    row = json.loads(json.dumps(row_of(fmt.parse(prompt))))
    assert fmt.render(messages_from(row)) == prompt


def test_a_history_of_a_date_is_read_as_it_is() -> None:
    date = dt.date(2026, 1, 2)
    assert messages_from({"messages": CHAT, "date": date}).date == date
    assert "date" not in row_of(History(CHAT))
