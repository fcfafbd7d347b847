"""A stream of completions as a stream of chat chunks."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, overload

from novita_openai.prompts.catalog import as_format
from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.given import shown
from novita_openai.prompts.over_completions.deltas import Deltas
from novita_openai.prompts.over_completions.responses import (
    chat_logprobs,
    check_completion,
    common_fields,
    dumped,
    finish_reason_of,
)

if TYPE_CHECKING:
    from openai.types import Completion
    from openai.types.chat import ChatCompletionChunk

    from novita_openai.prompts.format import PromptFormat

__all__ = ["completions_to_chunks"]


@overload
def completions_to_chunks(
    stream: AsyncIterable[Completion], fmt: PromptFormat | str
) -> AsyncIterator[ChatCompletionChunk]: ...
@overload
def completions_to_chunks(stream: Iterable[Completion], fmt: PromptFormat | str) -> Iterator[ChatCompletionChunk]: ...
def completions_to_chunks(
    stream: Iterable[Completion] | AsyncIterable[Completion], fmt: PromptFormat | str
) -> Iterator[ChatCompletionChunk] | AsyncIterator[ChatCompletionChunk]:
    """Return the chat chunks of a stream of completions, as an iterator of the stream's kind.

    Joined, they are the message of ``completion_to_chat``. What may be the start of a stop string, a tag of
    reasoning or a tool call is held back until more text decides it. Indices and logprobs are kept, and chunks without
    choices, which report the usage, are passed on.
    """
    chunks = _ChatChunks(as_format(fmt))
    if isinstance(stream, AsyncIterable):
        return _convert_async(stream, chunks)
    if not isinstance(stream, Iterable):
        raise PromptError(
            f"stream must be a stream of completions, not {shown(stream)}: create(stream=True) returns one"
        )
    return _convert(stream, chunks)


def _convert(stream: Iterable[Completion], chunks: _ChatChunks) -> Iterator[ChatCompletionChunk]:
    for completion in stream:
        yield from chunks.convert(completion)
    yield from chunks.finish()


async def _convert_async(stream: AsyncIterable[Completion], chunks: _ChatChunks) -> AsyncIterator[ChatCompletionChunk]:
    async for completion in stream:
        for chunk in chunks.convert(completion):
            yield chunk
    for chunk in chunks.finish():
        yield chunk


class _ChatChunks:
    """Makes the chunks of one stream; ``_open`` has what the choices without a finish_reason hold back, by index."""

    def __init__(self, fmt: PromptFormat) -> None:
        self._format = fmt
        self._open: dict[int, Deltas] = {}
        self._last: Any = None
        self._begun: set[int] = set()

    def convert(self, completion: Completion) -> Iterator[ChatCompletionChunk]:
        """Yield the chunks of one completion of the stream, the usage with the last of them."""
        check_completion(completion)
        self._last = completion
        choices = [made for choice in completion.choices for made in self._choices(choice)]
        usage = dumped(completion.usage)
        for made in choices[:-1]:
            yield self._chunk([made], None)
        if choices or usage is not None or not completion.choices:
            yield self._chunk(choices[-1:], usage)

    def finish(self) -> Iterator[ChatCompletionChunk]:
        """Yield what is held back of choices that got no finish_reason."""
        for index, deltas in self._open.items():
            for delta in deltas.finish(None):
                yield self._chunk([self._choice(index, delta)], None)
        self._open.clear()

    def _choices(self, choice: Any) -> Iterator[dict[str, Any]]:
        """Yield the chunks' choices for one choice of a completion; the finish_reason comes last, alone."""
        deltas = self._open.setdefault(choice.index, Deltas(self._format))
        settled = deltas.feed(choice.text or "")
        logprobs = chat_logprobs(choice)
        if choice.finish_reason:
            settled += deltas.finish(choice.finish_reason)
            del self._open[choice.index]
        for delta in settled or ([{}] if logprobs or choice.index not in self._begun else []):
            yield self._choice(choice.index, delta) | {"logprobs": logprobs}
            logprobs = None
        if choice.finish_reason:
            reason = finish_reason_of(choice.finish_reason, has_calls=any("tool_calls" in delta for delta in settled))
            yield self._choice(choice.index, {}) | {"finish_reason": reason}

    def _choice(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        if index not in self._begun:
            self._begun.add(index)
            delta = {"role": "assistant", **delta}
        return {"index": index, "delta": delta, "finish_reason": None, "logprobs": None}

    def _chunk(self, choices: list[dict[str, Any]], usage: Any) -> ChatCompletionChunk:
        from openai.types.chat import ChatCompletionChunk

        fields = {"object": "chat.completion.chunk", "choices": choices, "usage": usage}
        return ChatCompletionChunk.construct(**common_fields(self._last), **fields)
