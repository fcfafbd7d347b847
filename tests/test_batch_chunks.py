"""Chunks of a stream become the answer that would have come in one piece, however servers cut it."""

from __future__ import annotations

from typing import Any

import pytest

from novita_openai.batch.chunks import Chunks


def chat(*deltas: dict[str, Any], **last: Any) -> dict[str, Any]:
    """Return the one choice of an answer that comes in these deltas."""
    chunks = Chunks()
    for number, delta in enumerate(deltas, start=1):
        choice = {"index": 0, "delta": delta, "finish_reason": "stop" if number == len(deltas) else None} | last
        chunks.add({"id": "1", "object": "chat.completion.chunk", "choices": [choice]})
    answer = chunks.answer()
    assert (answer["id"], answer["object"], len(answer["choices"])) == ("1", "chat.completion", 1)
    choice = answer["choices"][0]
    assert isinstance(choice, dict)
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    return choice


def call(index: int, arguments: str, **fields: Any) -> dict[str, Any]:
    function = {name: fields.pop(name) for name in ("name",) if name in fields}
    return {"tool_calls": [{"index": index, "function": {**function, "arguments": arguments}, **fields}]}


@pytest.mark.parametrize(
    ("deltas", "message"),
    [
        ([{"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}], {"content": "ab"}),
        ([{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}], {"content": "ab"}),
        ([{"content": "a"}, {"role": "", "content": None}], {"content": "a"}),
        ([{}], {"content": None}),
        ([{"content": ""}], {"content": ""}),
        ([{"reasoning_content": "a"}, {"reasoning_content": "b"}, {"content": "c"}], {"reasoning_content": "ab"}),
        ([{"x": None, "n": 1, "is": True}, {"x": {"t": 1}, "n": 2, "is": False}], {"x": {"t": 1}, "n": 2, "is": False}),
        ([{"x": {"a": "1"}}, {"x": {"a": "2", "b": 3}}], {"x": {"a": "12", "b": 3}}),
        ([{"x": {"a": "1"}}, {"x": "s"}], {"x": "s"}),
        ([{"parts": [{"text": "a"}]}, {"parts": [{"text": "b"}, 1]}], {"parts": [{"text": "a"}, {"text": "b"}, 1]}),
        (
            [{"parts": [{"index": 0, "t": "a"}]}, {"parts": [{"index": 0, "t": "b"}]}],
            {"parts": [{"index": 0, "t": "ab"}]},
        ),
    ],
)
def test_deltas_become_a_message(deltas: list[dict[str, Any]], message: dict[str, Any]) -> None:
    got = chat(*deltas)["message"]
    assert got["role"] == "assistant"
    assert {name: got[name] for name in message} == message


F, G = ({"id": name, "type": "function", "name": name} for name in "fg")


@pytest.mark.parametrize(
    "deltas",
    [
        [call(0, "", **F), call(0, "{}"), call(1, "{}", **G)],
        [call(0, "{", **F), call(0, "}", **F), call(1, "{}", **G)],
        [call(1, "{}", **G), call(0, "{}", **F)],
        [call(0, "{}", **F), call(1, "{", **G), call(1, "}", id=None, type=None, name=None), {"content": ""}],
        [{"tool_calls": [*call(0, "{}", **F)["tool_calls"], *call(1, "{}", **G)["tool_calls"]]}],
    ],
)
def test_fragments_become_calls_of_tools(deltas: list[dict[str, Any]]) -> None:
    assert chat(*deltas)["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in "fg"
        ],
    }


def test_what_stands_beside_the_texts_is_put_together_too() -> None:
    chunks = Chunks()
    token = {"token": "a", "logprob": -1.0}
    first = {"index": 1, "delta": {"content": "b"}, "logprobs": {"content": None}, "stop_reason": 7, "token_ids": [1]}
    last = {"index": 1, "delta": {}, "logprobs": {"content": [token]}, "stop_reason": None, "token_ids": [2]}
    end = {"index": 1, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    other = {"index": 0, "text": "a", "logprobs": {"tokens": ["a"]}}
    more = {"index": 0, "text": "c", "logprobs": {"tokens": ["c"]}}
    for choices in ([first], [last, other], [more, end], []):
        chunks.add({"object": "text_completion", "usage": None if choices else {"total_tokens": 3}, "choices": choices})
    assert chunks.answer() == {
        "object": "text_completion",
        "usage": {"total_tokens": 3},
        "choices": [
            {"index": 0, "text": "ac", "logprobs": {"tokens": ["a", "c"]}},
            {
                "index": 1,
                "finish_reason": "stop",
                "logprobs": {"content": [token]},
                "stop_reason": 7,
                "token_ids": [1, 2],
                "message": {"role": "assistant", "content": "b"},
            },
        ],
    }
