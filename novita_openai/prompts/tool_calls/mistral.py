"""Mistral v3 and later: calls, results and declarations are turns of their own, declarations before the last user's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.messages import Tools, Turn
from novita_openai.prompts.tool_calls.calls import ToolCall, call_fields, json_or_none, json_text, tool_calls_in
from novita_openai.prompts.tool_calls.dialect import Dialect, refuse_content

__all__ = ["MISTRAL", "MISTRAL_V7"]

_CALLS: Final = "[TOOL_CALLS]"
_ID: Final = re.compile("[a-zA-Z0-9]{9}")


@dataclass(frozen=True, slots=True)
class _Mistral(Dialect):
    """``result`` is how a result is written, and the pattern that reads it."""

    result: tuple[str, str] = (
        '{{"content": {text}, "call_id": "{id}"}}',
        r'\{"content": (?P<text>.*), "call_id": "(?P<id>[a-zA-Z0-9]{9})"\}',
    )

    def write_turn(self, turn: Turn) -> Turn:
        ids = [call["id"] for call in turn.calls] + ([turn.call_id] if turn.role == "tool" else [])
        wrong = [each for each in ids if not _ID.fullmatch(each or "")]
        if wrong:
            raise PromptError(f"the id of a tool call must be 9 letters or digits, not {wrong[0]!r}", index=turn.index)
        if turn.role == "tool":
            return turn.with_text(self.result[0].format(text=turn.text, id=turn.call_id))
        return replace(turn, role="calls", text=self.write_calls(turn)) if turn.calls else turn

    def read_turn(self, turn: Turn) -> Turn:
        if turn.role == "tool" and (found := re.fullmatch(self.result[1], turn.text, re.DOTALL)):
            return replace(turn, text=found["text"], call_id=found["id"])
        if turn.role == "calls":
            _, calls = self.read_calls(_CALLS + turn.text)
            return replace(turn, role="assistant", text="" if calls else turn.text, calls=calls)
        return turn

    def write_calls(self, turn: Turn) -> str:
        refuse_content(turn)
        calls = (
            f'{{"name": {json_text(name)}, "arguments": {arguments}, "id": "{call_id}"}}'
            for call_id, name, arguments in map(call_fields, turn.calls)
        )
        return f"[{', '.join(calls)}]"

    def read_calls(self, text: str) -> tuple[str, tuple[ToolCall, ...]]:
        before, marker, after = text.partition(_CALLS)
        values = json_or_none(after) if marker else None
        calls = tool_calls_in(values) if isinstance(values, list) else ()
        return (before, calls) if calls else (text, ())

    def declare(
        self,
        turns: list[Turn],
        tools: Tools,
        default: str | None,  # noqa: ARG002 - tools are not declared in the system message
    ) -> list[Turn]:
        place = max((place for place, turn in enumerate(turns) if turn.role == "user"), default=len(turns))
        return [*turns[:place], Turn("declared", json_text([*tools]), turns[-1].index), *turns[place:]]

    def declared(
        self,
        turns: Sequence[Turn],
        default: str | None,  # noqa: ARG002 - as in declare
    ) -> tuple[list[Turn], Tools | None]:
        tools = next((json_or_none(turn.text) for turn in turns if turn.role == "declared"), None)
        return [turn for turn in turns if turn.role != "declared"], tools


MISTRAL: Final = _Mistral((), _CALLS, id_style="{:09}", keeps_ids=True)
MISTRAL_V7: Final = _Mistral(
    (),
    _CALLS,
    id_style="{:09}",
    tags=(("tool", "[TOOL_CONTENT]"),),
    keeps_ids=True,
    result=("{id}[TOOL_CONTENT] {text}", r"(?P<id>[a-zA-Z0-9]{9})\[TOOL_CONTENT\] (?P<text>.*)"),
)
