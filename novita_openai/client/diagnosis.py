"""What keeps a program from its answers: versions, key, address, route, balance and the first token, in turn."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import openai

from novita_openai.client.addresses import shown_address
from novita_openai.client.catalog import models_like, near_names
from novita_openai.client.clients import NovitaOpenAI
from novita_openai.client.settings import MissingAPIKeyError
from novita_openai.errors import failure_of
from novita_openai.prices import DOLLARS_PER_UNIT
from novita_openai.retry import RetryPolicy

if TYPE_CHECKING:
    from openai.types import Model

__all__ = ["Finding", "diagnose"]

SECONDS: Final = 30.0
"""How long each look may take."""
BALANCE: Final = "/openapi/v1/billing/balance/detail"
"""https://novita.ai/docs/api-reference/basic-get-user-balance"""
_PACKAGES: Final = ("openai", "httpx", "httpx2", "aiohttp", "tenacity", "structlog")
_PROXIES: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and whether that is good; None: nothing depends on it. No secret is in it."""

    name: str
    said: str
    is_good: bool | None = None


def diagnose(model: str, *, base_url: str | None = None) -> Iterator[Finding]:
    """Yield findings, each as soon as it is known; the last look sends a chat of one token, and is paid for."""
    yield Finding("versions", _versions())
    yield Finding("network", _network())
    key, known = _key()
    yield key
    try:
        client = NovitaOpenAI(api_key=known, base_url=base_url, policy=RetryPolicy.off(), timeout=SECONDS)
    except openai.OpenAIError as error:
        yield Finding("address", str(error), is_good=False)
        return
    with client:
        yield Finding("address", shown_address(str(client.base_url)), is_good=True)
        yield from _of_the_service(client, model, has_key=known is None)


def _of_the_service(client: NovitaOpenAI, name: str, *, has_key: bool) -> Iterator[Finding]:
    ids: list[str] = []
    yield _looked("route", lambda: _listed(client, name, ids))
    if has_key:
        yield _looked("balance", lambda: _balance(client))
        yield _looked("first token", lambda: _first_token(client, _meant(name, ids) or name))


def _versions() -> str:
    from novita_openai import __version__

    known = [f"{name} {found}" for name in _PACKAGES if (found := _version(name))]
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return ", ".join([f"novita_openai {__version__}", *known, system])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _network() -> str:
    """Return what the environment says of proxies and certificates, without the users and passwords in it."""
    names = [name for upper in _PROXIES for name in (upper, upper.lower())]
    said = [f"{name}={_hidden(os.environ[name])}" for name in names if os.environ.get(name)]
    return ", ".join(said) or "no proxy and no certificates of its own"


def _hidden(value: str) -> str:
    return shown_address(value) if "://" in value else value.rpartition("@")[2]


def _key() -> tuple[Finding, str | None]:
    """Return where the key comes from, and what the client is to be given in its place where there is none."""
    from novita_openai.client.settings import find_key

    try:
        found = find_key()
    except MissingAPIKeyError as error:
        return Finding("key", str(error), is_good=False), "none"
    source = "NOVITA_API_KEY" if isinstance(found, str) else "the file that NOVITA_API_KEY_FILE names"
    length = len(found if isinstance(found, str) else found())
    return Finding("key", f"{length} characters, from {source}", is_good=True), None


def _looked(name: str, look: Callable[[], tuple[str, bool | None]]) -> Finding:
    try:
        said, is_good = look()
    except openai.OpenAIError as error:
        return Finding(name, failure_of(error).told, is_good=False)
    return Finding(name, said, is_good)


def _listed(client: NovitaOpenAI, name: str, ids: list[str]) -> tuple[str, bool]:
    """Look whether the service has a model; ``ids`` gets those that it has."""
    start = time.monotonic()
    models: list[Model] = [*client.models.list()]
    seconds = time.monotonic() - start
    ids += [each.id for each in models]
    meant, near = _meant(name, ids), models_like(name, ids) or near_names(name, ids)
    has = f"it has {meant}" if meant else f"it does not have {name}{'; near names: ' if near else ''}{', '.join(near)}"
    return f"{len(models)} models in {seconds:.2f} s; {has}", True


def _meant(name: str, ids: list[str]) -> str | None:
    """Return the one model that a name means, None where it means none or several."""
    found = models_like(name, ids)
    return found[0] if len(found) == 1 else None


def _balance(client: NovitaOpenAI) -> tuple[str, bool | None]:
    """Return the account's dollars, where the host tells them: they are not a part of OpenAI's interface."""
    parts = urlsplit(str(client.base_url))
    try:
        told: Any = client.get(f"{parts.scheme}://{parts.netloc}{BALANCE}", cast_to=object)
    except openai.NotFoundError:
        return "not told by this host", None
    amount = told.get("availableBalance") if isinstance(told, Mapping) else None
    try:
        dollars = float(str(amount)) * DOLLARS_PER_UNIT
    except ValueError:
        return "not told", None
    return f"${dollars:.2f}", dollars > 0


def _first_token(client: NovitaOpenAI, model: str) -> tuple[str, bool]:
    start = time.monotonic()
    messages: Any = [{"role": "user", "content": "Hi"}]
    with client.chat.completions.create(model=model, messages=messages, max_tokens=1, stream=True) as chunks:
        next(iter(chunks), None)
        seconds = time.monotonic() - start
    return f"{seconds:.2f} s, from {model}", True
