"""Chats over the completions endpoint, and completions as chats: real SDK objects in and out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from novita_openai.prompts import PromptError, chat_to_completion, completion_to_chat, completions_to_chunks, get_format

MODEL = "meta-llama/llama-3.1-8b-instruct"
ASKED = [{"role": "user", "content": "How?"}]
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
LOGPROBS = {
    "tokens": ["So", "."],
    "token_logprobs": [-0.5, -1.0],
    "top_logprobs": [{"So": -0.5}, {".": -1.0}],
    "text_offset": [0, 2],
}


def completion(*texts: tuple[int, str, str | None], usage: Any = None, logprobs: Any = None) -> Completion:
    choices = [
        {"index": index, "text": text, "finish_reason": reason, "logprobs": logprobs} for index, text, reason in texts
    ]
    return Completion.construct(id="c1", created=7, model=MODEL, object="text_completion", choices=choices, usage=usage)


def test_a_chat_request_becomes_a_completion_request() -> None:
    arguments = chat_to_completion(messages=ASKED, model=MODEL, max_tokens=5, temperature=0, stream=True, user=None)
    fmt = get_format("llama-3.1")
    assert arguments == {
        "model": MODEL,
        "prompt": fmt.render(ASKED),
        "stop": [*fmt.stop],
        "max_tokens": 5,
        "temperature": 0,
        "stream": True,
    }


def test_what_chat_calls_otherwise_is_renamed() -> None:
    options: dict[str, Any] = {"max_completion_tokens": 5, "logprobs": True, "top_logprobs": 2, "tool_choice": "auto"}
    arguments = chat_to_completion(messages=ASKED, model=MODEL, format="qwen2", stop="END", **options)
    assert (arguments["max_tokens"], arguments["logprobs"]) == (5, 2)
    assert arguments["stop"] == ["<|im_end|>", "END", "<|endoftext|>"]
    assert (
        chat_to_completion(messages=ASKED, model="x", format=get_format("chatml"), stop=["a", "b", "c"])["stop"][0]
        == "<|im_end|>"
    )
    closed = chat_to_completion(messages=ASKED, model="x", format="chatml", reply=False, bos=True)
    assert closed["prompt"].endswith("How?<|im_end|>\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"response_format": {"type": "json_object"}}, "'response_format'"),
        ({"tool_choice": "required", "functions": []}, "'functions' and no 'tool_choice'"),
        ({"stop": ["a", "b", "c", "d"]}, "more than 4"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ],
)
def test_what_a_completion_has_not_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(PromptError, match=words):
        chat_to_completion(messages=ASKED, model="x", format="chatml", **options)


def test_a_completion_becomes_a_chat_completion() -> None:
    given = completion((0, " So.</s>", "stop"), (1, " And", "length"), usage=USAGE, logprobs=LOGPROBS)
    chat = completion_to_chat(given, "vicuna-v1.1")
    assert isinstance(chat, ChatCompletion)
    assert (chat.id, chat.created, chat.model, chat.object) == ("c1", 7, MODEL, "chat.completion")
    assert [choice.message.content for choice in chat.choices] == ["So.", "And"]
    assert [choice.finish_reason for choice in chat.choices] == ["stop", "length"]
    assert chat.usage is not None
    assert chat.usage.total_tokens == 3
    content = chat.choices[0].logprobs.content if chat.choices[0].logprobs else None
    assert content is not None
    assert [(row.token, row.logprob, row.top_logprobs[0].token) for row in content] == [
        ("So", -0.5, "So"),
        (".", -1.0, "."),
    ]
    assert ChatCompletion.model_validate(chat.model_dump())


def test_tool_calls_and_reasoning_are_told_apart() -> None:
    text = '<think>\nWell\n</think>\n\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    choice = completion_to_chat(completion((0, text, "stop")), get_format("qwen3")).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    assert choice.message.model_dump()["reasoning_content"] == "Well"
    chunks = [*completions_to_chunks([completion((0, text, "stop"))], "qwen3")]
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "tool_calls"


def test_a_stream_of_completions_becomes_chat_chunks() -> None:
    first = completion((0, " So<|im_", None), (1, "x", None), logprobs=LOGPROBS)
    last = completion((0, "end|>y", "stop"), (1, "y", "length"), usage=USAGE)
    usage_only = completion(usage=USAGE)
    chunks = [*completions_to_chunks([first, last, usage_only], "chatml")]
    assert all(isinstance(chunk, ChatCompletionChunk) for chunk in chunks)
    texts: dict[int, str] = {0: "", 1: ""}
    reasons: dict[int, list[str | None]] = {0: [], 1: []}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index].append(choice.finish_reason)
    assert texts == {0: " So", 1: "xy"}
    assert all(given[-1] and not any(given[:-1]) for given in reasons.values())
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 2) + [True, True]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].choices[0].logprobs is not None
    assert chunks[-1].choices == []
    assert ChatCompletionChunk.model_validate(chunks[0].model_dump())


def test_what_is_held_back_at_the_end_of_a_cut_stream_is_told() -> None:
    chunks = [*completions_to_chunks([completion((0, "So<|im", None)), completion((0, "", None))], "chatml")]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "So<|im"


def test_async_streams_are_converted_alike() -> None:
    parts = [completion((0, "So", None), (1, "<", None)), completion((0, ".<|im", "stop"))]

    async def stream() -> AsyncIterator[Completion]:
        for part in parts:
            yield part

    async def collect() -> list[ChatCompletionChunk]:
        return [chunk async for chunk in completions_to_chunks(stream(), "chatml")]

    theirs = asyncio.run(collect())
    assert [chunk.model_dump() for chunk in theirs] == [
        chunk.model_dump() for chunk in completions_to_chunks(parts, "chatml")
    ]
