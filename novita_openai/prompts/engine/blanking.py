"""Turns with a filler for all that the caller gave: written as a prompt, they show what the format writes by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn

__all__ = ["blanked", "given_texts", "texts_in"]

_FILLER: Final = "\0"


def blanked(turn: ChatTurn) -> ChatTurn:
    """Return the turn with a filler for its texts, and for the names and the arguments of its calls."""
    calls = tuple({**call, "function": _blank_function(call["function"])} for call in turn.calls)
    return replace(turn, text=turn.text and _FILLER, reasoning=turn.reasoning and _FILLER, calls=calls)


def _blank_function(function: Mapping[str, Any]) -> dict[str, str]:
    arguments = _blank(json.loads(function["arguments"]))
    return {"name": _FILLER, "arguments": json.dumps(arguments, ensure_ascii=False)}


def _blank(value: Any) -> Any:
    """Return a JSON value of the same shape."""
    if isinstance(value, dict):
        return {_FILLER * place: _blank(inner) for place, inner in enumerate(value.values(), 1)}
    if isinstance(value, list):
        return [*map(_blank, value)]
    return _FILLER if isinstance(value, str) else value


def given_texts(turn: ChatTurn) -> Iterator[str]:
    """Yield all texts of a turn that the caller gave."""
    yield from (turn.text, turn.reasoning or "", turn.call_id or "")
    for call in turn.calls:
        yield from (call["id"], call["function"]["name"], call["function"]["arguments"])


def texts_in(value: Any) -> Iterator[str]:
    """Yield the texts of a JSON value, its keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from (str(key), *texts_in(inner))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from texts_in(inner)
