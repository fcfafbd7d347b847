"""The clients: where key and address come from, that the whole SDK works through them, and what copies keep."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import inspect
import multiprocessing
import sys
import threading
import typing
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from conftest import Driver
from server import Reply, Server, chunk, error, stream
from structlog.testing import capture_logs

import novita_openai
from novita_openai import (
    AsyncNovitaOpenAI,
    AsyncOpenAI,
    MissingAPIKeyError,
    NovitaOpenAI,
    OpenAI,
    RetryPolicy,
    create_async_client,
    create_client,
)

BUILDERS: list[Any] = [OpenAI, AsyncOpenAI, create_client, create_async_client]
KEY = "sk_SECRET-KEY"
MESSAGES: Any = [{"role": "user", "content": "Hi"}]


def sent_key(server: Server) -> str:
    return server.requests[-1].headers["authorization"].removeprefix("Bearer ")


def test_the_names_are_the_sdks_clients() -> None:
    assert OpenAI is NovitaOpenAI
    assert AsyncOpenAI is AsyncNovitaOpenAI
    assert isinstance(create_client(api_key="k"), openai.OpenAI)
    assert isinstance(create_async_client(api_key="k"), openai.AsyncOpenAI)


@pytest.mark.parametrize("build", BUILDERS)
def test_the_address_is_novitas(build: Any) -> None:
    assert str(build(api_key="k").base_url).rstrip("/") == "https://api.novita.ai/v3/openai"


@pytest.mark.parametrize("build", BUILDERS)
def test_without_a_key_the_error_names_all_three_ways(build: Any) -> None:
    with pytest.raises(MissingAPIKeyError) as failure:
        build()
    assert isinstance(failure.value, openai.OpenAIError)
    for way in ("api_key=", "NOVITA_API_KEY,", "NOVITA_API_KEY_FILE"):
        assert way in str(failure.value)


def test_the_key_is_looked_up_in_order(
    connect: Callable[..., Driver], server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def key_of(**options: Any) -> str:
        connect(**{"api_key": None} | options).chat()
        return sent_key(server)

    file = tmp_path / "key"
    file.write_text("sk_file\n")
    monkeypatch.setenv("NOVITA_API_KEY_FILE", str(file))
    assert key_of() == "sk_file"
    monkeypatch.setenv("NOVITA_API_KEY", " sk_variable\n")
    assert key_of() == "sk_variable"
    assert key_of(api_key="sk_argument") == "sk_argument"
    assert key_of(api_key=lambda: "sk_function") == "sk_function"


def test_a_function_for_the_key_is_asked_before_every_request(connect: Callable[..., Driver], server: Server) -> None:
    keys = iter(["sk_1", "sk_2\n", "sk_3"])
    driver = connect(api_key=lambda: next(keys))
    driver.chat()
    driver.of(driver.client.with_options(timeout=5).with_options(max_retries=1)).chat()
    server.script.append(Reply(200))
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer sk_1", "Bearer sk_2"]


def test_the_async_client_takes_async_functions_for_the_key(server: Server) -> None:
    async def key() -> str:
        return "sk_async"

    async def call() -> None:
        async with AsyncOpenAI(api_key=key, base_url=server.base_url) as client:
            await client.copy(timeout=3).models.list()

    asyncio.run(call())
    assert sent_key(server) == "sk_async"


@pytest.mark.parametrize("bad", ["", "  ", "sk_SECRET KEY", "sk_SECRET\nKEY", "sk_SECRETé"])
def test_an_unusable_key_is_refused_without_being_shown(
    bad: str, connect: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    with pytest.raises(MissingAPIKeyError) as argument:
        connect(api_key=bad)
    driver = connect(api_key=lambda: bad)
    with pytest.raises(openai.OpenAIError) as function:
        driver.chat()
    monkeypatch.setenv("NOVITA_API_KEY", bad)
    with pytest.raises(MissingAPIKeyError) as variable:
        connect(api_key=None)
    for failure, source in ((argument, "api_key"), (function, "api_key()"), (variable, "NOVITA_API_KEY")):
        assert source in str(failure.value)
        assert "SECRET" not in str(failure.value)
    assert server.requests == []


def test_a_key_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "key"
    monkeypatch.setenv("NOVITA_API_KEY_FILE", str(file))
    with pytest.raises(MissingAPIKeyError, match="No such file"):
        OpenAI()
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(MissingAPIKeyError, match=str(file)):
        OpenAI()
    file.write_text("")
    with pytest.raises(MissingAPIKeyError, match="empty"):
        OpenAI()
    monkeypatch.setenv("NOVITA_API_KEY_FILE", KEY)
    with pytest.raises(MissingAPIKeyError, match="holds a key, not the path") as failure:
        OpenAI()
    assert KEY not in str(failure.value)


def test_a_function_that_gives_no_text_is_told(connect: Callable[..., Driver], server: Server) -> None:
    driver = connect(api_key=lambda: None)
    with pytest.raises(MissingAPIKeyError, match="no text but NoneType"):
        driver.chat()
    assert server.requests == []


def test_the_address_is_looked_up_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOVITA_BASE_URL", "https://variable.example/v1")
    assert OpenAI(api_key="k").base_url.host == "variable.example"
    assert OpenAI(api_key="k", base_url="https://argument.example/v1").base_url.host == "argument.example"
    other = OpenAI(api_key="k", base_url="https://argument.example/v1")
    assert OpenAI(api_key="k", base_url=other.base_url).base_url.host == "argument.example"
    assert other.with_options(base_url="https://copy.example/").base_url.host == "copy.example"


NO_ADDRESSES = [
    "api.novita.ai/v3",
    "ftp://x",
    "http://",
    "localhost:8000",
    "https:///v3",
    "http://x:abc",
    "http://[::1",
]


@pytest.mark.parametrize("url", NO_ADDRESSES)
def test_an_address_that_is_none_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="base_url=") as argument:
        OpenAI(api_key="k", base_url=url)
    monkeypatch.setenv("NOVITA_BASE_URL", url)
    with pytest.raises(openai.OpenAIError, match="NOVITA_BASE_URL="):
        OpenAI(api_key="k")
    assert url in str(argument.value)


def test_a_key_over_plain_http_to_a_network_is_warned_of() -> None:
    for build in BUILDERS:
        with pytest.warns(UserWarning, match=r"unencrypted to models\.example; use https") as told:
            build(api_key="k", base_url="http://models.example/v1").with_options(timeout=3)
        assert {warning.filename for warning in told} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "api.localhost", "127.9.9.9"):
            OpenAI(api_key="k", base_url=f"http://{host}/v1")


def test_every_argument_of_the_sdk_is_accepted(connect: Callable[..., Driver], server: Server) -> None:
    driver = connect(
        organization="org",
        project="project",
        webhook_secret="secret",
        websocket_base_url="wss://example",
        timeout=openai.Timeout(5),
        max_retries=1,
        default_headers={"x-mine": "1"},
        default_query={"q": "2"},
        http_client=None,
        _strict_response_validation=False,
    )
    driver.of(driver.client.copy().with_options()).chat()
    request = server.requests[-1]
    assert [request.headers[name] for name in ("openai-organization", "openai-project", "x-mine")] == [
        "org",
        "project",
        "1",
    ]
    assert request.path.endswith("?q=2")
    assert (driver.client.webhook_secret, driver.client.timeout.read) == ("secret", 5)


def test_the_sdks_copy_arguments_work(driver: Driver, server: Server) -> None:
    first = driver.client.with_options(default_headers={"x-a": "1"}, organization="org")
    driver.of(first.with_options(default_headers={"x-b": "2"}, api_key="sk_other")).chat()
    headers = server.requests[-1].headers
    assert (headers["x-a"], headers["x-b"], headers["openai-organization"]) == ("1", "2", "org")
    assert sent_key(server) == "sk_other"
    driver.of(first.copy(set_default_headers={"x-c": "3"})).chat()
    assert "x-a" not in server.requests[-1].headers


def test_every_kind_of_call_works(driver: Driver, server: Server) -> None:
    assert driver.chat().choices[0].message.content == "Boil water."
    assert driver.complete().choices[0].text == " Boil water."
    assert driver.call(lambda client: client.models.list()).data[0].id == "m"
    assert [model.id for model in driver.collect(lambda client: client.models.list())] == ["m"]
    embedding = driver.call(lambda client: client.embeddings.create(model="m", input="x", encoding_format="float"))
    assert embedding.data[0].embedding == [0.5, 1.0]
    uploaded = driver.call(lambda client: client.files.create(file=b"abc", purpose="batch"))
    assert uploaded.filename == "a"
    assert b"abc" in server.requests[-1].body
    raw = driver.call(lambda client: client.models.with_raw_response.list())
    assert (raw.status_code, raw.parse().data[0].id) == (200, "m")


def test_streams_come_through(driver: Driver, server: Server) -> None:
    server.always = stream(chunk("Boil "), chunk("water.", "stop"))
    chunks = driver.collect(lambda client: client.chat.completions.create(model="m", messages=MESSAGES, stream=True))
    assert [each.choices[0].delta.content for each in chunks] == ["Boil ", "water."]
    chunks = driver.collect(lambda client: client.completions.create(model="m", prompt="p", stream=True))
    assert [each.choices[0].text for each in chunks] == ["Boil ", "water."]


def test_the_stream_helper_works(driver: Driver, server: Server) -> None:
    server.always = stream(chunk("Boil "), chunk("water.", "stop"))

    async def read_async(events: Any) -> str:
        return "".join([event.delta async for event in events if event.type == "content.delta"])

    def read(events: Any) -> Any:
        if driver.is_async:
            return read_async(events)
        return "".join(event.delta for event in events if event.type == "content.delta")

    assert (
        driver.within(lambda client: client.chat.completions.stream(model="m", messages=MESSAGES), read)
        == "Boil water."
    )


def test_a_binary_answer_comes_through(driver: Driver, server: Server) -> None:
    server.always = Reply(200, b"\x00\x01", {"content-type": "audio/mpeg"})
    speech = driver.call(lambda client: client.audio.speech.create(model="m", voice="alloy", input="x"))
    assert speech.content == b"\x00\x01"
    request: Any = {"model": "m", "voice": "alloy", "input": "x"}
    content = driver.within(
        lambda client: client.audio.speech.with_streaming_response.create(**request), lambda response: response.read()
    )
    assert content == b"\x00\x01"


def test_post_and_its_kin_work(driver: Driver, server: Server) -> None:
    body = {"model": "m", "messages": MESSAGES, "separate_reasoning": True}
    answer = driver.call(lambda client: client.post("/chat/completions", body=body, cast_to=object))
    assert answer["choices"][0]["message"]["content"] == "Boil water."
    assert server.requests[-1].json == body
    server.script.append(Reply(200, "pong", {"content-type": "text/plain"}))
    assert driver.call(lambda client: client.get("/ping", cast_to=str)) == "pong"


@pytest.mark.parametrize("build", BUILDERS)
def test_clients_are_context_managers(build: Any, server: Server) -> None:
    client: Any = build(api_key="k", base_url=server.base_url)

    async def use() -> None:
        async with client as entered:
            assert (await entered.models.list()).data

    if isinstance(client, openai.AsyncOpenAI):
        asyncio.run(use())
    else:
        with client as entered:
            assert entered.models.list().data
    assert client.is_closed()


def test_a_copy_keeps_policy_class_and_connections(connect: Callable[..., Driver], server: Server) -> None:
    policy = RetryPolicy(attempts=2, budget=None)
    driver = connect(policy=policy)
    copy = driver.client.with_options(timeout=9).copy().with_options(default_headers={"a": "b"})
    assert type(copy) is type(driver.client)
    assert copy.policy is policy
    assert driver.client.with_options(policy=RetryPolicy.off()).policy.attempts == 1
    server.always = error(500, "MODEL_NOT_AVAILABLE")
    with capture_logs(), pytest.raises(openai.InternalServerError):
        driver.of(copy).chat()
    assert len(server.requests) == 2
    assert server.connections == 1


def test_a_subclass_with_arguments_of_its_own_can_be_copied(server: Server) -> None:
    class Tagged(NovitaOpenAI):
        def __init__(self, *, tag: str = "none", **options: Any) -> None:
            super().__init__(**options)
            self.tag = tag

    client = Tagged(api_key="k", base_url=server.base_url, policy=RetryPolicy.batch())
    copy = client.with_options(_extra_kwargs={"tag": "x"})
    assert (copy.tag, copy.policy) == ("x", client.policy)


def test_the_key_stays_behind_when_a_request_leaves_the_base_url(driver: Driver, server: Server) -> None:
    with Server() as elsewhere:
        driver.call(lambda client: client.get(f"{elsewhere.base_url}/models", cast_to=object))
        assert "authorization" not in elsewhere.requests[0].headers
        server.script.append(Reply(307, "", {"location": f"{elsewhere.base_url}/models"}))
        driver.call(lambda client: client.models.list())
        assert "authorization" not in elsewhere.requests[1].headers
    driver.call(lambda client: client.get(f"{server.base_url}/models", cast_to=object))
    assert sent_key(server) == "sk_test"


def test_the_key_is_in_no_repr_log_or_error(
    connect: Callable[..., Driver], server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    server.always = error(500, "MODEL_NOT_AVAILABLE")
    for key in (KEY, lambda: KEY):
        driver = connect(api_key=key)
        with capture_logs() as logs, pytest.raises(openai.InternalServerError) as failure:
            driver.chat()
        shown = [repr(driver.client), str(failure.value), repr(failure.value), str(failure.value.__notes__), str(logs)]
        assert KEY not in "".join([*shown, caplog.text])


def test_a_broken_head_is_an_sdk_error_without_the_key_over_aiohttp(server: Server) -> None:
    async def call() -> None:
        async with create_async_client(api_key=KEY, base_url=server.base_url) as client:
            await client.models.list()

    server.always = Reply(fault="garbage")
    with novita_openai.retry.no_wait(), capture_logs(), pytest.raises(openai.APIConnectionError) as failure:
        asyncio.run(call())
    assert len(server.requests) == 3
    assert KEY not in repr(failure.value) + repr(failure.value.__cause__)


def test_a_client_that_cannot_be_made_fails_without_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://[::1")
    with pytest.raises(Exception, match=r".") as failure:
        create_client(api_key="k")
    del failure
    gc.collect()


def test_one_client_serves_many_threads(server: Server) -> None:
    with create_client(api_key="k", base_url=server.base_url) as client, ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(lambda _: client.models.list().data[0].id, range(64)))
    assert ids == ["m"] * 64
    assert threading.active_count() < 16


def _list_models(base_url: str) -> None:
    with create_client(api_key="k", base_url=base_url) as client:
        assert client.models.list().data[0].id == "m"


def test_a_client_built_after_a_fork_works(server: Server) -> None:
    _list_models(server.base_url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any fork with threads
        process = multiprocessing.get_context("fork").Process(target=_list_models, args=(server.base_url,))
        process.start()
    process.join(30)
    assert process.exitcode == 0


def test_the_factories_keep_as_many_connections_as_they_open(server: Server) -> None:
    async def use() -> int:
        async with create_async_client(api_key="k", base_url=server.base_url) as client:
            for _ in range(2):
                await asyncio.gather(*(client.models.list() for _ in range(120)))
        return server.connections

    assert asyncio.run(use()) <= 130


def test_the_async_factory_sends_over_aiohttp_where_it_is_installed() -> None:
    transport = create_async_client(api_key="k")._client
    parents = {parent.__name__ for parent in type(transport).__mro__}
    fast = importlib.util.find_spec("aiohttp") is not None and importlib.util.find_spec("httpx_aiohttp") is not None
    fast = fast or (importlib.util.find_spec("aiohttp") is not None and not openai.__version__.startswith(("1.", "2.")))
    assert any("aiohttp" in name.lower() for name in parents) is fast


def test_without_aiohttp_the_async_factory_uses_the_sdks_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(**_: object) -> None:
        raise RuntimeError("To use the aiohttp client you must have installed the package with the `aiohttp` extra")

    monkeypatch.setattr(openai, "DefaultAioHttpClient", missing)
    assert isinstance(create_async_client(api_key="k")._client, openai.DefaultAsyncHttpxClient)


def test_a_transport_of_users_is_used_as_it_is() -> None:
    transport, async_transport = openai.DefaultHttpxClient(), openai.DefaultAsyncHttpxClient()
    for client, given in (
        (create_client(api_key="k", http_client=transport), transport),
        (create_async_client(api_key="k", http_client=async_transport).copy(), async_transport),
    ):
        assert isinstance(client._client, type(given))
        assert vars(client._client) is vars(given)
    del client
    gc.collect()
    assert not transport.is_closed
    create_client(api_key="k", http_client=transport).close()
    assert transport.is_closed


def test_a_client_that_is_dropped_leaves_no_open_socket(server: Server) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        for build in (OpenAI, create_client):
            assert build(api_key="k", base_url=server.base_url).models.list().data
        gc.collect()


PUBLIC = [OpenAI, AsyncOpenAI, OpenAI.copy, AsyncOpenAI.copy, create_client, create_async_client, RetryPolicy]


@pytest.mark.parametrize("function", PUBLIC)
def test_no_public_signature_names_the_http_library(function: Any) -> None:
    target = function.__init__ if inspect.isclass(function) else function
    hints = typing.get_type_hints(target)
    assert hints
    shown = [str(inspect.signature(target)), *(str(hint) for name, hint in hints.items() if name != "options")]
    assert "httpx" not in "".join(shown).lower()


def test_names_are_resolved_when_they_are_used() -> None:
    assert set(novita_openai.__all__) <= set(dir(novita_openai))
    for name in novita_openai.__all__:
        assert getattr(novita_openai, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        novita_openai.no_such_name  # type: ignore[attr-defined]  # noqa: B018
    assert "novita_openai.client" in sys.modules
