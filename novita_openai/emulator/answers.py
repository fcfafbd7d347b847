"""What the emulator answers: the same to the same request, as one document or as the events of a stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from novita_openai.emulator.models import CREATED
from novita_openai.emulator.replies import EVENT_STREAM, Reply, document, event
from novita_openai.emulator.requests import AnyRequest, ChatRequest, CompletionRequest, tokens_in
from novita_openai.emulator.samples import sample

__all__ = ["Answer", "Content", "answer_to"]

_VOCABULARY: Final = (
    "water salt pasta oil garlic lemon pepper basil onion butter bread cheese tomato pan pot spoon heat taste stir "
    "boil slice pour wait drain serve mix chop fry bake cool gently slowly first then well now again enough twice"
)
_WORDS: Final = tuple(_VOCABULARY.split())
_LENGTHS: Final = (8, 40)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as data: its choices are assistant messages, each with its finish reason."""

    id: str
    request: AnyRequest
    choices: tuple[tuple[dict[str, Any], str], ...]

    @property
    def completion_tokens(self) -> int:
        """Return the size of all choices."""
        return sum(len(tokens_in(text)) for message, _ in self.choices for text in _texts(message))

    @property
    def usage(self) -> dict[str, int]:
        """Return the tokens of prompt and answer, as the service counts them."""
        counts = self.request.prompt_tokens, self.completion_tokens
        return {"prompt_tokens": counts[0], "completion_tokens": counts[1], "total_tokens": sum(counts)}

    def reply(self) -> Reply:
        """Return the answer as the reply that the request asks for: a stream or a document."""
        return Reply(headers=EVENT_STREAM, parts=tuple(self._events())) if self.request.stream else self._document()

    def _document(self) -> Reply:
        name, write = ("chat.completion", _chat_choice) if self._is_chat else ("text_completion", _text_choice)
        choices = [
            write(message, self.request.alternatives) | {"index": index, "finish_reason": finish_reason}
            for index, (message, finish_reason) in enumerate(self.choices)
        ]
        return document(self._frame(name) | {"choices": choices, "usage": self.usage})

    def _events(self) -> Iterator[bytes]:
        name, pieces = ("chat.completion.chunk", _deltas) if self._is_chat else ("text_completion", _pieces)
        options = self.request.stream_options
        usage = {"usage": None} if options and options.include_usage else {}
        frame = self._frame(name) | usage
        for index, (message, finish_reason) in enumerate(self.choices):
            for piece, is_last in pieces(message, self.request.alternatives):
                choice = piece | {"index": index, "finish_reason": finish_reason if is_last else None}
                yield event(frame | {"choices": [choice]})
        if usage:
            yield event(frame | {"choices": [], "usage": self.usage})
        yield event("[DONE]")

    @property
    def _is_chat(self) -> bool:
        return isinstance(self.request, ChatRequest)

    def _frame(self, name: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": name,
            "created": CREATED,
            "model": self.request.model,
            "system_fingerprint": "",
        }


Content = str | Mapping[str, Any]
"""What a choice says: a text, or an assistant message."""


def answer_to(request: AnyRequest, scripted: Content | None = None) -> Answer:
    """Return the answer to a request: the scripted content, or else content drawn by a seed made of the request."""
    content = json.dumps(request.model_dump(exclude={"stream", "stream_options"}), sort_keys=True).encode()
    digest = hashlib.sha256(content).hexdigest()
    count = (request.n or 1) * (len(request.prompts) if isinstance(request, CompletionRequest) else 1)
    choices = (_choice(request, Random(f"{digest} {index}"), scripted) for index in range(count))  # noqa: S311 - no secret
    return Answer(digest[:32], request, tuple(choices))


def _choice(request: AnyRequest, random: Random, scripted: Content | None) -> tuple[dict[str, Any], str]:
    made = _make(request, random) if scripted is None else scripted
    message = {"content": made} if isinstance(made, str) else dict(made)
    if message.get("tool_calls"):
        return {"role": "assistant", "content": None} | message, "tool_calls"
    text, finish_reason = _end(message.get("content") or "", request)
    return {"role": "assistant"} | message | {"content": text}, finish_reason


