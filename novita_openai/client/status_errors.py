"""The SDK's error for an error object, whatever the status that it came with."""

from __future__ import annotations

from typing import Any, Final, cast

import openai

from novita_openai.error_replies import NO_WORD, NOT_JSON
from novita_openai.errors import RULES, SERVER_ERROR, reason_in

__all__ = ["status_error"]


def status_error(response: Any, body: object) -> openai.APIStatusError | None:
    """Build the status error that an error object names, whatever the status it came with; None for other bodies."""
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
