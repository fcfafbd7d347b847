"""SmolLM3: declarations as Python prints them, calls between tags, results as bare user's turns.

The published template drops calls: they stand as the system text asks for them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.tool_calls.calls import ToolCall, call_fields, json_or_none, json_text, tool_calls_in
from novita_openai.prompts.tool_calls.declarations import DeclarationsForm
from novita_openai.prompts.tool_calls.dialect import DeclaredApart, refuse_content

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn, Tools

__all__ = ["SMOLLM_3"]

_TAGS: Final = ("<tool_call>", "</tool_call>")
_BETWEEN: Final = "\n</tool_call>\n<tool_call>\n"


class _Python(DeclarationsForm):
    """Each tool as a line of Python."""

    __slots__ = ()

    def written(self, tools: Tools) -> str:
        return "\n".join(map(str, tools))

    def found(self, text: str) -> Iterator[Any]:
        return map(_literal, text.split("\n"))


def _literal(line: str) -> Any:
    try:
        return ast.literal_eval(line)
    except (ValueError, SyntaxError):
        return None


@dataclass(frozen=True, slots=True)
class _SmolLM(DeclaredApart):
    def write_turn(self, turn: ChatTurn) -> ChatTurn:
        if turn.calls:
            return replace(turn, role="calls", text=self.write_calls(turn))
        return turn

    def read_turn(self, turn: ChatTurn) -> ChatTurn:
        if turn.role != "calls":
            return turn
        text, calls = self.read_calls(f"<tool_call>\n{turn.text}\n</tool_call>")
        return replace(turn, role="assistant", text=text, calls=calls)

    def write_calls(self, turn: ChatTurn) -> str:
        refuse_content(turn)
        calls = map(call_fields, turn.calls)
        return _BETWEEN.join(f'{{"name": {json_text(name)}, "arguments": {given}}}' for _, name, given in calls)

    def read_calls(self, text: str, tools: Tools | None = None) -> tuple[str, tuple[ToolCall, ...]]:  # noqa: ARG002 - JSON says the types
        before, opened, inside = text.strip().partition(_TAGS[0])
        if not (opened and inside.endswith(_TAGS[1])):
            return text, ()
        pieces = inside.removesuffix(_TAGS[1]).strip().split(_BETWEEN)
        calls = tool_calls_in(map(json_or_none, pieces))
        return (before.rstrip(), calls) if calls else (text, ())


SMOLLM_3: Final = _SmolLM(
    (), _TAGS[0], tuple(("assistant", tag) for tag in _TAGS), declarations=_Python(), after_system=True
)
