"""Long answers: asked for as a stream, which no gateway tires of, and put together to an ordinary answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import openai
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from novita_openai import sdk
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
_ALWAYS: Final = {"content", "logprobs", "finish_reason"}
"""What an answer has where it is null, too."""
_OF_THE_SDK: Final = {"parsed", "parsed_arguments"}
"""What the SDK adds to what has come."""


def needs_stream(request: BatchRequest, failure: Failure) -> bool:
    """Tell whether a row failed as its answer was too long in coming, so that a stream may bring it."""
    return request.path in _KINDS and (failure.status == GATEWAY_TIMEOUT or failure.reason == TIMEOUT)


async def ask_as_stream(client: AsyncNovitaOpenAI, request: BatchRequest, headers: Mapping[str, str]) -> Any:
    """Return the answer to a row as a response with an ordinary body; raise the SDK's errors."""
    kind, stream_kind = _KINDS[request.path]
    stream: Any = await client.post(
        request.path,
        cast_to=kind,
        body={**request.body, "stream": True, "stream_options": {"include_usage": True}},
        options={"headers": dict(headers)},
        stream=True,
        stream_cls=stream_kind,
    )
    async with stream:
        answer = await (_chat(stream) if request.path == CHAT else _completion(stream))
    given = stream.response
    content = json.dumps(answer, ensure_ascii=False).encode()
    return sdk.http_library().Response(given.status_code, headers=_kept(given), content=content, request=given.request)


def _kept(response: Any) -> dict[str, str]:
    """Return the headers of a stream that hold for the whole answer too."""
    request_id = response.headers.get("x-request-id")
    return {"content-type": "application/json"} | ({} if request_id is None else {"x-request-id": request_id})


async def _chat(stream: AsyncIterable[Any]) -> dict[str, Any]:
    state = ChatCompletionStreamState()
    async for chunk in stream:
        state.handle_chunk(chunk)
    answer: dict[str, Any] = _without_nulls(state.current_completion_snapshot.to_dict(mode="json"))
    for choice in answer["choices"]:
        _settle(choice["message"])
    return answer


def _settle(message: dict[str, Any]) -> None:
    """Write a message as an answer in one piece has it."""
    message.setdefault("role", "assistant")
    calls = message.get("tool_calls", ())
    for call in calls:
        call.pop("index", None)
    if calls:
        message["content"] = message.get("content") or None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _without_nulls(each)
        for name, each in value.items()
        if name not in _OF_THE_SDK and (each is not None or name in _ALWAYS)
    }


async def _completion(stream: AsyncIterable[Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    async for chunk in stream:
        event = chunk.to_dict(mode="json")
        for choice in event.pop("choices"):
            _add(choices.setdefault(choice["index"], {"index": choice["index"], "text": ""}), choice)
        answer |= {name: value for name, value in event.items() if value is not None}
    return {**answer, "choices": [choices[index] for index in sorted(choices)]}


def _add(choice: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Add what a chunk says to a choice of a completion."""
    text, logprobs = choice["text"] + (part.get("text") or ""), part.get("logprobs")
    if logprobs is not None:
        known = choice.get("logprobs") or {}
        logprobs = {name: [*(known.get(name) or ()), *(each or ())] for name, each in logprobs.items()}
    given = {name: value for name, value in part.items() if value is not None or name not in choice}
    choice |= {**given, "text": text} | ({} if logprobs is None else {"logprobs": logprobs})
