"""The tags of Hermes, which Qwen 2.5 and 3 took over; results stand in a user turn."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.tool_calls.calls import ToolCall, call_fields, json_or_none, json_text, tool_calls_in
from novita_openai.prompts.tool_calls.dialect import DeclaredInSystem

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn, Tools

__all__ = ["HERMES"]

_TOOLS: Final = (
    (
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with "
        "function signatures within <tools></tools> XML tags:\n<tools>\n"
    ),
    (
        "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
        "<tool_call></tool_call> XML tags:\n<tool_call>\n"
        '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
    ),
)
"""What stands before and after the declarations, of which each is a line of JSON."""

_CALL: Final = re.compile(r"\n?<tool_call>\n?(.*?)\n?</tool_call>", re.DOTALL)


class _Hermes(DeclaredInSystem):
    __slots__ = ()
    pattern = re.compile(re.escape(_TOOLS[0]) + "(.*?)" + re.escape(_TOOLS[1]) + r"\Z", re.DOTALL)

    def write_calls(self, turn: ChatTurn) -> str:
        calls = [
            f'<tool_call>\n{{"name": {json_text(name)}, "arguments": {arguments}}}\n</tool_call>'
            for _, name, arguments in map(call_fields, turn.calls)
        ]
        return "\n".join([turn.text, *calls] if turn.text else calls)

    def read_calls(self, text: str, tools: Tools | None = None) -> tuple[str, tuple[ToolCall, ...]]:  # noqa: ARG002 - JSON says the types
        begin = text.find("<tool_call>")
        if begin < 0 or not text.rstrip().endswith("</tool_call>") or _CALL.sub("", text[begin:]).strip():
            return text, ()
        calls = tool_calls_in(json_or_none(found) for found in _CALL.findall(text[begin:]))
        return (text[:begin].removesuffix("\n"), calls) if calls else (text, ())

    def declaration(self, tools: Tools) -> str:
        return "\n".join(map(json_text, tools)).join(_TOOLS)

    def declarations(self, found: re.Match[str]) -> list[str]:
        return found[1].split("\n")


HERMES: Final = _Hermes(
    ("<tool_call>",),
    "<tool_call>",
    (("assistant", "<tool_call>"), ("assistant", "</tool_call>"), ("system", _TOOLS[0])),
)
