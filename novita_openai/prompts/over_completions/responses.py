"""Chat over the completions endpoint: a request's messages as a prompt, and its completion as a chat completion."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, overload

from novita_openai.prompts.catalog import format_for_model, get_format
from novita_openai.prompts.engine.description import MOST_STOPS
from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.over_completions.deltas import Deltas

if TYPE_CHECKING:
    from openai.types import Completion
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    from novita_openai.prompts.format import PromptFormat

__all__ = ["chat_to_completion", "completion_to_chat", "completions_to_chunks"]

_RENDERED: Final = frozenset({"continue_final", "reply", "bos", "date", "keep_reasoning", "tools"})
"""Parameters of ``PromptFormat.render``."""

_PASSED: Final = frozenset({
    "best_of", "extra_body", "extra_headers", "extra_query", "frequency_penalty", "logit_bias", "max_tokens", "n",
    "presence_penalty", "seed", "stream", "stream_options", "temperature", "timeout", "top_p", "user",
})  # fmt: skip
"""Parameters that mean the same of a completion."""

_DEFAULTS: Final[Mapping[str, Any]] = {
    "response_format": {"type": "text"},
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "modalities": ["text"],
    "store": False,
}
"""Parameters of chat that a completion has not, and the values that ask for nothing."""


def chat_to_completion(
    *,
    messages: Iterable[Any],
    model: str,
    format: PromptFormat | str | None = None,
    **params: Any,
) -> dict[str, Any]:
    """Return the arguments for ``client.completions.create`` that ask what a chat request asks.

    ``format`` is a format or its name; None takes the model's. The arguments of ``render`` are taken too. The format's
    stop strings are added to those of ``stop``, up to 4 in all, the end of the turn first. Raise PromptError for
    parameters that a completion has not.
    """
    fmt = format_for_model(model) if format is None else _format(format)
    params = {name: value for name, value in params.items() if value is not None}
    wrong = [name for name, value in params.items() if not _is_known(name, value)]
    if wrong:
        raise PromptError(
            f"a completion has no {' and no '.join(map(repr, sorted(wrong)))}: leave it out", format=fmt.name
        )
    prompt = fmt.render(messages, **{name: value for name, value in params.items() if name in _RENDERED})
    arguments = {name: value for name, value in params.items() if name in _PASSED}
    if "max_completion_tokens" in params:
        arguments["max_tokens"] = params["max_completion_tokens"]
    if params.get("logprobs"):
        arguments["logprobs"] = params.get("top_logprobs", 0)
    return {"model": model, "prompt": prompt, "stop": _stops(fmt, params.get("stop")), **arguments}


def _is_known(name: str, value: Any) -> bool:
    own = ("stop", "max_completion_tokens", "logprobs", "top_logprobs")
    return name in _RENDERED | _PASSED or name in own or (name in _DEFAULTS and value == _DEFAULTS[name])


def _stops(fmt: PromptFormat, stop: str | Iterable[str] | None) -> list[str]:
    asked = [stop] if isinstance(stop, str) else [*(stop or ())]
    needed = [*fmt.stop[:1], *(text for text in asked if text not in fmt.stop[:1])]
    if len(needed) > MOST_STOPS:
        problem = f"stop: {len(asked)} strings and {fmt.stop[0]!r}, which ends a turn, are more than {MOST_STOPS}"
        raise PromptError(problem, format=fmt.name)
    return [*needed, *(text for text in fmt.stop if text not in needed)][:MOST_STOPS]


def completion_to_chat(completion: Completion, fmt: PromptFormat | str) -> ChatCompletion:
    """Return a completion of a rendered prompt as a chat completion; each choice's message is ``fmt.message``."""
    from openai.types.chat import ChatCompletion

    fmt = _format(fmt)
    choices = [_choice(choice, fmt) for choice in completion.choices]
    fields = {"object": "chat.completion", "choices": choices, "usage": _dumped(completion.usage)}
    return ChatCompletion.construct(**_common(completion), **fields)


def _choice(choice: Any, fmt: PromptFormat) -> dict[str, Any]:
    message = fmt.message(choice.text, choice.finish_reason)
    reason = _reason(choice.finish_reason, has_calls="tool_calls" in message)
    return {"index": choice.index, "message": message, "finish_reason": reason, "logprobs": _logprobs(choice)}


def _reason(reason: str | None, *, has_calls: bool) -> str | None:
    return "tool_calls" if has_calls and reason == "stop" else reason


def _common(completion: Any) -> dict[str, Any]:
    fields = {name: getattr(completion, name, None) for name in ("id", "created", "model", "system_fingerprint")}
    return {name: value for name, value in fields.items() if value is not None}


def _dumped(value: Any) -> Any:
    return value if value is None else value.model_dump()


