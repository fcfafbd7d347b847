"""How a command ends that could not do its work: lines on stderr for people, an exit code for programs.

The clients and batches are imported by the commands that use them, so that ``--help`` and the other commands work where
those cannot be imported: with a release of the SDK that lacks what they lean on, and on systems that are not POSIX.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import openai
import typer

from novita_openai.cli.terminal import tell
from novita_openai.errors import UNKNOWN, failure_of
from novita_openai.local import LocalModelError

FAILED: Final = 1
"""The command failed; of a batch: some of its rows failed."""

BAD_INPUT: Final = 2
"""Somebody must change something first: the options, the input, the key. Typer ends with the same code."""

STOPPED: Final = 3
"""A batch stopped before its end, or could not begin; the same command may succeed later by itself."""

INTERRUPTED: Final = 130
"""A signal ended the command; as shells count Ctrl-C: 128 and the number of the signal."""


@contextmanager
def reported(code: int = FAILED) -> Iterator[None]:
    """Turn a failure into lines on stderr and an exit code: that of its row in ENDINGS, else ``code``."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read the output has enough; typer ends in silence
    except tuple(each.error for each in ENDINGS) as error:
        ending = next(each for each in ENDINGS if isinstance(error, each.error))
        tell(ending.words(error))
        raise typer.Exit(code if ending.code is None else ending.code) from error


class Ending(NamedTuple):
    """What a kind of error means for a command: its exit code (None: the command's own), and what is said of it."""

    error: type[BaseException]
    code: int | None
    words: Callable[[Any], str]


def _nothing(_: KeyboardInterrupt) -> str:
    return ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _of_the_service(error: openai.OpenAIError) -> str:
    """Return the status, the reason, what the service says, and what it means, on one line."""
    failure = failure_of(error)
    if failure.rule is UNKNOWN:
        return _one_line(error)
    return " ".join(f"{failure.summary}: {failure.said} {failure.meaning}".split())


def _of_a_file(error: OSError) -> str:
    return f"{error.filename or 'cannot write the output'}: {error.strerror or error}"


ENDINGS: Final = (
    Ending(KeyboardInterrupt, INTERRUPTED, _nothing),
    Ending(openai.OpenAIError, None, _of_the_service),
    Ending(LocalModelError, None, _one_line),
    Ending(ImportError, None, _one_line),  # a missing extra, or a system that is not POSIX
    Ending(BlockingIOError, STOPPED, _of_a_file),  # another process has locked the file
    Ending(OSError, None, _of_a_file),
    Ending(ValueError, None, str),  # how this package refuses an argument, a prompt or an input
)
"""The first row that fits an error decides."""
