"""Rows of a program in the form in which JSON has them.

Numbers of numpy and ``decimal``, dates, enumerations, dataclasses, pydantic models and rows of tables become what a
file of requests would hold. Where tables have NaN, NaT or NA in place of a missing value, the field is not given; a
request that cannot do without it is refused.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

__all__ = ["is_missing", "plain_row"]

NEEDED: Final = frozenset({"body", "url", "messages", "prompt", "input"})
"""Fields that are not left out where their value is missing, as they are what is asked."""
_MISSING: Final = frozenset({"NAType", "NaTType"})
"""The types of what pandas has for missing values, besides NaN."""
EXACT: Final = 2**53
"""The whole numbers below are as exact as a float as they are as an int."""
_AS_THEY_ARE: Final = frozenset({str, int, bool, type(None)})
_METHODS: Final = ("_asdict", "to_dict", "tolist", "isoformat")
"""How named tuples, rows of tables, arrays and numbers of numpy, and dates give what they hold."""


def plain_row(row: object) -> Any:
    """Return a row as JSON has it, its custom_id as text; raise ``ValueError`` for what JSON cannot hold, and where."""
    try:
        made = _plain(row, "")
    except RecursionError:
        raise ValueError("the row holds itself, or is nested too deeply") from None
    if isinstance(made, dict) and (name := _whole(made.get("custom_id"))) is not None:
        made["custom_id"] = str(name)
    return made


def _whole(value: object) -> int | None:
    """Return a whole number, also where a table has made it 7.0; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if value % 1 == 0 else None


def _plain(value: Any, place: str) -> Any:
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, str):
        return str.__str__(value)  # of an enumeration too the text that it stands for
    if is_missing(value):
        raise ValueError(f"{place or 'the row'} has no value (NaN): fill it in, or leave the row out")
    if isinstance(value, Mapping):
        return _object(value, place)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_asdict"):
        return [_plain(each, f"{place}[{number}]") for number, each in enumerate(value)]
    if isinstance(value, (numbers.Real, Decimal)):
        return _number(value, place)
    return _plain(_held(value, place), place)


def _object(value: Mapping[Any, Any], place: str) -> dict[str, Any]:
    """Return a JSON object; a row, its body and its metadata may lack values."""
    may_lack = place in ("", "body", "metadata")
    return {
        _name(name, place): _plain(each, f"{place}.{name}" if place else str(name))
        for name, each in value.items()
        if not (may_lack and name not in NEEDED and is_missing(each))
    }


def _name(name: object, place: str) -> str:
    if isinstance(name, Enum):
        return _name(name.value, place)
    if isinstance(name, (str, numbers.Integral)):
        return str(name)
    raise ValueError(f"{place or 'the row'} has a field named {name!r}: names must be texts")


def _number(value: Any, place: str) -> int | float:
    """Return a number, a whole one without a fraction: a table makes 100.0 of the 100 beside a missing value."""
    number = int(value) if isinstance(value, numbers.Integral) else float(value)
    if isinstance(number, int) or (number.is_integer() and abs(number) < EXACT):
        return int(number)
    if math.isinf(number):
        raise ValueError(f"{place or 'the row'} is {value!r}, a number that JSON does not have")
    return number


def _held(value: Any, place: str) -> Any:
    """Return what an object holds, which may be an object again."""
    if isinstance(value, (UUID, PurePath)):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, type):
        raise ValueError(f"{place or 'the row'} is the class {value.__name__}: give an object of it")  # noqa: TRY004 - bad input is one error
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_unset=True)  # as the SDK sends models
    method = next((found for name in _METHODS if callable(found := getattr(value, name, None))), None)
    if method is None:
        raise ValueError(f"{place or 'the row'} is of the type {type(value).__name__}, which JSON does not have")
    return method()


def is_missing(value: Any) -> bool:
    """Tell whether a value stands for a missing one."""
    if type(value).__name__ in _MISSING:
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, numbers.Real) and bool(value != value)  # noqa: PLR0124 - NaN alone is so
