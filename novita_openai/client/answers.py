"""Replies with a success status that hold no answer: an error object, a web page, nothing, half an answer.

The SDK hands these out as objects full of None, as text, or as a foreign exception. Here they become SDK errors: the
status error that the word in the body names, else ``APIResponseValidationError``. So they are classified and retried as
if they had come with an error status. A good answer costs no more than one look at the parsed object.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin

import openai

from novita_openai import sdk
from novita_openai.client.bodies import read, read_async
from novita_openai.client.events import is_end, is_failure, names_error
from novita_openai.client.hosted import LISTS, as_promised
from novita_openai.client.status_errors import status_error
from novita_openai.sdk.replies import with_readable_text

__all__ = [
    "AsyncGuardedResponse",
    "AsyncStreamedResponse",
    "GuardedResponse",
    "StreamedResponse",
    "answer",
    "answer_async",
    "is_guardable",
    "is_whole_body",
    "refuse",
]

_T = TypeVar("_T")


def answer(make: Callable[[Any, Any], Any], response: Any, kind: Any, mode: str | None, most: float) -> Any:
    """Return ``make(kind, response)``, what the SDK makes of a response; raise an SDK error if it holds no answer.

    ``mode`` is None for a parsed answer, "true" for a raw one, which must be an answer all the same, and "stream" for
    one that is read and parsed later. ``most``: the bytes that are read of a parsed answer.
    """
    is_json = is_guardable(kind)
    if mode == "stream":
        return make(cast("Any", GuardedResponse)[kind] if is_json else kind, response)
    response = read(response, most if mode is None and (is_json or kind is NoneType) else math.inf)
    if mode is None and is_json:
        return as_promised(guarded(partial(make, kind, response), response, kind), response)
    refuse(response, kind)
    return make(kind, response)


async def answer_async(
    make: Callable[[Any, Any], Awaitable[Any]], response: Any, kind: Any, mode: str | None, most: float
) -> Any:
    """Do the same for the async client."""
    is_json = is_guardable(kind)
    if mode == "stream":
        return await make(cast("Any", AsyncGuardedResponse)[kind] if is_json else kind, response)
    response = await read_async(response, most if mode is None and (is_json or kind is NoneType) else math.inf)
    if mode is None and is_json:
        return as_promised(await guarded_async(partial(make, kind, response), response, kind), response)
    refuse(response, kind)
    return await make(kind, response)


def guarded(parse: Callable[[], Any], response: Any, kind: Any) -> Any:
    """Parse a response as the SDK does; raise an SDK error if its body holds no answer."""
    try:
        parsed = parse()
    except Exception as error:
        _refuse_behind(error, response, kind)
        raise
    if not _is_whole(parsed, kind):
        refuse(response, kind)
    return parsed


async def guarded_async(parse: Callable[[], Awaitable[Any]], response: Any, kind: Any) -> Any:
    """Do the same for the async client."""
    try:
        parsed = await parse()
    except Exception as error:
        _refuse_behind(error, response, kind)
        raise
    if not _is_whole(parsed, kind):
        refuse(response, kind)
    return parsed


class GuardedResponse(openai.APIResponse[_T]):
    """The SDK's response, for ``with_streaming_response``: ``parse`` gives a whole answer or raises an SDK error."""

    def __init__(self, **options: Any) -> None:
        self.kind = options["cast_to"]
        super().__init__(**options)

    def parse(self, *, to: Any = None) -> Any:
        """Parse the body as the SDK does."""
        return guarded(partial(super().parse, to=to), self.http_response, to or self.kind)


class AsyncGuardedResponse(openai.AsyncAPIResponse[_T]):
    """The async twin of :class:`GuardedResponse`."""

    def __init__(self, **options: Any) -> None:
        self.kind = options["cast_to"]
        super().__init__(**options)

    async def parse(self, *, to: Any = None) -> Any:
        """Parse the body as the SDK does."""
        return await guarded_async(partial(super().parse, to=to), self.http_response, to or self.kind)


