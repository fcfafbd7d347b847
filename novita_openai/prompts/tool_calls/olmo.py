"""OLMo 3: calls as Python writes them, with arguments as JSON, and declarations as a list in the system message."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.tool_calls.calls import ToolCall, call_fields, json_text, tool_call
from novita_openai.prompts.tool_calls.declarations import Declarations
from novita_openai.prompts.tool_calls.dialect import DeclaredApart

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn, Tools

__all__ = ["OLMO_3"]

_CALLS: Final = ("<function_calls>", "</function_calls>")
_NAME: Final = re.compile(r"\n?([^\s()=,]+)\(")
_KEY: Final = re.compile(r"(?:, )?([^\s()=,]+)=")
_JSON: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class _Olmo(DeclaredApart):
    def write_calls(self, turn: ChatTurn) -> str:
        calls = [f"{name}({_arguments(given)})" for _, name, given in map(call_fields, turn.calls)]
        return turn.text + "\n".join(calls).join(_CALLS)

    def read_calls(self, text: str, tools: Tools | None = None) -> tuple[str, tuple[ToolCall, ...]]:  # noqa: ARG002 - JSON says the types
        before, opened, inside = text.partition(_CALLS[0])
        inside, closed, rest = inside.partition(_CALLS[1])
        if not (opened and closed) or rest.strip():
            return text, ()
        try:
            calls = (*_calls_in(inside),)
        except (ValueError, RecursionError):
            return text, ()
        return (before, calls) if calls else (text, ())


def _arguments(given: str) -> str:
    """Return arguments as a call names them."""
    return ", ".join(f"{key}={json_text(value)}" for key, value in json.loads(given).items())


def _calls_in(text: str) -> Iterator[ToolCall]:
    """Yield the calls of a text; raise ValueError for a text of another form."""
    place = 0
    while place < len(text):
        found = _NAME.match(text, place)
        if found is None:
            raise ValueError(text)
        arguments, place = _arguments_in(text, found.end())
        yield tool_call(found[1], arguments)


def _arguments_in(text: str, place: int) -> tuple[dict[str, Any], int]:
    """Return the arguments that are named from a place on, and where the call ends; raise ValueError if it does not."""
    arguments: dict[str, Any] = {}
    while not text.startswith(")", place):
        key = _KEY.match(text, place)
        if key is None:
            raise ValueError(text)
        arguments[key[1]], place = _JSON.raw_decode(text, key.end())
    return arguments, place + 1


OLMO_3: Final = _Olmo(
    (),
    _CALLS[0],
    tuple(("assistant", tag) for tag in _CALLS),
    declarations=Declarations(between=", ", ends=("[", "]")),
    after_system=True,
)
