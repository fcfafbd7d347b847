"""How a command ends that could not do its work: lines on stderr for people, an exit code for programs.

The clients and batches are imported by the commands that use them, so that ``--help`` is quick, and so that it and the
other commands work where those cannot be imported: with a release of the SDK that lacks what they lean on, and on
systems that are not POSIX.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import typer

from novita_openai.cli.terminal import tell

if TYPE_CHECKING:
    import openai

    class _Problem(Exception):  # noqa: N818 - what UsageProblem has
        exit_code: int
        ctx: Any

        def format_message(self) -> str: ...


FAILED: Final = 1
"""The command failed; of a batch: some of its rows failed."""

BAD_INPUT: Final = 2
"""Somebody must change something first: the options, the input, the key. Typer ends with the same code."""

STOPPED: Final = 3
"""A batch stopped before its end, or could not begin; the same command may succeed later by itself."""

INTERRUPTED: Final = 130
"""A signal ended the command; as shells count Ctrl-C: 128 and the number of the signal."""


UsageProblem: Final = cast("type[_Problem]", typer.BadParameter.__mro__[2])
"""click's ClickException, which typer does not name: a newer typer has a copy of click in it."""


@contextmanager
def reported(code: int = FAILED) -> Iterator[None]:
    """Turn a failure into lines on stderr and an exit code: that of its row in the table, else ``code``."""
    global _has_begun  # noqa: PLW0603 - of a process that runs one command
    _has_begun = True
    try:
        yield
    except (BrokenPipeError, typer.Exit, UsageProblem):
        raise  # whoever read the output has enough, or the program ends with what it is told
    except KeyboardInterrupt as error:
        tell("interrupted")
        raise typer.Exit(INTERRUPTED) from error
    except Exception as error:
        ending = _ending(error)
        if ending is None:
            raise
        tell(in_the_shell(ending.words(error)))
        raise typer.Exit(code if ending.code is None else ending.code) from error


_has_begun = False


def was_interrupted_early(code: int) -> bool:
    """Tell whether a program that ends with a code was interrupted before its command began, as newer typers hide."""
    return code == INTERRUPTED and not _has_begun


def told(error: Exception) -> str:
    """Return the words in which a command would end with a failure; raise what nobody expects."""
    ending = _ending(error)
    if ending is None:
        raise error
    return in_the_shell(ending.words(error))


class Ending(NamedTuple):
    """What a kind of error means for a command: its exit code (None: the command's own), and what is said of it."""

    error: type[BaseException]
    code: int | None
    words: Callable[[Any], str]


def _ending(error: Exception) -> Ending | None:
    """Return the first row of the table that fits an error."""
    return next((each for each in _endings() if isinstance(error, each.error)), None)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _of_the_service(error: openai.OpenAIError) -> str:
    """Return what is known of a failure, on one line, and what to do where a part of the answer had come."""
    from novita_openai.errors import UNKNOWN, failure_of, partial_text

    failure = failure_of(error)
    if failure.rule is UNKNOWN:
        return _one_line(error)
    return f"{'the answer broke off, ask again: ' if partial_text(error) else ''}{failure.told}"


def _of_a_file(error: OSError) -> str:
    return f"{error.filename or 'cannot write the output'}: {error.strerror or error}"


def _endings() -> tuple[Ending, ...]:
    import openai

    from novita_openai.local import LocalModelError

    return (
        Ending(openai.OpenAIError, None, _of_the_service),
        Ending(LocalModelError, None, _one_line),
        Ending(ImportError, None, _one_line),  # a missing extra, or a system that is not POSIX
        Ending(BlockingIOError, STOPPED, _of_a_file),  # another process has locked the file
        Ending(OSError, None, _of_a_file),
        Ending(ValueError, None, str),  # how this package refuses an argument, a prompt or an input
    )


IN_THE_SHELL: Final = {
    "pass api_key=, set NOVITA_API_KEY,": "set NOVITA_API_KEY (export NOVITA_API_KEY=sk_...),",
    "`client.models.list()`": "'novita-openai models'",
    "set SSL_CERT_FILE or give an http_client": "set SSL_CERT_FILE",
    "leave it out, and pass default_query={...}": "leave it out",
    "format_names() lists them": "'novita-openai prompt formats' lists them",
    "The client takes no answer as large: raise max_answer_bytes.": "This program takes no answer as large.",
    ", or None for the default": "",
    "base_url=": "--base-url ",
}
"""What errors say to programs, and in its place to somebody at a shell."""

OTHERWISE: Final = {"model": "-m/--model", "parameters": "--set", "validate": "--schema"}
"""Options that have another name in the shell than in Python, or two."""
OPTIONS: Final = """
    model raw format max_tokens concurrency rpm tpm timeout attempts row_timeout max_wait drain retry_failed max_errors
    max_cost schema validate_attempts dedupe via detach cancel create_again keep_files poll ordered prompt system
    parameters id image validate
"""
"""The options of batches, as programs name them."""
_NAMES: Final = OPTIONS.split()
_ODD_NAMES: Final = [name for name in _NAMES if "_" in name and name != "max_tokens"]
"""Names that stand for nothing but an option."""
_TEXT: Final = r"'[^']*'|\"[^\"]*\""
_VALUE: Final = rf"True\b|{_TEXT}|\.\.\.|[\d.e+-]*\d\b|(?![\w\[{{(])"
_OPTION: Final = re.compile(rf"\b({'|'.join(_NAMES)})=({_VALUE})|(?<![\w/'.-])({'|'.join(_ODD_NAMES)})(?![\w/'-]|\.\w)")


def in_the_shell(text: str) -> str:
    """Return a message in the words of a shell: ``max_cost=2`` becomes ``--max-cost 2``."""
    for python, shell in IN_THE_SHELL.items():
        text = text.replace(python, shell)
    return _OPTION.sub(_option, text)


def _option(found: re.Match[str]) -> str:
    name, value = found[1] or found[3], found[2] or ""
    if value.startswith(("'", '"')) and not re.search(r"[\s{}]", value):
        value = value[1:-1]
    option = OTHERWISE.get(name, f"--{name.replace('_', '-')}")
    return option if value in ("", "True") else f"{option} {value}"