class StreamedResponse(openai.APIResponse[_T]):
    """The SDK's response, for ``with_streaming_response`` of a stream: closes what has resumed the stream too."""

    parsed: Any = None

    def parse(self, *, to: Any = None) -> Any:
        """Return the stream."""
        self.parsed = super().parse(to=to)
        return self.parsed

    def close(self) -> None:
        """Close the response, and the one that the stream has gone on with."""
        super().close()
        if self.parsed is not None:
            self.parsed.close()


class AsyncStreamedResponse(openai.AsyncAPIResponse[_T]):
    """The async twin of :class:`StreamedResponse`."""

    parsed: Any = None

    async def parse(self, *, to: Any = None) -> Any:
        """Return the stream."""
        self.parsed = await super().parse(to=to)
        return self.parsed

    async def close(self) -> None:
        """Close the response, and the one that the stream has gone on with."""
        await super().close()
        if self.parsed is not None:
            await self.parsed.close()


@lru_cache(maxsize=256)
def is_guardable(kind: Any) -> bool:
    """Tell whether answers of this type are JSON, so that a web page or an empty body cannot be one."""
    origin = get_origin(kind) or kind
    if origin in _UNTYPED:
        return True
    return isinstance(origin, type) and issubclass(origin, openai.BaseModel)


_UNTYPED: Final = (object, dict, list, Union, UnionType)


def refuse(response: Any, kind: Any, cause: Exception | None = None) -> None:
    """Raise an SDK error if a response holds no answer of the wanted type.

    ``response`` is the SDK's HTTP response, its body read.
    """
    problem = _problem(with_readable_text(response), kind) if is_guardable(kind) else None
    try:
        if problem is not None:
            raise problem from cause
    finally:
        del problem, cause  # a frame that holds the error it raises would keep both alive


def _refuse_behind(error: Exception, response: Any, kind: Any) -> None:
    """Raise the SDK error for an exception that parsing raised; return if that one is to be raised as it is."""
    try:
        if isinstance(error, openai.OpenAIError):
            return
        if sdk.is_named(error, sdk.TIMEOUT):
            raise openai.APITimeoutError(request=response.request) from error
        if sdk.is_named(error, *sdk.TRANSPORT_ERRORS):
            raise openai.APIConnectionError(request=response.request) from error
        if response.is_stream_consumed:
            # An answer may not fit the user's pydantic model because it is not whole, which is no fault of the model's.
            is_the_users = sdk.is_named(error, sdk.VALIDATION_ERROR)
            refuse(response, kind, None if is_the_users else error)
            is_unreadable = isinstance(error, (TypeError, ValueError, AttributeError)) and not is_the_users
            if is_unreadable and _wanted(kind) is not None:
                raise openai.APIResponseValidationError(response, response.text, message=_UNREADABLE) from error
    finally:
        del error


_UNREADABLE: Final = "The answer cannot be read: its parts are not what they should be."


def _problem(response: Any, kind: Any) -> openai.APIError | None:
    if response.status_code in _WITHOUT_BODY and _wanted(kind) is None:
        return None
    try:
        body: object = response.json()
    except (ValueError, RecursionError):
        media_type, size = response.headers.get("content-type", "no content type"), len(response.content)
        if kind in _UNTYPED and not ("json" in media_type or "html" in media_type):
            return None  # the SDK returns bodies of other media types as text
        message = f"Expected a JSON answer, got {size} bytes that are not JSON ({media_type})."
        return openai.APIResponseValidationError(response, response.text, message=message)
    if (wanted := _wanted(kind)) is None:
        fits = isinstance(body, dict) or (get_origin(kind) or kind) in _UNTYPED
        flaw = None if fits else "The answer lacks what was asked for: a JSON object."
    else:
        flaw = _flaw(body, wanted)
    error = status_error(response, body) if flaw or (wanted is None and _is_mere_error(body)) else None
    if error is not None or flaw is None:
        return error
    return openai.APIResponseValidationError(response, body, message=flaw)


