"""What the SDK keeps private is there, at both ends of the range; where a release lacks it, that is said aloud."""

from __future__ import annotations

import asyncio
import builtins
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import openai
import pydantic
import pytest
from conftest import Driver
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from server import Server, chunk, stream

import novita_openai
from novita_openai import AsyncOpenAI, OpenAI, sdk
from novita_openai.client.streams import AsyncGuardedStream, GuardedStream

CLASS_NAMES = [(owner, name) for owner, names in sdk.CLASS_NAMES.items() for name in names]
LIBRARIES: Any = (aiohttp, anyio, pydantic, ssl, socket, builtins, asyncio)
EXCEPTIONS = {
    *sdk.NETWORK_ERRORS,
    *sdk.NEVER_CONNECTED,
    *sdk.TRANSPORT_ERRORS,
    sdk.TIMEOUT,
    sdk.VALIDATION_ERROR,
    *("LocalProtocolError", "ClientConnectionError", "ClientConnectorError", "ConnectionTimeoutError"),
    *("ClientResponseError", "TimeoutError"),
}


def test_no_other_module_names_what_the_sdk_keeps_private() -> None:
    private = {"__stream__", "._decoder", "_iterator", "_cast_to", "_custom_headers", "_extra_kwargs", "post_parser"}
    words = {*private, "X-Stainless-Raw-Response", "._client", "__orig_bases__", "json_data", "extra_json"}
    words |= {"get_max_retries", "_process_response", "DEFAULT_CONNECTION_LIMITS", 'is_named(error, "'}
    for path in Path(novita_openai.__file__).parent.rglob("*.py"):
        if path.parent != Path(sdk.__file__).parent:
            found = {word for word in words if word in path.read_text(encoding="utf-8").replace("self._client", "")}
            assert not found, path


