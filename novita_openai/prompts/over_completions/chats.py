"""Chats over the completions endpoint, with the arguments and the results of ``chat.completions.create``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from novita_openai.prompts.catalog import choose_format
from novita_openai.prompts.format import PromptFormat
from novita_openai.prompts.over_completions.chunks import completions_to_chunks
from novita_openai.prompts.over_completions.requests import chat_to_completion, check_client
from novita_openai.prompts.over_completions.responses import completion_to_chat

if TYPE_CHECKING:
    from types import TracebackType

    from openai import AsyncOpenAI, AsyncStream, OpenAI, Stream
    from openai.types import Completion
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

__all__ = ["AsyncChatStream", "ChatStream", "achat", "chat"]

GivenFormat = PromptFormat | str | None
"""A format, its name, or None for the model's."""


class ChatStream:
    """The chunks of a chat, from a stream of completions; it is closed when its loop or its ``with`` block is left."""

    def __init__(self, stream: Stream[Completion], fmt: PromptFormat) -> None:
        self._stream, self._chunks = stream, completions_to_chunks(stream, fmt)

    @property
    def response(self) -> Any:
        """The HTTP response, as the SDK's streams have it."""
        return self._stream.response

    def __iter__(self) -> Iterator[ChatCompletionChunk]:
        try:
            yield from self._chunks
        finally:
            self.close()

    def __next__(self) -> ChatCompletionChunk:
        return next(self._chunks)

    def close(self) -> None:
        """Close the response and release the connection."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncChatStream:
    """The async twin of :class:`ChatStream`."""

    def __init__(self, stream: AsyncStream[Completion], fmt: PromptFormat) -> None:
        self._stream, self._chunks = stream, completions_to_chunks(stream, fmt)

    @property
    def response(self) -> Any:
        """The HTTP response, as the SDK's streams have it."""
        return self._stream.response

    async def __aiter__(self) -> AsyncIterator[ChatCompletionChunk]:
        try:
            async for chunk in self._chunks:
                yield chunk
        finally:
            await self.close()

    async def __anext__(self) -> ChatCompletionChunk:
        return await anext(self._chunks)

    async def close(self) -> None:
        """Close the response and release the connection."""
        await self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


@overload
def chat(
    client: OpenAI,
    *,
    model: str,
    messages: Iterable[Any],
    stream: Literal[False] | None = None,
    format: GivenFormat = None,
    **params: Any,
) -> ChatCompletion: ...
@overload
def chat(
    client: OpenAI,
    *,
    model: str,
    messages: Iterable[Any],
    stream: Literal[True],
    format: GivenFormat = None,
    **params: Any,
) -> ChatStream: ...
@overload
def chat(
    client: OpenAI,
    *,
    model: str,
    messages: Iterable[Any],
    stream: bool | None,
    format: GivenFormat = None,
    **params: Any,
) -> ChatCompletion | ChatStream: ...
def chat(
    client: OpenAI,
    *,
    model: str,
    messages: Iterable[Any],
    stream: bool | None = None,
    format: GivenFormat = None,
    **params: Any,
) -> ChatCompletion | ChatStream:
    """Send a chat to the completions endpoint, where there is no chat endpoint or to control the prompt.

    This takes the arguments of ``client.chat.completions.create``, and returns what that returns. ``format`` is a
    format or its name; None takes the model's. The arguments of ``PromptFormat.render`` are taken too. Raise
    PromptError for what the format or the endpoint has no place for.
    """
    check_client(client)
    fmt = choose_format(format, model)
    request = chat_to_completion(messages=messages, model=model, format=fmt, stream=stream, **params)
    answer = client.completions.create(**request)
    return ChatStream(answer, fmt) if stream else completion_to_chat(answer, fmt)


@overload
async def achat(
    client: AsyncOpenAI,
    *,
    model: str,
    messages: Iterable[Any],
    stream: Literal[False] | None = None,
    format: GivenFormat = None,
    **params: Any,
) -> ChatCompletion: ...
@overload
async def achat(
    client: AsyncOpenAI,
    *,
    model: str,
    messages: Iterable[Any],
    stream: Literal[True],
    format: GivenFormat = None,
    **params: Any,
) -> AsyncChatStream: ...
@overload
async def achat(
    client: AsyncOpenAI,
    *,
    model: str,
    messages: Iterable[Any],
    stream: bool | None,
    format: GivenFormat = None,
    **params: Any,
) -> ChatCompletion | AsyncChatStream: ...
async def achat(
    client: AsyncOpenAI,
    *,
    model: str,
    messages: Iterable[Any],
    stream: bool | None = None,
    format: GivenFormat = None,
    **params: Any,
) -> ChatCompletion | AsyncChatStream:
    """Send a chat to the completions endpoint; see :func:`chat`."""
    check_client(client, is_async=True)
    fmt = choose_format(format, model)
    request = chat_to_completion(messages=messages, model=model, format=fmt, stream=stream, **params)
    answer = await client.completions.create(**request)
    return AsyncChatStream(answer, fmt) if stream else completion_to_chat(answer, fmt)
