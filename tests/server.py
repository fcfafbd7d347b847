"""A scripted HTTP server over real sockets: it records what it receives and replies, or misbehaves, as told."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

CHAT = {
    "id": "1" * 32,
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Boil water."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
COMPLETION = CHAT | {
    "object": "text_completion",
    "choices": [{"index": 0, "text": " Boil water.", "finish_reason": "stop", "logprobs": None}],
}
MODELS = {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "context_size": 4096}]}
EMBEDDINGS = {
    "object": "list",
    "model": "m",
    "data": [{"index": 0, "object": "embedding", "embedding": [0.5, 1.0]}],
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}
FILE = {"id": "f", "object": "file", "bytes": 3, "created_at": 1, "filename": "a", "purpose": "batch", "status": "x"}

ANSWERS = {
    "/chat/completions": CHAT,
    "/completions": COMPLETION,
    "/models": MODELS,
    "/embeddings": EMBEDDINGS,
    "/files": FILE,
}
BASE_PATH = "/v3/openai"
HOSTED_PATH = "/openai/v1"


@dataclass(frozen=True)
class Reply:
    """One scripted reply; ``cut``: send so many bytes and hang up; ``fault``: close, reset, stall or garbage.

    ``trickle`` sends the first bytes one by one; a body in pieces is sent with a ``pause`` of seconds before each.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    trickle: bool = False
    pause: float = 0.0
    fault: str | None = None


def error(status: int, reason: str = "SOME_REASON", **headers: str) -> Reply:
    """Return the service's flat error body."""
    body = {"code": status, "reason": reason, "message": f"the {reason} message", "metadata": {}}
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def stream(*chunks: dict[str, Any]) -> Reply:
    """Return a well-formed event stream."""
    events = [*(json.dumps(chunk) for chunk in chunks), "[DONE]"]
    return Reply(body="".join(f"data: {event}\n\n" for event in events), headers={"content-type": "text/event-stream"})


def chunk(text: str, finish_reason: str | None = None) -> dict[str, Any]:
    """Return a chunk that both chat and completions streams understand."""
    choice = {"index": 0, "delta": {"content": text}, "text": text, "finish_reason": finish_reason}
    return {"id": "1" * 32, "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """Listens on a free port of 127.0.0.1 while entered; replies in the order of ``script``, then with ``ANSWERS``.

    ``lists_apart``: the models list, at which every batch looks first, is answered besides the script. ``answer``: is
    asked before the script, and gives a reply or None.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.script: deque[Reply] = deque()
        self.always: Reply | None = None
        self.lists_apart = False
        self.answer: Callable[[Request], Reply | None] = lambda _: None
        self.connections = self.open_connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}{BASE_PATH}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._loop.remove_reader(self._server.sockets[0])
        await asyncio.sleep(0)  # a connection that has just come is not closed but by its task, which has to begin
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, as the next request of a test may show, or the server stops
        finally:
            self.open_connections -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await _read_body(reader, headers)
        path = path.removeprefix(BASE_PATH).removeprefix(HOSTED_PATH)
        self.requests.append(Request(method, path, headers, body))
        return await self._reply(writer, path.partition("?")[0])

    def _next(self, path: str) -> Reply:
        if (reply := self.answer(self.requests[-1])) is not None:
            return reply
        usual = Reply(body=ANSWERS.get(path, {}))
        if self.lists_apart and path == "/models":
            return usual
        return self.script.popleft() if self.script else self.always or usual

    async def _reply(self, writer: asyncio.StreamWriter, path: str) -> bool:
        reply = self._next(path)
        if reply.fault == "stall":
            await asyncio.sleep(60)
        if reply.fault == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if reply.fault == "garbage":
            writer.write(b"no status line\r\n\r\n")
            await writer.drain()
        if reply.fault is not None:
            return False
        pieces = reply.body if isinstance(reply.body, tuple) else ()
        content = b"".join(pieces) or _encode(reply.body)
        headers = {"content-type": "application/json", "content-length": str(len(content)), **reply.headers}
        if "transfer-encoding" in headers:
            del headers["content-length"]
        lines = [f"HTTP/1.1 {reply.status} X", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode("latin-1"))
        for byte in content[:5] if reply.trickle else b"":
            await asyncio.sleep(0.01)
            writer.write(bytes([byte]))
        for piece in pieces:
            await asyncio.sleep(reply.pause)
            writer.write(piece)
        writer.write(b"" if pieces else content[5 if reply.trickle else 0 : reply.cut])
        await writer.drain()
        return reply.cut is None


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body


def _encode(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
