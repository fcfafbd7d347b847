"""DeepSeek V3. Its published template declares no tools: they are declared as the vendor's service describes it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.tool_calls.calls import ToolCall, call_fields, json_or_none, json_text, tool_calls_in
from novita_openai.prompts.tool_calls.dialect import DeclaredInSystem

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn, Tools

__all__ = ["DEEPSEEK"]

_TOOLS: Final = "## Tools\n\n### Function\n\nYou have the following functions available:\n\n"
_TOOL: Final = re.compile(r"- `[^`\n]*`:\n```json\n(.*?)\n```\n", re.DOTALL)
_CALLS: Final = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
_CALL_TOKENS: Final = ("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>")
_CALL: Final = re.compile(
    r"\s*<｜tool▁call▁begin｜>function<｜tool▁sep｜>([^\n]*)\n```json\n(.*?)\n```<｜tool▁call▁end｜>", re.DOTALL
)


class _DeepSeek(DeclaredInSystem):
    __slots__ = ()
    pattern = re.compile(re.escape(_TOOLS) + r"(?:- `[^`\n]*`:\n```json\n.*?\n```\n)+\Z", re.DOTALL)

    def write_calls(self, turn: ChatTurn) -> str:
        calls = [
            f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```<｜tool▁call▁end｜>"
            for _, name, arguments in map(call_fields, turn.calls)
        ]
        return turn.text + "\n".join(calls).join(_CALLS)

    def read_calls(self, text: str, tools: Tools | None = None) -> tuple[str, tuple[ToolCall, ...]]:  # noqa: ARG002 - JSON says the types
        before, begin, rest = text.partition(_CALLS[0])
        inside, end, after = rest.partition(_CALLS[1])
        if not (begin and end) or after.strip() or _CALL.sub("", inside).strip():
            return text, ()
        calls = tool_calls_in({"name": name, "arguments": json_or_none(found)} for name, found in _CALL.findall(inside))
        return (before, calls) if calls else (text, ())

    def declaration(self, tools: Tools) -> str:
        return _TOOLS + "".join(f"- `{tool['function']['name']}`:\n```json\n{json_text(tool)}\n```\n" for tool in tools)

    def declarations(self, found: re.Match[str]) -> list[str]:
        return _TOOL.findall(found.group())


DEEPSEEK: Final = _DeepSeek(
    (_CALLS[0], _TOOLS),
    _CALLS[0],
    (*(("assistant", token) for token in (*_CALLS, *_CALL_TOKENS)), ("system", _TOOLS)),
)
