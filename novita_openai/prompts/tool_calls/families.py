"""How the families write tool declarations, calls and results, and read them back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.messages import Turn
from novita_openai.prompts.tool_calls.calls import Call, json_text
from novita_openai.prompts.tool_calls.dialect import DeclaredInSystem, Dialect, Tools, call_of, loads

__all__ = ["DIALECTS", "Dialect"]


def _name(each: Call) -> str:
    name: str = each["function"]["name"]
    return name


def _arguments(each: Call) -> str:
    arguments: str = each["function"]["arguments"]
    return arguments


def _refuse_content(turn: Turn) -> None:
    if turn.text:
        raise PromptError("the published template drops content beside tool calls", index=turn.index)


_QWEN: Final = (
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
_QWEN_DECLARATION: Final = re.compile(re.escape(_QWEN[0]) + "(.*?)" + re.escape(_QWEN[1]) + r"\Z", re.DOTALL)
_QWEN_CALL: Final = re.compile(r"\n?<tool_call>\n?(.*?)\n?</tool_call>", re.DOTALL)


class _Qwen(DeclaredInSystem):
    """Hermes' tags, which Qwen 2.5 and 3 took over; results stand in a user turn."""

    __slots__ = ()

    def write_calls(self, turn: Turn) -> str:
        calls = [
            f'<tool_call>\n{{"name": {json_text(_name(each))}, "arguments": {_arguments(each)}}}\n</tool_call>'
            for each in turn.calls
        ]
        return "\n".join([turn.text, *calls] if turn.text else calls)

    def read_calls(self, text: str) -> tuple[str, tuple[Call, ...]]:
        begin = text.find("<tool_call>")
        if begin < 0 or not text.rstrip().endswith("</tool_call>"):
            return text, ()
        calls = [call_of(loads(found)) for found in _QWEN_CALL.findall(text[begin:])]
        if None in calls or _QWEN_CALL.sub("", text[begin:]).strip():
            return text, ()
        return text[:begin].removesuffix("\n"), tuple(each for each in calls if each is not None)

    @property
    def pattern(self) -> re.Pattern[str]:
        return _QWEN_DECLARATION

    def declaration(self, tools: Tools) -> str:
        return "\n".join(map(json_text, tools)).join(_QWEN)

    def declarations(self, found: re.Match[str]) -> list[str]:
        return found[1].split("\n")


_DEEPSEEK_TOOLS: Final = "## Tools\n\n### Function\n\nYou have the following functions available:\n\n"
_DEEPSEEK_DECLARATION: Final = re.compile(
    re.escape(_DEEPSEEK_TOOLS) + r"(?:- `[^`\n]*`:\n```json\n.*?\n```\n)+\Z", re.DOTALL
)
_DEEPSEEK_TOOL: Final = re.compile(r"- `[^`\n]*`:\n```json\n(.*?)\n```\n", re.DOTALL)
_DEEPSEEK_CALLS: Final = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
_DEEPSEEK_CALL: Final = re.compile(
    r"\s*<｜tool▁call▁begin｜>function<｜tool▁sep｜>([^\n]*)\n```json\n(.*?)\n```<｜tool▁call▁end｜>", re.DOTALL
)


class _DeepSeek(DeclaredInSystem):
    """DeepSeek V3. Its published template declares no tools: they are declared as the vendor's service describes it."""

    __slots__ = ()

    def write_calls(self, turn: Turn) -> str:
        calls = [
            f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{_name(each)}\n```json\n{_arguments(each)}\n```<｜tool▁call▁end｜>"
            for each in turn.calls
        ]
        return turn.text + "\n".join(calls).join(_DEEPSEEK_CALLS)

    def read_calls(self, text: str) -> tuple[str, tuple[Call, ...]]:
        before, begin, rest = text.partition(_DEEPSEEK_CALLS[0])
        inside, end, after = rest.partition(_DEEPSEEK_CALLS[1])
        calls = [call_of({"name": name, "arguments": loads(found)}) for name, found in _DEEPSEEK_CALL.findall(inside)]
        if not (begin and end and calls) or None in calls or after.strip() or _DEEPSEEK_CALL.sub("", inside).strip():
            return text, ()
        return before, tuple(each for each in calls if each is not None)

    @property
    def pattern(self) -> re.Pattern[str]:
        return _DEEPSEEK_DECLARATION

    def declaration(self, tools: Tools) -> str:
        return _DEEPSEEK_TOOLS + "".join(
            f"- `{tool['function']['name']}`:\n```json\n{json_text(tool)}\n```\n" for tool in tools
        )

    def declarations(self, found: re.Match[str]) -> list[str]:
        return _DEEPSEEK_TOOL.findall(found.group())


