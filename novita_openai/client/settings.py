"""Where the key comes from, and what it must look like: an argument, else NOVITA_* variables."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from inspect import isawaitable
from pathlib import Path
from typing import Final, Self, cast

import openai

from novita_openai.client.addresses import unquoted
from novita_openai.errors import KEYS


class MissingAPIKeyError(openai.OpenAIError):
    """No usable API key was given."""


def find_key() -> str | KeyFile:
    """Return the key that the environment holds, checked, or the file that it names."""
    if os.environ.get("NOVITA_API_KEY", "").strip():
        return check_key(os.environ["NOVITA_API_KEY"], "NOVITA_API_KEY")
    if path := unquoted(os.environ.get("NOVITA_API_KEY_FILE", "")):
        return KeyFile(path)
    raise MissingAPIKeyError(
        "No API key: pass api_key=, set NOVITA_API_KEY, or set NOVITA_API_KEY_FILE to the path of a file that holds it."
        f"{_OTHER_KEY if os.environ.get('OPENAI_API_KEY') else ''} {KEYS}"
    )


_OTHER_KEY: Final = " OPENAI_API_KEY, which is set, is never used: it is a key of another service."


class KeyFile:
    """The key in a file, read anew whenever the file has changed, so that a program outlives a change of its key.

    While the file cannot be read or holds no key, as when somebody is writing it, the last key counts. Raises
    :class:`MissingAPIKeyError` where it holds none at first.
    """

    def __init__(self, path: str) -> None:
        self._path, self._stamp = path, _stamp(path)
        self._key = self._read()

    def __call__(self) -> str:
        """Return the key."""
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            with suppress(MissingAPIKeyError):
                self._key, self._stamp = self._read(), stamp
        return self._key

    def _read(self) -> str:
        return check_key(_read_key(self._path), f"NOVITA_API_KEY_FILE ({self._path})")


def _stamp(path: str) -> tuple[int, int, int] | None:
    """Return what differs once a file has changed, None where there is none."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read_key(path: str) -> str:
    if path.startswith(("sk_", "sk-")) and not Path(path).exists():
        raise MissingAPIKeyError("NOVITA_API_KEY_FILE holds a key, not the path of a file: set NOVITA_API_KEY instead.")
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise MissingAPIKeyError(f"NOVITA_API_KEY_FILE: cannot read {path}: {error}") from error


def check_key(key: object, source: str) -> str:
    """Return a key that an HTTP header can carry, mended; the error names the source and never the key."""
    key = unquoted(key) if isinstance(key, str) else key
    problem = _problem_of(key)
    if problem is not None:
        del key  # tracebacks can show local variables
        raise MissingAPIKeyError(f"The API key from {source} {problem}.")
    return cast("str", key)


def _problem_of(key: object) -> str | None:
    """Say what keeps an object from being a key, None where nothing does."""
    if not isinstance(key, str):
        return f"is no text but {type(key).__name__}"
    if not key:
        return "is empty"
    if key.isascii() and key.isprintable() and not set(key) & set(" \"'`"):
        return None
    return "holds characters that no key has: spaces, quotes or non-ASCII"


@dataclass(frozen=True)
class CheckedKey:
    """A function that returns the key; each key is checked before it goes into a header."""

    source: Callable[[], str]

    @classmethod
    def of(cls, source: Callable[[], str]) -> Self:
        """Wrap a function; one that is wrapped already, as in copies of a client, stays as it is."""
        return source if isinstance(source, cls) else cls(source)

    def __call__(self) -> str:
        """Return the key."""
        return check_key(self.source(), "api_key()")


@dataclass(frozen=True)
class AsyncCheckedKey:
    """The same for the async client; the function may be async or not."""

    source: Callable[[], str] | Callable[[], Awaitable[str]]

    @classmethod
    def of(cls, source: Callable[[], str] | Callable[[], Awaitable[str]]) -> Self:
        """Wrap a function; one that is wrapped already, as in copies of a client, stays as it is."""
        return source if isinstance(source, cls) else cls(source)

    async def __call__(self) -> str:
        """Return the key."""
        return check_key(await _awaited(self.source()), "api_key()")


async def _awaited(given: Awaitable[str] | str) -> str:
    return await given if isawaitable(given) else given
