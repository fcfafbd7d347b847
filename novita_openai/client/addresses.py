"""Where requests go: a base URL from an argument, a variable or an assignment, mended where that is safe, else refused.

Mended: blanks and quotes around it, and the path of an endpoint at its end (``/chat/completions``). Refused: what no
address holds, and what the SDK would send to the wrong place, or in place of the key (a query, a user and password).
Errors show an address without whatever may be secret in it.
"""

from __future__ import annotations

import os
import re
import string
import sys
import warnings
from ipaddress import ip_address
from typing import Final, Protocol
from urllib.parse import SplitResult, urlsplit

import openai

from novita_openai import sdk
from novita_openai.errors import BASE_URL

__all__ = ["URL", "BaseURLError", "check_base_url", "find_base_url", "shown_address", "unquoted"]


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


def find_base_url(given: str | URL | None) -> str:
    """Return the address to send to: what is given, else ``NOVITA_BASE_URL``, else the service's."""
    if url := _text_of(given, "base_url"):
        return check_base_url(url, "base_url")
    return check_base_url(unquoted(os.environ.get("NOVITA_BASE_URL", "")) or BASE_URL, "NOVITA_BASE_URL")


def check_base_url(given: str | URL, source: str) -> str:
    """Return an address, mended; raise :class:`BaseURLError`, which names its source, where it cannot be used.

    Warns where the key would travel over a network unencrypted.
    """
    url = _ENDPOINT.sub("", _text_of(given, source).rstrip("?#"))
    problem = _problem_of(url)
    if problem is not None:
        raise BaseURLError(f"{source}={shown_address(url)!r} {problem}")
    parts = urlsplit(url)
    if parts.scheme == "http" and not _is_loopback(f"{parts.hostname}"):
        message = f"{source}: the API key would travel unencrypted to {parts.hostname}; use https"
        warnings.warn(message, stacklevel=_level_of_the_caller())
    return url


_ENDPOINT: Final = re.compile(r"(?<=[^/:])/+(chat/completions|completions|embeddings|models)/*$")
"""What people copy from examples of requests; the SDK adds it to the base URL."""


def _text_of(given: str | URL | None, source: str) -> str:
    if isinstance(given, str):
        return unquoted(given)
    if given is None or hasattr(given, "scheme"):
        return f"{given or ''}"
    raise BaseURLError(f"{source} is no text and no URL but {type(given).__name__}")


def unquoted(text: str) -> str:
    """Return a text without blanks, invisible characters and pairs of quotes around it."""
    text = text.strip(_BLANKS)
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1].strip(_BLANKS)
    return text


_BLANKS: Final = string.whitespace + "\0\u00a0\u2028\u2029\u200b\u2060\ufeff"
_QUOTES: Final = {'"': '"', "'": "'", "`": "`", "<": ">", "\u201c": "\u201d", "\u2018": "\u2019", "\u00ab": "\u00bb"}
_IN_NO_ADDRESS: Final = " <>\\^{|}" + "".join(_QUOTES) + "".join(_QUOTES.values())
"""Besides what cannot be seen; an apostrophe is allowed, but stands there by mistake."""


def _problem_of(url: str) -> str | None:
    """Say what keeps a text from being a base URL, None where nothing does."""
    odd = next((character for character in url if character in _IN_NO_ADDRESS or not character.isprintable()), None)
    if odd is not None:
        return f"is no address: it holds {odd!r}."
    if _TWO_SCHEMES.match(url):
        return f"begins with http or https twice: leave one out. Expected something like {BASE_URL}"
    parts, problem = _split(url)
    if parts is None:
        return f"is no address: {problem}"
    return next((why for is_found, why in _refusals(parts) if is_found), None)


_TWO_SCHEMES: Final = re.compile(r"https?:/*https?(:(?=/|$)|//)", re.IGNORECASE)
"""An address that was pasted behind a scheme; a host of such a name is allowed, with a port or without."""


def _split(url: str) -> tuple[SplitResult | None, str]:
    """Split an address; None and what is wrong where that is impossible."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError for a bad port
        sdk.http_library().URL(url)
    except (ValueError, sdk.http_library().InvalidURL):  # their words may hold a part of a password
        return None, f"its host or port cannot be read. Expected something like {BASE_URL}"
    is_address = parts.scheme in ("http", "https") and parts.hostname
    return (parts, "") if is_address else (None, f"expected something like {BASE_URL}")


def _refusals(parts: SplitResult) -> tuple[tuple[bool, str], ...]:
    return (
        ("@" in parts.netloc, "holds a user or a password, which would be sent in place of the key: leave them out."),
        (bool(parts.query), "holds a query: leave it out, and pass default_query={...}."),
        (bool(parts.fragment), "holds a fragment (after #), which is never sent: leave it out."),
    )


def shown_address(url: str) -> str:
    """Return an address for a message: without user, password, query, fragment, and whatever may be a key."""
    scheme, separator, rest = url.rpartition("@")[0].partition("://")
    public = f"{scheme if separator and scheme.isalnum() else ''}{separator}...@" * bool(scheme or rest)
    text = re.split(r"[?#]", public + url.rpartition("@")[2])[0]
    return _KEY_LIKE.sub("...", text) if re.search(r"[.:/]|^$", text) else "..."


_KEY_LIKE: Final = re.compile(r"\bsk[-_][\w-]*|[\w+=-]{20,}")


def _level_of_the_caller() -> int:
    """Count the frames from :func:`check_base_url` up to the first that is neither ours nor the SDK's."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 - warnings can skip files by themselves only since Python 3.12
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("novita_openai", "openai"):
        level, frame = level + 1, frame.f_back
    return level


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
