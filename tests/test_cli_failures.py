"""How commands end: for each kind of error, what is told and the exit code. A table."""

from __future__ import annotations

import errno
from dataclasses import fields

import openai
import pytest
import typer

from novita_openai.batch import BatchInputError
from novita_openai.cli.failures import BAD_INPUT, FAILED, INTERRUPTED, OPTIONS, STOPPED, in_the_shell, reported
from novita_openai.cli.jobs import JobOptions
from novita_openai.cli.tables import AskOptions
from novita_openai.client import MissingAPIKeyError
from novita_openai.local import LocalModelError, MissingExtraError
from novita_openai.prompts import PromptError

OWN = 2
"""The command's own exit code."""


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), INTERRUPTED, ["interrupted"]),
        (MissingAPIKeyError("no key:\n  set it"), OWN, ["no key: set it"]),
        (openai.OpenAIError("odd"), OWN, ["odd"]),
        (LocalModelError("ended; its log:\nout of memory"), OWN, ["ended; its log: out of memory"]),
        (MissingExtraError("jinja2 is not installed"), OWN, ["jinja2 is not installed"]),
        (OSError(errno.ENOENT, "No such file", "a.jsonl"), OWN, ["a.jsonl: No such file"]),
        (OSError(errno.ENOSPC, "No space left"), OWN, ["cannot write the output: No space left"]),
        (TimeoutError("too late"), OWN, ["cannot write the output: too late"]),
        (BatchInputError(["line 1: bad", "line 2: bad"]), OWN, ["line 1: bad", "line 2: bad"]),
        (PromptError("no user message"), OWN, ["prompt: no user message"]),
        (ValueError("concurrency=0: at least 1"), OWN, ["--concurrency 0: at least 1"]),
    ],
)
def test_a_failure_is_told_on_stderr_and_ends_with_its_code(
    error: BaseException, code: int, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, reported(OWN):
        raise error
    printed = capsys.readouterr()
    assert (ended.value.exit_code, printed.out) == (code, "")
    assert printed.err.splitlines() == [f"novita-openai: {line}" for line in told]


def test_a_command_fails_with_1_where_it_names_no_code() -> None:
    with pytest.raises(typer.Exit) as ended, reported():
        raise ValueError("odd")
    assert ended.value.exit_code == FAILED


@pytest.mark.parametrize(
    "error", [BrokenPipeError(errno.EPIPE, "Broken pipe"), typer.BadParameter("no"), KeyError("a")]
)
def test_what_typer_handles_and_what_nobody_expects_pass(error: Exception) -> None:
    with pytest.raises(type(error)), reported():
        raise error


def test_the_exit_codes_are_those_that_the_documentation_names() -> None:
    assert (FAILED, BAD_INPUT, STOPPED, INTERRUPTED) == (1, 2, 3, 130)


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("max_cost=2.5: give dollars, 0 or more, or None for the default", "--max-cost 2.5: give dollars, 0 or more"),
        ("max_cost is $1; raise max_cost to go on", "--max-cost is $1; raise --max-cost to go on"),
        ("raise max_errors.", "raise --max-errors."),
        ("detach=True: only via='batch-api' has batches", "--detach: only --via batch-api has batches"),
        ("prompt='Sum up: {txt}': no column", "--prompt 'Sum up: {txt}': no column"),
        ('prompt="it\'s {txt}": no column', '--prompt "it\'s {txt}": no column'),
        ("name one with model=", "name one with -m/--model"),
        ("model cannot be set in parameters=: system= says it", "model cannot be set in --set: --system says it"),
        ("no text that validate= could check", "no text that --schema could check"),
        ("rows that set no max_tokens", "rows that set no max_tokens"),
        ("retry_failed.jsonl: No such file", "retry_failed.jsonl: No such file"),
        ("model=foo is not served", "model=foo is not served"),
        ("validate={}: odd", "validate={}: odd"),
    ],
)
def test_options_are_named_as_in_the_shell(python: str, shell: str) -> None:
    assert in_the_shell(python) == shell


def test_each_option_of_a_batch_is_known_by_its_names() -> None:
    in_shell = {field.name for options in (JobOptions, AskOptions) for field in fields(options)}
    assert {*OPTIONS.split()} == in_shell - {"settings"} | {"parameters", "validate"}
