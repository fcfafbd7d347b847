"""The program as a whole: help, version, completion, and what it tells a person of what happens meanwhile."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from server import Server, chunk, error, stream
from shell import Shell

import novita_openai
from novita_openai.cli import failures, notices, terminal
from novita_openai.cli.failures import IN_THE_SHELL, reported, told
from novita_openai.error_replies import NO_WORD, NOT_JSON
from novita_openai.errors import CONNECTION_ERROR, INVALID_ANSWER, TIMEOUT
from novita_openai.logs import warn

PROGRAM = [sys.executable, "-m", "novita_openai"]
PACKAGE = Path(novita_openai.__file__).parent


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["prompt"], ["prompt", "-h"]])
def test_help_is_shown_where_it_is_asked_for_and_where_nothing_is(arguments: list[str], shell: Shell) -> None:
    ended = shell(*arguments)
    assert (ended.code, ended.told) == (0, [])
    assert ended.out.startswith("Usage: novita-openai")


def test_the_version_is_that_of_both_packages(shell: Shell) -> None:
    expected = f"novita-openai {novita_openai.__version__} (openai {version('openai')})\n"
    assert shell("--version").out == expected


def test_help_shows_what_is_written_in_brackets(shell: Shell) -> None:
    """Rich would take it for markup."""
    for command in ("chat", "batch", "emulate"):
        assert "[default: " in shell(command, "-h").out


def test_help_imports_neither_the_sdk_nor_what_only_some_commands_need() -> None:
    code = """import sys; sys.argv = ["novita-openai", "--help"]
