"""The SDK's clients, preconfigured: key and address lookup, isolation from OPENAI_* variables, retries by the table.

Everything the SDK offers ends in its public ``request()``; the one override of it here is where retries happen and
where an answer that is none becomes an error. The two clients differ in ``await`` alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict, Unpack, cast

import openai

from novita_openai.client.answers import AsyncGuardedResponse, GuardedResponse, guarded, guarded_async
from novita_openai.client.attempts import Guards, Request
from novita_openai.client.settings import (
    URL,
    AsyncCheckedKey,
    CheckedKey,
    MissingAPIKeyError,
    check_key,
    find_base_url,
    find_key,
)
from novita_openai.client.streams import AsyncGuardedStream, GuardedStream
from novita_openai.retry import RetryPolicy

__all__ = [
    "AsyncNovitaOpenAI",
    "AsyncOpenAI",
    "MissingAPIKeyError",
    "NovitaOpenAI",
    "OpenAI",
    "create_async_client",
    "create_client",
]


_GUARDS: Final = Guards(GuardedResponse, GuardedStream, openai.APIResponse, openai.Stream)
_ASYNC_GUARDS: Final = Guards(AsyncGuardedResponse, AsyncGuardedStream, openai.AsyncAPIResponse, openai.AsyncStream)


class _SharedOptions(TypedDict, total=False):
    organization: str | None
    project: str | None
    webhook_secret: str | None
    timeout: float | openai.Timeout | openai.NotGiven | None
    default_headers: Mapping[str, str] | None
    default_query: Mapping[str, object] | None
    # Their types are not the same in every release of the SDK, or are no types of the SDK.
    websocket_base_url: Any
    http_client: Any
    admin_api_key: Any
    workload_identity: Any
    provider: Any
    data_residency: Any


class ClientOptions(_SharedOptions, total=False):
    """The SDK's own arguments, with the SDK's meaning; older releases refuse what they do not know."""

    max_retries: int
    _strict_response_validation: bool
    _enforce_credentials: bool


class CopyOptions(_SharedOptions, total=False):
    """The SDK's own arguments of ``copy`` and ``with_options``, alike."""

    base_url: Any
    max_retries: int | openai.NotGiven
    set_default_headers: Mapping[str, str] | None
    set_default_query: Mapping[str, object] | None
    _enforce_credentials: bool | None
    _extra_kwargs: Mapping[str, Any]