def _logprobs(choice: Any) -> dict[str, Any] | None:
    """Return a completion's logprobs in the shape that chat has."""
    given = choice.logprobs
    if given is None or not given.tokens:
        return None
    tops = given.top_logprobs or [None] * len(given.tokens)
    rows = zip(given.tokens, given.token_logprobs or (), tops, strict=False)
    return {
        "content": [_token(token, logprob) | {"top_logprobs": _tops(top)} for token, logprob, top in rows],
        "refusal": None,
    }


def _tops(top: Mapping[str, float] | None) -> list[dict[str, Any]]:
    return [_token(token, logprob) for token, logprob in (top or {}).items()]


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": [*token.encode()]}


@overload
def completions_to_chunks(
    stream: AsyncIterable[Completion], fmt: PromptFormat | str
) -> AsyncIterator[ChatCompletionChunk]: ...
@overload
def completions_to_chunks(stream: Iterable[Completion], fmt: PromptFormat | str) -> Iterator[ChatCompletionChunk]: ...
def completions_to_chunks(
    stream: Iterable[Completion] | AsyncIterable[Completion], fmt: PromptFormat | str
) -> Iterator[ChatCompletionChunk] | AsyncIterator[ChatCompletionChunk]:
    """Return the chat chunks of a stream of completions, an iterator of the stream's kind.

    Joined they say what ``completion_to_chat`` says of the whole. What may be the start of a stop string, a tag or a
    tool call is held back until it is decided. Indices and logprobs are kept, and chunks without choices, which report
    the usage, pass.
    """
    chunks = _Chunks(_format(fmt))
    if isinstance(stream, AsyncIterable):
        return _convert_async(stream, chunks)
    return _convert(stream, chunks)


def _convert(stream: Iterable[Completion], chunks: _Chunks) -> Iterator[ChatCompletionChunk]:
    for completion in stream:
        yield from chunks.convert(completion)
    yield from chunks.finish()


async def _convert_async(stream: AsyncIterable[Completion], chunks: _Chunks) -> AsyncIterator[ChatCompletionChunk]:
    async for completion in stream:
        for chunk in chunks.convert(completion):
            yield chunk
    for chunk in chunks.finish():
        yield chunk


class _Chunks:
    """The state of a stream: what each choice holds back."""

    def __init__(self, fmt: PromptFormat) -> None:
        self._format = fmt
        self._open: dict[int, Deltas] = {}
        self._last: Any = None
        self._begun: set[int] = set()

    def convert(self, completion: Completion) -> Iterator[ChatCompletionChunk]:
        """Yield the chunks of one completion of the stream, the usage with the last of them."""
        self._last = completion
        choices = [row for choice in completion.choices for row in self._rows(choice)]
        usage = _dumped(completion.usage)
        for row in choices[:-1]:
            yield self._chunk([row], None)
        if choices or usage is not None or not completion.choices:
            yield self._chunk(choices[-1:], usage)

    def finish(self) -> Iterator[ChatCompletionChunk]:
        """Yield what is held back of choices that had no finish_reason."""
        for index, deltas in self._open.items():
            for delta in deltas.finish(None):
                yield self._chunk([self._row(index, delta)], None)
        self._open.clear()

    def _rows(self, choice: Any) -> Iterator[dict[str, Any]]:
        """Yield the choices that say what one of a completion says; the finish_reason comes last, alone."""
        deltas = self._open.setdefault(choice.index, Deltas(self._format))
        settled = deltas.feed(choice.text or "")
        logprobs = _logprobs(choice)
        if choice.finish_reason:
            settled += deltas.finish(choice.finish_reason)
            del self._open[choice.index]
        for delta in settled or ([{}] if logprobs or choice.index not in self._begun else []):
            yield self._row(choice.index, delta) | {"logprobs": logprobs}
            logprobs = None
        if choice.finish_reason:
            reason = _reason(choice.finish_reason, has_calls=any("tool_calls" in delta for delta in settled))
            yield self._row(choice.index, {}) | {"finish_reason": reason}

    def _row(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        if index not in self._begun:
            self._begun.add(index)
            delta = {"role": "assistant", **delta}
        return {"index": index, "delta": delta, "finish_reason": None, "logprobs": None}

    def _chunk(self, choices: list[dict[str, Any]], usage: Any) -> ChatCompletionChunk:
        from openai.types.chat import ChatCompletionChunk

        fields = {"object": "chat.completion.chunk", "choices": choices, "usage": usage}
        return ChatCompletionChunk.construct(**_common(self._last), **fields)


def _format(fmt: PromptFormat | str) -> PromptFormat:
    return get_format(fmt) if isinstance(fmt, str) else fmt
