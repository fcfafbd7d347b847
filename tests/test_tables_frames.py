"""Data frames in, data frames out: pandas, polars and pyarrow, their kinds, indexes and missing values."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import MODEL, Job, environment, until
from pydantic import BaseModel
from table_jobs import Tables

from novita_openai import batch
from novita_openai.batch import BatchInputError
from novita_openai.batch.report import BatchProgress
from novita_openai.batch.telling import ProgressLines
from novita_openai.emulator import Emulator, Fault

pd: Any = import_module("pandas")
pl: Any = import_module("polars")
pa: Any = import_module("pyarrow")

ADDED = ["answer", "finish_reason", "error", "prompt_tokens", "completion_tokens"]
KINDS: list[Callable[[dict[str, list[Any]]], Any]] = [pd.DataFrame, pl.DataFrame, pa.table]


class Asked:
    """Calls ``table`` or ``atable`` with a client of the emulator."""

    def __init__(self, tables: Tables, emulator: Emulator, *, is_async: bool) -> None:
        self.tables = tables
        self._is_async, self._base_url = is_async, emulator.base_url

    def __call__(self, frame: Any, **options: Any) -> Any:
        client = Job(self.tables.folder, self._base_url).client()
        defaults: dict[str, Any] = {"client": client, "model": MODEL, "prompt": "Shout: {text}"}
        given = defaults | options
        return asyncio.run(batch.atable(frame, **given)) if self._is_async else batch.table(frame, **given)


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, tables: Tables, emulator: Emulator) -> Asked:
    return Asked(tables, emulator, is_async=request.param == "async")


def rows_of(frame: Any) -> list[dict[str, Any]]:
    """Return the rows of a frame of any kind, None for what is missing."""
    if isinstance(frame, pd.DataFrame):
        return [
            {name: None if pd.isna(value) else value for name, value in row.items()} for row in frame.to_dict("records")
        ]
    return list(frame.to_dicts() if isinstance(frame, pl.DataFrame) else frame.to_pylist())


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_comes_back_as_one_of_its_kind(ask: Asked, kind: Any) -> None:
    before = kind({"text": ["good", None, "bad"], "n": [1, 2, 3]})
    after = ask(before)
    assert type(after) is type(before)
    first, empty, last = rows_of(after)
    assert list(first) == ["text", "n", *ADDED]
    assert (first["answer"], first["n"], first["error"]) == ("GOOD", 1, None)
    assert (empty["answer"], empty["error"], empty["prompt_tokens"]) == (None, "empty", None)
    assert (last["answer"], last["finish_reason"]) == ("BAD", "stop")
    assert list(rows_of(before)[0]) == ["text", "n"]


@pytest.mark.parametrize(
    "index", [[5, 5, 7], ["a", "b", "c"], pd.MultiIndex.from_tuples([(1, "x"), (1, "y"), (2, "x")], names=["p", "q"])]
)
def test_the_index_of_pandas_is_kept(ask: Asked, index: Any) -> None:
    before = pd.DataFrame({"text": ["good", "bad", "so-so"]}, index=index)
    after = ask(before)
    assert after.index.equals(before.index)
    assert after.index.names == before.index.names
    assert after["answer"].tolist() == ["GOOD", "BAD", "SO-SO"]
    assert after["prompt_tokens"].dtype == "Int64"


def test_a_part_of_a_frame_is_a_frame(ask: Asked) -> None:
    frame = pd.DataFrame({"text": ["good", "bad", "so-so"], "n": [1, 2, 3]})
    assert ask(frame[frame["n"] > 1])["answer"].to_dict() == {1: "BAD", 2: "SO-SO"}


def test_columns_of_pandas_may_be_named_by_numbers(ask: Asked) -> None:
    after = ask(pd.DataFrame([["good", "x"]]), prompt="Shout: {0}")
    assert list(after.columns) == [0, 1, *ADDED]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (1.5, "1.5"),
        (2.0, "2"),
        (True, "true"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        ("ä", "ä"),
        (float("nan"), None),
        (pd.NaT, None),
        (pd.NA, None),
    ],
)
def test_a_value_is_asked_about_as_its_text(ask: Asked, value: Any, text: str | None) -> None:
    ask(pd.DataFrame({"text": [value]}))
    assert ask.tables.prompts == ([] if text is None else [f"Shout: {text}"])


@pytest.mark.parametrize("kind", KINDS)
def test_checked_columns_have_their_types(ask: Asked, emulator: Emulator, kind: Any) -> None:
    class Person(BaseModel):
        name: str
        age: int | None
        score: float = 0.5
        is_here: bool = True
        tags: list[str] = []

    emulator.script.clear()
    emulator.script.extend(
        [lambda _: '{"name": "Eva", "age": 5, "score": 1, "tags": ["a"]}', lambda _: '{"name": "Bob", "age": null}']
    )
    after = ask(kind({"text": ["a", "b", None]}), validate=Person, concurrency=1)
    first, second, empty = ({name: row[f"answer.{name}"] for name in Person.model_fields} for row in rows_of(after))
    assert first == {"name": "Eva", "age": 5, "score": 1.0, "is_here": True, "tags": '["a"]'}
    assert second == {"name": "Bob", "age": None, "score": 0.5, "is_here": True, "tags": "[]"}
    assert set(empty.values()) == {None}


def test_a_checkpoint_asks_only_what_is_missing(ask: Asked) -> None:
    checkpoint = ask.tables.folder / "answers.jsonl"
    ask(pd.DataFrame({"text": ["good", "bad"]}), checkpoint=checkpoint)
    assert {path.name for path in ask.tables.folder.iterdir()} == {"answers.jsonl", "answers.errors.jsonl"}
    ask.tables.asked.clear()
    after = ask(pl.DataFrame({"text": ["bad", "new", "good"]}), checkpoint=str(checkpoint))
    assert (ask.tables.prompts, after["answer"].to_list()) == (["Shout: new"], ["BAD", "NEW", "GOOD"])


def test_without_a_checkpoint_nothing_stays_behind(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(ask.tables.folder))
    ask(pd.DataFrame({"text": ["good"]}))
    with pytest.raises(BatchInputError, match=r"prompt=.*: there is no column 'txt'"):
        ask(pd.DataFrame({"text": ["good"]}), prompt="{txt}")
    with pytest.raises(TypeError, match="client='x'"):
        ask(pd.DataFrame({"text": ["good"]}), client="x")
    assert list(ask.tables.folder.iterdir()) == []


def test_a_job_that_stops_keeps_what_has_come_and_says_where(
    ask: Asked, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(ask.tables.folder))
    answer = emulator.script[0]
    emulator.script.clear()
    emulator.script.extend([answer, Fault("NOT_ENOUGH_BALANCE")])
    frame = pd.DataFrame({"text": ["good", "bad", "new"]})
    with pytest.raises(batch.BatchStopped) as stop:
        ask(frame, concurrency=1)
    (kept,) = re.findall("checkpoint='(.*)' goes on with it", "\n".join(stop.value.__notes__))
    emulator.script.clear()
    emulator.script.extend([answer] * 9)
    ask.tables.asked.clear()
    assert ask(frame, checkpoint=kept)["answer"].tolist() == ["GOOD", "BAD", "NEW"]
    assert len(ask.tables.asked) == 2


def test_an_interrupted_job_raises(ask: Asked) -> None:
    frame, checkpoint = pl.DataFrame({"text": [f"t{n}" for n in range(50)]}), ask.tables.folder / "answers.jsonl"

    def interrupt(_: BatchProgress) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(batch.BatchStopped, match=r"interrupted\n\d+ of 50 rows are unfinished: call it again"):
        ask(frame, checkpoint=checkpoint, concurrency=1, on_progress=interrupt)
    assert ask(frame, checkpoint=checkpoint)["answer"].to_list() == [f"T{n}" for n in range(50)]


def test_a_frame_of_empty_cells_asks_nothing(ask: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(pl.DataFrame({"text": ["", " "]}))["error"].to_list() == ["empty", "empty"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("frame", "options", "kind", "told"),
    [
        ([1], {}, TypeError, "list: give a data frame of pandas, polars or pyarrow"),
        (pl.LazyFrame({"text": ["a"]}), {}, TypeError, "LazyFrame: give .* what collect"),
        (pl.DataFrame({"text": []}), {}, BatchInputError, "the frame holds no rows"),
        (pl.DataFrame({"text": ["a"], "error": ["b"]}), {}, BatchInputError, "the frame: it has 'error' already"),
        (pl.DataFrame({"text": [b"a"]}), {}, BatchInputError, "the frame, line 1: .* bytes"),
        (pl.DataFrame({"text": ["a"]}), {"raw": True}, BatchInputError, "raw=True: this is for lines"),
        (pl.DataFrame({"text": ["a"]}), {"checkpont": "x"}, TypeError, "there is checkpoint"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), {}, ValueError, "text"),
    ],
)
def test_what_is_no_frame_or_cannot_be_asked_is_refused(
    ask: Asked, frame: Any, options: dict[str, Any], kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        ask(frame, **options)
    assert ask.tables.asked == []


def test_a_running_loop_is_told_of_atable(tables: Tables) -> None:
    async def inside() -> None:
        batch.table(pl.DataFrame({"text": ["a"]}), prompt="{text}", model=MODEL)

    with pytest.raises(RuntimeError, match=r"batch.table\(\) inside a running event loop: use `await batch.atable"):
        asyncio.run(inside())
    assert tables.asked == []


def test_a_missing_narwhals_says_what_to_install(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "narwhals", None)
    with pytest.raises(ImportError, match=r"pip install .*\[tables\]"):
        ask(pl.DataFrame({"text": ["a"]}))


# progress


def test_progress_shows_by_itself_and_not_on_stdout(ask: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    ask(pl.DataFrame({"text": ["good", ""]}))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"2 of 2 rows, [\d.]+ rows/s, 0 in flight, \d+ tokens, .*1 x empty\n", printed.err)


def test_a_program_may_show_progress_itself(ask: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[BatchProgress] = []
    ask(pl.DataFrame({"text": ["good"]}), on_progress=seen.append)
    assert (capsys.readouterr().err, seen[-1].succeeded) == ("", 1)


def test_progress_is_one_line_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    lines = ProgressLines()
    for done in (1, 2):
        lines(BatchProgress(total=2, succeeded=done, elapsed=1.0))
    lines.finish()
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.endswith("\r\033[K2 of 2 rows, 2.0 rows/s, 0 in flight, 0 tokens\n")


def test_progress_is_a_line_now_and_then_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ProgressLines()
    lines(BatchProgress(total=3, succeeded=1))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("novita_openai.batch.telling.SECONDS_A_LINE", 0.0)
    lines(BatchProgress(total=3, succeeded=2))
    assert capsys.readouterr().err.startswith("2 of 3 rows")
    monkeypatch.setattr(sys, "stderr", None)
    lines(BatchProgress(total=3, succeeded=3))
    lines.finish()


# a process that is killed

PROGRAM = """
import polars as pl
from novita_openai import batch
frame = pl.DataFrame({"text": [f"t{n}" for n in range(300)]})
after = batch.table(frame, prompt="Shout: {text}", model=MODEL, checkpoint="answers.jsonl", concurrency=8)
print(after["answer"].to_list() == [f"T{n}" for n in range(300)])
"""


@pytest.mark.slow
def test_a_killed_program_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    with Emulator(keys={"sk_test": None}, latency=(0.01, 0.03)) as emulator:
        tables = Tables(tmp_path, emulator)
        command = [sys.executable, "-c", PROGRAM.replace("MODEL", repr(MODEL))]
        options: dict[str, Any] = {"cwd": tmp_path, "env": environment(Job(tmp_path, emulator.base_url)), "text": True}
        journal = tmp_path / "answers.jsonl"
        with subprocess.Popen(command, stdout=subprocess.PIPE, **options) as process:
            until(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 100)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        again = subprocess.run(command, capture_output=True, timeout=120, check=True, **options)
        assert again.stdout == "True\n"
        assert 300 <= len(tables.asked) <= 308