_LLAMA_TOOLS: Final = (
    "Given the following functions, please respond with a JSON for a function call with its proper arguments that best "
    "answers the given prompt.\n\nRespond in the format "
    '{"name": function name, "parameters": dictionary of argument name and its value}.Do not use variables.\n\n'
)


class _Llama(Dialect):
    """Llama 3.1: one call a message, as bare JSON; declarations in the first user message; results as JSON text."""

    __slots__ = ()

    def write_turn(self, turn: Turn) -> Turn:
        return turn.with_text(json_text(turn.text)) if turn.role == "tool" else Dialect.write_turn(self, turn)

    def read_turn(self, turn: Turn) -> Turn:
        if turn.role == "tool" and isinstance(result := loads(turn.text), str):
            return turn.with_text(result)
        return Dialect.read_turn(self, turn)

    def write_calls(self, turn: Turn) -> str:
        _refuse_content(turn)
        only, *more = turn.calls
        if more:
            raise PromptError("it has one tool call a message", index=turn.index)
        return f'{{"name": {json_text(_name(only))}, "parameters": {_arguments(only)}}}'

    def read_calls(self, text: str) -> tuple[str, tuple[Call, ...]]:
        value = loads(text) if text.lstrip().startswith("{") else None
        is_call = isinstance(value, dict) and value.keys() == {"name", "parameters"}
        found = call_of(value, "parameters") if is_call else None
        return (text, ()) if found is None else ("", (found,))

    def settled(self, text: str) -> int:
        return 0 if text.lstrip()[:1] in ("", self.call_starts) else len(text)

    def declare(
        self,
        turns: list[Turn],
        tools: Tools,
        default: str | None,  # noqa: ARG002 - its place is not the system message
    ) -> list[Turn]:
        place = 1 if turns[0].role == "system" else 0
        if len(turns) <= place or turns[place].role != "user":
            raise PromptError("tools are declared in the first user message, and there is none", index=turns[-1].index)
        text = _LLAMA_TOOLS + "".join(f"{json_text(tool, 4)}\n\n" for tool in tools) + turns[place].text
        return [*turns[:place], turns[place].with_text(text), *turns[place + 1 :]]

    def declared(
        self,
        turns: Sequence[Turn],
        default: str | None,  # noqa: ARG002 - as in declare
    ) -> tuple[list[Turn], Tools | None]:
        place = next((place for place, turn in enumerate(turns) if turn.role == "user"), 0)
        if not turns[place].text.startswith(_LLAMA_TOOLS):
            return [*turns], None
        tools, rest = _leading_objects(turns[place].text.removeprefix(_LLAMA_TOOLS))
        return [*turns[:place], turns[place].with_text(rest), *turns[place + 1 :]], tools


def _leading_objects(text: str) -> tuple[list[Mapping[str, Any]], str]:
    """Return the JSON objects that a text starts with, each followed by a blank line, and what follows them."""
    decoder, objects = json.JSONDecoder(), []
    while text.startswith("{"):
        try:
            value, end = decoder.raw_decode(text)
        except ValueError:
            break
        if not text.startswith("\n\n", end):
            break
        objects.append(value)
        text = text[end + 2 :]
    return objects, text