def _end(text: str, request: AnyRequest) -> tuple[str, str]:
    """Cut a text at the request's stop strings and ``max_tokens``; return it and the finish reason."""
    stops = [position for stop in request.stops if stop and (position := text.find(stop)) >= 0]
    tokens = tokens_in(text[: min(stops)] if stops else text)
    is_long = request.max_tokens is not None and len(tokens) > request.max_tokens
    return "".join(tokens[: request.max_tokens]), "length" if is_long else "stop"


def _make(request: AnyRequest, random: Random) -> str | dict[str, Any]:
    if isinstance(request, CompletionRequest):
        return " " + _sentence(random)
    if (function := _demanded(request)) is not None:
        arguments = json.dumps(sample(function.parameters or {}, random))
        call = {"name": function.name, "arguments": arguments}
        return {"tool_calls": [{"id": f"call_{random.randbytes(12).hex()}", "type": "function", "function": call}]}
    shape = request.response_format
    if shape is not None and shape.type != "text":
        return json.dumps(sample((shape.json_schema or {}).get("schema", {"type": "object"}), random))
    reasoning = {"reasoning_content": _sentence(random)} if request.separate_reasoning else {}
    return {"content": _sentence(random)} | reasoning


def _demanded(request: ChatRequest) -> Any:
    """Return the function that must be called, None where the request leaves the choice to the model."""
    choice, tools = request.tool_choice, request.tools or []
    if choice == "required" and tools:
        return tools[0].function
    named = getattr(getattr(choice, "function", None), "name", None)
    return next((tool.function for tool in tools if tool.function.name == named), None)


def _sentence(random: Random) -> str:
    return " ".join(random.choices(_WORDS, k=random.randint(*_LENGTHS))).capitalize() + "."


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    """Yield every text of a message that counts as output tokens."""
    yield message.get("content") or ""
    yield message.get("reasoning_content") or ""
    for call in message.get("tool_calls") or ():
        yield call["function"]["name"] + call["function"]["arguments"]


def _chat_choice(message: dict[str, Any], alternatives: int | None) -> dict[str, Any]:
    return {"message": message} | _chat_logprobs(tokens_in(message["content"] or ""), alternatives)


def _text_choice(message: dict[str, Any], alternatives: int | None) -> dict[str, Any]:
    return {"text": message["content"], "logprobs": _text_logprobs(tokens_in(message["content"]), alternatives)}


def _pieces(message: dict[str, Any], alternatives: int | None) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the pieces of a text, each with whether it is the last."""
    for token in tokens_in(message["content"]):
        yield {"text": token, "logprobs": _text_logprobs([token], alternatives)}, False
    yield {"text": "", "logprobs": None}, True


def _deltas(message: dict[str, Any], alternatives: int | None) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the deltas of a message, each with whether it is the last."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    for name in ("reasoning_content", "content"):
        deltas += [{name: token} for token in tokens_in(message.get(name) or "")]
    for index, call in enumerate(message.get("tool_calls") or ()):
        deltas += [{"tool_calls": [{"index": index} | part]} for part in _call_pieces(call)]
    for delta in deltas:
        yield {"delta": delta} | _chat_logprobs([delta["content"]] if delta.get("content") else [], alternatives), False
    yield {"delta": {}}, True


def _chat_logprobs(tokens: list[str], alternatives: int | None) -> dict[str, Any]:
    """Return the logprobs of a chat choice, an empty dict where none are asked for.

    The only alternative to a token is the token itself.
    """
    if alternatives is None or not tokens:
        return {}
    likely = [{"token": token, "logprob": _logprob(token), "bytes": [*token.encode()]} for token in tokens]
    return {"logprobs": {"content": [each | {"top_logprobs": [each][:alternatives]} for each in likely]}}


def _text_logprobs(tokens: list[str], alternatives: int | None) -> dict[str, Any] | None:
    """Return the logprobs of a completion's choice, None where none are asked for."""
    if alternatives is None:
        return None
    offsets = [sum(map(len, tokens[:place])) for place in range(len(tokens))]
    likely = [{token: _logprob(token)} if alternatives else {} for token in tokens]
    logprobs = [_logprob(token) for token in tokens]
    return {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": likely, "text_offset": offsets}


def _logprob(token: str) -> float:
    """Return a made-up number that depends on the token alone."""
    return -len(token) / 16


def _call_pieces(call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    function = call["function"]
    yield call | {"function": {"name": function["name"], "arguments": ""}}
    for token in tokens_in(function["arguments"]):
        yield {"function": {"arguments": token}}
