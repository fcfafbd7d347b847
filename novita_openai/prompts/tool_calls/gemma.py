"""Gemma 4: calls, results and declarations as objects without quotes around keys, with a token around each text.

The keys of an object are sorted, and what continues a turn of the model stands without a header: results, the calls
after them, and the reply.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.tool_calls.calls import ToolCall, call_fields, json_or_none, json_text, tool_call
from novita_openai.prompts.tool_calls.declarations import LooseDeclarations
from novita_openai.prompts.tool_calls.dialect import DeclaredApart, refuse_content, refuse_unanswered

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn, Tools

__all__ = ["GEMMA_4"]

_QUOTE: Final = '<|"|>'
_CALL: Final = ("<|tool_call>call:", "}<tool_call|>")
_BETWEEN_TOOLS: Final = "<tool|><|tool>declaration:"
_TEXT: Final = re.compile(r'<\|"\|>(.*?)<\|"\|>', re.DOTALL)
_KEY: Final = re.compile(r"([^:,{}\[\]]+):")
_WORD: Final = re.compile(r"[^,{}\[\]]+")
_RESERVED: Final = frozenset({"description", "type", "properties", "required", "nullable"})
"""Names of parameters that the published template takes for parts of the schema."""


def _written(value: Any) -> str:
    if isinstance(value, str):
        return f"{_QUOTE}{value}{_QUOTE}"
    if isinstance(value, Mapping):
        return f"{{{_fields(value)}}}"
    return f"[{','.join(map(_written, value))}]" if isinstance(value, list) else json_text(value)


def _fields(value: Mapping[str, Any]) -> str:
    return ",".join(f"{key}:{_written(value[key])}" for key in _sorted_keys(value))


def _sorted_keys(value: Mapping[str, Any]) -> list[str]:
    return sorted(value, key=str.lower)


def _read(text: str, place: int) -> tuple[Any, int]:
    """Return the value that stands at a place of a text, and where it ends; raise ValueError if there is none."""
    if found := _TEXT.match(text, place):
        return found[1], found.end()
    if text.startswith("{", place):
        return _read_fields(text, place + 1)
    if text.startswith("[", place):
        return _read_list(text, place + 1)
    word = _WORD.match(text, place)
    return json.loads(word.group() if word is not None else ""), place + len(word.group() if word is not None else "")


def _read_fields(text: str, place: int) -> tuple[dict[str, Any], int]:
    fields: dict[str, Any] = {}
    while key := _KEY.match(text, place):
        fields[key[1]], place = _read(text, key.end())
        place += text.startswith(",", place)
    return fields, _after("}", text, place)


def _read_list(text: str, place: int) -> tuple[list[Any], int]:
    values = []
    while not text.startswith("]", place):
        value, place = _read(text, place)
        values.append(value)
        place += text.startswith(",", place)
    return values, _after("]", text, place)


def _after(end: str, text: str, place: int) -> int:
    if not text.startswith(end, place):
        raise ValueError(f"no {end!r} at {place}")
    return place + 1


def _value_of(text: str) -> Any:
    """Return the value that a text stands for, None if it stands for none."""
    try:
        value, end = _read(text, 0)
    except ValueError:
        return None
    return value if end == len(text) else None


class _GemmaDeclarations(LooseDeclarations):
    __slots__ = ()

    def written(self, tools: Tools) -> str:
        return _BETWEEN_TOOLS.join(_declaration(tool["function"]) for tool in tools)

    def found(self, text: str) -> Iterator[Any]:
        for each in text.split(_BETWEEN_TOOLS):
            name, opened, rest = each.partition("{")
            fields = _value_of(opened + rest)
            function = {"name": name, **_lowered(fields)} if isinstance(fields, dict) else {}
            if isinstance(function.get("parameters"), dict):
                function["parameters"] = {"properties": {}, **function["parameters"]}
            yield {"type": "function", "function": function}


def _declaration(function: Mapping[str, Any]) -> str:
    schema = function.get("parameters") or {}
    parameters = f",parameters:{{{_object(schema, is_outer=True)}}}" if schema else ""
    return f"{function['name']}{{description:{_written(function.get('description', ''))}{parameters}}}"


def _object(schema: Mapping[str, Any], *, is_outer: bool = False) -> str:
    fields = schema.get("properties") or {}
    names = [name for name in _sorted_keys(fields) if name not in _RESERVED]
    inside = ",".join(f"{name}:{{{_schema(fields[name])}}}" for name in names)
    parts = [f"properties:{{{inside}}}"] if fields or not is_outer else []
    parts += [f"required:{_written([*schema['required']])}"] if schema.get("required") else []
    return ",".join([*parts, f"type:{_written(str(schema.get('type')).upper())}"])


def _schema(schema: Mapping[str, Any]) -> str:
    kind = str(schema.get("type")).lower()
    parts = [f"description:{_written(schema['description'])}"] if schema.get("description") else []
    if kind == "string" and schema.get("enum"):
        parts.append(f"enum:{_written([*schema['enum']])}")
    if kind == "array" and schema.get("items"):
        parts.append(f"items:{{{_items(schema['items'])}}}")
    parts += ["nullable:true"] if schema.get("nullable") else []
    return ",".join([*parts, _object(schema) if kind == "object" else f"type:{_written(kind.upper())}"])


def _items(schema: Mapping[str, Any]) -> str:
    return ",".join(_item_field(key, schema[key]) for key in _sorted_keys(schema))


def _item_field(key: str, value: Any) -> str:
    if key == "properties":
        return f"properties:{{{','.join(f'{name}:{{{_schema(value[name])}}}' for name in _sorted_keys(value))}}}"
    return f"{key}:{_written(value.upper() if key == 'type' and isinstance(value, str) else value)}"


def _lowered(value: Any) -> Any:
    """Return a schema with the names of its types as JSON Schema has them."""
    if isinstance(value, list):
        return [*map(_lowered, value)]
    if not isinstance(value, dict):
        return value
    lowered = {key: _lowered(inner) for key, inner in value.items()}
    return lowered | ({"type": lowered["type"].lower()} if isinstance(lowered.get("type"), str) else {})


@dataclass(frozen=True, slots=True)
class _Gemma(DeclaredApart):
    def normal(self, turns: Sequence[ChatTurn]) -> list[ChatTurn]:
        turns = DeclaredApart.normal(self, turns)
        return [replace(turn, calls=tuple(map(_sorted_call, turn.calls))) if turn.calls else turn for turn in turns]

    def write(self, turns: Sequence[ChatTurn], tools: Tools | None, default: str | None) -> list[ChatTurn]:
        names: list[str] = []
        written = []
        for turn, following in zip(turns, [*turns[1:], None], strict=True):
            refuse_unanswered(turn, following)
            names += [each["function"]["name"] for each in turn.calls]
            named = replace(turn, name=names.pop(0)) if turn.role == "tool" else turn
            written.append(self.write_turn(named))
        return self.declare(written, tools, default) if tools else written

    def write_turn(self, turn: ChatTurn) -> ChatTurn:
        if turn.calls and not turn.reasoning:
            return replace(turn, role="calls", text=self.write_calls(turn))
        if turn.calls:
            return turn.with_text(_CALL[0] + self.write_calls(turn))
        return turn.with_text(self.write_result(turn)) if turn.role == "tool" else turn

    def write_result(self, turn: ChatTurn) -> str:
        return f"{turn.name}{{value:{_written(turn.text)}"

    def write_calls(self, turn: ChatTurn) -> str:
        refuse_content(turn)
        calls = [(name, json.loads(arguments)) for _, name, arguments in map(call_fields, turn.calls)]
        if any("null" in json_text(arguments) and _has_none(arguments) for _, arguments in calls):
            raise PromptError("the format has no null in arguments: leave it out", index=turn.index)
        return f"{_CALL[1]}{_CALL[0]}".join(f"{name}{{{_fields(arguments)}" for name, arguments in calls)

    def read_turn(self, turn: ChatTurn) -> ChatTurn:
        if turn.role not in ("assistant", "calls"):
            return self.read_result(turn) if turn.role == "tool" else turn
        given = f"{_CALL[0]}{turn.text}" if turn.role == "calls" else turn.text
        text, calls = self.read_calls(given + _CALL[1] if given.startswith(_CALL[0]) else given)
        return replace(turn, role="assistant", text=text, calls=calls)

    def read_result(self, turn: ChatTurn) -> ChatTurn:
        _, opened, rest = turn.text.partition("{")
        fields = _value_of(f"{opened}{rest}}}")
        if not isinstance(fields, dict) or not isinstance(fields.get("value"), str):
            raise PromptError("this is not how the format writes the result of a call", offset=0)
        return turn.with_text(fields["value"])

    def read_calls(self, text: str, tools: Tools | None = None) -> tuple[str, tuple[ToolCall, ...]]:  # noqa: ARG002 - texts stand between tokens
        before, *pieces = text.removesuffix("<|tool_response>").split(_CALL[0])
        calls = tuple(filter(None, map(_call_in, pieces)))
        return (before, calls) if calls and len(calls) == len(pieces) else (text, ())


def _call_in(piece: str) -> ToolCall | None:
    """Return the call of a text that follows what starts one."""
    name, opened, rest = piece.rstrip("\n").partition("{")
    if not rest.endswith(_CALL[1]):
        return None
    arguments = _value_of(opened + rest.removesuffix(_CALL[1]) + "}")
    return tool_call(name, arguments) if isinstance(arguments, dict) else None


def _has_none(value: Any) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return value is None or any(map(_has_none, inner))


def _sorted_call(call: ToolCall) -> ToolCall:
    call_id, name, arguments = call_fields(call)
    return tool_call(name, _sorted(json_or_none(arguments)), call_id)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in _sorted_keys(value)}
    return [*map(_sorted, value)] if isinstance(value, list) else value


GEMMA_4: Final = _Gemma(
    (),
    "<|tool_call>",
    tuple(
        ("assistant", tag)
        for tag in (
            _QUOTE,
            "<|tool_call>",
            "<tool_call|>",
            "<|tool_response>",
            "<tool_response|>",
            "<|tool>",
            "<tool|>",
        )
    ),
    declarations=_GemmaDeclarations(),
    after_system=True,
)
