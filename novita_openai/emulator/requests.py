"""What the service takes: its models, and requests checked and refused as it does.

The fields and their limits are those of https://novita.ai/docs/api-reference/model-apis-llm-create-chat-completion and
its sibling for completions. Fields that are in neither are passed over, as the service does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = ["MODELS", "Model"]

Share = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class RefusedError(Exception):
    """The service answers with an error: its word and its text."""

    def __init__(self, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the emulator: prices are units of 0.0001 dollars a million tokens, sizes are tokens."""

    id: str
    context_size: int = 131_072
    max_output_tokens: int = 32_768
    input_token_price_per_m: int = 200
    output_token_price_per_m: int = 500
    features: tuple[str, ...] = ("function-calling", "structured-outputs", "reasoning")

    def row(self) -> dict[str, Any]:
        """Return the row of the models list."""
        endpoints = ["chat/completions", "completions"]
        return asdict(self) | {
            "object": "model",
            "created": CREATED,
            "title": self.id,
            "display_name": self.id,
            "description": "An emulated model.",
            "model_type": "chat",
            "endpoints": endpoints,
            "features": list(self.features),
            "status": 1,
        }

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return dollars."""
        units = prompt_tokens * self.input_token_price_per_m + completion_tokens * self.output_token_price_per_m
        return units / UNITS_PER_DOLLAR / 1_000_000


CREATED: Final = 1_735_689_600
"""The time on every reply: 2025-01-01, so that replies depend on requests alone."""

UNITS_PER_DOLLAR: Final = 10_000

MODELS: Final = (
    Model("meta-llama/llama-3.1-8b-instruct", 16_384, 16_384, 200, 500, ("function-calling",)),
    Model("meta-llama/llama-3.3-70b-instruct", 131_072, 120_000, 1_350, 4_000),
    Model("qwen/qwen3-30b-a3b-fp8", 40_960, 20_000, 900, 4_500),
    Model("deepseek/deepseek-v3.2", 163_840, 65_536, 2_690, 4_000),
    Model("deepseek/deepseek-r1-0528", 163_840, 32_768, 7_000, 25_000),
    Model("zai-org/glm-4.5", 131_072, 98_304, 6_000, 22_000),
    Model("moonshotai/kimi-k2.5", 262_144, 262_144, 6_000, 30_000),
)
"""The models of an emulator that is not told others; their sizes and prices are made up."""


def models_of(given: Iterable[Model | str]) -> dict[str, Model]:
    """Return models by id."""
    return {each.id: each for each in (Model(each) if isinstance(each, str) else each for each in given)}


class _Request(BaseModel):
    """What both endpoints take."""

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


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: Literal["text", "image_url", "video_url", "input_audio"]
    text: str | None = None


class _Call(BaseModel):
    id: str
    function: _Called


class _Called(BaseModel):
    name: str
    arguments: str


class _Message(BaseModel):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[_Part] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """Return the text of all parts."""
        parts = self.content if isinstance(self.content, list) else [_Part(type="text", text=self.content)]
        return "".join(part.text or "" for part in parts)


class ChatRequest(_Request):
    """A request for a chat completion."""

    messages: Annotated[list[_Message], Field(min_length=1)]
    tools: list[_Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | _Tool | None = None
    response_format: _ResponseFormat | None = None
    separate_reasoning: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @property
    def alternatives(self) -> int | None:
        """Return how many logprobs a token has, None without."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def objections(self) -> Iterator[str]:
        """Yield what does not fit together."""
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
        """Return the size of the messages, with four tokens of wrapping each."""
        return sum(len(tokens_in(message.text)) + 4 for message in self.messages)

    @property
    def features(self) -> list[str]:
        """Return what the model must be able to do."""
        structured = self.response_format is not None and self.response_format.type == "json_schema"
        return [*(["function-calling"] * bool(self.tools)), *(["structured-outputs"] * structured)]


class _Tool(BaseModel):
    type: Literal["function"]
    function: _Function


class _Function(BaseModel):
    name: Annotated[str, Field(min_length=1)]
    parameters: dict[str, Any] | None = None


class _ResponseFormat(BaseModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


class CompletionRequest(_Request):
    """A request for a completion of one prompt, or of each of a list."""

    prompt: str | Annotated[list[str] | list[int] | list[list[int]], Field(min_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    @property
    def alternatives(self) -> int | None:
        """Return how many logprobs a token has, None without."""
        return self.logprobs

    @property
    def objections(self) -> Iterator[str]:
        """Yield what does not fit together."""
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
        """Return what the model must be able to do."""
        return []


AnyRequest = ChatRequest | CompletionRequest

_UNSUPPORTED: Final = ("max_completion_tokens",)


def read(kind: type[AnyRequest], body: object, models: Mapping[str, Model]) -> tuple[AnyRequest, Model]:
    """Return a request and its model; raise :class:`RefusedError` as the service refuses.

    ``body`` is what the JSON of the request says.
    """
    try:
        request = kind.model_validate(body)
    except ValidationError as error:
        raise RefusedError(_BAD, _describe(error)) from error
    model = models.get(request.model)
    if model is None:
        raise RefusedError("MODEL_NOT_FOUND", f"model not found: {request.model}")
    for message in _objections(request, model):
        raise RefusedError(_BAD, message)
    return request, model


_BAD: Final = "INVALID_REQUEST_BODY"


def _describe(error: ValidationError) -> str:
    """Return the first problem as one line: the field and what is wrong with it."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place or 'body'}: {first['msg']}"


def _objections(request: AnyRequest, model: Model) -> Iterable[str]:
    """Yield what the model does not take."""
    for name in _UNSUPPORTED:
        if getattr(request, name, None) is not None:
            yield f"{name} is not supported, use max_tokens"
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
    """Split a text into the emulator's tokens: words and signs, each with the white space before it."""
    return _TOKEN.findall(text)
