"""The emulator itself: decides what each request gets, and keeps what clients sent."""

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
from typing import Any, Final, Literal, Self

from novita_openai.emulator.accounts import Credit, charge, credit_of, key_in, require_credit
from novita_openai.emulator.answers import Answer, Content, answer_to
from novita_openai.emulator.batches import Batch, Row  # noqa: TC001 - annotations can be resolved at run time
from novita_openai.emulator.clock import Clock
from novita_openai.emulator.embeddings import embeddings_of
from novita_openai.emulator.faults import Fault, drawn_fault
from novita_openai.emulator.hosted import HOSTED_BASE_PATH, HostedBatches
from novita_openai.emulator.limits import Limit, Need, RateLimiter, limit_of
from novita_openai.emulator.models import MODELS, Model, models_by_id
from novita_openai.emulator.replies import BAD_BODY, PLAIN_TEXT, STATUS_OF, Reply, ServiceError, document
from novita_openai.emulator.requests import AnyRequest, ChatRequest, CompletionRequest, read
from novita_openai.emulator.settings import EmulatorSettings, checked
from novita_openai.emulator.storage import StoredFile  # noqa: TC001 - the same
from novita_openai.emulator.wire import HOST, HTTPRequest, Listener, TimedReply

__all__ = ["Emulator", "Request"]

BASE_PATHS: Final = ("/v3/openai", "/openai/v1", "/openai")
KEPT_REQUESTS: Final = 1_000

_ENDPOINTS: Final[dict[str, type[AnyRequest]]] = {"/chat/completions": ChatRequest, "/completions": CompletionRequest}
_NOT_FOUND: Final = Reply(404, PLAIN_TEXT, (b"404 page not found",))
_MODEL: Final = "/models/"

ScriptedAnswer = Content | Callable[[dict[str, Any]], Content]
"""A text, an assistant message, or a function that gets the request's body and returns one of these."""
ScriptItem = ScriptedAnswer | Fault
"""What one request gets."""


