"""The SDK's clients, preconfigured: key and address lookup, isolation from OPENAI_* variables, retries by the table.

Every call of the SDK goes through its public ``request()``. The clients override only that: there requests are retried,
and a response without an answer becomes an error. The two clients differ in ``await`` and in what a key may be.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Self, TypeVar, Unpack, cast

import openai

from novita_openai import sdk
from novita_openai.backoff import sleep_async
from novita_openai.client.addresses import URL, check_base_url, find_base_url
from novita_openai.client.answers import AsyncStreamedResponse, StreamedResponse, answer, answer_async
from novita_openai.client.attempts import ClientCall, Continuation, Streams
from novita_openai.client.bodies import checked_size, ending, in_time_async
from novita_openai.client.connections import ClosingHttpClient, async_http_client
from novita_openai.client.error_bodies import read_error, read_error_async
from novita_openai.client.options import (
    AsyncKey,
    ClientOptions,
    CopyOptions,
    Key,
    OwnOptions,
    counted_by,
    pace_of,
    take_own,
)
from novita_openai.client.secrets import discreet
from novita_openai.client.settings import AsyncCheckedKey, CheckedKey, KeyFile, check_key, find_key
from novita_openai.client.streams import AsyncGuardedStream, GuardedStream, bounded, bounded_async
from novita_openai.retry import RetryPolicy

if TYPE_CHECKING:
    from novita_openai.client.pace import ModelPace, Pace

__all__ = [
    "AsyncClient",
    "AsyncNovitaOpenAI",
    "AsyncOpenAI",
    "Client",
    "NovitaOpenAI",
    "OpenAI",
    "create_async_client",
    "create_client",
]

CONNECTIONS: Final = 1_000
"""How many connections the clients of the factories may have, and keep."""

_STREAMS: Final = Streams(GuardedStream, bounded, openai.Stream)
_ASYNC_STREAMS: Final = Streams(AsyncGuardedStream, bounded_async, openai.AsyncStream)

_Key = TypeVar("_Key")


class _Preconfigured(Generic[_Key]):
    """What the two clients share: how they are built and copied."""

    policy: RetryPolicy
    resume_streams: bool
    translate: bool
    paced_by: Pace | None
    """The turns that its calls wait for. ``last_pace``: the same, or what it was before, or what a copy asked for."""
    last_pace: Pace | None
    max_answer_bytes: float
    process_id: int
    """The process in which the client was made: connections cannot be shared with another."""
    key_source: Any
    """The key, or the function that is asked for it before every request."""
    given_http_client: Any
    """The HTTP client of a user that sends the requests; None where the SDK or this package has made it."""

    _checked: ClassVar[Any]
    """Wraps a function that returns the key, so that every key is checked."""
    _received: ClassVar[Any]
    """Is given what the HTTP client's ``send`` gives, and how much of an error is read."""

    @discreet
    def __init__(
        self, *, api_key: _Key | None = None, base_url: str | URL | None = None, **options: Unpack[ClientOptions]
    ) -> None:
        """Build a client; the class says where key and address come from, all else means what it does in the SDK."""
        key: Any = find_key() if api_key is None else api_key
        key = self._checked(key) if callable(key) else check_key(key, "api_key")
        own = take_own(options)
        client = cast("Any", self)
        cast("Any", super()).__init__(api_key=key, base_url=find_base_url(base_url), **options)
        sdk.check_client(client)
        sdk.isolate(client, options)
        if isinstance(source := getattr(key, "source", None), KeyFile):
            client.api_key = source()
        self.key_source, self.given_http_client = key, options.get("http_client")
        self.policy = counted_by(options.get("max_retries", openai.NOT_GIVEN), own.get("policy") or RetryPolicy())
        self.resume_streams = own.get("resume_streams") or False
        self.translate = own.get("translate") is not False
        self.paced_by = self.last_pace = pace_of(own.get("pace"))
        self.max_answer_bytes = checked_size(own.get("max_answer_bytes"))
        sdk.pass_received(client, partial(self._received, most=self.max_answer_bytes))
        self.process_id = os.getpid()

    @discreet
    def copy(self, *, api_key: _Key | None = None, **options: Unpack[CopyOptions]) -> Self:
        """Return a client with some options changed, on the same connections; None keeps the value of an option.

        Of ``max_retries`` and the ``attempts`` of a policy, what is given later sets the number of attempts; of both
        given at once, ``max_retries``.
        """
        given = take_own(options)
        if given.get("pace") is True:
            self.last_pace = pace_of(True, self.paced_by, self.last_pace)  # noqa: FBT003 - the value of an option
        kept = {name: getattr(self, name) for name in OwnOptions.__annotations__}
        own: Any = {**kept, **given, "pace": pace_of(given.get("pace"), self.paced_by, self.last_pace) or False}
        made = cast("Self", sdk.copied(cast("Any", super()).copy, {"api_key": api_key, **options}, own))
        # The SDK gives every copy a max_retries; only the one that our caller gave counts.
        made.policy = counted_by(options.get("max_retries", openai.NOT_GIVEN), own["policy"])
        # It gives every copy an HTTP client too.
        made.given_http_client = options.get("http_client") or self.given_http_client
        made.last_pace = made.paced_by or self.last_pace
        return made

    with_options = copy

    @property
    def pace(self) -> Mapping[str, ModelPace]:
        """What is known of the pace of each model that was asked so far; empty for a client without a pace."""
        return {} if self.paced_by is None else self.paced_by.models

    @discreet
    def _set_base_url(self, url: str | URL) -> None:
        cast("Any", openai.OpenAI.base_url).fset(self, check_base_url(url, "base_url"))

    if not TYPE_CHECKING:  # type checkers see the SDK's own property
        base_url = openai.OpenAI.base_url.setter(_set_base_url)


