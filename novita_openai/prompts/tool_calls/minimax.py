"""MiniMax M3: arguments as elements of XML, nested ones too, each tag after a token of the family."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.tool_calls.calls import json_or_none, json_text
from novita_openai.prompts.tool_calls.declarations import Declarations
from novita_openai.prompts.tool_calls.tagged import Tagged

if TYPE_CHECKING:
    from novita_openai.prompts.tool_calls.arguments import Schema

__all__ = ["MINIMAX_3"]

_MARK: Final = "]<]minimax[>["
_ITEM: Final = "item"
_ELEMENT: Final = re.compile(rf"{re.escape(_MARK)}<(/?)([^<>\n]*)>")


class _XmlArguments:
    """Each argument between tags of its name; objects as more elements, lists as elements named ``item``."""

    def write(self, arguments: Mapping[str, Any]) -> str:
        return "".join(_element(name, value) for name, value in arguments.items())

    def read(self, text: str, schema: Schema) -> Mapping[str, Any] | None:
        found = [*_elements(text)]
        if "".join(_outside(text)).strip():
            return None
        return {name: _value(inner, schema.get(name)) for name, inner in found}


def _element(name: str, value: Any) -> str:
    return f"{_MARK}<{name}>{_inside(value)}{_MARK}</{name}>"


def _inside(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(_element(name, inner) for name, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "".join(_element(_ITEM, inner) for inner in value)
    return value if isinstance(value, str) else json_text(value)


def _elements(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each outer element of a text, and what stands in it."""
    depth, begin = 0, 0
    for tag in _ELEMENT.finditer(text):
        if tag[1]:
            depth -= 1
            if depth == 0:
                yield tag[2], text[begin : tag.start()]
        else:
            begin = begin if depth else tag.end()
            depth += 1


def _outside(text: str) -> Iterator[str]:
    """Yield what stands in no element of a text."""
    depth, place = 0, 0
    for tag in _ELEMENT.finditer(text):
        if depth == 0:
            yield text[place : tag.start()]
        depth += -1 if tag[1] else 1
        place = tag.end()
    yield text[place:]


def _value(text: str, schema: Any) -> Any:
    """Return the value that stands in an element; a declared string is text, and so is what is no JSON."""
    known = schema if isinstance(schema, Mapping) else {}
    found = [*_elements(text)]
    if found and all(name == _ITEM for name, _ in found):
        return [_value(inner, known.get("items")) for _, inner in found]
    if found:
        fields = known.get("properties") or {}
        return {name: _value(inner, fields.get(name)) for name, inner in found}
    value = None if known.get("type") == "string" else json_or_none(text)
    return text if value is None else value


@dataclass(frozen=True, slots=True)
class _MiniMax(Tagged):
    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", (("assistant", _MARK),))


MINIMAX_3: Final = _MiniMax(
    (_MARK,),
    _MARK,
    calls=(f"{_MARK}<tool_call>\n", f"{_MARK}</tool_call>"),
    call=(f'{_MARK}<invoke name="', '">', f"{_MARK}</invoke>\n"),
    arguments=_XmlArguments(),
    declarations=Declarations(("<tool>", "</tool>"), is_function=True),
    after_system=True,
)
