"""A server of fixed replies in a process of its own, as small as can be, so that a benchmark times the client.

The first part of the path names the reply: ``whole`` (a chat completion), ``slow`` (the same after ``LATENCY``
seconds), ``large`` (one with ``LARGE`` bytes of text, after as long), ``stream`` (``whole`` in ``CHUNKS`` pieces),
``outage`` (the model is not available); a client's ``base_url`` thus chooses. A ``GET`` of its models finds none;
``GET /count`` tells the number of requests before it. Only what keep-alive needs is parsed.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any, Final, Literal, cast

CHUNKS: Final = 200
"""The pieces of text in the reply ``stream``."""

LATENCY: Final = 0.2
"""Seconds before the replies ``slow`` and ``large``."""

_TEXT: Final = "Boil four litres of water with two spoons of salt, add the pasta, stir, taste after eight minutes. " * 2
_CHAT: Final[dict[str, Any]] = {
    "id": "0123456789abcdef0123456789abcdef",
    "object": "chat.completion",
    "created": 1735689600,
    "model": "meta-llama/llama-3.1-8b-instruct",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 46, "total_tokens": 58},
    "system_fingerprint": "",
}
_OUTAGE: Final = {"code": 500, "reason": "MODEL_NOT_AVAILABLE", "message": "model is not available", "metadata": {}}


LARGE: Final = 5 * 1_048_576
"""Bytes of the text in the reply ``large``."""


def _whole(status: str, body: object, *headers: str) -> bytes:
    content = json.dumps(body).encode()
    lines = (f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(content)}", *headers)
    return "\r\n".join((*lines, "", "")).encode() + content


def _large() -> dict[str, Any]:
    return _CHAT | {"choices": [_CHAT["choices"][0] | {"message": {"role": "assistant", "content": "x" * LARGE}}]}


def _streamed(count: int) -> bytes:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": " word"},) * count]
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    kind = _CHAT | {"object": "chat.completion.chunk", "usage": None}
    events = [*(json.dumps(kind | {"choices": [choice]}) for choice in choices), "[DONE]"]
    parts = [f"data: {event}\n\n" for event in events]
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return (head + "".join(f"{len(part):x}\r\n{part}\r\n" for part in (*parts, ""))).encode()


_REPLIES: Final = {
    b"whole": _whole("200 OK", _CHAT),
    b"slow": _whole("200 OK", _CHAT),
    b"large": _whole("200 OK", _large()),
    b"stream": _streamed(CHUNKS),
    # The raw SDK has no switch for its waits: this header makes them short. It changes no decision to retry.
    b"outage": _whole("500 Internal Server Error", _OUTAGE, "retry-after-ms: 1"),
}
_MODELS: Final = _whole("200 OK", {"object": "list", "data": []})
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class FixedReplies(asyncio.Protocol):
    """Answers each whole request on a connection, one after the other."""

    requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        if _is_whole(self._received):
            method, name, _ = self._received.split(b"/", 2)
            self._received = b""
            reply = _REPLIES.get(name) or _whole("200 OK", FixedReplies.requests)
            if method == b"GET " and name in _REPLIES:
                reply = _MODELS
            FixedReplies.requests += name in _REPLIES
            if name in (b"slow", b"large"):
                asyncio.get_running_loop().call_later(LATENCY, self._transport.write, reply)
            else:
                self._transport.write(reply)


def _is_whole(received: bytes) -> bool:
    end = received.find(b"\r\n\r\n")
    length = _LENGTH.search(received, 0, end)
    return end >= 0 and len(received) >= end + 4 + int(length[1] if length else 0)


@dataclass(frozen=True)
class Server:
    """A running server, as its parent sees it."""

    port: int

    def url(self, reply: Literal["whole", "slow", "large", "stream", "outage"]) -> str:
        """Return the base URL under which every request gets the named reply."""
        return f"http://127.0.0.1:{self.port}/{reply}"

    def requests(self) -> int:
        """Return the number of requests so far."""
        connection = HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", "/count")
        count = int(connection.getresponse().read())
        connection.close()
        return count


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server in a process of its own, which ends with the block or with this process."""
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield Server(int(process.stdout.readline()))


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(FixedReplies, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
