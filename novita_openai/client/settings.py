"""Where the key and the address come from, and what they must look like: arguments first, then NOVITA_* variables."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from inspect import isawaitable
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import urlsplit

import openai

from novita_openai.errors import BASE_URL, KEYS


class URL(Protocol):
    """What the URL objects of the SDK's HTTP libraries have in common."""

    @property
    def scheme(self) -> str:
        """The part before the colon."""
        ...

    @property
    def host(self) -> str:
        """The host, without the port."""
        ...


class BaseURLError(openai.OpenAIError, ValueError):
    """The base URL is not a usable address."""


class MissingAPIKeyError(openai.OpenAIError):
    """No usable API key was given."""


def find_key() -> str | KeyFile:
    """Return the key that the environment holds, checked, or the file that it names."""
    if key := os.environ.get("NOVITA_API_KEY", "").strip():
        return check_key(key, "NOVITA_API_KEY")
    if path := os.environ.get("NOVITA_API_KEY_FILE", "").strip():
        return KeyFile(path)
    raise MissingAPIKeyError(
        "No API key: pass api_key=, set NOVITA_API_KEY, or set NOVITA_API_KEY_FILE to the path of a file that holds it."
        f" {KEYS}"
    )


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
    if path.startswith("sk_") and not Path(path).exists():
        raise MissingAPIKeyError("NOVITA_API_KEY_FILE holds a key, not the path of a file: set NOVITA_API_KEY instead.")
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MissingAPIKeyError(f"NOVITA_API_KEY_FILE: cannot read {path}: {error}") from error


def check_key(key: object, source: str) -> str:
    """Return a key that an HTTP header can carry; the error names the source and never the key."""
    if not isinstance(key, str):
        raise MissingAPIKeyError(f"The API key from {source} is no text but {type(key).__name__}.")
    key = key.strip()
    if not key:
        raise MissingAPIKeyError(f"The API key from {source} is empty.")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise MissingAPIKeyError(f"The API key from {source} holds characters that no key has: spaces or non-ASCII.")
    return key


def find_base_url(given: str | URL | None) -> str:
    """Return the address to send to; warn where it would carry the key unencrypted over a network."""
    source = "base_url" if given else "NOVITA_BASE_URL"
    url = str(given or os.environ.get("NOVITA_BASE_URL", "").strip() or BASE_URL)
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError for a bad port
    except ValueError as error:
        raise BaseURLError(f"{source}={url!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BaseURLError(f"{source}={url!r} is no address: expected something like {BASE_URL}")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        message = f"{source}: the API key would travel unencrypted to {parts.hostname}; use https"
        warnings.warn(message, stacklevel=_level_of_the_caller())
    return url


def _level_of_the_caller() -> int:
    """Count the frames from :func:`find_base_url` up to the first that is neither ours nor the SDK's."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 - warnings can skip files by themselves only since Python 3.12
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("novita_openai", "openai"):
        level, frame = level + 1, frame.f_back
    return level


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


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
        key = self.source()
        return check_key(await key if isawaitable(key) else key, "api_key()")
