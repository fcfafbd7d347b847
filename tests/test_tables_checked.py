"""Checked answers: the fields that an answer must have come as columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from importlib import import_module
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, RootModel
from table_jobs import Tables

from novita_openai import batch
from novita_openai.batch import BatchInputError
from novita_openai.batch.tables.columns import AnswerColumns, Kind
from novita_openai.emulator import Emulator

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": ["integer", "null"]}, "tags": {"type": "array"}},
    "required": ["name"],
}


class Place(BaseModel):
    town: str


class Person(BaseModel):
    name: str = Field(alias="Name")
    age: int | None = None
    mood: Literal["good", "bad"] | None = None
    place: Place = Place(town="Ulm")
    score: Decimal | None = None
    one: bool | int = 0


def names(validate: Any) -> list[str]:
    return [name for name in AnswerColumns.of(validate).names if name.startswith("answer.")]


def test_the_fields_of_a_schema_come_as_columns(tables: Tables, emulator: Emulator) -> None:
    emulator.script.clear()
    emulator.script.extend(
        [lambda _: '{"name": "Eva \\ud83d", "age": 5.0, "tags": ["a", "ä"]}', lambda _: '{"name": "Bob"}']
    )
    tables.run("text\na\nb\n", validate=SCHEMA, concurrency=1)
    first, second = tables.rows()
    columns = ["answer", "answer.name", "answer.age", "answer.tags", "finish_reason"]
    assert list(first)[1:6] == columns
    assert [first[name] for name in columns[1:4]] == ["Eva \ufffd", "5", '["a", "ä"]']
    assert [second[name] for name in columns] == ['{"name": "Bob"}', "Bob", "", "", "stop"]
    parsed = [result.parsed for result in batch.results(tables.folder / "answers.results.jsonl")]
    assert parsed[1] == {"name": "Bob"}


def test_a_whole_number_that_no_column_holds_is_told_and_the_answers_are_kept(
    tables: Tables, emulator: Emulator
) -> None:
    def schema(*types: str) -> dict[str, Any]:
        return {"type": "object", "properties": {"n": {"type": [*types]}, "x": {"type": "number"}}}

    emulator.script.clear()
    emulator.script.extend([lambda _: '{"n": 5}', lambda _: '{"n": 9223372036854775808, "x": -1%s}' % ("0" * 400)])
    told = r"row 2: answer.n has 19 digits, but a column of whole numbers holds 64 bits: .*; the answers are kept"
    with pytest.raises(BatchInputError, match=told):
        tables.run("text\na\nb\n", "answers.parquet", validate=schema("integer"), concurrency=1)
    tables.run(None, "answers.parquet", validate=schema("integer", "string"))
    after = import_module("pyarrow.parquet").read_table(tables.folder / "answers.parquet")
    assert after.column("answer.n").to_pylist() == ["5", "9223372036854775808"]
    assert after.column("answer.x").to_pylist() == [None, -math.inf]
    assert [request.method for request in emulator.requests].count("POST") == 2
    tables.run(None, "answers.csv", validate=schema("integer"))
    assert [row["answer.n"] for row in tables.rows()] == ["5", "9223372036854775808"]


def test_a_row_that_does_not_pass_has_no_answer(tables: Tables, emulator: Emulator) -> None:
    emulator.script.clear()
    emulator.script.extend([lambda _: "no"] * 2)
    report = tables.run("text\na\n", validate=SCHEMA, validate_attempts=1)
    (row,) = tables.rows()
    assert (report.failed, row["error"], row["answer"], row["answer.name"]) == (1, "validation_failed", "", "")
    assert int(row["prompt_tokens"]) > 0


def test_the_fields_of_a_model_are_as_it_reads_them(tables: Tables, emulator: Emulator) -> None:
    emulator.script.clear()
    emulator.script.append(lambda _: '{"Name": "Eva", "age": "5", "score": 1.5}')
    tables.run("text\na\n", validate=Person)
    (row,) = tables.rows()
    found = {name: value for name, value in row.items() if name.startswith("answer.")}
    assert found == {
        "answer.Name": "Eva",
        "answer.age": "5",
        "answer.mood": "",
        "answer.place": '{"town": "Ulm"}',
        "answer.score": "1.5",
        "answer.one": "0",
    }


def test_checked_columns_that_exist_already_are_refused(tables: Tables) -> None:
    with pytest.raises(BatchInputError, match=r"it has 'answer.name' already"):
        tables.run("text,answer.name\na,b\n", validate=SCHEMA)


@pytest.mark.parametrize(
    ("validate", "columns"),
    [
        (None, []),
        (lambda _: None, []),
        (RootModel[list[int]], []),
        ({"type": "array"}, []),
        ({"properties": []}, []),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"properties": {"x": {}}}}}, ["answer.x"]),
        ({"$ref": "#/$defs/none"}, []),
        ({"$ref": "https://example.com/schema"}, []),
        (Person, [f"answer.{name}" for name in ("Name", "age", "mood", "place", "score", "one")]),
    ],
)
def test_a_check_says_which_fields_there_are(validate: Any, columns: list[str]) -> None:
    assert names(validate) == columns


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ({"type": "string"}, Kind.TEXT),
        ({"type": ["number", "null"]}, Kind.NUMBER),
        ({"type": ["number", "integer"]}, Kind.NUMBER),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, Kind.TRUTH),
        ({"anyOf": [{"type": "boolean"}, {"type": "string"}]}, Kind.JSON),
        ({"enum": ["a", "b", None]}, Kind.TEXT),
        ({"enum": [1, {}]}, Kind.JSON),
        ({"const": 1}, Kind.WHOLE),
        ({"type": "object"}, Kind.JSON),
        ({}, Kind.JSON),
    ],
)
def test_a_field_has_the_kind_that_its_schema_says(field: Mapping[str, Any], kind: Kind) -> None:
    assert AnswerColumns.of({"properties": {"x": field}}).fields[0].kind is kind
