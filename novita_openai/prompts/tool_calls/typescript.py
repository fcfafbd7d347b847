"""Declarations of tools as TypeScript, as gpt-oss has them, and the schemas that they say.

TypeScript says less than JSON Schema: an integer is a number, and what only narrows a value down is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.tool_calls.calls import json_text
from novita_openai.prompts.tool_calls.declarations import DeclarationsForm, LooseDeclarations

if TYPE_CHECKING:
    from novita_openai.prompts.messages import Tools

__all__ = ["TYPESCRIPT"]

Schema = Mapping[str, Any]

_NAMES: Final = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean"}
_LONGEST_INNER: Final = 50
"""Characters; the elements of an array whose type is longer are of any type."""

_TOOL: Final = re.compile(
    r"// (?P<description>.*?)\ntype (?P<name>[^\s]+) = (?:\(\) => any;|\(_: \{\n(?P<parameters>.*?)\}\) => any;)\n\n",
    re.DOTALL,
)
_PARAMETER: Final = re.compile(r"(?:// (?P<description>.*?)\n)?(?P<name>[^\s?:/]+)(?P<optional>\??): ", re.DOTALL)
_DEFAULT: Final = re.compile(r"(?:, // default: (?P<default>[^\n]*))?,\n")
_FIELD: Final = re.compile(r"(?P<name>[^\s?:]+)(?P<optional>\??): \n {16}")
_ENUM: Final = re.compile(r'"[^"\n]*"(?: \| "[^"\n]*")*')
_WORDS: Final = re.compile(r"[a-z]+(?: \| [a-z]+)*?(?=\[\]| \| null|[,}\n]|\Z)")
_SUFFIX: Final = re.compile(r"(?P<array>\[\])|(?P<null> \| null)")


class _TypeScript(LooseDeclarations):
    __slots__ = ()

    def can_say(self, tool: Any) -> bool:
        return LooseDeclarations.can_say(self, tool) and isinstance(tool["function"].get("description"), str)

    def said(self, value: Any) -> Any:
        said = LooseDeclarations.said(self, value)
        return {**said, "type": "number"} if isinstance(said, dict) and said.get("type") == "integer" else said

    def written(self, tools: Tools) -> str:
        return "".join(map(_function, tools))

    def found(self, text: str) -> Iterator[Any]:
        return map(_tool_in, _TOOL.finditer(text))


def _function(tool: Schema) -> str:
    function = tool["function"]
    parameters = function.get("parameters") or {}
    fields = parameters.get("properties") or {}
    lines = "".join(_parameter(name, field, parameters) for name, field in fields.items())
    inside = f"_: {{\n{lines}}}" if fields else ""
    return f"// {function['description']}\ntype {function['name']} = ({inside}) => any;\n\n"


def _parameter(name: str, field: Schema, parameters: Schema) -> str:
    description = f"// {field['description']}\n" if field.get("description") else ""
    default = ""
    if "default" in field:
        value = field["default"] if field.get("enum") else json_text(field["default"])
        default = f", // default: {value}"
    return f"{description}{name}{_mark(name, parameters)}: {_type(field)}{default},\n"


def _mark(name: str, schema: Schema) -> str:
    return "" if name in (schema.get("required") or ()) else "?"


def _type(schema: Schema) -> str:
    """Return the type of a value."""
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(kind)
    null = " | null" if schema.get("nullable") else ""
    if kind == "array":
        return _array(schema.get("items") or {}) + null
    if kind == "string" and schema.get("enum"):
        return " | ".join(f'"{value}"' for value in schema["enum"])
    if kind == "object":
        return _object(schema)
    return _NAMES.get(str(kind), "any") + (null if kind == "string" else "")


def _array(items: Schema) -> str:
    if items.get("type") in _NAMES:
        return f"{_NAMES[items['type']]}[]"
    inner = _type(items)
    return "any[]" if len(inner) > _LONGEST_INNER else f"{inner}[]"


def _object(schema: Schema) -> str:
    fields = schema.get("properties") or {}
    inside = ", ".join(f"{name}{_mark(name, schema)}: \n{' ' * 16}{_type(field)}" for name, field in fields.items())
    return f"{{\n{inside}}}" if fields else "object"


def _tool_in(found: re.Match[str]) -> dict[str, Any]:
    """Return the tool that a declaration stands for."""
    text = found["parameters"] or ""
    fields: dict[str, Any] = {}
    required, place = [], 0
    while start := _PARAMETER.match(text, place):
        schema, end = _read_type(text, start.end())
        after = _DEFAULT.match(text, end)
        if after is None:
            break
        place = after.end()
        described = {"description": start["description"]} if start["description"] else {}
        fields[start["name"]] = schema | described | _default_in(after["default"], schema)
        required += [] if start["optional"] else [start["name"]]
    parameters = {"type": "object", "properties": fields} | ({"required": required} if required else {})
    function = {"name": found["name"], "description": found["description"], "parameters": parameters}
    return {"type": "function", "function": function}


def _default_in(text: str | None, schema: Schema) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        return {"default": text if "enum" in schema else json.loads(text)}
    except ValueError:
        return {}


def _read_type(text: str, place: int) -> tuple[dict[str, Any], int]:
    """Return the schema of a type, and where the type ends."""
    schema, place = _read_simple(text, place)
    while suffix := _SUFFIX.match(text, place):
        schema = {"type": "array", "items": schema} if suffix["array"] else {**schema, "nullable": True}
        place = suffix.end()
    return schema, place


def _read_simple(text: str, place: int) -> tuple[dict[str, Any], int]:
    if text.startswith("{\n", place):
        return _read_object(text, place + 2)
    if found := _ENUM.match(text, place):
        return {"type": "string", "enum": found.group()[1:-1].split('" | "')}, found.end()
    words = _WORDS.match(text, place)
    if words is None:
        return {}, place
    names = words.group().split(" | ")
    known = {"type": names if len(names) > 1 else names[0]}
    return ({} if names == ["any"] else known), words.end()


def _read_object(text: str, place: int) -> tuple[dict[str, Any], int]:
    fields: dict[str, Any] = {}
    required = []
    while start := _FIELD.match(text, place):
        fields[start["name"]], place = _read_type(text, start.end())
        required += [] if start["optional"] else [start["name"]]
        place += 2 if text.startswith(", ", place) else 0
    schema = {"type": "object", "properties": fields} | ({"required": required} if required else {})
    return schema, place + text.startswith("}", place)


TYPESCRIPT: Final[DeclarationsForm] = _TypeScript()
