"""The bodies of requests: their fields, checked and refused as the service does.

The fields and their limits are those of https://novita.ai/docs/api-reference/model-apis-llm-create-chat-completion and
https://novita.ai/docs/api-reference/model-apis-llm-create-completion. Other fields are ignored, as the service does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from novita_openai.emulator.models import CHAT, Model
from novita_openai.emulator.replies import BAD_BODY, ServiceError

__all__ = ["AnyRequest", "ChatRequest", "CompletionRequest", "describe", "read", "tokens_in"]

Share = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class _RequestBody(BaseModel):
    """The fields of both endpoints."""

    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)

    model: Annotated[str, Field(min_length=1)]
    max_tokens: int | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    seed: int | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Share | None = None
    min_p: Share | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    logit_bias: dict[str, float] | None = None

    @property
    def stops(self) -> list[str]:
        """Return the stop strings."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


class _StreamOptions(BaseModel):
    include_usage: bool | None = None


class _ContentPart(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: Literal["text", "image_url", "video_url", "input_audio"]
    text: str | None = None


class _ToolCall(BaseModel):
    id: str
    function: _CalledFunction


class _CalledFunction(BaseModel):
    name: str
    arguments: str


class _ChatMessage(BaseModel):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[_ContentPart] | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """Return the text of all parts."""
        parts = self.content if isinstance(self.content, list) else [_ContentPart(type="text", text=self.content)]
        return "".join(part.text or "" for part in parts)


class ChatRequest(_RequestBody):
    """A request for a chat completion."""

    messages: Annotated[list[_ChatMessage], Field(min_length=1)]
    tools: list[_Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | _Tool | None = None
    response_format: _ResponseFormat | None = None
    separate_reasoning: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @property
    def alternatives(self) -> int | None:
        """Return how many logprobs each token is to have; None where none are asked for."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def objections(self) -> Iterator[str]:
        """Yield what is wrong with fields that do not fit together."""
        for place, message in enumerate(self.messages):
            if message.content is None and not message.tool_calls:
                yield f"messages.{place}.content: Field required"
            if message.role == "tool" and message.tool_call_id is None:
                yield f"messages.{place}.tool_call_id: Field required"
        names = [tool.function.name for tool in self.tools or ()]
        if isinstance(self.tool_choice, _Tool) and self.tool_choice.function.name not in names:
            yield f"tool_choice: no tool is named {self.tool_choice.function.name}"
        if self.tool_choice == "required" and not names:
            yield "tool_choice: required, but there are no tools"

    @property
    def prompt_tokens(self) -> int:
        """Return the size of the messages: four tokens for each, and its text."""
        return sum(len(tokens_in(message.text)) + 4 for message in self.messages)

    @property
    def features(self) -> list[str]:
        """Return the features that the model must have."""
        structured = self.response_format is not None and self.response_format.type == "json_schema"
        return [*(["function-calling"] * bool(self.tools)), *(["structured-outputs"] * structured)]


class _Tool(BaseModel):
    type: Literal["function"]
    function: _FunctionDefinition


class _FunctionDefinition(BaseModel):
    name: Annotated[str, Field(min_length=1)]
    parameters: dict[str, Any] | None = None


class _ResponseFormat(BaseModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


class CompletionRequest(_RequestBody):
    """A request for a completion of one prompt, or of each prompt in a list."""

    prompt: str | Annotated[list[str] | list[int] | list[list[int]], Field(min_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    @property
    def alternatives(self) -> int | None:
        """Return how many logprobs each token is to have; None where none are asked for."""
        return self.logprobs

    @property
    def objections(self) -> Iterator[str]:
        """Yield what is wrong with fields that do not fit together."""
        yield from ()

    @property
    def prompts(self) -> Sequence[str | Sequence[int]]:
        """Return the prompts: texts, or lists of token numbers."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        numbers = [each for each in self.prompt if isinstance(each, int)]
        return [numbers] if numbers else [each for each in self.prompt if not isinstance(each, int)]

    @property
    def prompt_tokens(self) -> int:
        """Return the size of all prompts."""
        return sum(len(tokens_in(prompt) if isinstance(prompt, str) else prompt) for prompt in self.prompts)

    @property
    def features(self) -> list[str]:
        """Return the features that the model must have."""
        return []


AnyRequest = ChatRequest | CompletionRequest


def read(kind: type[AnyRequest], body: bytes, models: Mapping[str, Model]) -> tuple[AnyRequest, Model]:
    """Return a request and its model; raise :class:`ServiceError` where the service refuses it."""
    try:
        request = kind.model_validate(json.loads(body))
    except ValidationError as error:
        raise ServiceError(BAD_BODY, describe(error)) from error
    except (ValueError, RecursionError) as error:
        raise ServiceError(BAD_BODY, f"the body is not JSON: {error}") from error
    model = models.get(request.model)
    if model is None:
        raise ServiceError("MODEL_NOT_FOUND", f"model not found: {request.model}")
    for message in _objections(request, model):
        raise ServiceError(BAD_BODY, message)
    return request, model


def describe(error: ValidationError) -> str:
    """Return the first problem as one line: the field and what is wrong with it."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place or 'body'}: {first['msg']}"


def _objections(request: AnyRequest, model: Model) -> Iterator[str]:
    """Yield what is wrong with a request to this model."""
    if model.model_type != CHAT:
        yield f"model: {model.id} is of the type {model.model_type}, which does not answer this"
    if getattr(request, "max_completion_tokens", None) is not None:
        yield "max_completion_tokens is not supported, use max_tokens"
    limit, asked = model.max_output_tokens, request.max_tokens
    if asked is not None and not 0 <= asked <= limit:
        yield f"max_tokens (current value: {asked}) must be between 0 and {limit} "
    if (total := request.prompt_tokens + (asked or 0)) > model.context_size:
        yield f"the prompt and max_tokens need {total} tokens, the context has {model.context_size}"
    yield from request.objections
    for feature in request.features:
        if feature not in model.features:
            yield f"model: {model.id} does not support feature: {feature}"


_TOKEN: Final = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")


def tokens_in(text: str) -> list[str]:
    """Split a text into tokens, which here are words and signs, each with the white space before it."""
    return _TOKEN.findall(text)
