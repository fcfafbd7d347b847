"""The emulator itself: takes requests off the wire, decides what each gets, and keeps what came."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import Any, Final, Self

from novita_openai.emulator.answers import Answer, Said, answer
from novita_openai.emulator.faults import Fault, Reply, document, refusal
from novita_openai.emulator.limits import Limit, Limits, limit_of
from novita_openai.emulator.requests import (
    MODELS,
    AnyRequest,
    ChatRequest,
    CompletionRequest,
    Model,
    RefusedError,
    models_of,
    read,
)
from novita_openai.emulator.settings import checked, credit_of, span_of
from novita_openai.emulator.wire import HOST, Listener, Message, Timed

__all__ = ["Emulator", "Request"]

BASE_PATHS: Final = ("/v3/openai", "/openai/v1", "/openai")
KEPT_REQUESTS: Final = 1_000

_ENDPOINTS: Final[dict[str, type[AnyRequest]]] = {"/chat/completions": ChatRequest, "/completions": CompletionRequest}
_NOT_FOUND: Final = Reply(404, {"content-type": "text/plain"}, (b"404 page not found",))
_BEARER: Final = "Bearer "

Item = Said | Callable[[dict[str, Any]], Said]
Scripted = Item | Fault
"""What the next request gets: a text, an assistant message, what a function makes of its body, or a fault."""


@dataclass(frozen=True)
class Request:
    """What a client sent, and what it was answered; ``path`` starts after the base path: ``/chat/completions``.

    ``time`` is monotonic, in seconds; ``status`` that of the reply (0 where nothing of HTTP was sent); ``fault`` its
    kind, if it met one.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    time: float
    status: int
    fault: str | None

    @cached_property
    def json(self) -> Any:
        """Return the body as data."""
        return json.loads(self.body)


