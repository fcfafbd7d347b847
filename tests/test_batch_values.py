"""Rows as programs have them: what becomes of each value, and where the place of a bad one is told."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import pathlib
import types
import uuid
from collections import namedtuple
from typing import Any

import pydantic
import pytest
from batch_jobs import MODEL, Job, row, rows

from novita_openai import batch
from novita_openai.batch import BatchInputError
from novita_openai.batch.values import plain_row

NAN = float("nan")
URL = "/v1/chat/completions"
ROW = {
    "custom_id": "a",
    "url": URL,
    "body": {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4},
}


class Role(enum.Enum):
    USER = "user"


class Old(str, enum.Enum):  # noqa: UP042 - as programs have them
    USER = "user"


class Word(enum.StrEnum):
    HIGH = "high"


@dataclasses.dataclass
class Message:
    role: str
    content: str


class Model(pydantic.BaseModel):
    role: str
    content: str | None = None
    audio: str | None = None


Pair = namedtuple("Pair", "role content")  # noqa: PYI024 - as itertuples() of pandas makes them


class Array:
    """Gives what it holds as arrays and numbers of numpy do."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def tolist(self) -> Any:
        return self.held


class Table(Array):
    """Gives what it holds as rows of tables do."""

    def to_dict(self) -> Any:
        return self.held


class NAType:
    """Like the NA of pandas, which cannot be compared."""

    def __bool__(self) -> bool:
        raise TypeError

    def __ne__(self, _: object) -> Any:
        return self

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (decimal.Decimal("0.5"), 0.5),
        (decimal.Decimal(100), 100),
        (decimal.Decimal("1E+2"), 100),
        (fractions.Fraction(1, 2), 0.5),
        (Array(3), 3),
        (Array([1.5, [2]]), [1.5, [2]]),
        (Table({"a": Array(1)}), {"a": 1}),
        ((1, "x", None, True), [1, "x", None, True]),
        (types.MappingProxyType({"x": 1}), {"x": 1}),
        ({1: 2, Word.HIGH: Word.HIGH}, {"1": 2, "high": "high"}),
        (Message("user", "Hi"), {"role": "user", "content": "Hi"}),
        (Pair("user", "Hi"), {"role": "user", "content": "Hi"}),
        (Model(role="user", content="Hi"), {"role": "user", "content": "Hi"}),
        (Role.USER, "user"),
        (Old.USER, "user"),
        (100.0, 100),
        (-0.5, -0.5),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "2026-01-02T00:00:00+00:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (1e300, 1e300),
    ],
)
def test_what_programs_have_becomes_what_json_has(given: Any, made: Any) -> None:
    assert plain_row({"body": {"x": given}}) == {"body": {"x": made}}
    assert plain_row({"x": [given]}) == {"x": [made]}


@pytest.mark.parametrize(
    "missing", [NAN, decimal.Decimal("nan"), decimal.Decimal("snan"), NAType(), type("NaTType", (), {})(), Array(NAN)]
)
def test_a_field_without_a_value_is_not_given(missing: Any) -> None:
    given = {"custom_id": "a", "metadata": {"note": 1}, "body": {"model": "m", "prompt": "x"}}
    for place in (given, given["metadata"], given["body"]):
        place["gone"] = missing  # type: ignore[index]
    if not isinstance(missing, Array):
        assert plain_row(given) == {"custom_id": "a", "metadata": {"note": 1}, "body": {"model": "m", "prompt": "x"}}
    else:
        with pytest.raises(ValueError, match="gone has no value"):
            plain_row(given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"body": {"messages": [{"content": NAN}]}}, r"body\.messages\[0\]\.content has no value \(NaN\): fill it in"),
        ({"body": {"messages": NAN}}, r"^body\.messages has no value"),
        ({"prompt": NAN}, "^prompt has no value"),
        ({"body": NAN}, "^body has no value"),
        ({"x": {"y": float("inf")}}, r"^x\.y is inf, a number that JSON does not have"),
        ({"x": decimal.Decimal("-Infinity")}, r"^x is Decimal\('-Infinity'\), a number"),
        ({"x": b"bytes"}, "^x is of the type bytes, which JSON does not have"),
        ({"x": [{1, 2}]}, r"^x\[0\] is of the type set"),
        ({"x": Model}, "^x is the class Model: give an object of it"),
        ({"x": {(1, 2): 3}}, r"^x has a field named \(1, 2\): names must be texts"),
        ({None: 3}, "^the row has a field named None"),
        (NAN, "^the row has no value"),
        (object(), "^the row is of the type object"),
    ],
)
def test_what_json_does_not_have_is_told_with_its_place(given: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        plain_row(given)


def test_a_row_that_holds_itself_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["x"] = endless
    with pytest.raises(ValueError, match="holds itself"):
        plain_row(endless)


@pytest.mark.parametrize(("given", "name"), [(7, "7"), (7.0, "7"), (0, "0"), (Array(5), "5"), ("x", "x")])
def test_a_whole_number_is_a_custom_id(given: Any, name: str) -> None:
    assert plain_row(ROW | {"custom_id": given}) == ROW | {"custom_id": name}


@pytest.mark.parametrize("given", [True, 1.5, [1]])
def test_what_is_no_text_and_no_whole_number_is_no_custom_id(job: Job, given: Any) -> None:
    with pytest.raises(BatchInputError, match="custom_id must be a text"):
        list(batch.stream([ROW | {"custom_id": given}], client=job.client()))


def test_one_row_after_the_other_comes_back(job: Job) -> None:
    table = [
        {"custom_id": 1, "url": URL, "body": ROW["body"] | {"temperature": decimal.Decimal("0.5"), "top_p": NAN}},  # type: ignore[operator]
        {"custom_id": NAN, "model": MODEL, "messages": [Message("user", "Hi"), Pair("user", "Hi")], "max_tokens": 4.0},
    ]
    results = list(batch.stream(table, client=job.client()))
    assert sorted(result["custom_id"] for result in results) == ["1", "line-2"]
    assert all(result["error"] is None for result in results)


def test_a_bad_row_ends_a_stream_after_those_before_it(job: Job) -> None:
    bad = row("r1", messages=[{"role": "user", "content": NAN}])
    results = iter(batch.stream([row("r0"), bad, row("r2")], client=job.client()))
    assert next(results)["custom_id"] == "r0"
    with pytest.raises(BatchInputError, match=r"^request 2: body\.messages\[0\]\.content has no value"):
        next(results)


def test_a_for_loop_in_a_running_event_loop_says_what_to_use(job: Job) -> None:
    async def notebook() -> None:
        list(batch.stream(rows(1), client=job.client()))

    with pytest.raises(RuntimeError, match=r"use `async for result in batch\.stream"):
        asyncio.run(notebook())