from novita_openai.__main__ import main
late = {"openai", "pydantic", "structlog", "tenacity", "prompt_toolkit", "rich"}
try: main()
except SystemExit: print(sorted(late & set(sys.modules)))"""
    assert run(code).stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_shell_can_complete_commands() -> None:
    variables = {"_NOVITA_OPENAI_COMPLETE": "complete_bash", "COMP_WORDS": "novita-openai com", "COMP_CWORD": "1"}
    code = "from novita_openai.__main__ import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert result.stdout.split() == ["complete"]


@pytest.fixture
def _watched() -> Iterator[None]:
    logger = logging.getLogger("novita_openai")
    handlers, propagate = logger.handlers, logger.propagate
    notices.watch_log()
    yield
    logger.handlers, logger.propagate = handlers, propagate


@pytest.mark.usefixtures("_watched")
def test_events_are_told_in_words(shell: Shell, server: Server) -> None:
    server.script.append(error(429, "RATE_LIMIT_EXCEEDED", retry_after="0.01"))
    server.always = stream(chunk("ok", "stop"))
    assert shell("chat", "Hi").line == "429 RATE_LIMIT_EXCEEDED: asking again in 0.01 s (attempt 1 of 3 failed)"


@pytest.mark.usefixtures("_watched")
def test_what_the_command_says_itself_is_not_told_twice(capsys: pytest.CaptureFixture[str]) -> None:
    warn("retry.gave_up", attempt=3)
    warn("some.other", hint="try x")
    assert capsys.readouterr().err == "novita-openai: some.other hint=try x\n"


def test_every_event_has_its_words() -> None:
    paths = (path for path in PACKAGE.rglob("*.py") if path != Path(notices.__file__))
    sources = "".join(path.read_text(encoding="utf-8") for path in paths)
    events = set(re.findall(r'"((?:batch|retry|stream)\.[a-z_]+)"', sources))
    assert events - {"batch.progress", "batch.done"} <= notices._WORDS.keys()
    event = {"event": "batch.unfit_model", "model": "a/b", "problem": "is not in the models list"}
    assert notices.in_words(event, "") == "the model a/b is not in the models list"
    assert notices.in_words(event | {"near": ["a/c", "a/d"]}, "").endswith("list; near names: a/c, a/d")


def test_an_event_without_a_status_is_told_by_its_reason() -> None:
    event = {"event": "stream.resumed", "status": None, "reason": "timeout", "wait": 1.0}
    assert notices.in_words(event, "") == "no answer in time: the answer broke off; going on with it in 1 s"
    assert notices.in_words({"event": "retry.scheduled", "reason": "timeout"}, "").startswith(
        "no answer in time: asking again in ?"
    )
    page = {"event": "retry.scheduled", "status": 502, "reason": NOT_JSON}
    assert notices.in_words(page, "").startswith("502: asking again")


def test_reasons_that_a_person_reads_in_words_are_those_that_there_are() -> None:
    assert notices._REASONS.keys() <= {TIMEOUT, CONNECTION_ERROR, INVALID_ANSWER, NO_WORD, NOT_JSON}


def test_the_words_for_programs_that_a_shell_replaces_are_there() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if path.parent.name != "cli")
    joined = re.sub(r'"\n\s*f?"', "", sources)
    assert [words for words in IN_THE_SHELL if words not in joined] in ([], ["base_url="])


def test_an_interrupt_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), reported():
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "novita-openai: interrupted\n"


def test_what_nobody_expects_is_not_told_as_if_it_were_known() -> None:
    with pytest.raises(KeyError):
        told(KeyError("x"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, typer.Abort])
def test_an_interrupt_outside_of_a_command_ends_as_one_inside(
    error: type[BaseException], shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("novita_openai.cli.program.get_command", lambda _: interrupted)
    monkeypatch.setattr("novita_openai.cli.program.fit", lambda *_: None)
    ended = shell("--help")
    assert (ended.code, ended.line) == (130, "interrupted")


def test_an_interrupt_that_typer_turned_into_a_code_is_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("novita_openai.cli.program.get_command", lambda _: lambda **__: 130)
    monkeypatch.setattr("novita_openai.cli.program.fit", lambda *_: None)
    monkeypatch.setattr(failures, "_has_begun", False)
    ended = shell("chat")
    assert (ended.code, ended.line) == (130, "interrupted")


def test_tables_never_cut_a_cell() -> None:
    rows = [("model", "context"), ("meta-llama/llama-3.1-8b-instruct", "16384"), ("m", "")]
    wide = ["model                             context", "meta-llama/llama-3.1-8b-instruct  16384", "m"]
    assert terminal.table_lines(rows, 80) == wide
    assert terminal.table_lines(rows, 20) == ["model", "  context", "meta-llama/llama-3.1-8b-instruct", "  16384", "m"]


def test_remarks_are_wrapped_between_words_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.note("one two three four")
    monkeypatch.setattr(terminal, "is_terminal", lambda _: True)
    monkeypatch.setenv("COLUMNS", "9")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.note("one two three four")
    assert capsys.readouterr().err == "one two three four\none two\n  three\n  four\n"


COMMANDS = ["chat", "complete", "models", "batch", "serve", "emulate", "doctor", "prompt render", "prompt parse"]


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("command", ["", *COMMANDS, "prompt detect", "prompt check", "prompt formats"])
def test_help_fits_any_terminal(command: str, columns: int, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    printed = shell(*command.split(), "--help")
    lines = [line for line in printed.out.splitlines() if not re.search(r'^  .*novita-openai c\w+ .*"', line)]
    assert (printed.code, max(map(len, lines)) <= min(columns, 100)) == (0, True)
    assert re.findall(r"<(?:str|int|float|path|list)|\{[A-Z]+\}|\w\.\.\.$|-$", printed.out, re.MULTILINE) == []
    assert ("\n      Show this message and exit." in printed.out) == (columns < 60)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["models", "--sort", "size"], "Invalid value for '--sort': 'size' is not one of 'price', 'context'."),
        (["chat", "--modle", "x"], "id you mean [\"']?--model\\b"),  # each typer has its own marks around it
        (["chat", "What", "is", "it?"], r"\(is it\?\); a text of several words goes into quotes"),
        (["caht"], "No such command 'caht'. Did you mean 'chat'"),
    ],
)
def test_a_wrong_option_is_told_in_words_of_the_shell(arguments: list[str], told: str, shell: Shell) -> None:
    ended = shell(*arguments)
    assert ended.code == 2
    assert re.search(told, ended.line)


@pytest.mark.parametrize("option", [["--max-tokens", "x"], ["--max-tokens", "0"], ["--temperature", "x"]])
def test_a_wrong_number_is_told_without_the_words_of_a_library(option: list[str], shell: Shell) -> None:
    ended = shell("chat", *option, "Hi")
    assert (ended.code, re.findall("Input|Value error|parse string", ended.line)) == (2, [])
    assert option[0] in ended.line


def test_lines_are_broken_between_words_at_a_terminal_alone() -> None:
    assert terminal._wrapped("a\x1b[b " * 20, io.StringIO()) == ["a\x1b[b " * 20]
    screen = Screen()
    assert terminal._wrapped("word " * 30, screen) == ["word " * 15 + "word", "  " + "word " * 13 + "word"]
    assert terminal._wrapped("word " * 17, screen, column=6)[0] == "word " * 14 + "word"
    assert terminal._wrapped("", screen) == [""]
    assert terminal._wrapped("x" * 100 + "\x1b", screen) == ["x" * 100 + "\N{REPLACEMENT CHARACTER}"]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True
