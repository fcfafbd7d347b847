"""The command ``batch`` as people run it: exit codes, streams, signals."""

from __future__ import annotations

import gzip
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer
from batch_jobs import MODEL, PROGRAM, Job, environment, row, rows, start, until
from server import CHAT, Reply, Server, error

from novita_openai.cli import progress
from novita_openai.cli.batch import run_batch
from novita_openai.emulator import Emulator, Fault

Result = subprocess.CompletedProcess[str]
Run = Callable[..., Result]


@pytest.fixture
def run(job: Job) -> Run:
    def run(*arguments: str | Path, text: str | None = None, **variables: str) -> Result:
        return subprocess.run(
            [*PROGRAM, *map(str, arguments)],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            env=environment(job, **variables),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_all_rows_succeed(run: Run, job: Job) -> None:
    job.write(rows(5))
    result = run(job.requests, "-o", job.results)
    assert (result.returncode, result.stdout) == (0, "")
    assert "novita-openai: 5 of 5 rows succeeded, 0 failed; 5 requests sent" in result.stderr
    assert "$0.0000" in result.stderr
    result = run(job.requests, "-o", job.results, "--json", "--quiet")
    assert (result.returncode, result.stderr) == (0, "")
    summary = json.loads(result.stdout)
    assert (summary["total"], summary["succeeded"], summary["resumed"], summary["sent"]) == (5, 5, 5, 0)


def test_some_rows_fail(run: Run, job: Job) -> None:
    job.write([*rows(2), row("bad", model="no/such")])
    result = run(job.requests, "-o", job.results)
    assert result.returncode == 1
    assert f"2 of 3 rows succeeded, 1 failed ({job.errors})" in result.stderr
    assert run(job.requests, "-o", job.results).returncode == 1
    job.write([*rows(2), row("bad")])
    assert run(job.requests, "-o", job.results, "--retry-failed").returncode == 0


@pytest.mark.slow
def test_bad_input_is_told_line_by_line(run: Run, job: Job, emulator: Emulator) -> None:
    job.write([row("a"), "{", row("a")])
    for arguments in ((job.requests, "-o", job.results), (job.requests, "--check")):
        result = run(*arguments)
        assert (result.returncode, result.stdout) == (2, "")
        lines = result.stderr.splitlines()
        assert [line.partition(", ")[2][:7] for line in lines] == ["line 2:", "line 3:"]
    assert emulator.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["requests.jsonl"], "no output"),
        (["requests.jsonl", "-o", "-", "--json"], "both print to standard output"),
        (["missing.jsonl", "-o", "out.jsonl"], "missing.jsonl: No such file"),
        (["requests.jsonl", "-o", "."], "Is a directory"),
        (["requests.jsonl", "-o", "no/such/out.jsonl"], "no/such: there is no such folder; make it, or give another"),
        (
            ["requests.jsonl", "-o", "out.jsonl", "--concurrency", "9999999"],
            "--concurrency 9999999: this process may open",
        ),
        (["requests.jsonl", "-o", "out.jsonl", "--concurrency", "0"], "--concurrency"),
        (["requests.jsonl", "-o", "out.jsonl", "--base-url", "nonsense"], "is no address"),
        (["requests.jsonl", "-o", "out.jsonl", "--prompts"], "--raw"),
        (["requests.jsonl", "-o", "out.jsonl", "--drain", "-1"], "--drain"),
    ],
)
@pytest.mark.slow
def test_bad_usage(job: Job, arguments: list[str], message: str) -> None:
    job.write(rows(1))
    result = subprocess.run(
        [*PROGRAM, *arguments],
        cwd=job.folder,
        env=environment(job) | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_key_is_bad_usage(run: Run, job: Job) -> None:
    job.write(rows(1))
    result = run(job.requests, "-o", job.results, NOVITA_API_KEY="")
    assert result.returncode == 2
    assert "NOVITA_API_KEY_FILE" in result.stderr


@pytest.mark.slow
def test_a_stopped_batch_says_how_to_go_on(run: Run, job: Job) -> None:
    job.write(rows(50))
    result = run(job.requests, "-o", job.results, "--json", NOVITA_API_KEY="sk_wrong")
    assert result.returncode == 2
    assert "401 FAILED_TO_AUTH: The API key is invalid." in result.stderr
    assert "50 of 50 rows are unfinished: set the key, then start the same again" in result.stderr
    assert "sk_wrong" not in result.stderr
    assert json.loads(result.stdout)["succeeded"] == 0
    assert run(job.requests, "-o", job.results, "--base-url", job.base_url).returncode == 0


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--max-cost", "--max-cost is $1e-09: the answers have cost $0.0000, and the next one could go above it"),
        ("--max-cost", "3 of 3 rows are unfinished: raise --max-cost to go on"),
        ("--max-errors", "unfinished: raise --max-errors, or start the same again until as many more rows have failed"),
    ],
)
@pytest.mark.slow
def test_a_limit_that_is_reached_is_named_as_in_the_shell(run: Run, job: Job, option: str, told: str) -> None:
    job.write(rows(3) if option == "--max-cost" else [row(f"r{number}", model="no/such") for number in range(3)])
    result = run(
        job.requests, "-o", job.results, option, "1e-9" if option == "--max-cost" else "0", "--concurrency", "1"
    )
    assert result.returncode == 3
    assert told in result.stderr


