"""The child process of a local model: llama.cpp's own server, behind the service's paths.

:func:`main` reads the settings as a line of JSON from standard input, writes the base URL as a line to standard output
when the model is loaded, and serves until standard input ends.

llama.cpp has OpenAI's completions only under ``/v1/completions``; ``/completions`` is a format of its own there. So a
reverse proxy stands before it, which changes this one path and nothing else.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import socket
import sys
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from novita_openai.local.settings import ServerSettings

__all__ = ["main"]

xllamacpp: Any = import_module("xllamacpp")  # it has no types

HOST: Final = "127.0.0.1"
BASE_PATH: Final = "/v3/openai"

# The packaged model has no chat template. This one writes a chat as the texts that the model was trained on write
# questions and answers. One example and a low temperature keep the model to the question.
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
_PATHS: Final = {f"{BASE_PATH}/completions": f"{BASE_PATH}/v1/completions"}
# The service's paths alone: others of llama.cpp tell where files are, or change its settings.
_OPEN: Final = frozenset(f"{BASE_PATH}/{name}" for name in ("models", "completions", "chat/completions", "embeddings"))
# A page of the web can have a browser send requests to this machine: under a name of its own, or with its origin.
_OWN_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_MOST_BYTES: Final = 64 * 2**20
# A model so small says the same again and again, and never closes what a grammar lets it write on.
_MOST_TOKENS: Final = 512
# Headers that are for one connection only: https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1. aiohttp has
# answered "Expect" by itself.
_CONNECTION_HEADERS: Final = {"connection", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
_NO_LIMIT: Final = 0
_STDOUT: Final = 1
_STDERR: Final = 2


def main() -> None:
    """Run the child process: read its settings, serve, and exit."""
    report = os.dup(_STDOUT)
    # What native code prints belongs to the log.
    os.dup2(_STDERR, _STDOUT)
    settings = ServerSettings(**json.loads(sys.stdin.buffer.readline()))
    try:
        listener = socket.create_server((HOST, settings.port))
        engine = _load(settings)
    except (OSError, RuntimeError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    asyncio.run(_serve(listener, engine.listening_address, report))
    _leave()


def _load(settings: ServerSettings) -> Any:
    """Return the running llama.cpp server, on a free port of its own."""
    params = xllamacpp.CommonParams()
    params.model.path = settings.path
    # Otherwise the model's id would be its path.
    params.model_alias = {Path(settings.path).stem}
    if settings.is_packaged:
        params.chat_template = _CHAT_TEMPLATE
        params.antiprompt = list(_STOPS)
        params.sampling.temp = _TEMPERATURE
        params.n_predict = _MOST_TOKENS  # of answers to requests that name no number
    params.api_prefix = BASE_PATH
    params.api_keys = [] if settings.api_key is None else [settings.api_key]
    params.n_ctx = settings.context_size
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    # Its cache of earlier prompts would take up to 8 GiB, and its log a line or more for each request.
    params.cache_ram_mib = 0
    params.verbosity = 1
    return xllamacpp.Server(params)


async def _serve(listener: socket.socket, engine_url: str, report: int) -> None:
    # A connection for each request, closed after it: llama.cpp has few threads, and each open connection takes one.
    connector = TCPConnector(limit=_NO_LIMIT, force_close=True)
    async with ClientSession(connector=connector, timeout=ClientTimeout(), auto_decompress=False) as session:
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_route("*", "/{path:.*}", partial(_forward, session, engine_url))
        # A client that hangs up ends its handler, and so its request to llama.cpp, which then stops generating.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, auto_decompress=False)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        with os.fdopen(report, "w") as parent:
            parent.write(f"http://{HOST}:{listener.getsockname()[1]}{BASE_PATH}\n")
        await asyncio.to_thread(sys.stdin.buffer.read)


async def _forward(session: ClientSession, engine_url: str, request: web.Request) -> web.StreamResponse:
    """Send a request on to llama.cpp, and its reply back piece by piece."""
    callers = (f"//{request.host}", *request.headers.getall("Origin", ()))
    if (refusal := _refusal(request.path, callers)) is not None:
        return web.json_response(refusal, status=refusal["code"])
    url, headers = engine_url + _engine_path(request.path_qs), _end_to_end(request.headers)
    body = await request.read()
    async with session.request(request.method, url, headers=headers, data=body or None) as reply:
        response = web.StreamResponse(status=reply.status, headers=_end_to_end(reply.headers))
        await response.prepare(request)
        async for piece in reply.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


def _refusal(path: str, callers: Iterable[str]) -> dict[str, Any] | None:
    """Return the error for a request that comes from elsewhere, or to what is not the service's; None for others."""
    foreign = next((address for address in callers if not _is_own(address)), None)
    if foreign is not None:
        message = f"{foreign.removeprefix('//')} is not this machine"
        return {"code": 403, "reason": "ACCESS_DENY", "message": message, "metadata": {}}
    if path not in _OPEN:
        return {"code": 404, "reason": "API_NOT_FOUND", "message": f"there is no {path}", "metadata": {}}
    return None


def _is_own(address: str) -> bool:
    """Tell whether an address is one of this machine; what cannot be read is none."""
    try:
        return urlsplit(address).hostname in _OWN_HOSTS
    except ValueError:
        return False


def _engine_path(path: str) -> str:
    """Return llama.cpp's path for a path of the service."""
    name, mark, query = path.partition("?")
    return _PATHS.get(name, name) + mark + query


def _end_to_end(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _CONNECTION_HEADERS}


def _leave() -> NoReturn:
    """End this process without unloading the model: unloading hangs or crashes while a reply is being generated."""
    atexit._run_exitfuncs()  # noqa: SLF001 - the way multiprocessing ends its children
    os._exit(0)  # pragma: no cover - coverage saves its data in the exit handlers, just before
