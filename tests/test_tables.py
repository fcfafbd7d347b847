"""Tables in files: what is asked about each row, what comes back, and what is refused before anything is sent."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
from array import array
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import MODEL, Job, read
from hypothesis import given
from hypothesis import strategies as st
from table_jobs import Tables

from novita_openai import batch
from novita_openai.batch import BatchInputError
from novita_openai.batch.tables.answers import answers
from novita_openai.batch.tables.columns import AnswerColumns
from novita_openai.batch.tables.source import key_of
from novita_openai.batch.tables.template import Template
from novita_openai.emulator import Emulator, Fault

ADDED = ["answer", "finish_reason", "error", "prompt_tokens", "completion_tokens"]


def test_a_column_of_texts_becomes_a_column_of_answers(tables: Tables) -> None:
    report = tables.run("id,text,stars\n1,good,5\n2,bad,1\n", system="Be {{loud}}.", parameters={"temperature": 0})
    assert (report.total, report.succeeded, report.failed, report.sent) == (2, 2, 0, 2)
    first, second = tables.rows()
    assert list(first) == ["id", "text", "stars", *ADDED]
    assert (first["id"], first["stars"], first["answer"], first["error"]) == ("1", "5", "GOOD", "")
    assert (first["finish_reason"], second["answer"]) == ("stop", "BAD")
    assert int(first["prompt_tokens"]) > 0 < int(first["completion_tokens"])
    assert {json.dumps(body["messages"][0]) for body in tables.asked} == {'{"role": "system", "content": "Be {loud}."}'}
    assert all((body["model"], body["temperature"]) == (MODEL, 0) for body in tables.asked)


def test_the_journal_stands_beside_the_table(tables: Tables) -> None:
    tables.run("text\ngood\n")
    assert sorted(path.name for path in tables.folder.iterdir()) == [
        "answers.csv",
        "answers.errors.jsonl",
        "answers.results.jsonl",
        "reviews.csv",
    ]
    (result,) = batch.results(tables.folder / "answers.results.jsonl")
    assert result.text == "GOOD"


def test_started_again_nothing_is_asked_again(tables: Tables) -> None:
    tables.run("text\ngood\nbad\n")
    before = tables.text()
    report = tables.run()
    assert (report.sent, report.resumed, report.succeeded) == (0, 2, 2)
    assert tables.text() == before


def test_an_edited_row_is_asked_again_alone(tables: Tables) -> None:
    tables.run("n,text\n1,good\n2,bad\n3,good\n")
    tables.asked.clear()
    report = tables.run("n,text\n0,new\n1,good\n2,worse\n3,good\n")
    assert report.sent == 2
    assert tables.prompts == ["Shout: new", "Shout: worse"]
    assert tables.column() == ["NEW", "GOOD", "WORSE", "GOOD"]
    tables.asked.clear()
    tables.run("n,text\n3,good\n2,bad\n1,good\n")
    assert (tables.asked, tables.column()) == ([], ["GOOD", "BAD", "GOOD"])


def test_equal_rows_have_answers_of_their_own_unless_they_are_merged(tables: Tables) -> None:
    text = "text\n" + "good\n" * 3
    assert tables.run(text).sent == 3
    assert tables.run(output="merged.csv", dedupe=True).sent == 1
    assert tables.column() == tables.column(name="merged.csv") == ["GOOD"] * 3


def test_an_empty_cell_is_a_failed_row_and_no_request(tables: Tables) -> None:
    seen: list[batch.BatchProgress] = []
    report = tables.run("title,text\na,good\nb,\nc, \n,bad\n", prompt="{title}: {text}", on_progress=seen.append)
    assert (report.total, report.succeeded, report.failed, report.sent) == (4, 1, 3, 1)
    assert tables.column("error") == ["", "empty", "empty", "empty"]
    assert tables.column() == ["A: GOOD", "", "", ""]
    assert (seen[-1].total, seen[-1].failed) == (4, 3)


def test_a_table_of_empty_cells_asks_nothing(tables: Tables) -> None:
    report = tables.run("n,text\n1,\n")
    assert (report.total, report.failed, tables.asked) == (1, 1, [])
    assert tables.column("error") == ["empty"]


def test_a_failed_row_has_its_code(tables: Tables) -> None:
    report = tables.run("text\ngood\n", model="no/such", attempts=1)
    assert (report.failed, tables.column("error"), tables.column()) == (1, ["MODEL_NOT_FOUND"], [""])


def test_a_stopped_job_writes_no_table_and_says_what_is_left(tables: Tables, emulator: Emulator) -> None:
    tables.run("n,text\n1,good\n2,\n")
    before = tables.text()
    emulator.script.extendleft([Fault("INVALID_API_KEY")] * 2)
    with pytest.raises(batch.BatchStopped) as stop:
        tables.run("n,text\n1,good\n2,\n3,new\n")
    assert (stop.value.report.total, stop.value.report.failed, stop.value.report.unfinished) == (3, 1, 1)
    assert tables.text() == before
    assert tables.run().sent == 1
    assert tables.column() == ["GOOD", "", "NEW"]


def test_a_full_disk_leaves_the_old_table(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.run("text\ngood\n")
    before = tables.text()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left.*answers.csv"):
        tables.run("text\ngood\n")
    assert tables.text() == before
    assert not [path for path in tables.folder.iterdir() if path.suffix == ".new"]


def test_the_output_keeps_its_rights_and_its_link(tables: Tables) -> None:
    target = tables.folder / "elsewhere.csv"
    (tables.folder / "answers.csv").symlink_to(target)
    tables.run("text\ngood\n")
    target.chmod(0o640)
    tables.run("text\nbad\n")
    assert (tables.folder / "answers.csv").is_symlink()
    assert (target.stat().st_mode & 0o777, tables.column()) == (0o640, ["BAD"])


def test_a_table_that_changes_during_the_run_is_not_written(tables: Tables) -> None:
    def edit(progress: batch.BatchProgress) -> None:
        if progress.succeeded == progress.total:
            tables.write("text\ngood\nbad\nnew\n")

    with pytest.raises(BatchInputError, match=r"reviews.csv changed during the run; the answers are kept"):
        tables.run("text\ngood\nbad\n", on_progress=edit)
    assert not (tables.folder / "answers.csv").exists()
    assert tables.run().sent == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("text\nnew\n", "line 2: the input changed during the run"),
        ("text\ngood,\n", "line 2: 2 cells, where the header has 1"),
        ("text\n" + '{"a": 1}' * 5, "line 2: the input changed during the run"),
        ("text\n", "changed during the run: 1 of its rows are gone"),
    ],
)
def test_a_table_that_changes_before_its_rows_are_sent_stops_the_run(tables: Tables, content: str, told: str) -> None:
    def edit(_: batch.BatchProgress) -> None:
        tables.write(content)

    with pytest.raises(BatchInputError, match=told):
        tables.run("text\ngood\n", on_progress=edit)


def test_failed_rows_are_asked_again_where_that_is_asked_for(tables: Tables, emulator: Emulator) -> None:
    emulator.script.extendleft([Fault("MODEL_NOT_AVAILABLE")] * 3)  # the list of models gets the first
    assert tables.run("text\ngood\nbad\n", attempts=1).failed == 2
    assert tables.run(retry_failed=True).succeeded == 2
    assert tables.column() == ["GOOD", "BAD"]


def test_it_runs_inside_an_event_loop(tables: Tables, emulator: Emulator) -> None:
    path = tables.write("text\ngood\n")
    client = Job(tables.folder, emulator.base_url).client()
    report = asyncio.run(
        batch.arun(path, tables.folder / "answers.csv", client=client, model=MODEL, prompt="Shout: {text}")
    )
    assert (report.succeeded, tables.column()) == (1, ["GOOD"])


def test_a_table_is_estimated(tables: Tables, emulator: Emulator) -> None:
    path = tables.write("text\ngood\nbad\n")
    client = Job(tables.folder, emulator.base_url).client()
    estimate = batch.estimate(path, client=client, model=MODEL, prompt="Shout: {text}", max_tokens=7)
    assert (estimate.total, estimate.answer_tokens, estimate.unbounded) == (2, 14, 0)
    assert tables.asked == []


@pytest.mark.parametrize("options", [{}, {"id": "n"}])
def test_the_services_own_batch_api_answers_a_table(tmp_path: Path, options: dict[str, Any]) -> None:
    with Emulator(keys={"sk_test": None}, batch_seconds=0.1) as emulator:
        tables = Tables(tmp_path, emulator)
        given = {"model": "deepseek/deepseek-v3.2", "via": "batch-api", "poll": 0.1, **options}
        assert tables.run("n,text\n1,good\n2,\n3,bad\n", **given).succeeded == 2
        assert [bool(answer) for answer in tables.column()] == [True, False, True]
        assert tables.run("n,text\n1,good\n2,\n3,worse\n", **given).sent == 1
        assert all(tables.column()[::2])


# ids


def test_rows_are_named_by_a_column(tables: Tables) -> None:
    tables.run("id,text\na,good\nb,bad\n", id="id")
    assert {row["custom_id"] for row in read(tables.folder / "answers.results.jsonl")} == {"a", "b"}


def test_an_edited_row_with_an_id_is_asked_again_alone(tables: Tables) -> None:
    tables.run("id,text\na,good\nb,bad\nc,bad\n", id="id")
    tables.asked.clear()
    tables.run("id,text\na,good\nb,worse\nc,bad\n", id="id")
    assert (tables.prompts, tables.column()) == (["Shout: worse"], ["GOOD", "WORSE", "BAD"])
    tables.asked.clear()
    tables.run("id,text\na,good\nb,bad\nc,bad\n", id="id")
    assert (tables.asked, tables.column()) == ([], ["GOOD", "BAD", "BAD"])


def test_results_are_found_by_their_request_whatever_names_the_rows(tables: Tables, emulator: Emulator) -> None:
    emulator.script.extendleft([Fault("INVALID_REQUEST_BODY")] * 2)
    tables.run("id,text\na,good\nb,bad\nc,bad\n", concurrency=1, attempts=1)
    for more in ({"id": "id"}, {}, {"id": "text"}):
        content = "id,text\nx,good\ny,bad\nz,bad\n" if more.get("id") != "text" else None
        report = tables.run(content, **({} if content is None else more))
        assert (report.sent, report.succeeded, report.failed) == (0, 2, 1)
    errors = [result.error for result in batch.results(tables.folder / "answers.results.jsonl")]
    assert sum(error is not None for error in errors) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id,text\na,x\na,y\n", "line 3: the id 'a' was given before"),
        ("id,text\na,x\n ,y\n", "line 3: the id is empty"),
    ],
)
def test_an_id_that_names_no_single_row_is_refused(tables: Tables, content: str, told: str) -> None:
    with pytest.raises(BatchInputError, match=told):
        tables.run(content, id="id")
    assert tables.asked == []


def test_results_that_are_gone_at_the_end_are_missed(tables: Tables) -> None:
    def remove(progress: batch.BatchProgress) -> None:
        if progress.succeeded == progress.total:
            (tables.folder / "answers.results.jsonl").write_bytes(b"")

    with pytest.raises((BatchInputError, batch.BatchStopped), match=r"answers.results.jsonl"):
        tables.run("text\ngood\n", on_progress=remove)


@pytest.mark.parametrize("options", [{}, {"id": "id"}])
def test_damaged_lines_of_a_journal_are_asked_again(tables: Tables, options: dict[str, Any]) -> None:
    content = "id,text\na,good\nb,bad\n"
    tables.run(content, **options)
    journal = tables.folder / "answers.results.jsonl"
    first, second = journal.read_bytes().splitlines()
    journal.write_bytes(first + b"\n\0\0\0\n" + second[:50] + b"\n")
    assert tables.run(content, **options).sent == 1
    assert tables.column() == ["GOOD", "BAD"]


def test_rows_that_are_gone_and_come_back_keep_their_results(tables: Tables) -> None:
    content = "id,text\na,good\nb,bad\n"
    tables.run(content, id="id")
    assert tables.run("id,text\na,good\n", id="id").sent == 0
    assert tables.run(content, id="id").sent == 0
    assert tables.column() == ["GOOD", "BAD"]


def test_answers_are_read_past_damage_and_never_made_up(tmp_path: Path) -> None:
    journal = tmp_path / "answers.results.jsonl"
    journal.write_bytes(b'junk\n{"id": "batch_req_0a", "custom_id": "a", "response": null, "error": {"code": "x"}}\n')
    found = answers(journal, array("Q", [0, key_of("a"), key_of("b")]), AnswerColumns())
    assert [next(found)[2] for _ in range(2)] == ["empty", "x"]
    with pytest.raises(BatchInputError, match="results are gone that were there before"):
        next(found)


def test_an_interrupted_job_writes_no_table_and_goes_on(tables: Tables) -> None:
    content = "text\n" + "".join(f"t{number}\n" for number in range(50))
    report = tables.run(content, concurrency=1, on_progress=lambda _: os.kill(os.getpid(), signal.SIGINT))
    assert report.interrupted
    assert report.unfinished > 0
    assert not (tables.folder / "answers.csv").exists()
    assert tables.run().sent == report.unfinished
    assert tables.column() == [f"T{number}" for number in range(50)]


# images


def test_a_column_of_images_is_sent_along(tables: Tables) -> None:
    tables.write(b"\x89PNG....", "a.png")
    tables.run("text,photo\ngood,a.png\nbad,https://example.com/b.jpg\nworse,\n", image="photo")
    assert tables.column("error") == ["", "", "empty"]
    urls = sorted(body["messages"][0]["content"][1]["image_url"]["url"] for body in tables.asked)
    assert urls == ["data:image/png;base64,iVBORy4uLi4=", "https://example.com/b.jpg"]


@pytest.mark.parametrize(
    ("name", "told"), [("no.png", "line 2: image 'no.png': No such file"), ("reviews.csv", "line 2: image .*: not an")]
)
def test_an_image_that_is_none_is_refused_before_sending(tables: Tables, name: str, told: str) -> None:
    with pytest.raises(BatchInputError, match=told):
        tables.run(f"text,photo\ngood,{name}\n", image="photo")
    assert tables.asked == []


def test_an_image_that_goes_away_during_the_run_stops_it(tables: Tables) -> None:
    image = tables.write(b"GIF89a", "a.gif")
    with pytest.raises(BatchInputError, match=r"line 2: image 'a.gif': No such file"):
        tables.run("text,photo\ngood,a.gif\n", image="photo", on_progress=lambda _: image.unlink(missing_ok=True))


# what is refused before anything is sent


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"prompt": "Shout: {txt}"}, "prompt=.*: there is no column 'txt'; near names: 'text'$"),
        ({"prompt": "{Review}"}, "prompt=.*: there is no column 'Review'; the columns are 'text', 'n'$"),
        ({"prompt": "{text!r}"}, "no column 'text!r'; near names: 'text'"),
        ({"prompt": "{text:>5}"}, "no column 'text:>5'; near names: 'text'"),
        ({"prompt": "{}"}, "no column ''"),
        ({"prompt": "{text"}, "prompt=.*, character 1: a single {: write {{ where"),
        ({"prompt": "a } {text}"}, "prompt=.*, character 3: a single }: write }}"),
        ({"prompt": "Shout"}, "prompt=.*: it names no column"),
        ({"prompt": None}, "a table needs a prompt"),
        ({"system": "{txet}"}, "system=.*: there is no column 'txet'; near names: 'text'"),
        ({"id": "nn"}, "id=.*: there is no column 'nn'; near names: 'n'"),
        ({"image": "picture"}, "image=.*: there is no column 'picture'"),
        ({"model": None}, "no model for the rows"),
        ({"parameters": {"messages": []}}, "messages cannot be set in parameters="),
        ({"raw": True}, "raw=True: this is for lines of text"),
        ({"format": "llama-3"}, "format='llama-3': this is for lines"),
        ({"output": "answers.xlsx"}, r"answers.xlsx: the table with the answers is a file in .csv, .tsv"),
        ({"output": "reviews.csv"}, "would overwrite the input"),
    ],
)
def test_what_cannot_be_asked_is_refused(tables: Tables, options: dict[str, Any], told: str) -> None:
    with pytest.raises(BatchInputError, match=told):
        tables.run("text,n\ngood,1\n", **options)
    assert tables.asked == []
    assert [path.name for path in tables.folder.iterdir()] == ["reviews.csv"]


@pytest.mark.parametrize("output", ["answers.csv", "answers.jsonl", "answers.parquet"])
def test_columns_that_exist_already_are_refused(tables: Tables, output: str) -> None:
    with pytest.raises(BatchInputError, match=r"it has 'answer', 'error' already, where the answers go"):
        tables.run("text,error,answer\ngood,,\n", output)
    with pytest.raises(BatchInputError, match=r"it has 'answer' already.*remove this column"):
        tables.run("text,answer\ngood,\n", output)
    assert tables.asked == []


def test_a_file_that_no_such_job_has_written_is_not_overwritten(tables: Tables) -> None:
    for content in ("a,b\n1,2\n", "\xff", '"'):
        tables.write(content, "answers.csv")
        with pytest.raises(BatchInputError, match=r"answers.csv: there is such a file already"):
            tables.run("text\ngood\n")
        assert tables.text() == content
    tables.write("", "answers.csv")
    tables.run("text\ngood\n")
    for path in tables.folder.glob("answers.*.jsonl"):
        path.unlink()
    assert tables.run("text\ngood\n").succeeded == 1


def test_only_tables_have_prompts(tables: Tables) -> None:
    with pytest.raises(
        BatchInputError, match=r"reviews.txt: a table is a file in .csv, .tsv, .jsonl, .parquet; from a"
    ):
        tables.run("good\n", name="reviews.txt")
    with pytest.raises(TypeError, match=r"promt='x': there is no such option; there is prompt"):
        tables.run("text\ngood\n", promt="x")


# templates


@given(st.lists(st.one_of(st.text("abc {}!", max_size=5), st.sampled_from([0, 1]))), st.text(), st.text())
def test_a_template_writes_texts_as_they_are_and_cells_in_their_places(
    parts: list[str | int], first: str, second: str
) -> None:
    columns, cells = ["text", "a b!r:>5"], [first, second]
    written = "".join(
        f"{{{columns[part]}}}" if isinstance(part, int) else part.replace("{", "{{").replace("}", "}}")
        for part in parts
    )
    wanted = "".join(cells[part] if isinstance(part, int) else part for part in parts)
    assert Template.read("prompt", written, columns).render(cells) == wanted


# how files are written


@pytest.mark.parametrize(
    ("content", "start"),
    [
        ("n,text\n1,good\n", "n,text,answer,"),
        ("n,text\r\n1,good\r\n", "n,text,answer,"),
        ("n;text\n1;good, or so\n", "n;text;answer;"),
        ("n|text\n1|good\n", "n|text|answer|"),
        ("n\ttext\n1\tgood\n", "n,text,answer,"),
        ("sep=;\nn;text\n1;good\n", "n;text;answer;"),
        ("\ufeffn,text\n1,good\n", "\ufeffn,text,answer,"),
        ("text\ngood, but slow\nbad; slow\n", "text,answer,"),
        ("n,text\n1,good", "n,text,answer,"),
        ("\nn,text\n\n1,good\n\n", "n,text,answer,"),
        ("n,text\r1,good\r", "n,text,answer,"),
    ],
)
def test_a_table_comes_back_in_its_own_manner(tables: Tables, content: str, start: str) -> None:
    tables.run(content)
    assert tables.text().startswith(start)
    assert ("\r\n" in tables.text()) == ("\r\n" in content)
    assert tables.asked[0]["messages"][0]["content"].startswith("Shout: good")


def test_utf_16_is_read_and_comes_back_as_utf_8_with_a_mark(tables: Tables) -> None:
    tables.run("n\ttext\r\n1\tgröße\r\n".encode("utf-16"))
    assert tables.text().startswith("\ufeffn,text,")
    assert tables.column() == ["GRÖSSE"]


def test_cells_come_back_as_they_were(tables: Tables) -> None:
    cells = ['say "hi"', "two\nlines", "a,b", "carriage\rreturn", "=1+1", " spaces ", "a\u2028b", "x" * 200_000]
    content = "text\n" + "".join('"{}"\n'.format(cell.replace('"', '""')) for cell in cells)
    tables.run(content)
    assert tables.column("text") == cells
    assert tables.column() == [cell.upper() for cell in cells]


def test_half_a_character_in_an_answer_does_not_cost_the_table(tables: Tables, emulator: Emulator) -> None:
    emulator.script.appendleft(lambda _: "ok \ud83d")
    tables.run("text\ngood\n")
    assert tables.column() == ["ok \ufffd"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a,text\n1,x\n2\n3,y,z\n", "reviews.csv, line 3: 1 cells, where the header has 2\n.*line 4: 3 cells"),
        ('a,text\n1,"two\nlines"\n2\n', "line 4: 1 cells"),
        ('a,text\n1,"open\n2,x\n', "line 2: a cell begins with a quote .* closed nowhere"),
        ('a,text\n1,"x" y\n', "line 2: .* a quote .* within a quoted cell is written twice"),
        ("a,text\n1,x\n2,größe\n".encode("latin-1"), "line 3: the byte 0xF6 is not UTF-8: save it as UTF-8"),
        ("a,text\n1,x\n".encode("utf-16")[:-1], "not whole UTF-16"),
        ("", "reviews.csv holds no table: its first line must name the columns"),
        ("text\n", "reviews.csv holds no rows"),
        ("text,text\nx,y\n", "more than one column is named 'text'"),
    ],
)
def test_what_cannot_be_read_for_certain_is_refused_by_its_line(
    tables: Tables, content: str | bytes, told: str
) -> None:
    with pytest.raises(BatchInputError, match=f"(?s){told}"):
        tables.run(content)
    assert tables.asked == []


def test_a_file_of_something_else_is_not_read_to_its_end(tables: Tables) -> None:
    with pytest.raises(BatchInputError) as failure:
        tables.run("n,text\n" + "a,b,c\n" * 20_000)
    assert len(failure.value.errors) == 10_000


# other forms


def test_tsv_and_compressed_csv_are_read(tables: Tables) -> None:
    tables.run("n\ttext\n1\tgood\n", "answers.tsv", "reviews.tsv")
    assert tables.text("answers.tsv").startswith("n\ttext\tanswer\t")
    tables.run(gzip.compress(b"n;text\n1;good\n"), "more.tsv", "reviews.csv.gz")
    assert tables.text("more.tsv").startswith("n\ttext\tanswer\t")


def test_json_lines_with_plain_fields_are_a_table(tables: Tables) -> None:
    lines = [{"text": "good", "n": 1.50}, {"text": None}, {"text": 5, "more": [1, "ä"]}, {"text": True}]
    content = "\ufeff" + "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    tables.run(content, "answers.jsonl", "reviews.jsonl")
    rows = read(tables.folder / "answers.jsonl")
    assert [row["answer"] for row in rows] == ["GOOD", None, "5", "TRUE"]
    assert [row["error"] for row in rows] == [None, "empty", None, None]
    assert list(rows[0]) == ["text", "n", "more", *ADDED]
    assert (rows[0]["n"], rows[2]["more"], rows[2]["text"]) == (1.5, [1, "ä"], 5)
    tables.run(None, "answers.csv", "reviews.jsonl")
    assert tables.rows()[2]["more"] == '[1, "ä"]'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"text": "x"}\n[1]\nx\n', "line 2: a row must be a JSON object, not list\n.*line 3: bad JSON"),
        (b'{"text": "\xff"}\n', "line 1: not UTF-8: byte 10"),
    ],
)
def test_lines_that_are_no_rows_are_refused(tables: Tables, content: str | bytes, told: str) -> None:
    with pytest.raises(BatchInputError, match=f"(?s){told}"):
        tables.run(content, name="reviews.jsonl")


def test_json_lines_that_break_during_the_run_stop_it(tables: Tables) -> None:
    def edit(_: batch.BatchProgress) -> None:
        tables.write("x" * 24 + "\n", "reviews.jsonl")

    with pytest.raises(BatchInputError, match="line 1: bad JSON"):
        tables.run('{"text": "good", "n": 1}\n', name="reviews.jsonl", on_progress=edit)


def test_columns_without_names_go_into_csv_alone(tables: Tables) -> None:
    tables.run("text,,\ngood,,\n")
    assert tables.text().startswith("text,,,answer,")
    with pytest.raises(BatchInputError, match="more than one column is named ''"):
        tables.run(output="answers.jsonl")


def test_a_table_in_a_folder_of_its_own_has_its_images_there(tables: Tables, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    tables.write(b"GIF89a", "data/a.gif")
    tables.run("text,photo\ngood,a.gif\n", name="data/reviews.csv", image="photo")
    assert tables.column() == ["GOOD"]
