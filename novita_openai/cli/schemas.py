"""What an answer must be, by ``--schema``: a list of fields as ``name, age int``, or a JSON Schema."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, cast

import typer

__all__ = ["AnswerSchema", "schema_in"]

TYPES: Final = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_FIELD: Final = re.compile(r"([A-Za-z_]\w*)(?:\s+(\w+))?(?:\s*:\s*(.+))?")


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """A JSON Schema, and jsonschema's validator of it."""

    schema: dict[str, Any]
    validator: Any

    @classmethod
    def read(cls, given: str | None) -> Self | None:
        """Return what an option says, None for None; refuse what is no schema."""
        if given is None:
            return None
        from novita_openai.client.json_schemas import validator_of

        schema = schema_in(given)
        return cls(schema, validator_of(schema, "--schema"))

    @property
    def response_format(self) -> dict[str, Any]:
        """Return the parameter that asks a model with structured outputs for such an answer."""
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": self.schema}}

    @property
    def request(self) -> str:
        """Return the words that ask any other model for such an answer."""
        return (
            f"Answer with JSON alone, without anything around it, that fits this JSON Schema: {json.dumps(self.schema)}"
        )

    def flaw(self, text: str) -> str | None:
        """Return what is wrong with an answer, None where nothing is."""
        from novita_openai.client.json_schemas import flaws_of

        try:
            return flaws_of(self.validator, json.loads(text))
        except ValueError:
            return "it is not JSON"


def schema_in(given: str) -> dict[str, Any]:
    """Return the JSON Schema that is given as JSON, as the path of a file, or as a list of fields."""
    if given.lstrip().startswith("{"):
        return _schema_in(given, "--schema")
    path = Path(given)
    if path.suffix == ".json" or path.is_file():
        return _schema_in(path.read_text(encoding="utf-8"), f"--schema {given}")
    return _schema_of_fields(given)


def _schema_in(text: str, place: str) -> dict[str, Any]:
    try:
        schema: Any = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise typer.BadParameter(f"{place}: this is not JSON: {error.msg} at {where}") from None
    if not isinstance(schema, dict):
        raise typer.BadParameter(f"{place}: a JSON Schema is an object, not {type(schema).__name__}")
    return cast("dict[str, Any]", schema)


def _schema_of_fields(given: str) -> dict[str, Any]:
    """Return the schema of an object with the fields ``name type: description``, split at commas or at newlines."""
    separator = "\n" if "\n" in given.strip() else ","
    fields = dict(_field(part.strip()) for part in given.split(separator) if part.strip())
    if not fields:
        raise typer.BadParameter("--schema: name at least one field, such as 'name, age int'")
    return {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}


def _field(text: str) -> tuple[str, dict[str, str]]:
    found = _FIELD.fullmatch(text)
    kind = TYPES.get((found and found[2]) or "str")
    if found is None or kind is None:
        raise typer.BadParameter(
            f"--schema: {text!r} is not a field ('name', 'age int', 'born int: the year'; types: {', '.join(TYPES)}),"
            " and there is no such file"
        )
    return found[1], {"type": kind} | ({"description": found[3]} if found[3] else {})
