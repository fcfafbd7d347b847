"""Whether an answer is what the program needs: a check of its own, and what a model is told that missed it.

A check is a JSON Schema, a pydantic model, or a function. Only a ``ValueError`` is a verdict on an answer; any other
exception of a function is an error of the program, and stops the batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from novita_openai.batch.endpoints import CHAT, COMPLETIONS
from novita_openai.batch.jsonl import decode
from novita_openai.batch.reading import BatchResult
from novita_openai.client.json_schemas import flaws_of, listed, validator_of

if TYPE_CHECKING:
    from novita_openai.batch.requests import BatchRequest

__all__ = [
    "VALIDATION_FAILED",
    "AnswerCheck",
    "Validate",
    "check_of",
    "corrected",
    "flaw_in",
    "reads_text",
    "with_response_format",
]

VALIDATION_FAILED: Final = "validation_failed"
"""The code of a row of which no answer has passed the check."""

Validate = Mapping[str, Any] | type[Any] | Callable[[BatchResult], str | None]
"""A JSON Schema, a pydantic model, or a function that returns None or a text that says what is wrong."""


class AnswerCheck(Protocol):
    """Says what is wrong with an answer. ``schema`` and ``name``: what answers must be, None where nobody can know."""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """Return the JSON Schema that an answer must fit."""
        ...

    @property
    def name(self) -> str:
        """Return a name for what is checked."""
        ...

    def flaw(self, result: BatchResult) -> str | None:
        """Return what is wrong with an answer, None where nothing is."""
        ...


def flaw_in(check: AnswerCheck, result: BatchResult) -> str | None:
    """Return what is wrong with an answer, None where nothing is.

    Raises what a function of the program raises, but for ``ValueError``, with a note that names the row.
    """
    try:
        return check.flaw(result)
    except Exception as error:
        error.add_note(f"validate raised it for the answer to {result.custom_id!r}; only a ValueError is a verdict.")
        raise


def reads_text(validate: Validate | None) -> bool:
    """Tell whether a check is of the text of an answer alone: that is so of schemas and models."""
    return isinstance(validate, Mapping) or hasattr(validate, "model_validate_json")


def check_of(validate: Validate | None) -> AnswerCheck | None:
    """Return the check that an option asks for; raise ``ValueError`` or ``TypeError`` for what cannot be one."""
    if validate is None:
        return None
    if isinstance(validate, Mapping):
        return _SchemaCheck(validate, validator_of(validate, "validate="))
    if hasattr(validate, "model_validate_json"):
        return _ModelCheck(cast("Any", validate))
    if not callable(validate):
        raise TypeError(
            f"validate={validate!r}: give a JSON Schema (a dict), a pydantic model, or a function that returns None or "
            "a text that says what is wrong"
        )
    return _FunctionCheck(validate)


@dataclass(frozen=True, slots=True)
class _SchemaCheck:
    schema: Mapping[str, Any]
    validator: Any

    @property
    def name(self) -> str:
        return str(self.schema.get("title", ""))

    def flaw(self, result: BatchResult) -> str | None:
        return _first(flaws_of(self.validator, value) for value in _values(result))


@dataclass(frozen=True, slots=True)
class _ModelCheck:
    model: Any

    @property
    def schema(self) -> Mapping[str, Any]:
        return cast("Mapping[str, Any]", self.model.model_json_schema())

    @property
    def name(self) -> str:
        return str(self.model.__name__)

    def flaw(self, result: BatchResult) -> str | None:
        return _first(self._flaws(text) for text in _texts(result))

    def _flaws(self, text: str) -> str | None:
        try:
            self.model.model_validate_json(text)
        except ValueError as error:
            errors: Any = getattr(error, "errors", None)
            found = errors(include_url=False, include_input=False) if errors else []
            return listed([f"{_path(each['loc'])}: {each['msg']}" for each in found]) or str(error)
        return None


@dataclass(frozen=True, slots=True)
class _FunctionCheck:
    function: Callable[[BatchResult], object]
    schema: None = None
    name: str = ""

    def flaw(self, result: BatchResult) -> str | None:
        try:
            said = self.function(result)
        except ValueError as error:
            return str(error) or type(error).__name__
        if said is not None and not isinstance(said, str):
            raise TypeError(
                f"validate returned {said!r}: return None for a good answer, or a text that says what is wrong"
            )
        return said


class _UnfitError(ValueError):
    """An answer has no text, or no JSON in it."""


def _first(flaws: Iterator[str | None]) -> str | None:
    """Return the first flaw of the choices of an answer."""
    try:
        return next((flaw for flaw in flaws if flaw is not None), None)
    except _UnfitError as error:
        return str(error)


def _texts(result: BatchResult) -> Iterator[str]:
    """Yield the text of each choice; there must be at least one."""
    for text in result.texts or [None]:
        if not text:
            raise _UnfitError("there is no text in it")
        yield text


def _values(result: BatchResult) -> Iterator[Any]:
    for text in _texts(result):
        try:
            value = decode(text)
        except ValueError as error:
            raise _UnfitError(f"it is not JSON ({error}): give the JSON alone, with nothing around it") from None
        yield value


def _path(parts: tuple[Any, ...]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def with_response_format(
    request: BatchRequest, check: AnswerCheck, *, has_structured_outputs: bool
) -> dict[str, Any] | None:
    """Return the body of a chat that asks for what a check wants; None where the row is sent as it is."""
    is_free = request.path == CHAT and request.body.get("response_format") is None
    if check.schema is None or not (is_free and has_structured_outputs):
        return None
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", check.name)[:64].strip("_") or "answer"
    wanted = {"type": "json_schema", "json_schema": {"name": name, "schema": check.schema}}
    return {**request.body, "response_format": wanted}


def corrected(path: str, body: Mapping[str, Any], text: str | None, flaw: str) -> dict[str, Any]:
    """Return a body that asks again, with the last answer and what was wrong with it.

    Prompts that are lists, and inputs of embeddings, cannot hold that: they are sent as they were.
    """
    told = f"This answer cannot be used: {flaw}\nAnswer the request again, with that put right."
    if path == CHAT and isinstance(body.get("messages"), list):
        last = [{"role": "assistant", "content": text}] if text else []
        return {**body, "messages": [*body["messages"], *last, {"role": "user", "content": told}]}
    if path == COMPLETIONS and isinstance(body.get("prompt"), str):
        return {**body, "prompt": f"{body['prompt']}{text or ''}\n\n{told}\n\n"}
    return dict(body)