@dataclass(frozen=True)
class Request:
    """What a client sent, and what it got.

    ``path`` starts after the base path: ``/chat/completions``. ``time`` is the machine's ``time.monotonic()``;
    ``status`` is the reply's, 0 where no status line was sent; ``fault`` is the kind of the fault that it met.
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
    - ``keys``: the keys that are valid, None for any. A mapping gives each key its credit in dollars (None: unlimited),
      which pays for the answers; ``credit`` says what is left.
    - ``rpm``, ``tpm``: requests and tokens (of prompt and answer) a minute; ``concurrency``: requests in flight. Each
      is a number, which holds for every model on its own, or a mapping from models to numbers. ``burst``: how many
      requests may come at once (None: as many as in a minute).
    - ``retry_after``: how a 429 says how long to wait: True sends the true ``Retry-After`` and ``retry-after-ms`` (one
      second where nobody can know), a number sends a ``Retry-After`` of so many seconds, False neither.
    - ``latency``: seconds before an answer begins, a number or (least, most); ``chunk_interval``: between its events.
    - ``faults``: the share of requests, from 0 to 1, that meets each kind of fault. They are drawn by ``seed``, the
      request and how often it came, so that the same requests meet the same faults in any order.
    - ``clock``: how many seconds pass for the emulator in each second of the machine: limits, latencies and batches run
      so much faster. What it says in headers is in its own seconds.
    - ``batch_seconds``: how long a batch takes; one that takes longer than 48 hours expires with the answers so far.
      ``batch_status_case``: whether its status is ``COMPLETED`` or ``completed``, as both have been seen.
      ``batch_list_delay``: seconds until a new file or batch is in the lists; ``batch_list_pages``: whether the lists
      obey ``after`` and ``limit``, which the service does not document.
    - ``port``: 0 takes a free one.

    Files and batches are under the base path ``/openai/v1`` only, see ``files`` and ``batches``.

    ``script`` holds what the next requests get. A fault is for the next request of its kind; an answer is for the next
    request that is not refused. An error raised by a function of the script is raised again by ``close()``.

    Raises ``ValueError`` for an invalid setting, ``OSError`` where the port is taken.
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
    clock: float = 1.0
    batch_seconds: float = 1.0
    batch_status_case: Literal["lower", "upper"] = "upper"
    batch_list_delay: float = 0.0
    batch_list_pages: bool = True
    port: int = 0
    script: deque[ScriptItem] = field(default_factory=deque, init=False, repr=False)
    credit: Credit = field(init=False, repr=False)
    request_count: int = field(default=0, init=False)
    _limiter: RateLimiter = field(default_factory=RateLimiter, init=False, repr=False)
    _kept: deque[Request] = field(default_factory=lambda: deque(maxlen=KEPT_REQUESTS), init=False, repr=False)
    _seen: Counter[bytes] = field(default_factory=Counter, init=False, repr=False)
    _failure: Exception | None = field(default=None, init=False, repr=False)
    _listener: Listener | None = field(default=None, init=False, repr=False)
    _clock: Clock = field(default_factory=Clock, init=False, repr=False)
    _hosted: HostedBatches = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._clock.run_at(self.clock)
        self._hosted = HostedBatches(self, lambda: models_by_id(self.models), self._answered_in_batch)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, checked(name, value) if name in EmulatorSettings.model_fields else value)
        if name == "keys":
            self.credit = credit_of(self.keys)
        if name == "clock" and hasattr(self, "_clock"):
            self._clock.run_at(self.clock)

    @property
    def base_url(self) -> str:
        """Return the address for clients, ``http://127.0.0.1:<port>/v3/openai``."""
        return f"http://{HOST}:{self._running().port}{BASE_PATHS[0]}"

    @property
    def requests(self) -> list[Request]:
        """Return the last 1,000 requests, oldest first; ``request_count`` counts all."""
        return list(self._kept)

    @property
    def files(self) -> dict[str, StoredFile]:
        """Return what is kept for batches, by id: uploaded files and results. Files may be deleted from it."""
        return self._hosted.files

    @property
    def batches(self) -> dict[str, Batch]:
        """Return the batches by id."""
        return self._hosted.batches

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
    def _respond(self, received: HTTPRequest) -> Iterator[TimedReply]:
        """Decide what a request gets, keep it, and count it as in flight while it is answered."""
        path = _path_of(received.path)
        item = self._next_item(received.method, path)
        fault = item if isinstance(item, Fault) else self._drawn(received.body)
        if fault is not None and fault.is_instead:  # such a request is neither limited nor charged
            model, reply = "", fault.spoil(Reply())
        else:
            model, reply = self._reply(received, path, None if isinstance(item, Fault) else item)
            reply = reply if fault is None else fault.spoil(reply)
        self._keep(received, path, reply.status if reply.has_head else 0, fault.kind if fault else None)
        self._limiter.in_flight[model] += 1
        try:
            yield self._timed(reply)
        finally:
            self._limiter.in_flight[model] -= 1

    def _keep(self, received: HTTPRequest, path: str, status: int, fault: str | None) -> None:
        now = time.monotonic()
        self._kept.append(Request(received.method, path, received.headers, received.body, now, status, fault))
        self.request_count += 1

    def _timed(self, reply: Reply) -> TimedReply:
        reply = replace(reply, headers={**reply.headers, "x-request-id": f"{self.request_count:032x}"})
        least, most = self.latency if isinstance(self.latency, tuple) else (self.latency, self.latency)
        latency = Random(f"{self.seed} {self.request_count}").uniform(least, most)  # noqa: S311 - no secret
        return TimedReply(reply, self._clock.real(latency), self._clock.real(self.chunk_interval))

    def _next_item(self, method: str, path: str) -> ScriptItem | None:
        """Take a fault from the script; leave an answer there until a request gets it."""
        for place, item in enumerate(self.script):
            if not isinstance(item, Fault):
                return item
            if item.is_of(method, path):
                del self.script[place]
                return item
        return None

    def _drawn(self, body: bytes) -> Fault | None:
        """Draw the fault of a request from its body and how often it came."""
        if not self.faults:
            return None
        digest = hashlib.blake2b(body, digest_size=8).digest()
        self._seen[digest] += 1
        random = Random(f"{self.seed} {digest.hex()} {self._seen[digest]}")  # noqa: S311 - no secret
        return drawn_fault(self.faults, random)

    def _reply(self, received: HTTPRequest, path: str, item: ScriptedAnswer | None) -> tuple[str, Reply]:
        """Return the model that answers, "" for none, and the reply before any fault."""
        try:
            if received.method == "POST" and path in _ENDPOINTS:
                return self._answered(received, _ENDPOINTS[path], item)
            if (received.method, path) == ("POST", "/embeddings"):
                return self._embedded(received)
            return "", self._looked_up(received, path)
        except ServiceError as error:
            return "", error.reply(**_waiting(error.retry_after, self.retry_after))

    def _looked_up(self, received: HTTPRequest, path: str) -> Reply:
        """Return the reply to what no model answers: models, files and batches."""
        models = models_by_id(self.models)
        if (received.method, path) == ("GET", "/models"):
            return document({"object": "list", "data": [model.row() for model in models.values()]})
        if received.method == "GET" and path.startswith(_MODEL):
            return document(_named(models, path.removeprefix(_MODEL)).row())
        if received.path.startswith(f"{HOSTED_BASE_PATH}/") and (route := self._hosted.route(received.method, path)):
            return route(received, key_in(received.headers, self.credit), self._clock.now())
        return _NOT_FOUND

    def _answered(
        self, received: HTTPRequest, kind: type[AnyRequest], item: ScriptedAnswer | None
    ) -> tuple[str, Reply]:
        key = key_in(received.headers, self.credit)
        request, model = read(kind, received.body, models_by_id(self.models))
        require_credit(self.credit, key)
        answer, reply = self._answer(request, received.body, item)
        self._admit(model.id, answer.usage["total_tokens"])
        if item is not None:
            self.script.popleft()
        charge(self.credit, key, model.price(request.prompt_tokens, answer.completion_tokens))
        return model.id, reply

    def _embedded(self, received: HTTPRequest) -> tuple[str, Reply]:
        key = key_in(received.headers, self.credit)
        asked = embeddings_of(received.body, models_by_id(self.models))
        require_credit(self.credit, key)
        self._admit(asked.model.id, asked.tokens)
        charge(self.credit, key, asked.model.price(asked.tokens, 0))
        return asked.model.id, asked.reply()

    def _answered_in_batch(self, batch: Batch, row: Row) -> Reply:
        """Answer a row of a batch at half the price; faults that are errors of the service meet it too."""
        body = json.dumps(row.body | {"stream": None}).encode()
        fault = self._drawn(body)
        if fault is not None and fault.kind in STATUS_OF:
            return fault.spoil(Reply())
        try:
            request, model = read(_ENDPOINTS[batch.endpoint.removeprefix("/v1")], body, models_by_id(self.models))
            require_credit(self.credit, batch.key)
        except ServiceError as error:
            return error.reply()
        answer = answer_to(request)
        charge(self.credit, batch.key, model.price(request.prompt_tokens, answer.completion_tokens) / 2)
        return answer.reply()

    def _answer(self, request: AnyRequest, body: bytes, item: ScriptedAnswer | None) -> tuple[Answer, Reply]:
        """Return the answer that the script holds, or a drawn one; refuse the request where the script fails."""
        if item is None:
            answer = answer_to(request)
            return answer, answer.reply()
        try:
            answer = answer_to(request, _content(item, body))
            return answer, answer.reply()
        except Exception as error:
            self._failure = self._failure or error
            self.script.popleft()
            raise ServiceError(BAD_BODY, f"the emulator's script failed: {error!r}") from error

    def _admit(self, model: str, tokens: int) -> None:
        rpm, tpm = limit_of(self.rpm, model), limit_of(self.tpm, model)
        needs = (
            Need("RATE_LIMIT_EXCEEDED", "requests", 1.0, rpm, self.burst or max(rpm, 1.0)),
            Need("TOKEN_LIMIT_EXCEEDED", "tokens", tokens, tpm, tpm),
        )
        self._limiter.admit(model, needs, limit_of(self.concurrency, model), self._clock.now())


