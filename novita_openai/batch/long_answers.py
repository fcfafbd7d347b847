"""Long answers: asked for as a stream, which no gateway tires of, and put together to an ordinary answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import openai
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from novita_openai import sdk
from novita_openai.batch.chunks import Chunks
from novita_openai.batch.endpoints import CHAT, COMPLETIONS
from novita_openai.errors import GATEWAY_TIMEOUT, TIMEOUT

if TYPE_CHECKING:
    from novita_openai.batch.requests import BatchRequest
    from novita_openai.client import AsyncNovitaOpenAI
    from novita_openai.errors import Failure

__all__ = ["ask_as_stream", "needs_stream"]

_KINDS: Final[Mapping[str, tuple[Any, Any]]] = {
    CHAT: (ChatCompletion, openai.AsyncStream[ChatCompletionChunk]),
    COMPLETIONS: (Completion, openai.AsyncStream[Completion]),
}


def needs_stream(request: BatchRequest, failure: Failure) -> bool:
    """Tell whether a row failed as its answer was too long in coming, so that a stream may bring it."""
    return request.path in _KINDS and (failure.status == GATEWAY_TIMEOUT or failure.reason == TIMEOUT)


async def ask_as_stream(
    client: AsyncNovitaOpenAI, request: BatchRequest, headers: Mapping[str, str], seconds: float | None
) -> Any:
    """Return the answer to a row as a response with an ordinary body; raise the SDK's errors.

    Raises ``TimeoutError`` where the next event does not come within so many ``seconds``, whatever else comes.
    """
    kind, stream_kind = _KINDS[request.path]
    chunks = Chunks()
    async with _within(seconds):
        stream: Any = await client.post(
            request.path,
            cast_to=kind,
            body={**request.body, "stream": True, "stream_options": {"include_usage": True}},
            options={"headers": dict(headers)},
            stream=True,
            stream_cls=stream_kind,
        )
    async with stream:
        async for chunk in _in_time(stream, seconds):
            chunks.add(chunk.to_dict(mode="json", warnings=False))
    given = stream.response
    content = json.dumps(chunks.answer(), ensure_ascii=False).encode()
    return sdk.http_library().Response(given.status_code, headers=_kept(given), content=content, request=given.request)


def _kept(response: Any) -> dict[str, str]:
    """Return the headers of a stream that hold for the whole answer too."""
    request_id = response.headers.get("x-request-id")
    return {"content-type": "application/json"} | ({} if request_id is None else {"x-request-id": request_id})


async def _in_time(stream: AsyncIterable[Any], seconds: float | None) -> AsyncIterator[Any]:
    """Yield the chunks; raise ``TimeoutError`` where one does not come in time."""
    chunks = aiter(stream)
    while True:
        async with _within(seconds):
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        yield chunk


@asynccontextmanager
async def _within(seconds: float | None) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimeoutError(f"No event of the answer came within {seconds:g} s.") from None
