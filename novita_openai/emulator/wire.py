"""The emulator's sockets: an aiohttp server in a thread of its own, which can also break its connections."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from novita_openai.emulator.replies import Reply  # noqa: TC001 - annotations can be resolved at run time
from novita_openai.installing import how_to_install

try:
    from aiohttp import web
except ModuleNotFoundError as error:
    message = f"the emulator needs aiohttp: {how_to_install('emulator')}"
    raise ModuleNotFoundError(message, name=error.name) from error

__all__ = ["HOST", "HTTPRequest", "Listener", "TimedReply"]

HOST: Final = "127.0.0.1"

_LARGEST_BODY: Final = 256 * 1024 * 1024
_BACKLOG: Final = 4_096
_SECONDS_TO_LEAVE: Final = 0.01
"""For replies in flight when the server closes; aiohttp takes 0 for no limit."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TimedReply:
    """A reply, the seconds before it, and those between its parts."""

    reply: Reply
    latency: float = 0.0
    interval: float = 0.0


Respond = Callable[[HTTPRequest], AbstractContextManager[TimedReply]]


class Listener:
    """A server on 127.0.0.1, from construction to ``close()``.

    ``respond`` is called with each request; its context lasts until the reply is sent or the client has left.

    Raises ``OSError`` where the port is taken.
    """

    def __init__(self, respond: Respond, port: int) -> None:
        self._respond = respond
        self._socket = socket.create_server((HOST, port), backlog=_BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        started.result()

    @property
    def open_connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._server.connections)

    def close(self) -> None:
        """Close all connections, and end the thread."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    async def _serve(self, started: Future[None]) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_SECONDS_TO_LEAVE)
        with self._socket:
            try:
                await runner.setup()
                self._server: Any = runner.server
                await web.SockSite(runner, self._socket, backlog=_BACKLOG).start()
            except BaseException as error:  # noqa: BLE001 - the waiting constructor raises it
                started.set_exception(error)
            else:
                started.set_result(None)
                await self._closing.wait()
                self._loop.remove_reader(self._socket)
                await asyncio.sleep(0)  # lets the tasks of new connections begin; else these would stay open
            finally:
                await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = HTTPRequest(request.method, request.path, headers, await request.read(), request.query)
        with self._respond(received) as timed, suppress(ConnectionError):  # the client may have left
            await asyncio.sleep(timed.latency)
            return await _send(request, timed)
        return web.Response()


async def _send(request: web.Request, timed: TimedReply) -> web.StreamResponse:
    reply = timed.reply
    response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
    transport: Any = request.transport
    if not reply.has_head:
        transport.write(b"".join(reply.parts) if reply.sent is None else b"")
        return await _end(transport, reply, response)
    if not reply.is_stream:
        response.content_length = len(reply.body)
    await response.prepare(request)
    for part in _up_to(reply.parts, reply.sent):
        await response.write(part)
        await asyncio.sleep(timed.interval)
    if reply.ending == "whole":
        await response.write_eof()
        return response
    return await _end(transport, reply, response)


def _up_to(parts: tuple[bytes, ...], size: int | None) -> list[bytes]:
    """Return the first ``size`` bytes of the parts, still in parts; None is all."""
    if size is None:
        return list(parts)
    taken = []
    for part in parts:
        taken.append(part[:size])
        size -= len(taken[-1])
    return [part for part in taken if part]


async def _end(transport: Any, reply: Reply, response: web.StreamResponse) -> web.StreamResponse:
    """End the connection in the way that the reply names."""
    if reply.ending == "stall":
        await asyncio.Event().wait()  # cancelled when the client leaves, and by close()
    if reply.ending == "reset":
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.close()
    return response
