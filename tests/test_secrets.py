"""No key in tracebacks, not even in those that show the local variables of each frame."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
from conftest import Driver
from server import Reply, Server, chunk, error, stream

import novita_openai
from novita_openai import AsyncOpenAI, OpenAI, create_async_client, create_client


def key() -> str:
    """Return a key that no frame of this file holds."""
    return bytes.fromhex("736b5f5345435245545f4b4559").decode()


def shows_key(failure: BaseException) -> bool:
    report = traceback.TracebackException.from_exception(failure, capture_locals=True)
    return key() in "".join(report.format()) + repr(failure) + repr(failure.__cause__)


@pytest.mark.parametrize("build", [OpenAI, AsyncOpenAI, create_client, create_async_client])
def test_a_client_that_cannot_be_made_shows_no_key(build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_bytes(key().encode() + b"\xff")
    ways: list[Callable[[], Any]] = [
        lambda: build(api_key=key() + " x"),
        lambda: build(api_key=key().encode()),
        lambda: build(api_key="k").copy(api_key=key() + "\u00e9"),
        lambda: build(api_key=key(), base_url="ftp://x"),
        lambda: build(api_key=key(), http_client="x"),
        lambda: build(api_key=key(), max_retries=None),
        lambda: build(api_key=key(), no_such_argument=1),
        build,
    ]
    monkeypatch.setenv("NOVITA_API_KEY_FILE", str(file))
    for way in ways:
        with pytest.raises((openai.OpenAIError, TypeError, AttributeError)) as failure:
            way()
        assert not shows_key(failure.value)


QUOTED = [f'"{key()}"', f"'{key()}'\n", f" \u201c {key()} \u201d", f"`{key()}`", f"\ufeff{key()}\r\n"]


@pytest.mark.parametrize("quoted", QUOTED)
def test_quotes_around_a_key_are_taken_off(
    quoted: str, connect: Callable[..., Driver], server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(quoted, encoding="utf-8")
    connect(api_key=quoted).chat()
    connect(api_key=lambda: quoted).chat()
    monkeypatch.setenv("NOVITA_API_KEY_FILE", f'"{file}"')
    connect(api_key=None).chat()
    monkeypatch.setenv("NOVITA_API_KEY", quoted)
    connect(api_key=None).chat()
    assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {key()}"] * 4


@pytest.mark.parametrize("half", [f'"{key()}', f"{key()}'", "sk_`x`"])
def test_a_single_quote_mark_is_in_no_key(half: str) -> None:
    with pytest.raises(novita_openai.MissingAPIKeyError, match="quotes"):
        OpenAI(api_key=half)


CUT = Reply(body="{" + " " * 100, cut=5)
CUT_STREAM = stream(chunk("Boil"), chunk("water", "stop"))
FAULTS = [
    Reply(fault="close"),
    Reply(fault="reset"),
    Reply(fault="stall"),
    Reply(fault="garbage"),
    CUT,
    Reply(headers={"x-long": "x" * 200_000}),
    Reply(body=b"no gzip", headers={"content-encoding": "gzip"}),
    Reply(307, headers={"location": "ftp://elsewhere"}),
    Reply(body="<html>"),
    error(401, "INVALID_API_KEY"),
    error(500),
    Reply(body=CUT_STREAM.body, headers=CUT_STREAM.headers, cut=40),
    Reply(body=CUT_STREAM.body[:40], headers=CUT_STREAM.headers),
]


def complete(client: Any, *, is_stream: bool) -> Any:
    return client.completions.create(model="m", prompt="p", stream=is_stream)


@pytest.mark.parametrize("build", [OpenAI, AsyncOpenAI])
def test_a_header_that_cannot_be_sent_shows_no_key_either(build: Any, server: Server) -> None:
    client = build(api_key=key(), base_url=server.base_url, default_headers={"x-mine": "a\nb"})
    with asyncio.Runner() as runner, pytest.raises(openai.APIConnectionError) as failure:
        Driver(client, runner).call(partial(complete, is_stream=False))
    assert "The request could not be sent." in failure.value.__notes__
    assert not shows_key(failure.value)


class ClientError(Exception):
    """What boto3 raises, say, where a function asks it for the key."""


def failing() -> str:
    raise ClientError


@pytest.mark.parametrize("build", [OpenAI, AsyncOpenAI])
def test_an_error_of_the_users_is_not_taken_for_one_of_aiohttp(build: Any, server: Server) -> None:
    client = build(api_key=failing, base_url=server.base_url)
    with asyncio.Runner() as runner, pytest.raises(ClientError):
        Driver(client, runner).call(partial(complete, is_stream=False))


@pytest.mark.parametrize("build", [OpenAI, AsyncOpenAI, create_async_client])
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_whatever_fails_no_traceback_shows_the_key(fault: Reply, build: Any, server: Server) -> None:
    client = build(api_key=key(), base_url=server.base_url, timeout=0.3, max_retries=1)
    with asyncio.Runner() as runner, novita_openai.retry.no_wait():
        driver = Driver(client, runner)
        for is_stream in (False, True):
            server.always = fault
            use: Any = driver.collect if is_stream else driver.call
            with pytest.raises(openai.OpenAIError) as failure:
                use(partial(complete, is_stream=is_stream))
            assert not shows_key(failure.value)
        driver.close()


def test_a_call_that_is_cancelled_shows_no_key(server: Server) -> None:
    async def call() -> None:
        async with create_async_client(api_key=key(), base_url=server.base_url) as client, asyncio.timeout(0.2):
            await client.models.list()

    server.always = Reply(fault="stall")
    with pytest.raises(TimeoutError) as failure:
        asyncio.run(call())
    assert not shows_key(failure.value)


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid"])
def test_a_host_that_cannot_be_reached_shows_no_key(host: str) -> None:
    async def call() -> None:
        async with create_async_client(api_key=key(), base_url=f"https://{host}/v1", max_retries=0) as client:
            await client.models.list()

    with pytest.raises(openai.APIConnectionError) as failure:
        asyncio.run(call())
    assert not shows_key(failure.value)
