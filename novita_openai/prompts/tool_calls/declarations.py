"""How the declarations of tools are written: as JSON, in sections, or as XML, and how they are read back."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.tool_calls.calls import is_json, json_or_none, json_text

if TYPE_CHECKING:
    from novita_openai.prompts.messages import Tools

__all__ = [
    "SECTIONS",
    "TOOL_LINES",
    "XML",
    "Declarations",
    "DeclarationsForm",
    "LooseDeclarations",
    "is_tool",
    "refuse_no_tools",
]


class DeclarationsForm(ABC):
    """A way to write declarations."""

    __slots__ = ()

    def write(self, tools: Tools) -> str:
        """Return the text of declarations; raise PromptError for what they would not read back as."""
        odd = next((tool for tool in tools if not self.can_say(tool)), None)
        if odd is not None:
            problem = "the published template does not take a function without a description, or with such parameters"
            raise PromptError(f"{problem}: {odd['function']}")
        text = self.written(tools)
        if not self.is_kept(tools, text):
            raise PromptError("the published template drops or changes a part of these declarations of tools")
        return text

    def can_say(self, tool: Any) -> bool:
        """Tell whether the form can write a tool."""
        return is_tool(tool)

    def is_kept(self, tools: Tools, text: str) -> bool:
        """Tell whether a text of declarations reads back as these tools."""
        return self.read(text) == [*tools]

    def read(self, text: str) -> list[Any] | None:
        """Return the tools of a text of declarations; None if it is not one."""
        tools = [*self.found(text)]
        return tools if tools and all(map(self.can_say, tools)) and self.written(tools) == text else None

    @abstractmethod
    def written(self, tools: Tools) -> str:
        """Return the text of declarations."""

    @abstractmethod
    def found(self, text: str) -> Iterator[Any]:
        """Yield what may be the tools of a text of declarations."""


_LIMITS: Final = frozenset({
    "additionalProperties", "exclusiveMaximum", "exclusiveMinimum", "format", "maxItems", "maxLength", "maximum",
    "minItems", "minLength", "minimum", "multipleOf", "pattern", "strict", "title", "uniqueItems",
})  # fmt: skip
"""Fields of a schema that only narrow a value down, or name it once more."""


class LooseDeclarations(DeclarationsForm):
    """Tools in a language of types that says less than JSON Schema.

    What only narrows a value down is left out, as the published template leaves it out. A declaration that would lose
    more is refused.
    """

    __slots__ = ()

    def can_say(self, tool: Any) -> bool:
        """Tell whether the form can write a tool."""
        return is_tool(tool) and _is_schema(tool["function"].get("parameters") or {})

    def is_kept(self, tools: Tools, text: str) -> bool:
        """Tell whether a text of declarations reads back as these tools, but for limits."""
        return [*map(self.said, self.found(text))] == [*map(self.said, tools)]

    def said(self, value: Any) -> Any:
        """Return a part of a declaration without what the form does not say of it."""
        if isinstance(value, list):
            return [*map(self.said, value)]
        if not isinstance(value, Mapping):
            return value
        said = {key: self.said(inner) for key, inner in value.items() if key not in _LIMITS}
        if isinstance(said.get("required"), list):
            said["required"] = sorted(said["required"])
        return {key: inner for key, inner in said.items() if inner not in ({}, [], "", False)}


@dataclass(frozen=True, slots=True)
class Declarations(DeclarationsForm):
    """Tools as JSON, each between the texts of ``item``, with ``between`` between two, and ``ends`` around all.

    With ``is_function`` only the function is written, not the tool that holds it; with ``is_compact`` the JSON has no
    spaces; ``dropped`` are fields of a function that the published template does not write.
    """

    item: tuple[str, str] = ("", "")
    between: str = "\n"
    ends: tuple[str, str] = ("", "")
    is_function: bool = False
    is_compact: bool = False
    dropped: tuple[str, ...] = ()

    def written(self, tools: Tools) -> str:
        """Return the text of declarations."""
        values = [self._kept(tool["function"]) if self.is_function else tool for tool in tools]
        texts = [json_text(value, is_compact=self.is_compact).join(self.item) for value in values]
        return self.between.join(texts).join(self.ends)

    def _kept(self, function: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in function.items() if key not in self.dropped}

    def found(self, text: str) -> Iterator[Any]:
        """Yield what may be the tools of a text of declarations."""
        first, last = self.ends[0] + self.item[0], self.item[1] + self.ends[1]
        pieces = text.removeprefix(first).removesuffix(last).split(f"{self.item[1]}{self.between}{self.item[0]}")
        values = _as_list(text) if self.ends[0] else [json_or_none(piece) for piece in pieces]
        yield from map(_tool_of, values) if self.is_function else values


def _as_list(text: str) -> Sequence[Any]:
    value = json_or_none(text)
    return value if isinstance(value, list) else [None]


_PYTHON: Final = {"True": True, "False": False, "None": None}


def _tool_of(function: Any) -> dict[str, Any]:
    return {"type": "function", "function": function}


class _Sections(DeclarationsForm):
    """Each tool as a section with its name, its description, and its parameters as JSON."""

    __slots__ = ()
    pattern: Final = re.compile(r"\n### (.*)\nDescription: (.*?)\n\nParameters: (\{.*\})\n", re.DOTALL)

    def written(self, tools: Tools) -> str:
        functions = [tool["function"] for tool in tools]
        return "".join(
            f"\n### {each['name']}\nDescription: {each.get('description')}\n\n"
            f"Parameters: {json_text(each.get('parameters'))}\n"
            for each in functions
        )

    def found(self, text: str) -> Iterator[Any]:
        for section in text.split("\n\n### "):
            found = self.pattern.fullmatch(f"\n### {section.removeprefix(chr(10) + '### ').rstrip(chr(10))}\n")
            fields = ("name", "description", "parameters")
            values = (found[1], found[2], json_or_none(found[3])) if found is not None else (None,) * 3
            yield _tool_of(dict(zip(fields, values, strict=True)))


class _Xml(DeclarationsForm):
    """Each tool as XML: its name and description, its parameters by name, and all other fields under their names."""

    __slots__ = ()

    def can_say(self, tool: Any) -> bool:
        return is_tool(tool) and _is_schema(tool["function"].get("parameters") or {})

    def written(self, tools: Tools) -> str:
        return "\n".join("".join(_function_xml(tool["function"])) for tool in tools)

    def found(self, text: str) -> Iterator[Any]:
        for each in _elements(text, "function"):
            function = dict(_fields(each, "parameters"))
            inside = next(_elements(each, "parameters"), "")
            properties = {}
            for parameter in _elements(inside, "parameter"):
                fields = dict(_fields(parameter))
                properties[fields.pop("name", None)] = fields
            rest = _fields(inside, "parameter")
            yield _tool_of({**function, "parameters": {"type": "object", "properties": properties, **dict(rest)}})


def _function_xml(function: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a function."""
    parameters = function.get("parameters") or {}
    yield f"<function>\n<name>{function['name']}</name>"
    if "description" in function:
        yield f"\n<description>{str(function['description']).strip()}</description>"
    yield "\n<parameters>"
    for name, fields in (parameters.get("properties") or {}).items():
        yield f"\n<parameter>\n<name>{name}</name>"
        if "type" in fields:
            yield f"\n<type>{fields['type']}</type>"
        if "description" in fields:
            yield f"\n<description>{str(fields['description']).strip()}</description>"
        yield from _others(fields, ("name", "type", "description"))
        yield "\n</parameter>"
    yield from _others(parameters, ("type", "properties"))
    yield "\n</parameters>"
    yield from _others(function, ("type", "name", "description", "parameters"))
    yield "\n</function>"


