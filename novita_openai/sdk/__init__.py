"""All that we use of what the SDK and its HTTP libraries keep private; no other module uses private names of theirs.

These are members of classes and parameters of functions (:data:`CLASS_NAMES`), attributes of objects
(:data:`CLIENT_NAMES`, :data:`STREAM_NAMES`), and exceptions that are recognised by the names of their classes, as the
SDK changed its HTTP library in 3.0 and takes clients of both libraries (``exceptions``). :func:`check_classes` (when
:mod:`novita_openai.client` is imported) and :func:`check_client` (when the first client is built) raise if the SDK
lacks one of the listed names, as the checks of answers and streams would silently stop working.
"""

# ruff: noqa: SLF001 - this module's purpose
from __future__ import annotations

import copy
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final, TypedDict, TypeVar

import openai

from novita_openai import __version__
from novita_openai.sdk.answering import *  # noqa: F403 - all that these two offer is offered here
from novita_openai.sdk.exceptions import *  # noqa: F403
from novita_openai.sdk.exceptions import forget_frames, is_foreign, replacement_cause
from novita_openai.sdk.library import http_library as http_library
from novita_openai.sdk.library import limits as limits

_T = TypeVar("_T")

NEWEST_TESTED: Final = "3.57.0"
"""The newest release of ``openai`` that this one was tested with."""

_STEP: Final = ("_process_response.cast_to", "_process_response.response", "_process_response.stream")
_CLIENT: Final = ("copy._extra_kwargs", "request.stream_cls", "_should_stream_response_body.request", *_STEP)
_OPTIONS: Final = ("method", "url", "headers", "timeout", "files", "json_data", "extra_json", "max_retries")
_CONTENT: Final = () if openai.__version__.startswith("1.") else ("content",)
CLASS_NAMES: Final = {
    "Stream": ("__init__.cast_to",),
    "AsyncStream": ("__init__.cast_to",),
    "APIResponse": ("__init__.cast_to",),
    "AsyncAPIResponse": ("__init__.cast_to",),
    "OpenAI": _CLIENT,
    "AsyncOpenAI": (*_CLIENT, "_build_request", "_make_status_error_from_response"),
    "_streaming.SSEBytesDecoder": ("iter_bytes", "aiter_bytes"),
    "_constants": ("RAW_RESPONSE_HEADER",),
    "_models.FinalRequestOptions": (*_OPTIONS, *_CONTENT, "get_max_retries", "post_parser"),
}
CLIENT_NAMES: Final = ("_client", "_custom_headers")
STREAM_NAMES: Final = ("_iterator", "_decoder", "_cast_to")


class UnsupportedSDKError(openai.OpenAIError, ImportError):
    """The installed release of ``openai`` lacks a private name that this package needs to check answers."""


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
    return hasattr(owner, name) or name in getattr(owner, "__annotations__", ())  # where pydantic keeps its fields


def _refuse_without(missing: list[str]) -> None:
    if missing:
        raise UnsupportedSDKError(
            f"openai {openai.__version__} has no {', no '.join(missing)}, which novita-openai {__version__} needs."
            f" Install a newer novita-openai, or: pip install 'openai<={NEWEST_TESTED}'"
        )


# Requests: the options that the SDK's request() takes.


def body_of(options: Any) -> Any:
    """Return the JSON body of a request, None without one."""
    return options.json_data


def extra_body_of(options: Any) -> Mapping[str, Any]:
    """Return what ``extra_body`` adds to the body."""
    return options.extra_json or {}


def with_body(options: Any, url: str, body: Mapping[str, Any], extra: Mapping[str, Any] | None = None) -> Any:
    """Return a copy of a request's options for another address and body."""
    options = copy.copy(options)
    options.url, options.json_data, options.extra_json = url, body, extra
    return options


def with_parser(options: Any, parse: Callable[[Any], Any]) -> Any:
    """Make the SDK give what it has built of a response to a function, before the ``post_parser`` of the options."""
    then = options.post_parser
    options.post_parser = parse if isinstance(then, openai.NotGiven) else lambda built: then(parse(built))
    return options


def raw_content_of(options: Any) -> Any:
    """Return the raw content that is sent as it is; None if there is none, which is always so before SDK 2.0."""
    return vars(options).get("content")


def retries_of(options: Any, client: Any) -> int:
    """Return how often the SDK would send a request again: the call's ``max_retries``, else the client's."""
    return int(options.get_max_retries(client.max_retries))


def bare_request(client: Any, method: str = "POST") -> Any:
    """Return a request without key and body: each connection error of the SDK must hold a request."""
    return client._client.build_request(method, client.base_url)