_WITHOUT_BODY: Final = (204, 205)


def _is_mere_error(body: object) -> bool:
    """Tell whether a body holds an error and nothing else; a failed job names one among other things."""
    return isinstance(body, dict) and body.keys() <= {"code", "reason", "message", "metadata", "error"}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The list that an answer must hold: its name, the field that its items must have, and what else it may be.

    ``part``: the classes that this field, or without one the item itself, may be of.
    """

    name: str
    item: str | None
    part: Any
    can_be_empty: bool
    can_be_null: bool


@lru_cache(maxsize=256)
def _wanted(kind: Any) -> _Wanted | None:
    """Return the list that an answer of this type must hold: ``choices``, or ``data``."""
    for name in ("choices", "data"):
        annotation = _annotation(kind, name)
        if get_origin(annotation) is list:
            item = next((each for each in ("message", "text") if _annotation(get_args(annotation)[0], each)), None)
            item = item if name == "choices" else None
            is_page, can_be_null = hasattr(kind, "has_next_page"), getattr(kind, "__name__", "") in LISTS
            part = str if item == "text" else (dict, openai.BaseModel)
            return _Wanted(name, item, part, can_be_empty=is_page, can_be_null=can_be_null)
    return None


def _annotation(kind: Any, name: str) -> Any:
    parents = getattr(get_origin(kind) or kind, "__mro__", ())
    return next((found for parent in parents if (found := inspect.get_annotations(parent).get(name))), None)


def _is_whole(parsed: Any, kind: Any) -> bool:
    """Tell whether a parsed object holds a whole answer. This is quick, as it is asked of every answer."""
    if wanted := _wanted(kind):
        return _flaw(parsed, wanted) is None
    fields = parsed if isinstance(parsed, dict) else getattr(parsed, "model_extra", None)
    return fields is not None and "reason" not in fields and "error" not in fields


def is_whole_body(body: object, kind: Any) -> bool:
    """Tell whether a decoded body holds a whole answer; types without a list are not checked."""
    wanted = _wanted(kind)
    return wanted is None or _flaw(body, wanted) is None


def _flaw(holder: Any, wanted: _Wanted) -> str | None:
    """Say what keeps a body or a parsed object from being a whole answer, None where nothing does."""
    fields, failure = _fields(holder), None
    items = fields.get(wanted.name)
    if items is None and wanted.can_be_null and _names(holder, wanted.name):
        return None
    if not isinstance(items, list) or not (items or wanted.can_be_empty):
        return _LACKING.format(wanted.name)
    for item in items:
        said = _fields(item)
        part, reason = item if wanted.item is None else said.get(wanted.item), said.get("finish_reason")
        if not isinstance(part, wanted.part) and not (part is None and wanted.item == "text" and is_end(reason)):
            return _LACKING.format(wanted.name)
        failure = reason if is_failure(reason) else failure
    if wanted.name != "choices":
        return None
    if (error := fields.get("error")) and names_error(error):
        return f"The answer is not whole: the service says {error!r} beside the choices."
    return None if failure is None else f"The answer is not whole: its finish_reason is {failure!r}."


_LACKING: Final = "The answer lacks what was asked for: {}."


def _names(holder: Any, name: str) -> bool:
    """Tell whether a body or a parsed object has a field, be it null."""
    return name in (holder if isinstance(holder, dict) else holder.model_fields_set)


def _fields(holder: Any) -> Mapping[str, Any]:
    """Return the fields of a body or of a parsed object, which pydantic itself is slow to miss; none for others."""
    if isinstance(holder, dict):
        return holder
    extra = getattr(holder, "model_extra", None)
    fields: Mapping[str, Any] = getattr(holder, "__dict__", _NO_FIELDS)
    return {**extra, **fields} if extra else fields


_NO_FIELDS: Final[Mapping[str, Any]] = {}
