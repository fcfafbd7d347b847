"""The service's errors as data, and what a caller should do about each.

Every failure has a *reason*: the word in the error body where the service sent one, else a word of this module for
what happened (``timeout``, ``connection_error``, ...). :func:`classify` finds the rule for it in :data:`RULES`: by the
reason first, then by the HTTP status, never by the text of a message. A rule says what to do (:class:`Action`) and what
the failure means, with the way out, which becomes a note on the error.
"""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from enum import Enum
from typing import Any, Final, cast

import openai

from novita_openai import sdk

__all__ = ["RULES", "Action", "ErrorRule", "classify", "partial_text"]


class Action(Enum):
    """What to do about an error."""

    FAIL = "fail"
    """Sending the same request again cannot help."""
    WAIT = "wait"
    """Too many requests: the same request may succeed later."""
    RETRY = "retry"
    """A passing fault: the same request may succeed at once."""


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """One row of the error table.

    ``status`` is the HTTP status, None where only the reason counts; ``reason`` the word in the error body, None for
    every error of that status which no other row names. ``stops_batch`` says that every other request would fail
    alike, so that a batch job must stop.
    """

    status: int | None
    reason: str | None
    action: Action
    meaning: str
    stops_batch: bool = False


# Reasons for failures that carry no word of the service.
NO_WORD: Final = "no_word"
"""A JSON error body that names no reason."""
NOT_JSON: Final = "not_json"
"""An error body that is not a JSON object."""
TIMEOUT: Final = "timeout"
CONNECTION_ERROR: Final = "connection_error"
NOT_SENT: Final = "not_sent"
INVALID_ANSWER: Final = "invalid_answer"
SCHEMA_MISMATCH: Final = "schema_mismatch"
UNREADABLE_EVENT: Final = "unreadable_event"

BASE_URL: Final = "https://api.novita.ai/v3/openai"
"""The service's documented address: https://novita.ai/docs/guides/llm-api."""
KEYS: Final = "Keys: https://novita.ai/settings/key-management"
_UNEXPLAINED = "Refused without a reason, which usually means that the credit is used up."
_BALANCE = "Top up: https://novita.ai/docs/guides/quickstart#3-maintain-sufficient-credit-balance-in-your-account"
_MODELS = "Models: https://novita.ai/llm-api or `client.models.list()`"
_LIMITS = "Limits, by model and account tier: https://novita.ai/docs/guides/llm-rate-limits"
_HELP = "Help: https://discord.gg/YyPRAzwp7P"
_WRONG_URL = f"The base URL is probably wrong: Novita's is {BASE_URL}"

RULES: Final[tuple[ErrorRule, ...]] = (
    # The service's own table: https://novita.ai/docs/guides/llm-api
    ErrorRule(401, "INVALID_API_KEY", Action.FAIL, f"The API key is invalid. {KEYS}", stops_batch=True),
    ErrorRule(403, "NOT_ENOUGH_BALANCE", Action.FAIL, f"The account's credit is used up. {_BALANCE}", stops_batch=True),
    ErrorRule(404, "MODEL_NOT_FOUND", Action.FAIL, f"The service has no model of that name. {_MODELS}"),
    ErrorRule(429, "RATE_LIMIT_EXCEEDED", Action.WAIT, f"Too many requests a minute. {_LIMITS}"),
    ErrorRule(500, "MODEL_NOT_AVAILABLE", Action.RETRY, f"The model is under maintenance. {_HELP}"),
    # What the live service sends besides.
    ErrorRule(400, "INVALID_REQUEST_BODY", Action.FAIL, f"The model does not take this request. {_MODELS}"),
    ErrorRule(401, "FAILED_TO_AUTH", Action.FAIL, f"The API key is invalid. {KEYS}", stops_batch=True),
    ErrorRule(403, "ACCESS_DENY", Action.FAIL, f"The account may not use this model. {_MODELS}"),
    ErrorRule(403, "model_access_denied", Action.FAIL, f"The account may not use this model. {_MODELS}"),
    ErrorRule(429, "TOKEN_LIMIT_EXCEEDED", Action.WAIT, f"Too many tokens a minute. {_LIMITS}"),
    ErrorRule(503, "SERVICE_NOT_AVAILABLE", Action.RETRY, f"The service is overloaded. {_HELP}"),
    # What a status means where the body holds no known word; retried or not as by the SDK.
    ErrorRule(400, None, Action.FAIL, "The request is malformed."),
    ErrorRule(401, None, Action.FAIL, f"The API key was refused. {KEYS}", stops_batch=True),
    ErrorRule(403, NO_WORD, Action.FAIL, f"{_UNEXPLAINED} {_BALANCE}", stops_batch=True),
    ErrorRule(403, NOT_JSON, Action.FAIL, f"{_UNEXPLAINED} {_BALANCE}", stops_batch=True),
    ErrorRule(403, None, Action.FAIL, f"The account may not do this. {_MODELS}"),
    ErrorRule(404, NOT_JSON, Action.FAIL, f"There is no such address. {_WRONG_URL}", stops_batch=True),
    ErrorRule(404, None, Action.FAIL, f"The request names something that does not exist. {_MODELS}. {_WRONG_URL}"),
    ErrorRule(408, None, Action.RETRY, "The service gave up waiting for the request."),
    ErrorRule(409, None, Action.RETRY, "The request conflicts with another one."),
    ErrorRule(429, None, Action.WAIT, f"The requests came too fast. {_LIMITS}"),
    ErrorRule(500, None, Action.RETRY, f"The service failed. {_HELP}"),
    ErrorRule(504, None, Action.RETRY, "The answer took too long for the gateway: stream long answers."),
    # What the network did.
    ErrorRule(None, TIMEOUT, Action.RETRY, "No answer in time. The service asks for timeouts of at least 60 s."),
    ErrorRule(None, CONNECTION_ERROR, Action.RETRY, "The connection failed or was cut."),
    ErrorRule(
        None,
        INVALID_ANSWER,
        Action.RETRY,
        f"The status is a success, but the body holds no answer. {_WRONG_URL}",
    ),
    ErrorRule(None, SCHEMA_MISMATCH, Action.FAIL, "The answer is whole, but strict validation refuses it."),
    ErrorRule(None, UNREADABLE_EVENT, Action.FAIL, "The service sent an event of a form that nobody can use."),
    ErrorRule(None, NOT_SENT, Action.FAIL, "The request could not be sent."),
)
UNKNOWN: Final = ErrorRule(None, None, Action.FAIL, "The service does not document this error.")
"""What :func:`classify` returns where no row fits: every error has a rule."""