class NovitaOpenAI(_Preconfigured[Key], sdk.AnsweringClient, openai.OpenAI):
    """``openai.OpenAI`` for Novita AI; every argument and method of the SDK works, with its own types.

    ``api_key``: the key, or a function that returns it, asked before every request; else ``NOVITA_API_KEY``, else
    the file named by ``NOVITA_API_KEY_FILE``, else :class:`~novita_openai.MissingAPIKeyError`. ``base_url``: else
    ``NOVITA_BASE_URL``, else the service's address; a variable that is empty counts as not set.
    ``policy``: how errors are answered (:class:`RetryPolicy`); ``max_retries``, where it is given, sets the number of
    attempts in place of the policy's ``attempts``.
    ``resume_streams``: a text stream that is cut, ends too early or is silent for longer than ``timeout`` (default:
    10 minutes) is resumed from its text so far, where the policy retries: at most 10 times, of which at most 3 in a
    row bring no new text. Which streams can be resumed, and what that costs: :mod:`novita_openai.client.resumption`.
    ``translate``: what OpenAI accepts in a chat and the service refuses is translated: ``max_completion_tokens`` is
    sent as ``max_tokens``, the role ``developer`` as ``system``; False sends chats as they are.
    ``pace``: True or a :class:`~novita_openai.Pace`: calls to one model wait for their turn, so that they are not
    refused for coming too fast (429); copies share it, and :attr:`pace` reports it.
    ``max_answer_bytes``: the most that is read of a parsed answer, or of an event of a stream, after decompression
    (64 MB); more is an error.
    No OPENAI_* variable changes what is sent.
    """

    _checked = CheckedKey.of
    _received = staticmethod(read_error)
    _answer = staticmethod(answer)
    _streamed = StreamedResponse

    def _request_retried(self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        call = ClientCall if self.paced_by is None else _paced_call()
        return self._run(call(self, cast_to, options, stream, stream_cls, _STREAMS, self._resume))

    def _run(self, request: ClientCall) -> Any:
        attempt = self._attempt if request.policy.deadline is None else self._attempt_in_time
        return request.run(partial(attempt, request))

    def _attempt(self, request: ClientCall, made: int) -> Any:
        kind, options, stream = request.cast_to, request.options_for(made), request.is_stream
        try:
            answer = super().request(kind, options, stream=stream, stream_cls=request.stream_cls)
        except BaseException as error:  # noqa: BLE001 - raised again, without the sent headers
            raise sdk.without_secrets(error, self)  # noqa: B904 - it has its own cause, or is the same
        if request.reading is not None:
            request.reading.start()
        return answer

    def _attempt_in_time(self, request: ClientCall, made: int) -> Any:
        with ending(request.ends):
            return self._attempt(request, made)

    def _resume(self, request: Continuation, failure: Exception) -> Any:
        wait = request.wait_after(failure)
        if wait is None:
            raise failure
        time.sleep(wait)
        return self._run(request)

    if not TYPE_CHECKING:  # type checkers see the SDK's own overloads
        request = _request_retried


class AsyncNovitaOpenAI(_Preconfigured[AsyncKey], sdk.AnsweringClient, openai.AsyncOpenAI):
    """``openai.AsyncOpenAI`` for Novita AI; see :class:`NovitaOpenAI`. A function for the key may be async or not."""

    _checked = AsyncCheckedKey.of
    _received = staticmethod(read_error_async)
    _answer = staticmethod(answer_async)
    _streamed = AsyncStreamedResponse

    async def _request_retried(
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        call = ClientCall if self.paced_by is None else _paced_call()
        return await self._run(call(self, cast_to, options, stream, stream_cls, _ASYNC_STREAMS, self._resume))

    async def _run(self, request: ClientCall) -> Any:
        attempt = self._attempt if request.policy.deadline is None else self._attempt_in_time
        return await request.run_async(partial(attempt, request))

    async def _attempt(self, request: ClientCall, made: int) -> Any:
        kind, options, stream = request.cast_to, request.options_for(made), request.is_stream
        try:
            answer = await super().request(kind, options, stream=stream, stream_cls=request.stream_cls)
        except BaseException as error:  # noqa: BLE001 - raised again, without the sent headers
            raise sdk.without_secrets(error, self)  # noqa: B904 - it has its own cause, or is the same
        if request.reading is not None:
            await request.reading.start()
        return answer

    async def _attempt_in_time(self, request: ClientCall, made: int) -> Any:
        return await in_time_async(self._attempt(request, made), request.remaining(), self)

    async def _resume(self, request: Continuation, failure: Exception) -> Any:
        wait = request.wait_after(failure)
        if wait is None:
            raise failure
        await sleep_async(wait)
        return await self._run(request)

    if not TYPE_CHECKING:  # type checkers see the SDK's own overloads
        request = _request_retried


def _paced_call() -> type[ClientCall]:
    """Return the class of calls that wait for turns, which is imported late, as most clients have no pace."""
    from novita_openai.client.paced import PacedCall

    return PacedCall


OpenAI = NovitaOpenAI
Client = NovitaOpenAI
AsyncOpenAI = AsyncNovitaOpenAI
AsyncClient = AsyncNovitaOpenAI


@discreet
def create_client(
    *, api_key: Key | None = None, base_url: str | URL | None = None, **options: Unpack[ClientOptions]
) -> NovitaOpenAI:
    """Build a client for a busy program: as many idle connections are kept as may be open (1,000).

    Arguments as for :class:`NovitaOpenAI`; an ``http_client`` of your own is used as it is.
    """
    given = options.get("http_client")
    options["http_client"] = given or ClosingHttpClient(limits=sdk.limits(CONNECTIONS))
    client = NovitaOpenAI(api_key=api_key, base_url=base_url, **options)
    client.given_http_client = given
    return client


@discreet
def create_async_client(
    *, api_key: AsyncKey | None = None, base_url: str | URL | None = None, **options: Unpack[ClientOptions]
) -> AsyncNovitaOpenAI:
    """Build an async client for a busy program: over aiohttp where ``novita-openai[fast]`` is installed.

    Arguments as for :class:`AsyncNovitaOpenAI`; an ``http_client`` of your own is used as it is. As many idle
    connections are kept as may be open (1,000). Close it, or use it in ``async with``. aiohttp needs asyncio; under
    trio use :class:`AsyncNovitaOpenAI`.
    """
    given = options.get("http_client")
    options["http_client"] = given or async_http_client(CONNECTIONS)[0]
    client = AsyncNovitaOpenAI(api_key=api_key, base_url=base_url, **options)
    client.given_http_client = given
    return client