def _named(models: Mapping[str, Model], name: str) -> Model:
    if name not in models:
        raise ServiceError("MODEL_NOT_FOUND", f"model not found: {name}")
    return models[name]


def _waiting(seconds: float | None, retry_after: bool | float) -> dict[str, str]:  # noqa: FBT001 - a setting's value
    """Return the headers that say how long to wait, as the setting ``retry_after`` wants them."""
    if seconds is None or retry_after is False:
        return {}
    if retry_after is not True:
        return {"retry-after": f"{retry_after:g}"}
    return {"retry-after": f"{math.ceil(seconds)}", "retry-after-ms": f"{math.ceil(seconds * 1_000)}"}


_SAID: Final = ("content", "reasoning_content", "tool_calls")
"""What a message says; one without any of these would be an empty answer."""


def _content(item: ScriptedAnswer, body: bytes) -> Content:
    """Return what an item of the script says to a request."""
    content = item(json.loads(body)) if callable(item) else item
    if isinstance(content, str) or (isinstance(content, Mapping) and not content.keys().isdisjoint(_SAID)):
        return content
    raise TypeError(f"the script takes texts, messages, functions that return one, and Faults, not {content!r}")


def _path_of(path: str) -> str:
    """Return the path after the base path; other paths become one that no endpoint has."""
    base = next((base for base in BASE_PATHS if path.startswith(f"{base}/")), "")
    return path.removeprefix(base) if base else f"//{path}"
