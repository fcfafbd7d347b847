"""What the SDK and its HTTP libraries keep private: no other module names any of it.

Members of classes and parameters of functions (:data:`CLASS_NAMES`), attributes of objects (:data:`CLIENT_NAMES`,
:data:`STREAM_NAMES`), and classes that are recognised by their names, as the SDK changed its HTTP library in 3.0 and
takes clients of both. :func:`check_classes` (when :mod:`novita_openai.client` is imported) and :func:`check_client`
(when the first client is built) raise where a release of the SDK lacks a name, so that no guard vanishes in silence.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Generic, TypedDict, TypeVar

import openai

from novita_openai import __version__

if TYPE_CHECKING:
    from openai._streaming import ServerSentEvent

    Event = ServerSentEvent

_T = TypeVar("_T")

NEWEST_TESTED: Final = "3.57.0"
"""The newest release of ``openai`` that this one was tested with."""

_STREAM: Final = ("__stream__", "_iter_events", "__init__.cast_to")
_CLIENT: Final = ("copy._extra_kwargs", "request.stream_cls")
_OPTIONS: Final = ("method", "url", "headers", "timeout", "files", "json_data", "extra_json", "max_retries")
_CONTENT: Final = () if openai.__version__.startswith("1.") else ("content",)
CLASS_NAMES: Final = {
    "Stream": _STREAM,
    "AsyncStream": _STREAM,
    "APIResponse": ("__init__.cast_to",),
    "AsyncAPIResponse": ("__init__.cast_to",),
    "OpenAI": _CLIENT,
    "AsyncOpenAI": _CLIENT,
    "_constants": ("RAW_RESPONSE_HEADER",),
    "_models.FinalRequestOptions": (*_OPTIONS, *_CONTENT, "get_max_retries"),
}
CLIENT_NAMES: Final = ("_client", "_custom_headers")
STREAM_NAMES: Final = ("_iterator",)


class UnsupportedSDKError(openai.OpenAIError, ImportError):
    """The installed release of ``openai`` lacks what this package leans on, so that its guards would not work."""


def check_classes() -> None:
    """Raise :class:`UnsupportedSDKError` where a class of the SDK lacks a name of :data:`CLASS_NAMES`."""
    paths = (f"{owner}.{name}" for owner, names in CLASS_NAMES.items() for name in names)
    _refuse_without([path for path in paths if not _is_found(path)])


_checked: set[type] = set()


def check_client(client: openai.OpenAI | openai.AsyncOpenAI) -> None:
    """Raise :class:`UnsupportedSDKError` where the first client of its class, or a stream of it, lacks a name."""
    if type(client) in _checked:
        return
    missing = [f"{type(client).__name__}().{name}" for name in CLIENT_NAMES if not hasattr(client, name)]
    kind: Any = openai.Stream if isinstance(client, openai.OpenAI) else openai.AsyncStream
    stream = kind(cast_to=object, response=http_library().Response(200), client=client)
    _refuse_without([*missing, *(f"{kind.__name__}().{name}" for name in STREAM_NAMES if not hasattr(stream, name))])
    _checked.add(type(client))


def _is_found(path: str) -> bool:
    *way, name = path.split(".")
    owner: Any = openai
    for step in way:
        owner = getattr(owner, step, None)
    if callable(owner) and not isinstance(owner, type):
        return name in inspect.signature(owner).parameters
    return hasattr(owner, name) or name in getattr(owner, "__annotations__", ())  # fields of pydantic stand there alone


def _refuse_without(missing: list[str]) -> None:
    if missing:
        raise UnsupportedSDKError(
            f"openai {openai.__version__} has no {', no '.join(missing)}, which novita-openai {__version__} needs."
            f" Install a newer novita-openai, or: pip install 'openai<={NEWEST_TESTED}'"
        )


# Exceptions. Of httpx and httpx2, of aiohttp, of anyio, of pydantic and of the standard library.

VALIDATION_ERROR: Final = "ValidationError"
TIMEOUT: Final = "TimeoutException"
TRANSPORT_ERRORS: Final = ("RequestError", "ClientError")
NETWORK_ERRORS: Final = ("RequestError", "ClientError", "SSLError", "EndOfStream", "OSError")
NEVER_CONNECTED: Final = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ConnectionRefusedError", "gaierror")


def is_named(error: BaseException | None, *names: str) -> bool:
    """Tell whether an exception is of a class of such a name, or of one derived from it."""
    return any(parent.__name__ in names for parent in type(error).__mro__)


def is_network_error(error: BaseException | None) -> bool:
    """Tell whether the network failed, as against a request that can never be sent: its header, its closed client."""
    return is_named(error, *NETWORK_ERRORS) and not is_named(error, "LocalProtocolError")


def lost_connection(error: BaseException) -> BaseException | None:
    """Return aiohttp's own error, of which the transport over it makes a ``ConnectTimeout`` whatever was lost."""
    return next((each for each in _causes(error) if is_named(each, "ClientConnectionError")), None)