def _others(fields: Mapping[str, Any], handled: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the fields that have no tags of their own."""
    for key, value in fields.items():
        if key not in handled:
            text = json_text(value) if isinstance(value, (Mapping, list)) else str(value)
            yield f"\n<{key}>{text}</{key}>"


def _elements(text: str, tag: str) -> Iterator[str]:
    """Yield what stands in the elements with a tag."""
    return (found[1] for found in re.finditer(rf"(?:\A|\n)<{tag}>(.*?)\n</{tag}>", text, re.DOTALL))


def _fields(text: str, *without: str) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a text, each by its tag, but for elements that have tags inside."""
    for tag in without:
        text = re.sub(rf"\n<{tag}>.*\n</{tag}>", "", text, flags=re.DOTALL)
    for key, value in re.findall(r"\n<([^<>\s/]+)>(.*?)</\1>", text, re.DOTALL):
        yield key, value if key in ("name", "type", "description") else _value_in(value)


def _value_in(text: str) -> Any:
    """Return the value that a text was made of: a list or object as JSON, anything else as Python prints it."""
    if text in _PYTHON:
        return _PYTHON[text]
    value = json_or_none(text)
    return text if value is None else value


def is_tool(value: Any) -> bool:
    """Tell whether a value declares a tool."""
    function = value.get("function") if isinstance(value, Mapping) else None
    return isinstance(function, Mapping) and isinstance(function.get("name"), str) and is_json(value)


def refuse_no_tools(tools: Any) -> None:
    """Raise PromptError for declarations that are not a list of tools."""
    if tools and not (isinstance(tools, Sequence) and all(map(is_tool, tools))):
        problem = "a tool is declared as {'type': 'function', 'function': {'name': ...}}, of what JSON can hold"
        raise PromptError(f"{problem}, not {tools!r}")


def _is_schema(value: Any) -> bool:
    """Tell whether a value is a schema whose fields are of their usual types, so that a form can be made of them."""
    if not isinstance(value, Mapping):
        return False
    fields, kinds = value.get("properties") or {}, value.get("type", "")
    inner = [*fields.values()] if isinstance(fields, Mapping) else [None]
    inner += [value["items"]] if "items" in value else []
    lists = (kinds if isinstance(kinds, list) else [kinds], value.get("required") or [], value.get("enum") or [])
    return (
        all(isinstance(each, list) for each in lists)
        and all(isinstance(text, str) for texts in lists[:2] for text in texts)
        and all(map(_is_schema, inner))
    )


TOOL_LINES: Final = Declarations()
"""Each tool as a line of JSON."""

SECTIONS: Final[DeclarationsForm] = _Sections()
XML: Final[DeclarationsForm] = _Xml()