@dataclass(eq=False, kw_only=True)
class Emulator:
    """The service on 127.0.0.1, from ``start()`` to ``close()`` or inside ``with``; settings may change while it runs.

    - ``models``: ids or :class:`Model`; requests for others get a 404.
    - ``keys``: None takes every key; else the valid ones, as a mapping with the credit of each in dollars (None: no
      end). From it the price of each answer is taken; ``credit`` tells what is left.
    - ``rpm``, ``tpm``: requests and tokens (of prompt and answer) a minute and model, a number for every model or a
      mapping; ``burst``: how many requests may come at once (None: a minute's worth); ``concurrency``: requests in
      flight, for each model. More is a 429: with the true ``retry-after-ms`` and ``Retry-After`` (``retry_after``
      True; a second where it is unknown), with a ``Retry-After`` of so many seconds (a number), without either (False).
    - ``latency``: seconds before the answer begins, a number or (least, most); ``chunk_interval``: between events.
    - ``faults``: the share of requests, from 0 to 1, that meet each kind of fault, drawn by ``seed`` from the request
      and how often it came: the same job meets the same faults, in whatever order.
    - ``port``: 0 takes a free one.

    A fault of the script is for the next request whatever it is; other items wait for one that is answered. What a
    function of the script raises is raised again by ``close()``.

    Raises ``ValueError`` for settings that cannot be, ``OSError`` where the port is taken.
    """

    models: Iterable[Model | str] = MODELS
    keys: Mapping[str, float | None] | Iterable[str] | None = field(default=None, repr=False)
    rpm: Limit = None
    tpm: Limit = None
    burst: float | None = None
    concurrency: Limit = None
    retry_after: bool | float = False
    latency: float | tuple[float, float] = 0.0
    chunk_interval: float = 0.0
    faults: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    port: int = 0
    script: deque[Scripted] = field(default_factory=deque, init=False, repr=False)
    credit: dict[str, float | None] | None = field(init=False, repr=False)
    request_count: int = field(default=0, init=False)
    _limits: Limits = field(default_factory=Limits, init=False, repr=False)
    _kept: deque[Request] = field(default_factory=lambda: deque(maxlen=KEPT_REQUESTS), init=False, repr=False)
    _seen: Counter[bytes] = field(default_factory=Counter, init=False, repr=False)
    _failure: Exception | None = field(default=None, init=False, repr=False)
    _listener: Listener | None = field(default=None, init=False, repr=False)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, checked(name, value))
        if name == "keys":
            self.credit = credit_of(self.keys)

    @property
    def base_url(self) -> str:
        """Return the address for clients, ``http://127.0.0.1:<port>/v3/openai``."""
        return f"http://{HOST}:{self._running().port}{BASE_PATHS[0]}"

    @property
    def requests(self) -> list[Request]:
        """Return the last 1,000 requests, oldest first; ``request_count`` counts all."""
        return list(self._kept)

    @property
    def open_connections(self) -> int:
        """Return how many clients are connected."""
        return self._running().open_connections

    def start(self) -> None:
        """Listen, in a thread of its own."""
        if self._listener is not None:
            raise RuntimeError("the emulator is already running")
        self._listener = Listener(self._respond, self.port)

    def close(self) -> None:
        """Hang up on every client and stop; raise what a function of the script raised. A second call does nothing."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _running(self) -> Listener:
        if self._listener is None:
            raise RuntimeError("the emulator is not running: use `with Emulator() as server:`, or start() it")
        return self._listener

    @contextmanager
    def _respond(self, message: Message) -> Iterator[Timed]:
        """Decide what a request gets, keep it, and count it as in flight while it is answered."""
        path = _path_of(message.path)
        scripted = self._next_item()
        fault = scripted if isinstance(scripted, Fault) else self._drawn(message.body)
        if fault is not None and fault.is_instead:  # which is neither limited nor charged
            model, reply = "", fault.spoil(Reply())
        else:
            model, reply = self._reply(message, path, None if isinstance(scripted, Fault) else scripted)
            reply = reply if fault is None else fault.spoil(reply)
        self._keep(message, path, reply.status if reply.has_head else 0, fault.kind if fault else None)
        reply = replace(reply, headers={**reply.headers, "x-request-id": f"{self.request_count:032x}"})
        latency = Random(f"{self.seed} {self.request_count}").uniform(*span_of(self.latency))  # noqa: S311 - no secret
        self._limits.in_flight[model] += 1
        try:
            yield Timed(reply, latency, self.chunk_interval)
        finally:
            self._limits.in_flight[model] -= 1

    def _keep(self, message: Message, path: str, status: int, fault: str | None) -> None:
        now = time.monotonic()
        self._kept.append(Request(message.method, path, message.headers, message.body, now, status, fault))
        self.request_count += 1

    def _next_item(self) -> Scripted | None:
        """Take a fault from the script; leave what is for an answer until there is one."""
        if not self.script:
            return None
        return self.script.popleft() if isinstance(self.script[0], Fault) else self.script[0]

    def _reply(self, message: Message, path: str, item: Item | None) -> tuple[str, Reply]:
        """Return the model that a request is for, "" if none, and the reply before any fault."""
        if (message.method, path) == ("GET", "/models"):
            return "", document({"object": "list", "data": [model.row() for model in models_of(self.models).values()]})
        if message.method != "POST" or path not in _ENDPOINTS:
            return "", _NOT_FOUND
        try:
            return self._answered(message, _ENDPOINTS[path], item)
        except RefusedError as refused:
            return "", self._refused(refused)

    def _answered(self, message: Message, kind: type[AnyRequest], item: Item | None) -> tuple[str, Reply]:
        key = message.headers.get("authorization", "").removeprefix(_BEARER)
        if self.credit is not None and key not in self.credit:
            raise RefusedError("INVALID_API_KEY", "invalid api key")
        request, model = read(kind, _json(message.body), models_of(self.models))
        left = None if self.credit is None else self.credit[key]
        if left is not None and left <= 0:
            raise RefusedError("NOT_ENOUGH_BALANCE", "not enough balance")
        answered, reply = self._answer(request, message, item)
        self._admit(model.id, answered)
        if item is not None:
            self.script.popleft()
        if self.credit is not None and left is not None:
            self.credit[key] = left - model.price(request.prompt_tokens, answered.completion_tokens)
        return model.id, reply

    def _answer(self, request: AnyRequest, message: Message, item: Item | None) -> tuple[Answer, Reply]:
        """Return the answer that the script holds, or one of its own making; refuse where the script fails."""
        try:
            answered = answer(request, None if item is None else _said(item, message))
            return answered, answered.reply()
        except RefusedError:
            raise
        except Exception as error:
            self._failure = self._failure or error
            self.script.popleft()
            raise RefusedError("INVALID_REQUEST_BODY", f"the emulator's script failed: {error!r}") from error

    def _admit(self, model: str, answered: Answer) -> None:
        rpm, tpm = limit_of(self.rpm, model), limit_of(self.tpm, model)
        needs = {
            "RATE_LIMIT_EXCEEDED": (1.0, rpm, self.burst or max(rpm, 1.0)),
            "TOKEN_LIMIT_EXCEEDED": (float(answered.usage["total_tokens"]), tpm, tpm),
        }
        self._limits.admit(model, needs, limit_of(self.concurrency, model), time.monotonic())

    def _refused(self, refused: RefusedError) -> Reply:
        if refused.retry_after is None or self.retry_after is False:
            return refusal(refused.reason, refused.message)
        if self.retry_after is not True:
            return refusal(refused.reason, refused.message, self.retry_after)
        reply = refusal(refused.reason, refused.message, math.ceil(refused.retry_after))
        milliseconds = math.ceil(refused.retry_after * 1_000)
        return replace(reply, headers={**reply.headers, "retry-after-ms": str(milliseconds)})

    def _drawn(self, body: bytes) -> Fault | None:
        """Draw the fault of a request from its content and how often it came."""
        if not self.faults:
            return None
        digest = hashlib.blake2b(body, digest_size=8).digest()
        self._seen[digest] += 1
        random = Random(f"{self.seed} {digest.hex()} {self._seen[digest]}")  # noqa: S311 - no secret
        kinds, shares = [None, *self.faults], [1 - sum(self.faults.values()), *self.faults.values()]
        kind = random.choices(kinds, shares)[0]
        return None if kind is None else Fault(kind, random.choice((None, random.randrange(_LATEST_BYTE))))


_LATEST_BYTE: Final = 4_096
"""Drawn faults come before this byte of a body, or at its end."""


def _said(item: Item, message: Message) -> Said:
    """Return what an item of the script says to a request."""
    said = item(json.loads(message.body)) if callable(item) else item
    if not isinstance(said, (str, Mapping)):
        raise TypeError(f"a script holds texts, messages, functions that give one, and Faults, not {said!r}")
    return said


def _path_of(path: str) -> str:
    base = next((base for base in BASE_PATHS if path.startswith(f"{base}/")), "")
    return path.removeprefix(base) if base else f"//{path}"


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError("INVALID_REQUEST_BODY", f"the body is no JSON: {error}") from error