def without_secrets(error: BaseException, client: Any) -> BaseException:
    """Return an error without what holds the sent headers, and the key; one over aiohttp as the SDK has it over httpx.

    Other errors are returned as they are.
    """
    if not is_foreign(error):
        return error
    forget_frames(error)
    is_to_go, cause = replacement_cause(error)
    if not is_to_go:
        return error
    found = openai.APIConnectionError(request=bare_request(client))
    found.__cause__ = cause
    return found


def twin_of(http_client: Any) -> Any:
    """Return a copy of an HTTP client, to be closed without it: its connections are closed, and it makes others."""
    twin = copy.copy(http_client)
    twin._transport = copy.copy(http_client._transport)
    twin._mounts = {pattern: copy.copy(transport) for pattern, transport in http_client._mounts.items()}
    return twin


async def options_of_post(client: Any, path: str) -> Any:
    """Return the options that ``client.post`` makes for a path below the base URL and an answer that is not parsed."""
    taken: list[Any] = []

    async def take(_: Any, options: Any, **__: Any) -> None:
        taken.append(options)

    client.request = take
    try:
        await client.post(f"{client.base_url}".rstrip("/") + path, cast_to=http_library().Response)
    finally:
        del client.request
    return taken[0]


def with_raw_content(options: Any, content: bytes) -> Any:
    """Return a copy of a request's options that sends these bytes; since SDK 2.0 they have a field of their own."""
    options = copy.copy(options)
    setattr(options, "content" if _CONTENT else "json_data", content)
    return options


_CHAT_CHUNK: Final = "ChatCompletionChunk"
_CHUNKS: Final = (_CHAT_CHUNK, "Completion")
_TEXT_PATHS: Final = ("/chat/completions", "/completions")


def is_text_stream(stream_cls: Any, base: type, url: str) -> bool:
    """Tell whether a stream is one of chat completions or completions, which say when they are complete.

    The name of the chunks' class decides, as importing it is slow. Raises :class:`UnsupportedSDKError` at another one.
    """
    chunk = getattr(stream_cls, "__args__", (None,))[0]
    if getattr(stream_cls, "__origin__", None) is not base:
        return False
    name = getattr(chunk, "__name__", "")
    if url in _TEXT_PATHS and name not in _CHUNKS and getattr(chunk, "__module__", "").startswith("openai."):
        _refuse_without([f"chunks of {url} named {' or '.join(_CHUNKS)} (they are {name})"])
    return name in _CHUNKS


class Event:
    """One event of a stream as the SDK reads it, its JSON already decoded."""

    __slots__ = ("data", "value")
    event = id = retry = None

    def __init__(self, data: str, value: object) -> None:
        self.data, self.value = data, value

    def json(self) -> object:
        """Return the decoded JSON."""
        return self.value


class _Decoded:
    """What decodes the bytes of a stream for the SDK; this one gives events that are decoded elsewhere."""

    def __init__(self, events: Any) -> None:
        self.iter_bytes = self.aiter_bytes = lambda _: events


def feed(stream: Any, events: Callable[[Any], Any]) -> None:
    """Make a stream of the SDK read the events that a function makes with its decoder of bytes."""
    stream._decoder = _Decoded(events(stream._decoder))


class _Around:
    """A stream of the SDK around another one, which may be of a class that a tracer has derived from the SDK's.

    ``chunks`` reads ``source``; all that it yields passes ``_iterator``, which tracers replace. Leaving the loop over a
    stream closes it.
    """

    chunks: Callable[[], Any]

    def __init__(self, source: Any) -> None:
        vars(self).update(vars(source))
        self.source, self.decoder = source, source._decoder
        self.is_chat = source._cast_to.__name__ == _CHAT_CHUNK
        self._iterator = self.chunks()


class Stream(_Around, openai.Stream[_T]):
    """Yields what ``chunks`` yields."""

    def __iter__(self) -> Iterator[_T]:
        try:
            yield from self._iterator
        finally:
            self.close()


class AsyncStream(_Around, openai.AsyncStream[_T]):
    """Yields what ``chunks`` yields."""

    async def __aiter__(self) -> AsyncIterator[_T]:
        try:
            async for chunk in self._iterator:
                yield chunk
        finally:
            await self.close()


def is_text(stream: Any) -> bool:
    """Tell whether a stream is one of chat completions or completions."""
    return getattr(getattr(stream, "_cast_to", None), "__name__", "") in _CHUNKS


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
    """Undo what the SDK has read from OPENAI_* variables: only arguments count."""
    for name in ("organization", "project", "webhook_secret", "admin_api_key"):
        setattr(client, name, options.get(name))
    client._custom_headers = dict(options.get("default_headers") or {})
