"""Fixtures: a scripted server, and one face over the sync and the async client so that one suite runs over both."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from batch_jobs import Job
from hypothesis import HealthCheck, settings
from server import Server
from shell import Shell
from table_jobs import Tables

import novita_openai
from novita_openai import AsyncNovitaOpenAI, NovitaOpenAI
from novita_openai.emulator import Emulator
from novita_openai.local import LocalModel

# Loading the certificates of a machine takes 22 ms, nearly all of what a client costs. Nothing here speaks TLS: clients
# of the tests, and of the programs that they start, load one certificate that was made for them.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("certificate.pem"))
# Programs ask the terminals that tests give them how wide they are, not the one that the tests run in.
os.environ.pop("COLUMNS", None)

# A machine that is busy is no failure.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

FEW = 4
"""Cases of a test with many parameters that are quick."""
MOST_PROCESSES = 8
"""Each collects all tests and starts a local model of its own."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run folders in two processes a core, as tests wait half of their time; files that are named run in this one."""
    is_worker = hasattr(config, "workerinput")
    can_share_out = getattr(config.option, "numprocesses", 0) is None and config.option.capture != "no"
    if can_share_out and not is_worker and all(Path(argument).is_dir() for argument in config.args):
        config.option.numprocesses, config.option.dist = min(2 * (os.cpu_count() or 1), MOST_PROCESSES), "worksteal"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as quick what is not marked as slow, but of each test a few of its cases alone, drawn by its name."""
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("slow") is None:
            cases[item.nodeid.partition("[")[0]].append(item)
    for name, same in cases.items():
        for item in Random(name).sample(same, min(FEW, len(same))):
            item.add_marker("quick")


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """Undo what a shell or nohup does to background jobs, or the programs that tests start would see no signal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "NOVITA_")):
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def shell(server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Give the command line against the scripted server; where it waits, it does not."""
    return Shell(monkeypatch, capsys, server.base_url)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(keys={"sk_test": None}) as running:
        yield running


@pytest.fixture
def job(tmp_path: Path, emulator: Emulator) -> Job:
    """Give a batch job against the emulator."""
    return Job(tmp_path, emulator.base_url)


class Driver:
    """Calls a client, sync or async, and gives the answer back either way."""

    def __init__(self, client: NovitaOpenAI | AsyncNovitaOpenAI, runner: asyncio.Runner) -> None:
        self.client: Any = client
        self._runner = runner

    @property
    def is_async(self) -> bool:
        return isinstance(self.client, AsyncNovitaOpenAI)

    def of(self, client: NovitaOpenAI | AsyncNovitaOpenAI) -> Driver:
        """Return a driver for a copy of the client."""
        return Driver(client, self._runner)

    def call(self, function: Callable[[Any], Any]) -> Any:
        async def call() -> Any:
            result = function(self.client)
            return await result if inspect.isawaitable(result) else result

        return self._runner.run(call()) if self.is_async else function(self.client)

    def collect(self, function: Callable[[Any], Any]) -> list[Any]:
        """Call, and read the stream or the pages that come back to their end."""

        async def collect() -> list[Any]:
            result = function(self.client)
            return [item async for item in (await result if inspect.isawaitable(result) else result)]

        return self._runner.run(collect()) if self.is_async else list(function(self.client))

    def within(self, function: Callable[[Any], Any], use: Callable[[Any], Any]) -> Any:
        """Enter the context manager that the function returns, and use what it gives."""

        async def within() -> Any:
            async with function(self.client) as entered:
                result = use(entered)
                return await result if inspect.isawaitable(result) else result

        if self.is_async:
            return self._runner.run(within())
        with function(self.client) as entered:
            return use(entered)

    def chat(self, **options: Any) -> Any:
        messages = [{"role": "user", "content": "How do I make pasta?"}]
        return self.call(
            lambda client: client.chat.completions.create(**{"model": "m", "messages": messages} | options)
        )

    def complete(self, **options: Any) -> Any:
        options = {"model": "m", "prompt": "USER: Hi"} | options
        return self.call(lambda client: client.completions.create(**options))

    def close(self) -> None:
        self.call(lambda client: client.close())


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest, server: Server) -> Iterator[Callable[..., Driver]]:
    """Return a function that builds a client of the server, sync and async in turn; it sleeps nowhere."""
    kind: Any = NovitaOpenAI if request.param == "sync" else AsyncNovitaOpenAI
    drivers: list[Driver] = []
    with asyncio.Runner() as runner, novita_openai.retry.no_wait():

        def build(**options: Any) -> Driver:
            drivers.append(Driver(kind(**{"api_key": "sk_test", "base_url": server.base_url} | options), runner))
            return drivers[-1]

        yield build
        for driver in drivers:
            driver.close()


@pytest.fixture
def driver(connect: Callable[..., Driver]) -> Driver:
    return connect()


@pytest.fixture(scope="session")
def local_model() -> Iterator[LocalModel]:
    """Give a running real model; it takes about two seconds to start."""
    with LocalModel() as server:
        yield server


@pytest.fixture
def tables(tmp_path: Path, emulator: Emulator) -> Tables:
    """Give jobs over tables against the emulator."""
    return Tables(tmp_path, emulator)


@pytest.fixture(scope="module")
def untrusted() -> Iterator[str]:
    """Serve TLS with a certificate that nobody has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).with_name("untrusted.pem"))

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                connection.close()

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
