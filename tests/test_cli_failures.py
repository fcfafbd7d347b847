"""How commands end: for each kind of error, what is told and the exit code. A table."""

from __future__ import annotations

import errno

import openai
import pytest
import typer

from novita_openai.batch import BatchInputError
from novita_openai.cli.failures import BAD_INPUT, FAILED, INTERRUPTED, STOPPED, reported
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
        (ValueError("concurrency=0: at least 1"), OWN, ["concurrency=0: at least 1"]),
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