class NovitaOpenAI(openai.OpenAI):
    """``openai.OpenAI`` for Novita AI; every argument and method of the SDK works, with its own types.

    ``api_key``: the key, or a function that returns it, asked before every request; else ``NOVITA_API_KEY``, else
    the file named by ``NOVITA_API_KEY_FILE``, else :class:`MissingAPIKeyError`. ``base_url``: else
    ``NOVITA_BASE_URL``, else the service's address. ``policy``: how errors are answered (:class:`RetryPolicy`).
    ``resume_streams``: a text stream that is cut, ends too early or is silent for longer than ``timeout`` (10 minutes
    unless told) goes on from its text so far, where the policy retries: at most 10 times, 3 of them in a row without
    new text. What can be gone on with, and how exactly, is told in :mod:`novita_openai.client.resumption`.
    No OPENAI_* variable changes what is sent.
    """

    policy: RetryPolicy
    resume_streams: bool

    def __init__(
        self,
        *,
        api_key: str | Callable[[], str] | None = None,
        base_url: str | URL | None = None,
        policy: RetryPolicy | None = None,
        resume_streams: bool = False,
        **options: Unpack[ClientOptions],
    ) -> None:
        key = find_key() if api_key is None else api_key
        key = CheckedKey.of(key) if callable(key) else check_key(key, "api_key")
        super().__init__(api_key=key, base_url=find_base_url(base_url), **options)
        _isolate(self, options)
        self.policy = policy or RetryPolicy()
        self.resume_streams = resume_streams

    def copy(
        self,
        *,
        api_key: str | Callable[[], str] | None = None,
        policy: RetryPolicy | None = None,
        resume_streams: bool | None = None,
        **options: Unpack[CopyOptions],
    ) -> Self:
        """Return a client with some options changed, on the same connections; what is None stays as it is."""
        resumes = self.resume_streams if resume_streams is None else resume_streams
        extra = {"policy": policy or self.policy, "resume_streams": resumes, **options.pop("_extra_kwargs", {})}
        return super().copy(api_key=api_key, **cast("Any", options), _extra_kwargs=extra)

    with_options = copy

    def _request_retried(self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        return self._run(Request(self, cast_to, options, stream=stream, stream_cls=stream_cls, guards=_GUARDS))

    def _run(self, request: Request) -> Any:
        send, stream = super().request, request.is_stream

        def attempt(made: int) -> Any:
            answer = send(request.cast_to, request.options_for(made), stream=stream, stream_cls=request.stream_cls)
            if request.is_resumed:
                request.make_resumable(answer, self._run)
            if request.is_started:
                answer.start()
            if request.is_parsed:
                return guarded(answer.parse, answer.http_response, request.kind)
            return request.raw(answer, made)

        return request.run(attempt)

    if not TYPE_CHECKING:  # type checkers see the SDK's own overloads
        request = _request_retried


class AsyncNovitaOpenAI(openai.AsyncOpenAI):
    """``openai.AsyncOpenAI`` for Novita AI; see :class:`NovitaOpenAI`. A function for the key may be async or not."""

    policy: RetryPolicy
    resume_streams: bool

    def __init__(
        self,
        *,
        api_key: str | Callable[[], str] | Callable[[], Awaitable[str]] | None = None,
        base_url: str | URL | None = None,
        policy: RetryPolicy | None = None,
        resume_streams: bool = False,
        **options: Unpack[ClientOptions],
    ) -> None:
        key = find_key() if api_key is None else api_key
        key = AsyncCheckedKey.of(key) if callable(key) else check_key(key, "api_key")
        super().__init__(api_key=key, base_url=find_base_url(base_url), **options)
        _isolate(self, options)
        self.policy = policy or RetryPolicy()
        self.resume_streams = resume_streams

    def copy(
        self,
        *,
        api_key: str | Callable[[], str] | Callable[[], Awaitable[str]] | None = None,
        policy: RetryPolicy | None = None,
        resume_streams: bool | None = None,
        **options: Unpack[CopyOptions],
    ) -> Self:
        """Return a client with some options changed, on the same connections; what is None stays as it is."""
        resumes = self.resume_streams if resume_streams is None else resume_streams
        extra = {"policy": policy or self.policy, "resume_streams": resumes, **options.pop("_extra_kwargs", {})}
        return super().copy(api_key=cast("Any", api_key), **cast("Any", options), _extra_kwargs=extra)

    with_options = copy

    async def _request_retried(
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        request = Request(self, cast_to, options, stream=stream, stream_cls=stream_cls, guards=_ASYNC_GUARDS)
        return await self._run(request)

    async def _run(self, request: Request) -> Any:
        send, stream = super().request, request.is_stream

        async def attempt(made: int) -> Any:
            sent = request.options_for(made)
            try:
                answer = await send(request.cast_to, sent, stream=stream, stream_cls=request.stream_cls)
            except Exception as error:
                request.refuse_foreign(error)
                raise
            if request.is_resumed:
                request.make_resumable(answer, self._run)
            if request.is_started:
                await answer.start()
            if request.is_parsed:
                return await guarded_async(answer.parse, answer.http_response, request.kind)
            return request.raw(answer, made)

        return await request.run_async(attempt)

    if not TYPE_CHECKING:  # type checkers see the SDK's own overloads
        request = _request_retried


OpenAI = NovitaOpenAI
AsyncOpenAI = AsyncNovitaOpenAI


def create_client(
    *,
    api_key: str | Callable[[], str] | None = None,
    base_url: str | URL | None = None,
    policy: RetryPolicy | None = None,
    resume_streams: bool = False,
    **options: Unpack[ClientOptions],
) -> NovitaOpenAI:
    """Build a client for a busy program: as many idle connections are kept as may be open (1,000).

    Arguments as for :class:`NovitaOpenAI`; an ``http_client`` of your own is used as it is.
    """
    options["http_client"] = options.get("http_client") or _ClosingClient(limits=_LIMITS)
    return NovitaOpenAI(api_key=api_key, base_url=base_url, policy=policy, resume_streams=resume_streams, **options)


def create_async_client(
    *,
    api_key: str | Callable[[], str] | Callable[[], Awaitable[str]] | None = None,
    base_url: str | URL | None = None,
    policy: RetryPolicy | None = None,
    resume_streams: bool = False,
    **options: Unpack[ClientOptions],
) -> AsyncNovitaOpenAI:
    """Build an async client for a busy program: over aiohttp where ``novita-openai[fast]`` is installed.

    Arguments as for :class:`AsyncNovitaOpenAI`; an ``http_client`` of your own is used as it is. As many idle
    connections are kept as may be open (1,000). Close it, or use it in ``async with``. aiohttp needs asyncio; under
    trio use :class:`AsyncNovitaOpenAI`.
    """
    options["http_client"] = options.get("http_client") or _async_transport()
    return AsyncNovitaOpenAI(
        api_key=api_key, base_url=base_url, policy=policy, resume_streams=resume_streams, **options
    )


# The type is taken from the SDK's own limits, as its HTTP library is not the same in every release.
_LIMITS: Final = type(openai.DEFAULT_CONNECTION_LIMITS)(max_connections=1000, max_keepalive_connections=1000)


class _ClosingClient(openai.DefaultHttpxClient):
    """Closes its connections when it is collected, as the client that the SDK makes for itself does."""

    def __del__(self) -> None:
        with suppress(AttributeError):  # half made, as where a proxy's address is wrong
            self.close()


def _async_transport() -> Any:
    try:
        return openai.DefaultAioHttpClient(limits=_LIMITS)
    except RuntimeError:  # the SDK's word for "aiohttp is not installed"
        return openai.DefaultAsyncHttpxClient(limits=_LIMITS)


def _isolate(client: openai.OpenAI | openai.AsyncOpenAI, options: ClientOptions) -> None:
    """Take back what the SDK has read from OPENAI_* variables: only arguments count."""
    for name in ("organization", "project", "webhook_secret", "admin_api_key"):
        setattr(client, name, options.get(name))
    client._custom_headers = dict(options.get("default_headers") or {})  # noqa: SLF001 - there is no public way