def never_connected(error: BaseException) -> bool:
    """Tell whether an error came before there was a connection, so that nothing was sent."""
    if (lost := lost_connection(error)) is not None:
        return is_named(lost, "ClientConnectorError", "ConnectionTimeoutError")
    return any(is_named(each, *NEVER_CONNECTED) for each in _causes(error))


def is_foreign(error: BaseException) -> bool:
    """Tell whether an error of aiohttp slipped through the SDK, or stands behind one and holds the headers sent."""
    return is_named(error, "ClientError") or is_named(error.__cause__, "ClientResponseError")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what caused it, and so on."""
    yield error
    if error.__cause__ is not None:
        yield from _causes(error.__cause__)


# Requests: the options that the SDK's request() takes.


@cache
def raw_response_header() -> str:
    """Return the request header by which the SDK marks calls of ``with_raw_response``."""
    return str(import_module("openai._constants").RAW_RESPONSE_HEADER)


def body_of(options: Any) -> Any:
    """Return the JSON body of a request, None without one."""
    return options.json_data


def extra_body_of(options: Any) -> Mapping[str, Any]:
    """Return what ``extra_body`` adds to the body."""
    return options.extra_json or {}


def with_body(options: Any, url: str, body: Mapping[str, Any]) -> Any:
    """Return a copy of a request's options for another address and body."""
    options = copy.copy(options)
    options.url, options.json_data, options.extra_json = url, body, None
    return options


def raw_content_of(options: Any) -> Any:
    """Return content that is sent as it is, None without any, as always before SDK 2.0."""
    return vars(options).get("content")


def retries_of(options: Any, client: Any) -> int:
    """Return how often the SDK would send a request again: the call's ``max_retries``, else the client's."""
    return int(options.get_max_retries(client.max_retries))


def bare_request(client: Any, method: str = "POST") -> Any:
    """Return a request without key and body, as every connection error of the SDK carries one."""
    return client._client.build_request(method, client.base_url)  # noqa: SLF001 - this module's purpose


async def options_of_post(client: Any, path: str) -> Any:
    """Return the options that ``client.post`` makes for a path below the base URL, answered as the HTTP response."""
    taken: list[Any] = []

    async def take(_: Any, options: Any, **__: Any) -> None:
        taken.append(options)

    client.request = take
    try:
        await client.post(f"{client.base_url}".rstrip("/") + path, cast_to=http_library().Response)
    finally:
        del client.request
    return taken[0]


def with_content(options: Any, content: bytes) -> Any:
    """Return a copy of a request's options that sends these bytes."""
    options = copy.copy(options)
    setattr(options, _content_field(), content)
    return options


@cache
def _content_field() -> str:
    """Since 2.0 raw content has a place of its own."""
    return "content" if "content" in inspect.signature(openai.AsyncOpenAI.post).parameters else "json_data"


_CHAT_CHUNK: Final = "ChatCompletionChunk"
_CHUNKS: Final = (_CHAT_CHUNK, "Completion")
_TEXT_PATHS: Final = ("/chat/completions", "/completions")


def is_text_stream(stream_cls: Any, base: type, url: str) -> bool:
    """Tell whether a stream is one of chat completions or completions, whose end can be told.

    By the name of its chunks, as importing the types would cost programs that never stream. Raises
    :class:`UnsupportedSDKError` where the SDK has another name for them.
    """
    chunk = getattr(stream_cls, "__args__", (None,))[0]
    if getattr(stream_cls, "__origin__", None) is not base:
        return False
    name = getattr(chunk, "__name__", "")
    if url in _TEXT_PATHS and name not in _CHUNKS and getattr(chunk, "__module__", "").startswith("openai."):
        _refuse_without([f"chunks of {url} named {' or '.join(_CHUNKS)} (they are {name})"])
    return name in _CHUNKS


