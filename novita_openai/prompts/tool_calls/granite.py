"""Granite 3: calls as a JSON list after a token, declarations as indented JSON in a turn of their own.

The published templates write declarations and results, but drop calls: they stand as the system text asks for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.tool_calls.calls import ToolCall, call_fields, json_or_none, json_text, tool_calls_in
from novita_openai.prompts.tool_calls.declarations import DeclarationsForm
from novita_openai.prompts.tool_calls.dialect import DeclaredApart, refuse_content

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn, Tools

__all__ = ["GRANITE_3", "GRANITE_31"]

_MARK: Final = "<|tool_call|>"
_INDENT: Final = 4


class _IndentedList(DeclarationsForm):
    """All tools as one indented list."""

    __slots__ = ()

    def written(self, tools: Tools) -> str:
        return json_text([*tools], _INDENT)

    def found(self, text: str) -> Iterator[Any]:
        value = json_or_none(text)
        yield from value if isinstance(value, list) else ()


class _IndentedTools(DeclarationsForm):
    """Each tool as an indented object, with a blank line between two."""

    __slots__ = ()

    def written(self, tools: Tools) -> str:
        return "\n\n".join(json_text(tool, _INDENT) for tool in tools)

    def found(self, text: str) -> Iterator[Any]:
        return map(json_or_none, text.split("\n\n"))


@dataclass(frozen=True, slots=True)
class _Granite(DeclaredApart):
    def write_calls(self, turn: ChatTurn) -> str:
        refuse_content(turn)
        calls = [{"name": name, "arguments": json.loads(given)} for _, name, given in map(call_fields, turn.calls)]
        return _MARK + json_text(calls)

    def read_calls(self, text: str, tools: Tools | None = None) -> tuple[str, tuple[ToolCall, ...]]:  # noqa: ARG002 - JSON says the types
        before, marked, inside = text.partition(_MARK)
        values = json_or_none(inside) if marked else None
        calls = tool_calls_in(values) if isinstance(values, list) else ()
        return (before, calls) if calls else (text, ())


_TAGS: Final = (("assistant", _MARK),)

GRANITE_3: Final = _Granite((), _MARK, _TAGS, declarations=_IndentedTools())
GRANITE_31: Final = _Granite((), _MARK, _TAGS, declarations=_IndentedList(), after_system=True)
