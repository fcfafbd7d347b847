"""The ways to ask for a text, sync and async, each giving the text: what the fault tests run under every fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conftest import Driver

MODEL = "meta-llama/llama-3.1-8b-instruct"
MESSAGES: Any = [{"role": "user", "content": "How do I make pasta?"}]
CHAT: Any = {"model": MODEL, "messages": MESSAGES}
COMPLETION: Any = {"model": MODEL, "prompt": "USER: How do I make pasta?\nASSISTANT:"}


@dataclass(frozen=True)
class Way:
    """``is_read_inside``: the first chunk is read inside the call, where a failure can still be retried."""

    read: Callable[[Driver], str]
    is_chat: bool
    is_streamed: bool
    is_read_inside: bool = True


def text_of(chunk: Any) -> str:
    """Return the text of a chunk of any kind."""
    if not chunk.choices:
        return ""
    choice = chunk.choices[0]
    return (choice.delta.content if hasattr(choice, "delta") else choice.text) or ""


def chat(driver: Driver) -> str:
    return str(driver.call(lambda client: client.chat.completions.create(**CHAT)).choices[0].message.content)


def chat_stream(driver: Driver) -> str:
    return "".join(map(text_of, driver.collect(lambda client: client.chat.completions.create(**CHAT, stream=True))))


def chat_helper(driver: Driver) -> str:
    """Read the SDK's ``.stream()`` helper to its end."""

    async def read_async(entered: Any) -> str:
        async for _ in entered:
            pass
        return str((await entered.get_final_completion()).choices[0].message.content)

    def read(entered: Any) -> str:
        for _ in entered:
            pass
        return str(entered.get_final_completion().choices[0].message.content)

    use = read_async if driver.is_async else read
    return str(driver.within(lambda client: client.chat.completions.stream(**CHAT), use))


def chat_raw(driver: Driver) -> str:
    """Parse a raw response."""
    response = driver.call(lambda client: client.chat.completions.with_raw_response.create(**CHAT))
    return str(response.parse().choices[0].message.content)


def completion(driver: Driver) -> str:
    return str(driver.call(lambda client: client.completions.create(**COMPLETION)).choices[0].text)


def completion_stream(driver: Driver) -> str:
    return "".join(map(text_of, driver.collect(lambda client: client.completions.create(**COMPLETION, stream=True))))


def completion_streaming_response(driver: Driver) -> str:
    """Parse a streaming response as a stream."""

    async def read_async(response: Any) -> str:
        return "".join([text_of(chunk) async for chunk in await response.parse()])

    def read(response: Any) -> str:
        return "".join(map(text_of, response.parse()))

    use = read_async if driver.is_async else read
    return str(
        driver.within(lambda client: client.completions.with_streaming_response.create(**COMPLETION, stream=True), use)
    )


WAYS = {
    "chat": Way(chat, is_chat=True, is_streamed=False),
    "chat stream": Way(chat_stream, is_chat=True, is_streamed=True),
    "chat helper": Way(chat_helper, is_chat=True, is_streamed=True),
    "chat raw": Way(chat_raw, is_chat=True, is_streamed=False),
    "completion": Way(completion, is_chat=False, is_streamed=False),
    "completion stream": Way(completion_stream, is_chat=False, is_streamed=True),
    "completion streaming response": Way(
        completion_streaming_response, is_chat=False, is_streamed=True, is_read_inside=False
    ),
}
