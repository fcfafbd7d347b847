"""Tables at the shell, in real processes: the command, its options, and kills at any moment."""

from __future__ import annotations

import csv
import signal
import subprocess
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import MODEL, Job, start, until
from table_jobs import Tables, shout

from novita_openai.emulator import Emulator

ROWS = 400
IN_FLIGHT = 8


def ask(job: Job, *arguments: str | Path) -> tuple[int, str, str]:
    """Run the command over the table of a job; return its exit code, and what it printed to each stream."""
    with start(job, job.folder / "reviews.csv", "-m", MODEL, *arguments) as process:
        printed = process.communicate(timeout=120)
    return process.returncode, *printed


def test_the_command_writes_a_table(tables: Tables, job: Job) -> None:
    tables.write("n,text\n1,good\n2,bad\n")
    output = tables.folder / "answers.csv"
    settings = ["--system", "Be loud.", "--set", "temperature=0", "--set", "stop=END", "--id", "n"]
    code, printed, told = ask(job, "-o", output, "--prompt", "Shout: {text}", *settings)
    assert (code, printed) == (0, "")
    assert "2 of 2 rows succeeded, 0 failed" in told
    assert tables.column() == ["GOOD", "BAD"]
    assert all((body["temperature"], body["stop"]) == (0, "END") for body in tables.asked)
    assert all(body["messages"][0] == {"role": "system", "content": "Be loud."} for body in tables.asked)


def test_an_empty_cell_ends_with_1_and_names_the_journal(tables: Tables, job: Job) -> None:
    tables.write("n,text\n1,good\n2,\n")
    code, _, told = ask(job, "-o", tables.folder / "answers.csv", "--prompt", "Shout: {text}")
    assert code == 1
    assert "1 of 2 rows succeeded, 1 failed; " in told
    assert "1 x empty" in told or "empty" in told
    _, printed, _ = ask(job, "-o", tables.folder / "answers.csv", "--prompt", "Shout: {text}", "--status")
    assert "1 of 2 rows succeeded, 1 failed, 0 to do" in printed
    assert "keeps nothing" not in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--prompt", "{txt}"], "--prompt '{txt}': there is no column 'txt'; near names: 'text'"),
        (["--prompt", "{txt"], "--prompt '{txt', character 1: a single {"),
        (["--prompt", "text"], "--prompt text: it names no column"),
        (["--prompt", "{text}", "--id", "nn"], "--id nn: there is no column 'nn'; near names: 'n'"),
        (["--prompt", "{text}", "--set", "input=x"], "input cannot be set in --set: --prompt, --system and -m/--model"),
        ([], "a table needs a prompt, which says what is asked about each row: --prompt 'Summarize: {column}'"),
        (["--status"], "the status of a table needs --prompt and the other options of its job"),
        (["--prompt", "{text}", "--set", "temperature"], "--set temperature: give name=value"),
        (["--prompt", "{text}", "-o", "-"], "is written to a file"),
    ],
)
def test_what_cannot_be_asked_ends_with_2(tables: Tables, job: Job, arguments: list[str], told: str) -> None:
    tables.write("n,text\n1,good\n")
    output = ["-o", str(tables.folder / "answers.csv")]
    code, _, said = ask(job, *output, *arguments)
    assert code == 2
    assert told in " ".join(said.replace("│", " ").split())
    assert tables.asked == []


def test_a_table_is_checked_and_not_sent(tables: Tables, job: Job) -> None:
    tables.write("n,text\n1,good\n")
    code, printed, _ = ask(job, "--check", "--prompt", "Shout: {text}")
    assert (code, tables.asked) == (0, [])
    assert printed.startswith(f"1 request to {MODEL}: no errors")


@pytest.mark.slow
def test_a_table_comes_through_a_pipe(tables: Tables, job: Job) -> None:
    for number, content in enumerate(["n,text\n1,good\n", '{"text": "good"}\n']):
        output = tables.folder / f"answers{number}.csv"
        options: dict[str, Any] = {"stdin": subprocess.PIPE}
        with start(job, "-", "-o", output, "-m", MODEL, "--prompt", "Shout: {text}", **options) as process:
            process.communicate(content, timeout=120)
        assert (process.returncode, tables.column(name=output.name)) == (0, ["GOOD"])


@pytest.mark.slow
@pytest.mark.parametrize("named", [[], ["--id", "n"]])
def test_killed_at_any_moment_no_answer_is_lost_and_few_are_paid_twice(tmp_path: Path, named: list[str]) -> None:
    answers: Counter[str] = Counter()

    def answer(body: dict[str, Any]) -> str:
        answers[body["messages"][-1]["content"]] += 1
        return shout(body)

    with Emulator(keys={"sk_test": None}, latency=(0.0, 0.02)) as emulator:
        emulator.script.extend([answer] * 3 * ROWS)
        job, kills = Job(tmp_path, emulator.base_url), 0
        (tmp_path / "reviews.csv").write_text("n,text\n" + "".join(f'{n},"good, {n}"\n' for n in range(ROWS)))
        output, journal = tmp_path / "answers.csv", tmp_path / "answers.results.jsonl"
        for share in (0, 0.2, 0.7):
            with run(job, output, named) as process:
                until(partial(is_due, process, journal, share * ROWS))
                process.send_signal(signal.SIGKILL)
            kills += process.returncode == -signal.SIGKILL
            assert not output.exists()
        with run(job, output, named) as process:
            assert process.wait(120) == 0
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["n"], row["answer"]) for row in rows] == [(str(n), f"GOOD, {n}") for n in range(ROWS)]
    assert kills == 3
    assert len(answers) == ROWS
    assert answers.total() - ROWS <= kills * IN_FLIGHT


def run(job: Job, output: Path, named: list[str]) -> subprocess.Popen[str]:
    options = ["--prompt", "Shout: {text}", "--quiet", "--concurrency", str(IN_FLIGHT), *named]
    return start(job, job.folder / "reviews.csv", "-o", output, "-m", MODEL, *options)


def is_due(process: subprocess.Popen[str], journal: Path, answers: float) -> bool:
    return done(journal) > answers or process.poll() is not None


def done(journal: Path) -> int:
    return journal.read_bytes().count(b"\n") if journal.exists() else -1
