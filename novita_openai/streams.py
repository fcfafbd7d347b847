"""Streams that never lie: a whole answer or an SDK error, never a silent half, never a foreign exception.

A stream is complete when every choice it has shown has a finish reason; ``[DONE]`` alone proves nothing. Whatever else
ends it becomes the status error that its word names, else ``APIConnectionError`` (``APITimeoutError`` for a silence),
with the text so far in ``.partial_text``. The first chunk is read before ``create`` returns, so that a failure up to
then is retried like that of any other call; after it nothing is sent twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, NoReturn, TypeVar, cast

import openai

from novita_openai.answers import status_error
from novita_openai.errors import is_named

__all__ = ["AsyncGuardedStream", "GuardedStream", "is_guardable_stream"]

_T = TypeVar("_T")

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def is_guardable_stream(stream_cls: Any, base: type) -> bool:
    """Tell whether a stream is one of chat completions or completions, whose end can be told."""
    chunk = getattr(stream_cls, "__args__", (None,))[0]
    return getattr(stream_cls, "__origin__", None) is base and getattr(chunk, "__name__", "") in _CHUNKS


# By name, as importing the types would cost programs that never stream.
_CHAT_CHUNK: Final = "ChatCompletionChunk"
_CHUNKS: Final = (_CHAT_CHUNK, "Completion")


class _Progress:
    """What a stream has shown so far: pure, fed chunk by chunk."""

    def __init__(self, kind: Any) -> None:
        self.text_of = _text_of_chat if getattr(kind, "__name__", "") == _CHAT_CHUNK else _text_of_completion
        self.text = ""
        self.unfinished: dict[int, bool] = {}

    def see(self, chunk: Any, response: Any) -> None:
        """Take note of a chunk; raise where it is none."""
        choices = getattr(chunk, "choices", None)
        if not isinstance(choices, list) or not all(map(_is_object, choices)):
            body = chunk.to_dict() if isinstance(chunk, openai.BaseModel) else chunk
            raise status_error(response, body) or _broken(response, "an event is no part of an answer")
        for choice in choices:
            if choice.index == 0:
                self.text += self.text_of(choice) or ""
            self.unfinished[choice.index] = self.unfinished.get(choice.index, True) and not choice.finish_reason

    def end(self, response: Any) -> None:
        """Raise where the end of the events is not the end of the answer."""
        if not self.unfinished:
            raise _broken(response, "it ended before it began")
        if any(self.unfinished.values()):
            raise _broken(response, "it ended without a finish_reason")


def _text_of_chat(choice: Any) -> Any:
    return None if choice.delta is None else choice.delta.content


def _text_of_completion(choice: Any) -> Any:
    return choice.text


def _is_object(choice: object) -> bool:
    return isinstance(choice, openai.BaseModel)


def _broken(response: Any, what: str) -> openai.APIConnectionError:
    return openai.APIConnectionError(message=f"The stream is broken: {what}.", request=response.request)


def _refuse_other_media(response: Any, content: bytes) -> None:
    """Raise what a body that is no event stream stands for: the error in it, or that it is none."""
    media_type = response.headers.get("content-type", "no content type")
    error = status_error(response, _json(response)) if content else None
    raise error or _broken(response, f"{len(content)} bytes of {media_type} came instead of it")


def _json(response: Any) -> object:
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _is_event_stream(response: Any) -> bool:
    return "text/event-stream" in response.headers.get("content-type", "text/event-stream")


def _raise(error: Exception, response: Any, progress: _Progress) -> NoReturn:
    """Raise an error of a stream as the SDK's, with the text so far."""
    failure = _translate(error, response)
    failure.partial_text = progress.text  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    try:
        if failure is error:
            raise failure
        raise failure from error
    finally:
        del failure, error  # a frame that holds the error it raises would keep both alive


def _translate(error: Exception, response: Any) -> openai.APIError:
    if isinstance(error, (openai.APIStatusError, openai.APIConnectionError)):
        return error
    if isinstance(error, openai.APIError):  # the SDK's word for an event with an error object
        return status_error(response, {"error": error.body}) or _broken(response, f"the service says: {error.message}")
    if is_named(error, "TimeoutException"):
        return openai.APITimeoutError(request=response.request)
    if is_named(error, "RequestError", "ClientError"):
        return _broken(response, "the connection was cut")
    return _broken(response, f"an event cannot be read ({type(error).__name__})")


class GuardedStream(openai.Stream[_T]):
    """The SDK's stream, read to a whole answer or to an SDK error; leaving its loop closes it."""

    _ahead: list[_T]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._ahead = []

    def __stream__(self) -> Iterator[_T]:
        """Yield the chunks; raise at an end that is none."""
        progress, response = _Progress(self._cast_to), cast("Any", self.response)
        try:
            if not _is_event_stream(response):
                _refuse_other_media(response, response.read())
            chunks_of_bytes = response.iter_bytes
            response.iter_bytes = lambda: _without_mark(chunks_of_bytes())
            for chunk in super().__stream__():
                progress.see(chunk, response)
                yield chunk
            progress.end(response)
        except Exception as error:  # noqa: BLE001 - raised again as the SDK's
            _raise(error, response, progress)
        finally:
            response.close()

    def start(self) -> None:
        """Read the first chunk, to be given out first."""
        self._ahead = [super().__next__()]

    def __next__(self) -> _T:
        return self._ahead.pop() if self._ahead else super().__next__()

    def __iter__(self) -> Iterator[_T]:
        try:
            while self._ahead:
                yield self._ahead.pop()
            yield from self._iterator
        finally:
            self.close()


class AsyncGuardedStream(openai.AsyncStream[_T]):
    """The async twin of :class:`GuardedStream`."""

    _ahead: list[_T]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._ahead = []

    async def __stream__(self) -> AsyncIterator[_T]:
        """Yield the chunks; raise at an end that is none."""
        progress, response = _Progress(self._cast_to), cast("Any", self.response)
        try:
            if not _is_event_stream(response):
                _refuse_other_media(response, await response.aread())
            chunks_of_bytes = response.aiter_bytes
            response.aiter_bytes = lambda: _without_mark_async(chunks_of_bytes())
            async for chunk in super().__stream__():
                progress.see(chunk, response)
                yield chunk
            progress.end(response)
        except Exception as error:  # noqa: BLE001 - raised again as the SDK's
            _raise(error, response, progress)
        finally:
            await response.aclose()

    async def start(self) -> None:
        """Read the first chunk, to be given out first."""
        self._ahead = [await super().__anext__()]

    async def __anext__(self) -> _T:
        return self._ahead.pop() if self._ahead else await super().__anext__()

    async def __aiter__(self) -> AsyncIterator[_T]:
        try:
            while self._ahead:
                yield self._ahead.pop()
            async for chunk in self._iterator:
                yield chunk
        finally:
            await self.close()


def _without_mark(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Take a byte order mark off: the SDK drops the first event after one without a word."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(_BYTE_ORDER_MARK):
            break
    yield head.removeprefix(_BYTE_ORDER_MARK)
    yield from chunks


async def _without_mark_async(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    head = b""
    async for chunk in chunks:
        head += chunk
        if len(head) >= len(_BYTE_ORDER_MARK):
            break
    yield head.removeprefix(_BYTE_ORDER_MARK)
    async for chunk in chunks:
        yield chunk