@pytest.mark.parametrize(("owner", "name"), CLASS_NAMES)
def test_a_name_of_a_class_is_there_and_its_loss_is_told(
    owner: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk.check_classes()
    monkeypatch.setitem(sdk.CLASS_NAMES, owner, (f"{name}_of_old",))
    with pytest.raises(sdk.UnsupportedSDKError) as caught:
        sdk.check_classes()
    for part in (openai.__version__, f"{owner}.{name}_of_old", "0.1.0", "pip install 'openai<="):
        assert part in str(caught.value)


@pytest.mark.parametrize("kind", [OpenAI, AsyncOpenAI])
@pytest.mark.parametrize("table", ["CLIENT_NAMES", "STREAM_NAMES"])
def test_a_name_of_an_object_is_asked_of_the_first_client_and_its_loss_is_told(
    kind: Any, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind(api_key="k")
    monkeypatch.setattr(sdk, table, ("_of_old",))
    kind(api_key="k")  # asked once
    monkeypatch.setattr(sdk, "_checked", set())
    with pytest.raises(sdk.UnsupportedSDKError, match=r"\(\)\._of_old"):
        kind(api_key="k")


@pytest.mark.parametrize("name", sorted(EXCEPTIONS))
def test_an_exception_that_is_known_by_its_name_exists(name: str) -> None:
    libraries = (sdk.http_library(), *LIBRARIES)
    found = [getattr(library, name) for library in libraries if hasattr(library, name)]
    assert found
    assert all(issubclass(each, Exception) for each in found)


def test_chunks_are_known_by_their_names() -> None:
    chat: Any = ChatCompletionChunk
    text: Any = Completion
    sync: Any = openai.Stream
    other: Any = openai.AsyncStream
    assert sdk.is_text_stream(sync[chat], openai.Stream, "/chat/completions")
    assert sdk.is_text_stream(other[text], openai.AsyncStream, "/completions")
    assert not sdk.is_text_stream(sync[dict[str, Any]], openai.Stream, "/completions")
    assert not sdk.is_text_stream(None, openai.Stream, "/completions")
    assert not sdk.is_text(object())


def test_chunks_of_another_name_are_refused_where_they_would_pass_unguarded() -> None:
    renamed = type("ChatChunk", (openai.BaseModel,), {"__module__": "openai.types.chat.chat_chunk"})
    base: Any = openai.Stream
    with pytest.raises(sdk.UnsupportedSDKError, match="they are ChatChunk"):
        sdk.is_text_stream(base[renamed], openai.Stream, "/chat/completions")
    assert not sdk.is_text_stream(base[renamed], openai.Stream, "/responses")


RENAMED = """
import openai, sys
owner, name = {owner}, {name!r}
value = getattr(owner, name); delattr(owner, name); setattr(owner, name + "_new", value)
from novita_openai import classify, prompts
assert prompts.get_format("chatml").render([{{"role": "user", "content": "Hi"}}])
from novita_openai.emulator import Emulator
with Emulator() as server:
    assert server.base_url
from typer.testing import CliRunner
from novita_openai.cli import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
assert CliRunner().invoke(app, ["prompt", "formats"]).exit_code == 0
try:
    from novita_openai import OpenAI
except ImportError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("openai._base_client.SyncAPIClient", "_process_response"),
        ("openai._base_client.AsyncAPIClient", "_process_response"),
        ("openai._streaming.SSEBytesDecoder", "aiter_bytes"),
        ("openai._constants", "RAW_RESPONSE_HEADER"),
        ("openai._models.FinalRequestOptions", "get_max_retries"),
    ],
)
def test_a_release_without_a_name_is_refused_by_the_clients_alone(owner: str, name: str) -> None:
    code = RENAMED.format(owner=owner, name=name)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"UnsupportedSDKError openai {openai.__version__} has no ")
    assert name in result.stdout


def traced(owner: Any, seen: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Patch a client class of the SDK as tracers do: note what is asked for, and derive a class from the stream's."""
    original = owner.request

    def request(client: Any, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        seen.append((cast_to, stream_cls))
        if stream and owner is openai.OpenAI:

            class Traced(stream_cls):  # type: ignore[misc]
                def __stream__(self) -> Any:
                    for item in super().__stream__():
                        seen.append(item)
                        yield item

            stream_cls = Traced
        elif stream:

            class AsyncTraced(stream_cls):  # type: ignore[misc]
                async def __stream__(self) -> Any:
                    async for item in super().__stream__():
                        seen.append(item)
                        yield item

            stream_cls = AsyncTraced
        return original(client, cast_to, options, stream=stream, stream_cls=stream_cls)

    monkeypatch.setattr(owner, "request", request)


MODES = {
    "create": lambda client: client.chat.completions.create(**ASKED, stream=True),
    "raw": lambda client: client.chat.completions.with_raw_response.create(**ASKED, stream=True),
}
ASKED: Any = {"model": "m", "messages": []}


@pytest.mark.parametrize("mode", MODES)
def test_tracers_that_patch_request_see_the_sdks_own_calls(
    mode: str, driver: Driver, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    traced(openai.AsyncOpenAI if driver.is_async else openai.OpenAI, seen, monkeypatch)
    driver.call(lambda client: client.chat.completions.create(**ASKED))
    kind: Any = openai.AsyncStream if driver.is_async else openai.Stream
    chunk_type: Any = ChatCompletionChunk
    assert seen == [(ChatCompletion, kind[chunk_type])]
    server.always = stream(chunk("Boil "), chunk("water.", "stop"))

    def parse(answer: Any) -> Any:
        return answer.parse() if mode == "raw" else answer

    async def ask_async(client: Any) -> Any:
        return parse(await MODES[mode](client))

    given = driver.collect(ask_async if driver.is_async else lambda client: parse(MODES[mode](client)))
    assert seen[1:] == [(ChatCompletion, kind[chunk_type]), *given]
    assert len(given) == 2
    server.always = stream(chunk("Boil "))
    with pytest.raises(openai.APIConnectionError, match="without a finish_reason"):
        driver.collect(ask_async if driver.is_async else lambda client: parse(MODES[mode](client)))


def test_what_replaces_request_may_give_what_it_likes(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools that replay recorded answers do so."""

    async def replay_async(*_: Any, **__: Any) -> Any:
        return ["recorded"]

    owner = openai.AsyncOpenAI if driver.is_async else openai.OpenAI
    monkeypatch.setattr(owner, "request", replay_async if driver.is_async else lambda *_, **__: ["recorded"])
    assert driver.call(MODES["create"]) == ["recorded"]


def test_a_post_parser_of_the_users_gets_the_guarded_stream(driver: Driver, server: Server) -> None:
    last = chunk("water.", "stop")
    last["choices"][0]["index"] = 1
    server.always = stream(chunk("Boil "), last)
    got: list[Any] = []

    def parse(reading: Any) -> Any:
        got.append(reading)
        return reading

    kind: Any = openai.AsyncStream if driver.is_async else openai.Stream
    chunk_type: Any = ChatCompletionChunk
    how: Any = {"cast_to": ChatCompletion, "body": None, "stream": True, "stream_cls": kind[chunk_type]}
    given = driver.collect(lambda client: client.post("/chat/completions", **how, options={"post_parser": parse}))
    assert len(given) == 2
    assert [type(each) for each in got] == [AsyncGuardedStream if driver.is_async else GuardedStream]


def test_a_raw_response_can_be_parsed_to_another_stream(driver: Driver, server: Server) -> None:
    server.always = stream({"any": "thing"})
    kind: Any = openai.AsyncStream if driver.is_async else openai.Stream

    async def ask_async(client: Any) -> Any:
        return (await MODES["raw"](client)).parse(to=kind[dict[str, str]])

    given = driver.collect(
        ask_async if driver.is_async else lambda client: MODES["raw"](client).parse(to=kind[dict[str, str]])
    )
    assert given == [{"any": "thing"}]


def test_all_that_a_stream_gives_passes_its_iterator(connect: Callable[..., Driver], server: Server) -> None:
    """Tools that trace streams wrap that; the chunk that ``create`` has read is among what they see."""
    server.script.append(stream(chunk("Boil "), chunk("water."), chunk("", "stop")))
    seen: list[Any] = []

    def copied(reading: Any) -> Any:
        for item in reading:
            seen.append(item)
            yield item

    async def copied_async(reading: Any) -> Any:
        async for item in reading:
            seen.append(item)
            yield item

    driver = connect()

    def wrap(reading: Any) -> Any:
        reading._iterator = (copied_async if driver.is_async else copied)(reading._iterator)
        return reading

    async def ask_async(client: Any) -> Any:
        return wrap(await client.chat.completions.create(model="m", messages=[], stream=True))

    def ask(client: Any) -> Any:
        return wrap(client.chat.completions.create(model="m", messages=[], stream=True))

    given = driver.collect(ask_async if driver.is_async else ask)
    assert len(given) == 3
    assert seen == given