SERVER_ERROR: Final = 500


class UnreadableEventError(openai.APIResponseValidationError):
    """An event of a stream has a form that no reader can use; the message names its number and the field."""


def classify(error: BaseException, rules: Sequence[ErrorRule] = RULES) -> ErrorRule:
    """Find the row for an error: by its reason, then by its status; :data:`UNKNOWN` where none fits.

    Earlier rows win, so put rows of your own first: ``(ErrorRule(...), *RULES)``.
    """
    reason, status = reason_of(error), status_of(error)
    ways: tuple[Callable[[ErrorRule], bool], ...] = (
        lambda rule: rule.reason == reason and rule.status in (status, None),
        lambda rule: rule.reason == reason and reason not in (NO_WORD, NOT_JSON),
        lambda rule: rule.reason is None and rule.status == status is not None,
        lambda rule: rule.reason is None and rule.status == SERVER_ERROR <= (status or 0),
    )
    return next((rule for fits in ways for rule in rules if fits(rule)), UNKNOWN)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error stands for, None where it has none."""
    return error.status_code if isinstance(error, openai.APIStatusError) else None


def reason_of(error: BaseException) -> str:
    """Return the service's word for an error, or one of this module's; the class name for an error of neither."""
    if isinstance(error, openai.APIStatusError):
        return reason_in(_body_of(error))
    if isinstance(error, UnreadableEventError):
        return UNREADABLE_EVENT
    if isinstance(error, openai.APIResponseValidationError):
        return SCHEMA_MISMATCH if sdk.is_named(error.__cause__, sdk.VALIDATION_ERROR) else INVALID_ANSWER
    if isinstance(error, (openai.APITimeoutError, TimeoutError)):
        lost = sdk.lost_connection(error)
        return TIMEOUT if lost is None or sdk.is_named(lost, "TimeoutError") else CONNECTION_ERROR
    if isinstance(error, (openai.APIConnectionError, ConnectionError)):
        return CONNECTION_ERROR if was_tried(error) else NOT_SENT
    return reason_in(error.body) if isinstance(error, openai.APIError) else type(error).__name__


def reason_in(body: object) -> str:
    """Return the service's word in a decoded error body, flat or under ``error``."""
    if not isinstance(body, dict):
        return NOT_JSON
    fields = cast("dict[str, Any]", body)
    words = (fields.get("reason"), fields.get("code"))
    word = next((word for word in words if isinstance(word, str) and word and not word.isdigit()), None)
    if word is None and isinstance(fields.get("error"), dict):
        return reason_in(fields["error"])
    return word or NO_WORD


def partial_text(error: BaseException) -> str:
    """Return the text that had come when a stream broke, "" where an error has none."""
    text = getattr(error, "partial_text", "")
    return text if isinstance(text, str) else ""


def _body_of(error: openai.APIStatusError) -> object:
    """Return the whole error body: the SDK keeps only what stands under ``error``, even where that is plain text."""
    if isinstance(error.body, dict) and reason_in(cast("object", error.body)) != NO_WORD:
        return error.body
    try:
        return error.response.json()
    except (ValueError, RuntimeError):  # no JSON, or a stream that was closed before it was read
        return error.body


def retry_after(error: BaseException) -> float | None:
    """Return the seconds the service asks to wait, None where it names no time, or one that is past.

    Read from ``retry-after-ms`` (milliseconds), else ``retry-after`` (seconds or an HTTP date); RFC 9110, 10.2.3.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _seconds_in(header_of(error, name), unit)
        if seconds is not None:
            return seconds if seconds > 0 else None
    return None


def _seconds_in(text: str | None, unit: float) -> float | None:
    try:
        number = float(text or "") * unit
    except ValueError:
        return _seconds_until(text or "")
    # "inf" and "nan" are not times, but digits are, even where they make a number too large for a float.
    return number if math.isfinite(number) or any(character.isdigit() for character in text or "") else None


def _seconds_until(date: str) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(date)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


def header_of(error: BaseException, name: str) -> str | None:
    """Return a response header of the answer that an error carries, None without one."""
    response = getattr(error, "response", None)
    return None if response is None else response.headers.get(name)


def was_tried(error: BaseException) -> bool:
    """Tell whether the network failed; False where the request could never be sent (a bad header, a closed client)."""
    cause = error.__cause__
    if cause is None or hasattr(error, "partial_text"):  # only errors of streams that have begun have it
        return True
    return sdk.is_network_error(cause)


def is_ambiguous(error: BaseException) -> bool:
    """Tell whether the service may have answered, and charged, a request whose answer was lost."""
    if isinstance(error, openai.APIStatusError):
        return False
    return not sdk.never_connected(error)
