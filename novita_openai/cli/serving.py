"""The commands that serve other programs on this machine: ``serve`` and ``emulate``."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from novita_openai.cli.failures import reported
from novita_openai.cli.options import grouped
from novita_openai.cli.terminal import is_terminal, print_table, show, tell

if TYPE_CHECKING:
    from novita_openai.emulator import Emulator
    from novita_openai.local import LocalModel

PortOption = Annotated[
    int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="The port to listen on; 0 takes a free one.")
]


@reported()
def serve(
    *,
    path: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The model's GGUF file.", show_default="a small Gemma 3 from the extra 'local'"
        ),
    ] = None,
    port: PortOption = 8080,
) -> None:
    """Serve a small model on this machine until Ctrl-C; print its base URL."""
    _refuse_taken(port)
    with local_model(path, port) as server:
        show(server.base_url)
        tell(f"Serving until Ctrl-C. To use it: export NOVITA_API_KEY=local NOVITA_BASE_URL={server.base_url}")
        server.process.wait()
        from novita_openai.local import LocalModelError

        raise LocalModelError("the local model's process has ended")


def _refuse_taken(port: int) -> None:
    """Refuse a port that nothing can listen on."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise typer.BadParameter(f"--port {port}: {why}; name another, or 0 for a free one") from error


@contextmanager
def local_model(path: Path | None = None, port: int = 0) -> Iterator[LocalModel]:
    """Run the local model; say so while it starts, where a person waits for it."""
    from novita_openai.local import LocalModel

    server = LocalModel(path, port=port)
    if is_terminal(sys.stderr):
        tell("starting the local model")
    with server:
        yield server


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """The arguments of an :class:`~novita_openai.emulator.Emulator`, under its names, as a shell can give them."""

    port: PortOption = 8080
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="MODEL", help="The id of a model to have; repeat it for more.", show_default="a few"
        ),
    ] = None
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--key",
            metavar="KEY",
            help="A key to accept, as KEY or as KEY=DOLLARS of credit; repeat it for more.",
            show_default="every key is accepted",
        ),
    ] = None
    rpm: Annotated[
        float | None, typer.Option(metavar="N", help="Answer at most so many requests a minute for each model.")
    ] = None
    tpm: Annotated[
        float | None, typer.Option(metavar="N", help="Answer at most so many tokens a minute for each model.")
    ] = None
    burst: Annotated[
        float | None,
        typer.Option(metavar="N", help="How many requests may come at once.", show_default="a minute's worth"),
    ] = None
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Answer at most so many requests at a time for each model.")
    ] = None
    retry_after: Annotated[
        bool, typer.Option(help="Say how long to wait where a limit is exceeded (the header Retry-After of a 429).")
    ] = False
    latency: Annotated[float, typer.Option(metavar="SECONDS", help="Seconds before each answer begins.")] = 0.0
    chunk_interval: Annotated[
        float, typer.Option(metavar="SECONDS", help="Seconds between the events of a stream.")
    ] = 0.0
    faults: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            metavar="KIND",
            help="A fault that requests meet: KIND for all of them, KIND=SHARE (0 to 1) for some; repeat it for more.",
        ),
    ] = None
    clock: Annotated[
        float,
        typer.Option(metavar="N", help="Seconds of the emulator in each second, for its limits, waits and batches."),
    ] = 1.0
    batch_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="Seconds that a batch of the service's Batch API takes.")
    ] = 1.0
    seed: Annotated[
        int, typer.Option(metavar="N", help="Decides which requests meet a fault: the same seed, the same requests.")
    ] = 0

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that are given."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if self.keys:
            given["keys"] = _numbers(self.keys, "--key KEY or KEY=DOLLARS")
        shares = _numbers(self.faults or [], "--fault KIND or KIND=SHARE")
        return given | {"faults": {kind: 1.0 if share is None else share for kind, share in shares.items()}}


@reported()
@grouped
def emulate(
    *,
    options: EmulatorOptions,
    list_faults: Annotated[bool, typer.Option("--list-faults", help="List the kinds of faults and exit.")] = False,
) -> None:
    """Emulate the service on this machine until Ctrl-C: its answers, errors, limits and faults. Print its base URL."""
    from novita_openai.emulator import FAULTS

    if list_faults:
        print_table([(kind, row.meaning) for kind, row in FAULTS.items()], "fault", "meaning")
        return
    with closing(_started(options)) as server:
        show(server.base_url)
        key = "<one of the keys>" if options.keys else "any"
        tell(f"Emulating until Ctrl-C. To use it: export NOVITA_API_KEY={key} NOVITA_BASE_URL={server.base_url}")
        Event().wait()


def _started(options: EmulatorOptions) -> Emulator:
    from novita_openai.emulator import Emulator

    _refuse_taken(options.port)
    try:
        server = Emulator(**options.arguments())
        server.start()
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return server


def _numbers(options: list[str], wanted: str) -> dict[str, float | None]:
    """Read options of the form NAME or NAME=NUMBER; an error does not show what was given, as it may hold a key."""
    pairs = [option.partition("=") for option in options]
    try:
        return {name: float(number) if sign else None for name, sign, number in pairs}
    except ValueError as error:
        raise typer.BadParameter(f"give {wanted}: what follows a '=' must be a number") from error