def is_chat_chunk(kind: Any) -> bool:
    """Tell whether the chunks of a stream are those of a chat."""
    return getattr(kind, "__name__", "") == _CHAT_CHUNK


class Stream(openai.Stream[_T]):
    """The SDK's stream with its private steps under public names; a subclass overrides ``chunks`` and ``events``.

    It names ``openai.Stream[T]`` as its second base, as the SDK looks for the type of the chunks among the bases of the
    class itself. Leaving its loop closes it.
    """

    def __init__(self, **options: Any) -> None:
        self.kind = options["cast_to"]
        super().__init__(**options)

    def chunks(self) -> Iterator[_T]:
        """Yield all that the stream gives out; here: what the SDK makes of ``events``."""
        return super().__stream__()

    def events(self) -> Iterator[Event]:
        """Yield the events that the SDK is to read; here: all that the server sent."""
        return super()._iter_events()

    def put_back(self, chunk: _T) -> None:
        """Have a chunk that was read already be given out next."""
        self._iterator: Iterator[_T] = chain((chunk,), self._iterator)

    def __iter__(self) -> Iterator[_T]:
        try:
            yield from self._iterator
        finally:
            self.close()

    def __stream__(self) -> Iterator[_T]:
        return self.chunks()

    def _iter_events(self) -> Iterator[Any]:
        return self.events()


class AsyncStream(openai.AsyncStream[_T]):
    """The async twin of :class:`Stream`."""

    def __init__(self, **options: Any) -> None:
        self.kind = options["cast_to"]
        super().__init__(**options)

    def chunks(self) -> AsyncIterator[_T]:
        """Yield all that the stream gives out; here: what the SDK makes of ``events``."""
        return super().__stream__()

    def events(self) -> AsyncIterator[Event]:
        """Yield the events that the SDK is to read; here: all that the server sent."""
        return super()._iter_events()

    def put_back(self, chunk: _T) -> None:
        """Have a chunk that was read already be given out next."""
        self._iterator: AsyncIterator[_T] = _AsyncChain(chunk, self._iterator)

    async def __aiter__(self) -> AsyncIterator[_T]:
        try:
            async for chunk in self._iterator:
                yield chunk
        finally:
            await self.close()

    def __stream__(self) -> AsyncIterator[_T]:
        return self.chunks()

    def _iter_events(self) -> AsyncIterator[Any]:
        return self.events()


class _AsyncChain(Generic[_T]):
    """A chunk, and then the rest of a stream, without a frame of its own around each."""

    def __init__(self, first: _T, rest: AsyncIterator[_T]) -> None:
        self._ahead, self._rest = [first], rest

    def __aiter__(self) -> AsyncIterator[_T]:
        return self

    def __anext__(self) -> Any:
        return self._first() if self._ahead else self._rest.__anext__()

    async def _first(self) -> _T:
        return self._ahead.pop()


class PrivateClientOptions(TypedDict, total=False):
    """Arguments of the SDK's constructors."""

    _strict_response_validation: bool
    _enforce_credentials: bool


class PrivateCopyOptions(TypedDict, total=False):
    """Arguments of the SDK's ``copy``."""

    _enforce_credentials: bool | None
    _extra_kwargs: Mapping[str, Any]


def copied(sdk_copy: Callable[..., _T], options: Mapping[str, Any], own: Mapping[str, Any]) -> _T:
    """Call the SDK's ``copy`` so that the constructor of the copy gets arguments of our own too."""
    return sdk_copy(**{**options, "_extra_kwargs": {**own, **options.get("_extra_kwargs", {})}})


def isolate(client: openai.OpenAI | openai.AsyncOpenAI, options: Mapping[str, Any]) -> None:
    """Take back what the SDK has read from OPENAI_* variables: only arguments count."""
    for name in ("organization", "project", "webhook_secret", "admin_api_key"):
        setattr(client, name, options.get(name))
    client._custom_headers = dict(options.get("default_headers") or {})  # noqa: SLF001 - there is no public way


@cache
def http_library() -> Any:
    """Return the HTTP library that the SDK's release uses: httpx, since 3.0 httpx2."""
    return import_module(type(openai.DEFAULT_CONNECTION_LIMITS).__module__.partition(".")[0])


def limits(connections: int) -> Any:
    """Return the HTTP library's limits that keep as many idle connections as may be open."""
    return http_library().Limits(max_connections=connections, max_keepalive_connections=connections)
