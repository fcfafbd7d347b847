"""Cohere's Command: calls as a JSON list, results as JSON in a system message, both numbered from the first call on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.tool_calls.calls import ToolCall, call_fields, json_or_none, json_text, tool_call
from novita_openai.prompts.tool_calls.declarations import DeclarationsForm
from novita_openai.prompts.tool_calls.dialect import DeclaredApart, refuse_content, refuse_unanswered

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn, Tools

__all__ = ["COMMAND", "COMMAND_R7B"]

_ACTION: Final = ("<|START_ACTION|>", "<|END_ACTION|>")
_RESULT: Final = re.compile(r'(?P<id>[^"]*)",\n        "results": \{\n            "0": (?P<value>.*)', re.DOTALL)
_DECLARED: Final = re.compile(
    r'    \{"name": "(?P<name>[^"]*)", "description": "(?P<description>.*)", '
    r'"parameters": (?P<parameters>\{.*\}), "responses": null\}'
)


class _CohereDeclarations(DeclarationsForm):
    __slots__ = ()

    def written(self, tools: Tools) -> str:
        return ",\n".join(map(_declaration, (tool["function"] for tool in tools)))

    def found(self, text: str) -> Iterator[Any]:
        for found in map(_DECLARED.fullmatch, text.split(",\n")):
            parts: dict[str, Any] = {} if found is None else found.groupdict()
            yield {
                "type": "function",
                "function": {**parts, "parameters": json_or_none(parts.get("parameters", ""))},
            }


def _declaration(function: Mapping[str, Any]) -> str:
    name, description = function["name"], function.get("description")
    parameters = json_text(function.get("parameters"))
    return f'    {{"name": "{name}", "description": "{description}", "parameters": {parameters}, "responses": null}}'


@dataclass(frozen=True, slots=True)
class _Command(DeclaredApart):
    """With ``wraps_results`` a result is an object with the text as its ``content``."""

    wraps_results: bool = False

    def write(self, turns: Sequence[ChatTurn], tools: Tools | None, default: str | None) -> list[ChatTurn]:
        for turn, following in zip(turns, [*turns[1:], None], strict=True):
            refuse_unanswered(turn, following)
        written = [self.write_turn(turn) for turn in turns]
        return self.declare(written, tools, default) if tools else written

    def write_turn(self, turn: ChatTurn) -> ChatTurn:
        if turn.calls and not turn.reasoning:
            return replace(turn, role="calls", text=self.write_calls(turn))
        if turn.calls:
            return turn.with_text(f"{_ACTION[0]}[\n{self.write_calls(turn)}")
        return turn.with_text(self.write_result(turn)) if turn.role == "tool" else turn

    def write_calls(self, turn: ChatTurn) -> str:
        refuse_content(turn)
        return ",\n".join(
            f'    {{"tool_call_id": "{call_id}", "tool_name": "{name}", "parameters": {arguments}}}'
            for call_id, name, arguments in map(call_fields, turn.calls)
        )

    def write_result(self, turn: ChatTurn) -> str:
        value = {"content": turn.text} if self.wraps_results else turn.text
        return f'{turn.call_id}",\n        "results": {{\n            "0": {json_text(value)}'

    def read_turn(self, turn: ChatTurn) -> ChatTurn:
        if turn.role not in ("assistant", "calls"):
            return self.read_result(turn) if turn.role == "tool" else turn
        given = f"{_ACTION[0]}[{turn.text}" if turn.role == "calls" else turn.text
        text, calls = self.read_calls(f"{given}]" if given.startswith(_ACTION[0]) else given)
        return replace(turn, role="assistant", text=text, calls=calls)

    def read_result(self, turn: ChatTurn) -> ChatTurn:
        found = _RESULT.fullmatch(turn.text)
        value = json_or_none(found["value"]) if found is not None else None
        text = value.get("content") if isinstance(value, dict) else value
        if found is None or not isinstance(text, str):
            raise PromptError("this is not how the format writes the result of a call", offset=0)
        return replace(turn, text=text, call_id=found["id"])

    def read_calls(self, text: str, tools: Tools | None = None) -> tuple[str, tuple[ToolCall, ...]]:  # noqa: ARG002 - JSON says the types
        before, opened, inside = text.partition(_ACTION[0])
        values = json_or_none(inside.strip().removesuffix(_ACTION[1])) if opened else None
        calls = [_call_in(value) for value in values] if isinstance(values, list) else []
        whole = tuple(filter(None, calls))
        return (before, whole) if calls and len(whole) == len(calls) else (text, ())


def _call_in(value: Any) -> ToolCall | None:
    """Return the call that a decoded JSON value stands for."""
    if not isinstance(value, dict) or not isinstance(value.get("tool_name"), str):
        return None
    arguments = value.get("parameters")
    call_id = str(value.get("tool_call_id", ""))
    return tool_call(value["tool_name"], arguments, call_id) if isinstance(arguments, dict) else None


_TAGS: Final = tuple(("assistant", tag) for tag in _ACTION)

COMMAND_R7B: Final = _Command((), _ACTION[0], _TAGS, id_style="{number}", declarations=_CohereDeclarations())
COMMAND: Final = replace(COMMAND_R7B, wraps_results=True)
