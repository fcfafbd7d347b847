"""The columns that a job adds to its table, and their values in each row: results in, cells out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast

from novita_openai.batch.requests import BatchInputError
from novita_openai.batch.tables.cells import readable

if TYPE_CHECKING:
    from novita_openai.batch.reading import BatchResult

__all__ = ["EMPTY", "AnswerColumns", "Column", "Kind", "kind_of", "refuse_wide", "type_of"]

EMPTY: Final = "empty"
"""The error of a row of which a cell that is asked about holds nothing, so that nothing was sent."""
ANSWER: Final = "answer"


class Kind(Enum):
    """What the cells of a column are, by the word of JSON Schema; lists and objects are JSON in a text."""

    TEXT = "string"
    WHOLE = "integer"
    NUMBER = "number"
    TRUTH = "boolean"
    JSON = "object"


@dataclass(frozen=True, slots=True)
class Column:
    """A column that is added."""

    name: str
    kind: Kind


_AFTER: Final = (
    Column("finish_reason", Kind.TEXT),
    Column("error", Kind.TEXT),
    Column("prompt_tokens", Kind.WHOLE),
    Column("completion_tokens", Kind.WHOLE),
)


@dataclass(frozen=True, slots=True)
class AnswerColumns:
    """The added columns: ``answer``, one for each of the ``fields`` that it must have, and what is known of it.

    ``model``: the pydantic model that reads the fields, None where they are as they stand.
    """

    fields: tuple[Column, ...] = ()
    model: Any = None

    @classmethod
    def of(cls, validate: Any) -> AnswerColumns:
        """Return the columns for a check: a JSON Schema or a pydantic model says which fields an answer has."""
        if isinstance(validate, Mapping):
            return cls(tuple(_fields(cast("Mapping[str, Any]", validate))))
        if hasattr(validate, "model_json_schema"):
            return cls(tuple(_fields(validate.model_json_schema(mode="serialization"))), validate)
        return cls()

    @property
    def columns(self) -> tuple[Column, ...]:
        """Return all of them in order."""
        named = (Column(f"{ANSWER}.{field.name}", field.kind) for field in self.fields)
        return (Column(ANSWER, Kind.TEXT), *named, *_AFTER)

    @property
    def names(self) -> tuple[str, ...]:
        """Return their names."""
        return tuple(column.name for column in self.columns)

    def refuse_taken(self, table: str, columns: Sequence[str]) -> None:
        """Raise :class:`BatchInputError` where a table has one of them already."""
        taken = [repr(name) for name in self.names if name in columns]
        if taken:
            told = f"it has {', '.join(taken)} already, where the answers go: rename or remove"
            raise BatchInputError([f"{table}: {told} {'this column' if len(taken) == 1 else 'these columns'}"])

    def values(self, result: BatchResult) -> tuple[Any, ...]:
        """Return their values for a result: a failed row has no answer, but an error."""
        usage, error = result.usage or {}, result.error
        text = None if error is not None or result.text is None else readable(result.text)
        code = None if error is None else str(error.get("code"))
        tokens = (_whole(usage.get("prompt_tokens")), _whole(usage.get("completion_tokens")))
        parsed = self._parsed(result) if self.fields and text is not None else {}
        named = (_converted(parsed.get(field.name), field.kind) for field in self.fields)
        return (text, *named, result.finish_reason, code, *tokens)

    def _parsed(self, result: BatchResult) -> Mapping[str, Any]:
        """Return the fields of a checked answer, as its model converts them where there is one."""
        if self.model is None:
            return _object(result.parsed)
        return _object(self.model.model_validate_json(result.text).model_dump(mode="json", by_alias=True))

    @property
    def of_empty(self) -> tuple[Any, ...]:
        """Return their values for a row that was not sent, as a cell is empty."""
        return (None, *(None for _ in self.fields), None, EMPTY, None, None)


def _fields(schema: Mapping[str, Any]) -> Iterator[Column]:
    for name, field in _object(_resolved(schema, schema).get("properties")).items():
        yield Column(name, _kind(_resolved(schema, _object(field))))


def _resolved(root: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a reference to another part of the same schema stands for, where it is one."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return schema
    found: Any = root
    for part in reference[2:].split("/"):
        found = _object(found).get(part.replace("~1", "/").replace("~0", "~"))
    return _object(found)


def _kind(field: Mapping[str, Any]) -> Kind:
    """Return what a field of a schema holds besides null."""
    parts = [_object(part) for part in field.get("anyOf", ())] or [field]
    return _common({word for part in parts for word in _words(part)})


def kind_of(types: set[type]) -> Kind:
    """Return what a column is of which the values have these types."""
    return _common({_NAMES.get(each, "object") for each in types})


def _common(words: set[str]) -> Kind:
    """Return the kind of values that have these types of JSON Schema: JSON where they differ."""
    words = words - {"null"}
    if words == {"integer", "number"}:
        return Kind.NUMBER
    word = words.pop() if len(words) == 1 else None
    return next((kind for kind in Kind if kind.value == word), Kind.JSON)


def _words(part: Mapping[str, Any]) -> list[str]:
    """Return the types that a part of a schema allows; what an ``enum`` lists has the types of its values."""
    listed = part["enum"] if "enum" in part else [part["const"]] if "const" in part else None
    if listed is not None:
        return [_NAMES.get(type(value), "object") for value in listed]
    words = part.get("type", "any")
    return list(words) if isinstance(words, (list, tuple)) else [str(words)]


_NAMES: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


def _converted(value: Any, kind: Kind) -> Any:
    """Return a value of an answer as its column holds it."""
    if value is None:
        return None
    if kind in (Kind.JSON, Kind.TEXT):
        return readable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return int(value) if kind is Kind.WHOLE else _number(value) if kind is Kind.NUMBER else value


def _number(value: float) -> float:
    """Return a number as a column of floats holds it: infinite where it is too large, as JSON's ``1e999`` is."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def type_of(value: object) -> type:
    """Return the type that counts for the kind of a column: a whole number of more than 64 bits is none of a column."""
    return object if isinstance(value, int) and not _is_narrow(value) else type(value)


def refuse_wide(added: Sequence[Column], rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """Yield the values of rows; raise :class:`BatchInputError` for a whole number of more than 64 bits in one."""
    whole = [(place, column.name) for place, column in enumerate(added) if column.kind is Kind.WHOLE]
    for number, values in enumerate(rows, start=1):
        for place, name in whole:
            if values[place] is not None and not _is_narrow(values[place]):
                digits = len(str(abs(values[place])))
                told = f"{name} has {digits} digits, but a column of whole numbers holds 64 bits: {_WAY_OUT}"
                raise BatchInputError([f"row {number}: {told}"])
        yield values


_WAY_OUT: Final = (
    'let the schema have "type": ["integer", "string"] there, so that the column is one of texts, or write .csv or '
    ".jsonl; the answers are kept, and none is asked again"
)


def _is_narrow(value: int) -> bool:
    return -(2**63) <= value < 2**63


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _object(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
