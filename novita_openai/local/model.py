"""The local model for its user: starts a child process, gets its address, and stops it.

A process of its own keeps the log of llama.cpp, its crashes and Ctrl-C in a terminal away from the caller. The child
ends when its standard input does: on ``close()``, and when its parent ends, however that happens.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import KW_ONLY, asdict, dataclass, field
from pathlib import Path
from typing import IO, Final, Self, cast

from novita_openai.local.settings import ServerSettings
from novita_openai.local.weights import LocalModelError, packaged_model, require_model, require_package

__all__ = ["LocalModel"]

_PACKAGES: Final = ("xllamacpp", "aiohttp")
_PROGRAM: Final = "from novita_openai.local.server import main; main()"
_SECONDS_TO_LEAVE: Final = 2.0
_LOG_LINES: Final = 12
_NEEDED: Final = re.compile(
    r"(PATH|HOME|USER|LANG|LC_\w+|TZ|TMPDIR|TEMP|TMP|SYSTEMROOT|(LD|DYLD)_LIBRARY_PATH|XDG_CACHE_HOME)$"
    r"|PYTHON|COVERAGE|OMP_|GGML_|LLAMA_|CUDA_|HIP_"
)
"""The variables that the child gets; others may hold secrets, which a server of foreign code does not need."""


@dataclass(frozen=True, slots=True)
class _Child:
    """A child process that is ready to answer."""

    process: subprocess.Popen[bytes]
    base_url: str


@dataclass(eq=False)
class LocalModel:
    """A server for one small model on 127.0.0.1, from ``start()`` to ``close()`` or inside ``with``.

    ``path`` is a GGUF file; without it, the packaged Gemma 3 of 270 million parameters is used. ``port`` 0 takes a
    free one. With an ``api_key`` every other key gets a 401. ``context_size`` is in tokens, prompt and reply together.
    More ``threads`` than idle processors are slower than one. ``startup_timeout`` is in seconds.

    Raises :class:`MissingExtraError`, :class:`LocalModelError` for a file that is not a model, and ``ValueError``.
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
        if getattr(sys, "frozen", False):
            raise LocalModelError("a frozen program has no Python to run the local model with: use an installed Python")
        for package in _PACKAGES:
            require_package(package)
        require_model(None if self.path is None else Path(self.path))

    @property
    def base_url(self) -> str:
        """Return the address for clients, such as ``http://127.0.0.1:40321/v3/openai``."""
        return self._running().base_url

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Return the child process, to wait for it or to send it signals."""
        return self._running().process

    def start(self) -> Self:
        """Start the server and wait until it can answer; do nothing where it runs already.

        The first start without a ``path`` also writes the packaged model to the user's cache (253 MB).
        """
        if self._child is None:
            self._child = _start(self._settings(), self.startup_timeout)
        return self

    def close(self) -> None:
        """Stop the server and wait for its end; do nothing where none runs. ``start()`` works again afterwards."""
        child, self._child = self._child, None
        if child is not None:
            _stop(child.process)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settings(self) -> ServerSettings:
        return ServerSettings(
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


def _start(settings: ServerSettings, timeout: float) -> _Child:
    with tempfile.TemporaryFile() as log:
        process = _spawn(log)
        try:
            return _Child(process, _base_url(process, settings, timeout, log))
        except BaseException:
            _stop(process)
            raise


def _spawn(log: IO[bytes]) -> subprocess.Popen[bytes]:
    # The child finds its modules where this process does, in a zip file too; -P keeps the working directory out.
    command = [sys.executable, "-P", "-c", _PROGRAM]
    known = {name: value for name, value in os.environ.items() if _NEEDED.match(name)}
    environment = known | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    # A session of its own keeps the Ctrl-C of a terminal away; a pipe without a buffer has nothing to flush on close.
    return subprocess.Popen(  # noqa: S603 - our own program
        command, bufsize=0, stdin=pipe, stdout=pipe, stderr=log, env=environment, start_new_session=True
    )


def _base_url(process: subprocess.Popen[bytes], settings: ServerSettings, timeout: float, log: IO[bytes]) -> str:
    """Tell the child its settings and wait for its address, which it reports when the model is loaded."""
    stdin, stdout = cast("tuple[IO[bytes], IO[bytes]]", (process.stdin, process.stdout))
    deadline = time.monotonic() + timeout
    killer = threading.Timer(timeout, process.kill)
    killer.start()
    try:
        # Where the child has ended already, its log says why.
        with suppress(BrokenPipeError):
            stdin.write(json.dumps(asdict(settings)).encode() + b"\n")
        report = stdout.readline()
    finally:
        killer.cancel()
    if report:
        return report.decode().strip()
    late = time.monotonic() >= deadline
    end = f"was not ready within {timeout:g} s" if late else f"ended with exit code {process.wait()}"
    raise LocalModelError(f"the local model {end}; the end of its log:\n{_tail(log)}")


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return b"\n".join(log.read().splitlines()[-_LOG_LINES:]).decode(errors="replace")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the child by closing its standard input; kill it where that has no effect, as on a suspended process."""
    with process:
        cast("IO[bytes]", process.stdin).close()
        try:
            process.wait(_SECONDS_TO_LEAVE)
        except subprocess.TimeoutExpired:
            process.kill()
