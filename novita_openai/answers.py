"""Answers that are none: a success status over an error object, a web page, nothing, half an answer.

The SDK hands these out as objects full of None, as text, or as a foreign exception. Here they become SDK errors: the
status error that the word in the body names, else ``APIResponseValidationError``, so that they are classified and
retried like their proper form. Good answers are recognised by one look at the parsed object.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NoReturn, TypeVar, cast, get_origin

import openai

from novita_openai.errors import NO_WORD, NOT_JSON, RULES, SERVER_ERROR, is_named, reason_in

__all__ = ["AsyncGuardedResponse", "GuardedResponse", "answer_problem", "is_guardable", "status_error"]

_T = TypeVar("_T")


class GuardedResponse(openai.APIResponse[_T]):
    """The SDK's response whose ``parse`` gives a whole answer or raises an SDK error."""

    def parse(self, *, to: Any = None) -> Any:
        """Parse the body as the SDK does; raise the SDK error that a body without an answer stands for."""
        kind = to or self._cast_to
        try:
            parsed = super().parse(to=to)
        except Exception as error:  # noqa: BLE001 - raised again, as itself or as the SDK error behind it
            _raise(error, self.http_response, kind)
        return parsed if _is_whole(parsed, kind) else _look_again(parsed, self.http_response, kind)


class AsyncGuardedResponse(openai.AsyncAPIResponse[_T]):
    """The async twin of :class:`GuardedResponse`."""

    async def parse(self, *, to: Any = None) -> Any:
        """Parse the body as the SDK does; raise the SDK error that a body without an answer stands for."""
        kind = to or self._cast_to
        try:
            parsed = await super().parse(to=to)
        except Exception as error:  # noqa: BLE001 - raised again, as itself or as the SDK error behind it
            _raise(error, self.http_response, kind)
        return parsed if _is_whole(parsed, kind) else _look_again(parsed, self.http_response, kind)


@lru_cache(maxsize=256)
def is_guardable(kind: Any) -> bool:
    """Tell whether answers of this type are JSON, so that text, nothing or an error object is none."""
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and (origin in (object, dict) or issubclass(origin, openai.BaseModel))


def answer_problem(response: Any, kind: Any) -> openai.APIError | None:
    """Return the SDK error for a response that holds no answer of the wanted type, None where it holds one.

    ``response`` is the SDK's HTTP response, its body read.
    """
    try:
        body: object = response.json()
    except ValueError:
        media_type, size = response.headers.get("content-type", "no content type"), len(response.content)
        message = f"Expected a JSON answer, got {size} bytes that are none ({media_type})."
        return openai.APIResponseValidationError(response, response.text, message=message)
    wanted = _wanted_list(kind)
    if (isinstance(body, dict) or kind is object) if wanted is None else _is_filled(_read(body, wanted), wanted):
        return status_error(response, body) if wanted is None else None
    message = f"The answer lacks what was asked for: {wanted or 'a JSON object'}."
    return status_error(response, body) or openai.APIResponseValidationError(response, body, message=message)


def status_error(response: Any, body: object) -> openai.APIStatusError | None:
    """Build the status error that an error object stands for, whatever status carried it; None for other bodies."""
    status = _status_in(body)
    if status is None:
        return None
    fields = cast("dict[str, Any]", body)
    inner = fields.get("error") or fields
    message = (inner.get("message") or reason_in(inner)) if isinstance(inner, dict) else inner
    other = openai.InternalServerError if status >= SERVER_ERROR else openai.APIStatusError
    error = _STATUS_ERRORS.get(status, other)(f"Error code: {status} - {message}", response=response, body=inner)
    error.status_code = status
    return error


def _is_whole(parsed: Any, kind: Any) -> bool:
    """Tell at a glance, as every answer passes here, that the body needs no second look."""
    if wanted := _wanted_list(kind):
        return _is_filled(getattr(parsed, wanted, None), wanted)
    fields = parsed if isinstance(parsed, dict) else getattr(parsed, "model_extra", None)
    return fields is not None and "reason" not in fields and "error" not in fields


def _look_again(parsed: _T, response: Any, kind: Any) -> _T:
    if is_guardable(kind) and (problem := answer_problem(response, kind)):
        raise problem
    return parsed


def _raise(error: Exception, response: Any, kind: Any) -> NoReturn:
    """Raise the SDK error that stands behind an exception met while parsing; the exception where there is none."""
    if isinstance(error, openai.OpenAIError):
        raise error
    if is_named(error, "TimeoutException"):
        raise openai.APITimeoutError(request=response.request) from error
    if is_named(error, "RequestError"):
        raise openai.APIConnectionError(request=response.request) from error
    if response.is_stream_consumed and is_guardable(kind) and (problem := answer_problem(response, kind)):
        raise problem from error
    raise error


@lru_cache(maxsize=256)
def _wanted_list(kind: Any) -> str | None:
    """Return the name of the list without which an answer of this type is none: ``choices``, or ``data`` of a page."""
    fields = getattr(get_origin(kind) or kind, "model_fields", {})
    lists = (name for name in ("choices", "data") if name in fields and get_origin(fields[name].annotation) is list)
    return next((name for name in lists if fields[name].is_required()), None)


def _is_filled(items: Any, name: str) -> bool:
    """Tell whether a list of results is there; only a page may be empty."""
    if name == "data":
        return isinstance(items, list)
    return isinstance(items, list) and bool(items) and all(map(_is_choice, items))


def _is_choice(item: Any) -> bool:
    return item is not None and _read(item, "message", item) is not None


def _read(holder: Any, name: str, default: Any = None) -> Any:
    return holder.get(name, default) if isinstance(holder, dict) else getattr(holder, name, default)


def _status_in(body: object) -> int | None:
    reason = reason_in(body)
    named = next((rule.status for rule in RULES if rule.reason == reason and reason not in (NO_WORD, NOT_JSON)), None)
    if named is not None or not isinstance(body, dict):
        return named
    inner = body.get("error") if isinstance(body.get("error"), dict) else body
    code = str(cast("dict[str, Any]", inner).get("code"))
    return int(code) if code.isdecimal() and 400 <= int(code) < 600 else None  # noqa: PLR2004 - HTTP's error statuses


_STATUS_ERRORS: Final[dict[int, type[openai.APIStatusError]]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}