@pytest.mark.slow
def test_standard_input_and_output(run: Run, job: Job) -> None:
    text = "".join(json.dumps(each) + "\n" for each in [*rows(3), row("bad", model="no/such")])
    result = run("-", "-o", "-", text=text)
    assert result.returncode == 1
    assert sorted(json.loads(line)["custom_id"] for line in result.stdout.splitlines()) == ["bad", "r0", "r1", "r2"]
    assert "cannot be gone on with" in result.stderr
    assert run("-", "-o", job.results, text=text).returncode == 1
    assert len(job.answers()) == 3


@pytest.mark.slow
def test_a_reader_that_has_enough_stops_the_batch(job: Job) -> None:
    job.write(rows(500))
    with start(job, job.requests, "-o", "-") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 3
        assert "cannot write standard output: Broken pipe" in process.stderr.read()


@pytest.mark.slow
def test_prompts_from_a_text(run: Run, job: Job, emulator: Emulator) -> None:
    result = run("-", "-o", job.results, "--raw", "--model", MODEL, "--max-tokens", "4", text="One\nTwo\n")
    assert result.returncode == 0, result.stderr
    sent = sorted((each.json["prompt"], each.json["max_tokens"]) for each in emulator.requests if each.method == "POST")
    assert sent == [("One", 4), ("Two", 4)]


