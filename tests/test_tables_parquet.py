"""Tables as Parquet: types are kept, and the added columns have theirs."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest
from table_jobs import Tables

from novita_openai.batch import BatchInputError

pa: Any = import_module("pyarrow")
parquet: Any = import_module("pyarrow.parquet")


def written(tables: Tables, **columns: Any) -> Any:
    table = pa.table(columns)
    parquet.write_table(table, tables.folder / "reviews.parquet")
    return table


def read(tables: Tables, name: str = "answers.parquet") -> Any:
    return parquet.read_table(tables.folder / name)


def test_the_columns_of_parquet_keep_their_types(tables: Tables) -> None:
    before = written(
        tables,
        text=pa.array(["good", None, "bad"]),
        when=pa.array([dt.datetime(2026, 1, 2, 3, 4, 5, 678, dt.UTC), None, None], pa.timestamp("ns", "UTC")),
        price=pa.array([Decimal("1.10"), None, None]),
        kind=pa.array(["a", "b", "a"]).dictionary_encode(),
        raw=pa.array([b"\xff", None, None]),
        tags=pa.array([["x"], [], None]),
    )
    report = tables.run(None, "answers.parquet", "reviews.parquet")
    assert (report.succeeded, report.failed) == (2, 1)
    after = read(tables)
    assert after.select(before.column_names) == before
    assert after.column("answer").to_pylist() == ["GOOD", None, "BAD"]
    assert after.column("error").to_pylist() == [None, "empty", None]
    assert [str(after.schema.field(name).type) for name in ("answer", "prompt_tokens")] == ["string", "int64"]


def test_parquet_becomes_texts_and_lines(tables: Tables) -> None:
    when = dt.date(2026, 1, 2)
    written(
        tables,
        text=["good", "bad"],
        n=[1.0, float("nan")],
        day=[when, when],
        price=[Decimal("1.5"), None],
        raw=[b"\xff", b""],
    )
    tables.run(None, "answers.csv", "reviews.parquet")
    assert tables.text().splitlines()[1].startswith("good,1,2026-01-02,1.5,b'\\xff',GOOD,stop,,")
    tables.run(None, "answers.jsonl", "reviews.parquet")
    first, second = tables.text("answers.jsonl").splitlines()
    assert first.startswith('{"text": "good", "n": 1.0, "day": "2026-01-02", "price": "1.5", "raw": "b\'\\\\xff\'", ')
    assert '"n": null' in second


def test_dates_and_numbers_are_asked_about(tables: Tables) -> None:
    written(tables, text=["a"], n=[7], day=[dt.date(2026, 1, 2)], ok=[True])
    tables.run(None, "answers.parquet", "reviews.parquet", prompt="{n} {day} {ok}")
    assert tables.prompts == ["7 2026-01-02 true"]


def test_bytes_cannot_be_asked_about(tables: Tables) -> None:
    written(tables, text=[b"\xff"])
    with pytest.raises(BatchInputError, match=r"reviews.parquet, line 1: the row is of the type bytes"):
        tables.run(None, "answers.parquet", "reviews.parquet")


def test_csv_becomes_parquet_of_texts_and_lines_keep_their_kinds(tables: Tables) -> None:
    tables.run("n,text\n1,good\n", "answers.parquet")
    assert read(tables).select(["n", "text", "answer"]).to_pylist() == [{"n": "1", "text": "good", "answer": "GOOD"}]
    tables.run('{"text": "good", "n": 1, "x": 1}\n{"text": "bad", "n": null, "x": [1.5]}\n', "b.parquet", "r.jsonl")
    assert read(tables, "b.parquet").select(["n", "x"]).to_pylist() == [{"n": 1, "x": "1"}, {"n": None, "x": "[1.5]"}]


def test_whole_numbers_that_no_column_holds_come_as_texts(tables: Tables) -> None:
    first = '{"text": "good", "n": 9223372036854775808, "x": 9007199254740993}'
    tables.run(f'{first}\n{{"text": "bad", "n": 1, "x": 0.5}}\n', "answers.parquet", "r.jsonl")
    after = read(tables)
    assert after.column("n").to_pylist() == ["9223372036854775808", "1"]
    assert after.column("x").to_pylist() == [2.0**53, 0.5]


def test_what_is_not_parquet_is_refused(tables: Tables) -> None:
    with pytest.raises(BatchInputError, match=r"reviews.parquet: this is not Parquet"):
        tables.run("n,text\n1,good\n", name="reviews.parquet")


def test_a_missing_pyarrow_says_what_to_install(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install .*\[tables\]"):
        tables.run("x", name="reviews.parquet")


def test_more_rows_than_a_batch_of_pyarrow_come_in_order(tables: Tables) -> None:
    count = 5_000
    written(tables, text=["" if n % 100 else f"t{n}" for n in range(count)], n=list(range(count)))
    tables.run(None, "answers.parquet", "reviews.parquet")
    after = read(tables)
    assert after.column("n").to_pylist() == list(range(count))
    assert after.column("answer").to_pylist() == [None if n % 100 else f"T{n}" for n in range(count)]
