"""What the emulator answers to ``/embeddings``: for each input a vector of length 1 that follows from its text.

https://novita.ai/docs/api-reference/model-apis-llm-create-embeddings
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from novita_openai.emulator.models import EMBEDDING, Model
from novita_openai.emulator.replies import BAD_BODY, Reply, ServiceError, document
from novita_openai.emulator.requests import describe, tokens_in

__all__ = ["Embeddings", "embeddings_of"]

DIMENSIONS: Final = 32
"""Numbers of a vector; those of real models are longer."""


class _Asked(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)

    model: Annotated[str, Field(min_length=1)]
    input: str | Annotated[list[str] | list[int] | list[list[int]], Field(min_length=1)]
    encoding_format: Literal["float", "base64"] | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The inputs of a request: texts or lists of tokens, and their model."""

    model: Model
    inputs: Sequence[str | Sequence[int]]
    is_packed: bool

    @property
    def tokens(self) -> int:
        """Return the size of all inputs."""
        return sum(len(tokens_in(each) if isinstance(each, str) else each) for each in self.inputs)

    def reply(self) -> Reply:
        """Return a vector for each input."""
        vectors = [_vector(each) for each in self.inputs]
        data = [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if self.is_packed else vector}
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": self.tokens, "total_tokens": self.tokens}
        return document({"object": "list", "model": self.model.id, "data": data, "usage": usage})


def embeddings_of(body: bytes, models: Mapping[str, Model]) -> Embeddings:
    """Return what a request asks for; raise :class:`ServiceError` where the service refuses it."""
    try:
        asked = _Asked.model_validate(json.loads(body))
    except ValidationError as error:
        raise ServiceError(BAD_BODY, describe(error)) from error
    except (ValueError, RecursionError) as error:
        raise ServiceError(BAD_BODY, f"the body is not JSON: {error}") from error
    model = models.get(asked.model)
    if model is None:
        raise ServiceError("MODEL_NOT_FOUND", f"model not found: {asked.model}")
    if model.model_type != EMBEDDING:
        raise ServiceError(BAD_BODY, f"model: {model.id} does not make embeddings")
    return Embeddings(model, _inputs(asked.input), asked.encoding_format == "base64")


def _inputs(given: Any) -> Sequence[str | Sequence[int]]:
    is_one = isinstance(given, str) or isinstance(given[0], int)
    return [given] if is_one else given


def _vector(text: str | Sequence[int]) -> list[float]:
    digest = hashlib.blake2b(json.dumps(text).encode(), digest_size=DIMENSIONS).digest()
    numbers = [byte - 127.5 for byte in digest]
    length = math.hypot(*numbers)
    return [number / length for number in numbers]


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
