"""How the arguments of a call are written: as one JSON object, or each between tags of its own.

Between tags a text stands as it is, and what is no text as JSON, so that the text ``5`` and the number 5 look the same.
A declared schema decides: what it says is a string is read as text. Elsewhere what can be read as JSON is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from novita_openai.prompts.tool_calls.calls import json_or_none, json_text

__all__ = ["JSON", "Arguments", "TaggedArguments", "loose"]

Schema = Mapping[str, Any]
"""The ``properties`` of a function's parameters."""

_SCALARS: Final = {True: "True", False: "False", None: "None"}
"""Python's names of the values that JSON has other names for."""


class Arguments(Protocol):
    """A way to write arguments."""

    def write(self, arguments: Mapping[str, Any]) -> str:
        """Return the text of arguments."""
        ...

    def read(self, text: str, schema: Schema) -> Mapping[str, Any] | None:
        """Return the arguments that a text holds; None if it holds none."""
        ...


class _Json:
    """Arguments as a JSON object."""

    def write(self, arguments: Mapping[str, Any]) -> str:
        return json_text(arguments)

    def read(self, text: str, schema: Schema) -> Mapping[str, Any] | None:  # noqa: ARG002 - JSON needs no schema
        value = json_or_none(text)
        return value if isinstance(value, dict) else None


JSON: Final[Arguments] = _Json()


@dataclass(frozen=True, slots=True)
class TaggedArguments:
    """Each argument as the texts of ``key`` around its name, its value, and ``end``; ``between`` stands between two.

    With ``is_python`` True, False and None are written as Python does. ``{is_string}`` in the second text of ``key``
    becomes ``true`` or ``false``, so that no schema is needed.
    """

    key: tuple[str, str]
    end: str
    between: str = ""
    is_python: bool = False

    def write(self, arguments: Mapping[str, Any]) -> str:
        """Return the text of arguments."""
        return self.between.join(self._written(name, value) for name, value in arguments.items())

    def _written(self, name: str, value: Any) -> str:
        after = self.key[1].replace("{is_string}", "true" if isinstance(value, str) else "false")
        return f"{self.key[0]}{name}{after}{self._value_text(value)}{self.end}"

    def _value_text(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        if self.is_python and (value is None or isinstance(value, bool)):
            return _SCALARS[value]
        return json_text(value)

    def read(self, text: str, schema: Schema) -> Mapping[str, Any] | None:
        """Return the arguments that a text holds; None if it holds something else."""
        pattern = self._pattern
        if pattern.sub("", text).strip():
            return None
        return {
            found["name"]: self._value(found["value"], found.groupdict().get("kind"), schema.get(found["name"]))
            for found in pattern.finditer(text)
        }

    @property
    def _pattern(self) -> re.Pattern[str]:
        after = loose(self.key[1]).replace(re.escape("{is_string}"), "(?P<kind>true|false)")
        return re.compile(rf"{loose(self.key[0])}(?P<name>[^<>\n]*?){after}(?P<value>.*?){loose(self.end)}", re.DOTALL)

    def _value(self, text: str, kind: str | None, schema: Any) -> Any:
        is_string = isinstance(schema, Mapping) and schema.get("type") == "string"
        if kind == "true" or (kind is None and is_string):
            return text
        for value, name in _SCALARS.items():
            if self.is_python and text == name:
                return value
        try:
            return json.loads(text)
        except ValueError:
            return text


def loose(text: str) -> str:
    """Return a pattern of a text in which line breaks may be missing, as models leave some out."""
    return "\n?".join(map(re.escape, text.split("\n")))