_MISTRAL_ID: Final = re.compile("[a-zA-Z0-9]{9}")


@dataclass(frozen=True, slots=True)
class _Mistral(Dialect):
    """Mistral v3 and later: calls, results and declarations are turns of their own, the last before the last user's.

    ``result`` is how a result is written, and the pattern of it.
    """

    result: tuple[str, str] = (
        '{{"content": {text}, "call_id": "{id}"}}',
        r'\{"content": (?P<text>.*), "call_id": "(?P<id>[a-zA-Z0-9]{9})"\}',
    )

    def write_turn(self, turn: Turn) -> Turn:
        ids = [each["id"] for each in turn.calls] + ([turn.call_id] if turn.role == "tool" else [])
        wrong = [each for each in ids if not _MISTRAL_ID.fullmatch(each or "")]
        if wrong:
            raise PromptError(f"a tool call's id is 9 letters or digits, not {wrong[0]!r}", index=turn.index)
        if turn.role == "tool":
            return turn.with_text(self.result[0].format(text=turn.text, id=turn.call_id))
        return replace(turn, role="calls", text=self.write_calls(turn)) if turn.calls else turn

    def read_turn(self, turn: Turn) -> Turn:
        if turn.role == "tool" and (found := re.fullmatch(self.result[1], turn.text, re.DOTALL)):
            return replace(turn, text=found["text"], call_id=found["id"])
        if turn.role == "calls":
            _, calls = self.read_calls(f"[TOOL_CALLS]{turn.text}")
            return replace(turn, role="assistant", text="" if calls else turn.text, calls=calls)
        return turn

    def write_calls(self, turn: Turn) -> str:
        _refuse_content(turn)
        calls = (
            f'{{"name": {json_text(_name(each))}, "arguments": {_arguments(each)}, "id": "{each["id"]}"}}'
            for each in turn.calls
        )
        return f"[{', '.join(calls)}]"

    def read_calls(self, text: str) -> tuple[str, tuple[Call, ...]]:
        before, marker, after = text.partition("[TOOL_CALLS]")
        values = loads(after) if marker else None
        calls = [call_of(value) for value in values] if isinstance(values, list) else []
        if not calls or None in calls:
            return text, ()
        return before, tuple(each for each in calls if each is not None)

    def declare(
        self,
        turns: list[Turn],
        tools: Tools,
        default: str | None,  # noqa: ARG002 - its place is not the system message
    ) -> list[Turn]:
        place = max((place for place, turn in enumerate(turns) if turn.role == "user"), default=len(turns))
        return [*turns[:place], Turn("declared", json_text([*tools]), turns[-1].index), *turns[place:]]

    def declared(
        self,
        turns: Sequence[Turn],
        default: str | None,  # noqa: ARG002 - as in declare
    ) -> tuple[list[Turn], Tools | None]:
        tools = next((loads(turn.text) for turn in turns if turn.role == "declared"), None)
        return [turn for turn in turns if turn.role != "declared"], tools


DIALECTS: Final[Mapping[str, Dialect]] = {
    "hermes": _Qwen(("<tool_call>",), "<tool_call>"),
    "deepseek": _DeepSeek((_DEEPSEEK_CALLS[0], _DEEPSEEK_TOOLS), _DEEPSEEK_CALLS[0]),
    "llama": _Llama(
        ('{"name": ',),
        "{",
        is_whole=True,
        header=("Cutting Knowledge Date", "Environment: ipython\nCutting Knowledge Date"),
    ),
    "mistral": _Mistral((), "[TOOL_CALLS]", id_style="{:09}", keeps_ids=True),
    "mistral-v7": _Mistral(
        (),
        "[TOOL_CALLS]",
        id_style="{:09}",
        keeps_ids=True,
        result=("{id}[TOOL_CONTENT] {text}", r"(?P<id>[a-zA-Z0-9]{9})\[TOOL_CONTENT\] (?P<text>.*)"),
    ),
}
"""The dialects by the names that formats give them."""