def test_a_schema_checks_answers_and_equal_rows_are_sent_once(
    job: Job, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("jsonschema")
    monkeypatch.setenv("NOVITA_API_KEY", "sk_test")
    schema = job.folder / "schema.json"
    schema.write_text('{"type": "array"}')
    same = row("a")["body"]
    job.write([{"custom_id": name, "body": same} for name in "abc"])
    options: dict[str, Any] = {"requests": str(job.requests), "output": str(job.results), "base_url": server.base_url}
    with pytest.raises(typer.Exit) as ended:
        run_batch(**options, schema=schema, validate_attempts=1, dedupe=True)
    assert ended.value.exit_code == 1
    assert "2 requests sent, 1 of them a retry; 2 not sent, as equal rows were" in capsys.readouterr().err
    assert {found["error"]["code"] for found in job.failures().values()} == {"validation_failed"}


@pytest.mark.parametrize(("content", "message"), [("{", "this is not JSON"), ("[]", "is an object, not list")])
def test_a_schema_that_cannot_be_read_is_bad_usage(job: Job, content: str, message: str) -> None:
    schema = job.folder / "schema.json"
    schema.write_text(content)
    with pytest.raises(typer.BadParameter, match=message):
        run_batch(requests="x.jsonl", output="y.jsonl", schema=schema)


def test_check_estimates_and_sends_nothing(run: Run, job: Job, emulator: Emulator) -> None:
    packed = job.folder / "requests.jsonl.gz"
    lines = (json.dumps(each) for each in [*rows(2), row("x", max_tokens=None)])
    packed.write_bytes(gzip.compress("\n".join(lines).encode()))
    result = run(packed, "--check")
    assert result.returncode == 0
    assert f"3 requests to {MODEL}: no errors" in result.stdout
    assert "at most 16 in answers; cost: about $0.0000023\n" in result.stdout
    without = "1 request has no max_tokens, whose answers are in none of these figures"
    assert f"{without}: at most 16,384 tokens, by the longest that the models give; with them it costs" in result.stdout
    assert result.stderr == ""
    assert [request.path for request in emulator.requests] == ["/models"]
    job.write(rows(2))
    told = run(job.requests, "--check").stdout
    assert "cost: $0.0000049 at most, about $0.0000018" in told
    assert "max_tokens" not in told
    assert json.loads(run(packed, "--check", "--json", NOVITA_API_KEY="").stdout)["cost"] is None
    result = run(packed, "--check", NOVITA_API_KEY="")
    assert "unknown (no prices)" in result.stdout
    assert f"{without}: the models list does not say how long they can be" in result.stdout
    not_read = "models and prices were not looked at: there is no key: set NOVITA_API_KEY"
    assert result.stderr == f"novita-openai: {not_read}\n"
    result = run(job.requests, "--check", "--max-cost", "0.0000001")
    assert result.returncode == 0
    told = "--max-cost 1e-07: the job would stop before its end, as it costs about $0.0000018"
    assert result.stderr == f"novita-openai: {told}\n"


def test_check_tells_models_that_do_not_exist_with_near_names(
    job: Job, emulator: Emulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOVITA_API_KEY", "sk_test")
    job.write([row("a"), row("b", model=f"{MODEL}s")])
    with pytest.raises(typer.Exit) as ended:
        run_batch(requests=str(job.requests), check=True, base_url=job.base_url)
    assert ended.value.exit_code == 2
    told = capsys.readouterr()
    assert f"2 requests to {MODEL}, {MODEL}s\n" in told.out
    assert "unknown (no prices)" in told.out
    assert f"model '{MODEL}s' is not in the models list; near names: {MODEL}" in told.err
    assert {request.path for request in emulator.requests} == {"/models"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.slow
def test_a_signal_ends_a_job_that_goes_on_later(run: Run, job: Job, emulator: Emulator, number: int) -> None:
    emulator.latency = 0.2
    job.write(rows(1_000))
    with start(job, job.requests, "-o", job.results, "--concurrency", "10") as process:
        until(lambda: job.results.exists() and job.results.stat().st_size > 0)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "start the same again to go on" in told
    assert "Traceback" not in told
    sent = sum(request.method == "POST" for request in emulator.requests)
    assert sent == len(job.answers()) < 1_000
    emulator.latency = 0.0
    assert run(job.requests, "-o", job.results).returncode == 0
    job.assert_complete(f"r{number}" for number in range(1_000))


@pytest.mark.slow
def test_a_second_process_is_refused(run: Run, job: Job, emulator: Emulator) -> None:
    answers = Held(emulator)
    job.write(rows(50))
    with start(job, job.requests, "-o", job.results) as process:
        assert answers.asked.wait(60)
        result = run(job.requests, "-o", job.results)
        answers.over.set()
        assert result.returncode == 3
        assert "another process is writing this file" in result.stderr
        if sys.platform == "linux":
            assert f"(process {process.pid} on {socket.gethostname()})" in result.stderr
        process.communicate(timeout=60)
    job.assert_complete(f"r{number}" for number in range(50))


class Held:
    """Holds all answers back: ``asked`` is set when the first request has come, ``over`` lets them go."""

    def __init__(self, emulator: Emulator) -> None:
        self.asked, self.over = threading.Event(), threading.Event()
        emulator.script.append(self._answer)

    def _answer(self, _: dict[str, Any]) -> str:
        self.asked.set()
        assert self.over.wait(60)
        return "Boil water."


class Terminal:
    """A job in a terminal so many columns wide; ``drawn`` is all that came there."""

    def __init__(self, job: Job, columns: int = 300) -> None:
        self.main, self._other = pty.openpty()
        termios.tcsetwinsize(self.main, (24, columns))
        self.process = start(job, job.requests, "-o", job.results, stderr=self._other)
        os.close(self._other)
        self.drawn = b""

    def read_until(self, text: bytes) -> None:
        while text not in self.drawn:
            try:
                self.drawn += os.read(self.main, 65_536)
            except OSError as error:
                raise AssertionError(f"it ended before {text!r} came, having drawn {self.drawn!r}") from error

    def end(self) -> int:
        """Read to the end; return the exit code."""
        with suppress(OSError):  # the terminal is gone with the process
            while True:
                self.drawn += os.read(self.main, 65_536)
        os.close(self.main)
        with self.process:
            return self.process.wait(60)


def test_progress_is_drawn_on_a_terminal(job: Job, emulator: Emulator) -> None:
    answers = Held(emulator)
    emulator.script.append(Fault("MODEL_NOT_AVAILABLE"))
    job.write(rows(3))
    terminal = Terminal(job)
    terminal.read_until(b"3 in flight, 0 tokens, $0.0000")
    answers.over.set()
    terminal.read_until(b"1 x MODEL_NOT_AVAILABLE")
    assert terminal.end() == 0
    assert b"3 of 3 rows" in terminal.drawn


@pytest.mark.parametrize("columns", [80, 300])
@pytest.mark.slow
def test_an_interrupt_on_a_terminal_says_how_to_stop_at_once(job: Job, emulator: Emulator, columns: int) -> None:
    answers = Held(emulator)
    job.write(rows(3))
    terminal = Terminal(job, columns)
    terminal.read_until(b"3 in flight")
    terminal.process.send_signal(signal.SIGINT)
    terminal.read_until(b"finishing 3 in flight; interrupt again to stop at once")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    answers.over.set()
    assert b"3 rows to do: start the same again to go on" in terminal.drawn
    assert b"Traceback" not in terminal.drawn


def interrupted(process: subprocess.Popen[str]) -> int:
    """Interrupt a program until it ends: Python misses a signal that comes just before it waits for input."""
    for _ in range(12):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(5)
    raise AssertionError("it does not end")


@pytest.mark.slow
def test_an_interrupt_ends_the_reading_of_standard_input(job: Job) -> None:
    for arguments in (["-", "-o", job.results], ["-", "--check"]):
        with start(job, *arguments, stdin=subprocess.PIPE) as process:
            assert process.stdin
            process.stdin.write(json.dumps(row("a")) + " " * 200_000)  # more than a pipe holds: it is being read
            process.stdin.flush()
            assert interrupted(process) == 130
            process.stdin.close()
    assert not job.results.exists()


def test_a_line_of_progress_comes_now_and_then_where_there_is_no_terminal(
    job: Job, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_A_LINE", 0.0)
    monkeypatch.setenv("NOVITA_API_KEY", "sk_test")
    monkeypatch.setenv("NOVITA_BASE_URL", server.base_url)
    server.script.extend([error(500), Reply(body=CHAT), error(400, "INVALID_REQUEST_BODY")])
    job.write(rows(2))
    with pytest.raises(typer.Exit) as ended:
        run_batch(requests=str(job.requests), output=str(job.results), concurrency=1)
    assert ended.value.exit_code == 1
    first, *_, last = (line for line in capsys.readouterr().err.splitlines() if "in flight" in line)
    assert first == "novita-openai: 0 of 2 rows, 0.0 rows/s, 0 in flight, 0 tokens, $0.0000"
    assert last.startswith("novita-openai: 2 of 2 rows, ")
    assert last.endswith(" rows/s, about 0:00:00 left, 0 in flight, 5 tokens, 1 x INVALID_REQUEST_BODY")
