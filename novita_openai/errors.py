"""The service's errors as data, and what a caller should do about each.

Every failure has a *reason*: the word in the error body where the service sent one, else a word of this module for
what happened (``timeout``, ``connection_error``, ...). :func:`classify` finds the rule for it in :data:`RULES`: by the
reason first, then by the HTTP status, never by the text of a message. A rule says what to do (:class:`Action`) and what
the failure means, with the way out, which becomes a note on the error. All that is known of one failed attempt is a
:class:`Failure`, worked out once by :func:`failure_of`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final, cast

import openai

from novita_openai import sdk
from novita_openai.error_replies import NO_WORD, NOT_JSON, in_a_line, said_in, said_instead, wait_in, word_in
from novita_openai.sdk.replies import header_of, json_body, status_of, url_of, whole_body

__all__ = ["RULES", "Action", "ErrorRule", "Failure", "classify", "failure_of", "partial_text"]


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


# Reasons for failures that carry no word of the service, besides NO_WORD and NOT_JSON.
TIMEOUT: Final = "timeout"
CONNECTION_ERROR: Final = "connection_error"
BAD_CERTIFICATE: Final = "bad_certificate"
NOT_SENT: Final = "not_sent"
INVALID_ANSWER: Final = "invalid_answer"
SCHEMA_MISMATCH: Final = "schema_mismatch"
UNREADABLE_EVENT: Final = "unreadable_event"
ANSWER_TOO_LARGE: Final = "answer_too_large"

BASE_URL: Final = "https://api.novita.ai/v3/openai"
"""The service's documented address: https://novita.ai/docs/guides/llm-api."""
KEYS: Final = "Keys: https://novita.ai/settings/key-management"
_UNEXPLAINED = "Refused without a reason, which usually means that the credit is used up."
_QUOTA = "The account's quota is used up, which no waiting helps."
_BALANCE = "Top up: https://novita.ai/docs/guides/quickstart#3-maintain-sufficient-credit-balance-in-your-account"
_MODELS = "Models: https://novita.ai/llm-api or `client.models.list()`"
_LIMITS = "Limits, by model and account tier: https://novita.ai/docs/guides/llm-rate-limits"
_HELP = "Help: https://discord.gg/YyPRAzwp7P"

RULES: Final[tuple[ErrorRule, ...]] = (
    # The service's own table: https://novita.ai/docs/guides/llm-api
    ErrorRule(401, "INVALID_API_KEY", Action.FAIL, f"The API key is invalid. {KEYS}", stops_batch=True),
    ErrorRule(403, "NOT_ENOUGH_BALANCE", Action.FAIL, f"The account's credit is used up. {_BALANCE}", stops_batch=True),
    ErrorRule(404, "MODEL_NOT_FOUND", Action.FAIL, f"The service has no model of that name. {_MODELS}"),
    ErrorRule(429, "RATE_LIMIT_EXCEEDED", Action.WAIT, f"Too many requests a minute. {_LIMITS}"),
    ErrorRule(500, "MODEL_NOT_AVAILABLE", Action.RETRY, f"The model is under maintenance. {_HELP}"),
    # What the live service and others with the same interface send besides.
    ErrorRule(400, "INVALID_REQUEST_BODY", Action.FAIL, f"The model does not take this request. {_MODELS}"),
    ErrorRule(401, "FAILED_TO_AUTH", Action.FAIL, f"The API key is invalid. {KEYS}", stops_batch=True),
    ErrorRule(403, "ACCESS_DENY", Action.FAIL, f"The account may not use this model. {_MODELS}"),
    ErrorRule(403, "model_access_denied", Action.FAIL, f"The account may not use this model. {_MODELS}"),
    ErrorRule(429, "TOKEN_LIMIT_EXCEEDED", Action.WAIT, f"Too many tokens a minute. {_LIMITS}"),
    ErrorRule(429, "insufficient_quota", Action.FAIL, f"{_QUOTA} {_BALANCE}", stops_batch=True),
    ErrorRule(429, "billing_hard_limit_reached", Action.FAIL, f"{_QUOTA} {_BALANCE}", stops_batch=True),
    ErrorRule(503, "SERVICE_NOT_AVAILABLE", Action.RETRY, f"The service is overloaded. {_HELP}"),
    # What a status means where the body holds no known word; retried or not as by the SDK.
    ErrorRule(400, None, Action.FAIL, "The request is malformed."),
    ErrorRule(401, None, Action.FAIL, f"The API key was refused. {KEYS}", stops_batch=True),
    ErrorRule(403, NO_WORD, Action.FAIL, f"{_UNEXPLAINED} {_BALANCE}", stops_batch=True),
    ErrorRule(
        403,
        NOT_JSON,
        Action.FAIL,
        "Refused without a word of the service, most likely by a firewall or a proxy between here and there.",
        stops_batch=True,
    ),
    ErrorRule(403, None, Action.FAIL, f"The account may not do this. {_MODELS}"),
    ErrorRule(404, NOT_JSON, Action.FAIL, "There is no such address."),
    ErrorRule(404, NO_WORD, Action.FAIL, "There is nothing of the name that the request gives, or no such address."),
    ErrorRule(404, None, Action.FAIL, "The request names something that does not exist."),
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
        BAD_CERTIFICATE,
        Action.FAIL,
        "The connection is not trusted. For an authority of your own, set SSL_CERT_FILE or give an http_client.",
    ),
    ErrorRule(None, INVALID_ANSWER, Action.RETRY, "The status is a success, but the body holds no answer."),
    ErrorRule(None, SCHEMA_MISMATCH, Action.FAIL, "The answer is whole, but strict validation refuses it."),
    ErrorRule(None, UNREADABLE_EVENT, Action.FAIL, "The service sent an event of a form that nobody can use."),
    ErrorRule(None, ANSWER_TOO_LARGE, Action.FAIL, "The client takes no answer as large: raise max_answer_bytes."),
    ErrorRule(None, NOT_SENT, Action.FAIL, "The request could not be sent."),
)
UNKNOWN: Final = ErrorRule(None, None, Action.FAIL, "The service does not document this error.")
"""What :func:`classify` returns where no row fits: every error has a rule."""

SERVER_ERROR: Final = 500


class UnreadableEventError(openai.APIResponseValidationError):
    """An event of a stream has a form that no reader can use; the message names its number and the field."""


class AnswerTooLargeError(openai.APIResponseValidationError):
    """An answer, or an event of a stream, is larger than the client's ``max_answer_bytes``."""


@dataclass(frozen=True, slots=True)
class Failure:
    """All that is known of one failed attempt; :func:`failure_of` works it out.

    ``status``: the HTTP status, None without one. ``reason``: the service's word, or one of this module's; ``rule``:
    its row of the table. ``said``: what the service said, "" where it said nothing. ``retry_after``: the seconds for
    which it asks to wait. ``should_retry``: the header ``x-should-retry`` of an error status. ``is_ambiguous``: whether
    the request may have been answered, and charged, all the same. ``is_unreachable``: whether no connection to the host
    can be made. ``cause``: what the network did, in words.
    """

    error: BaseException = field(repr=False)
    status: int | None
    reason: str
    rule: ErrorRule
    said: str = ""
    retry_after: float | None = None
    should_retry: bool | None = None
    is_ambiguous: bool = False
    is_unreachable: bool = False
    request_id: str | None = None
    url: str = ""
    cause: str = ""

    @property
    def action(self) -> Action:
        """Return what to do, by the table; the header ``x-should-retry`` overrules it as it does in the SDK."""
        if self.should_retry is False:
            return Action.FAIL
        return Action.RETRY if self.should_retry and self.rule.action is Action.FAIL else self.rule.action

    @property
    def is_known(self) -> bool:
        """Tell whether the error comes from the service or stands in the table."""
        return isinstance(self.error, openai.APIError) or self.rule is not UNKNOWN

    @property
    def has_word(self) -> bool:
        """Tell whether the service itself has spoken, not only the network or something in front of it."""
        return isinstance(self.error, openai.APIError) and self.reason not in _WORDLESS

    @property
    def host(self) -> str:
        """Return the host and port that the request went to, "" where that is not known."""
        return self.url.partition("://")[2].partition("/")[0].rpartition("@")[2]

    @property
    def summary(self) -> str:
        """Return the status and the reason."""
        return self.reason if self.status is None else f"{self.status} {self.reason}"

    @property
    def told(self) -> str:
        """Return the failure as a person reads it: its status and word, what the service said, and what it means."""
        word = self.reason if self.has_word else ""
        return in_a_line(f"{self.status or ''} {word}".strip(), self.said, self.meaning or str(self.error))

    @property
    def meaning(self) -> str:
        """Return what the failure means, with the way out."""
        is_told = self.reason != CONNECTION_ERROR or sdk.is_cut(self.error)  # else the error itself says what came
        parts = (self.rule.meaning if is_told else "", self._named(), self._place())
        return " ".join(part for part in parts if part)

    def _named(self) -> str:
        """Say what the request named, where something was not found."""
        if self.status != NOT_FOUND or self.reason == NOT_JSON or self.rule.reason not in (None, NO_WORD):
            return ""
        return next((text for kind, text in _NAMED.items() if re.search(rf"/{kind}(/|$)", self.url)), f"{_MODELS}.")

    def _place(self) -> str:
        """Say which host did what; where the address may be wrong, say which it is, and which is the service's."""
        if self.cause:
            return f"{self.host}: {self.cause}." if self.host else f"The host: {self.cause}."
        is_no_route = self.status == NOT_FOUND and self.reason in (NOT_JSON, NO_WORD)
        if not (is_no_route or self.reason == INVALID_ANSWER) or not self.url:
            return ""
        if self.url.startswith(f"{ORIGIN}/") or _BASE_PATHS.match(self.url):
            is_there = self.reason == NO_WORD and _ROUTES.match(self.url)
            return f"The service has no {self.url.removeprefix(ORIGIN)}." if is_no_route and not is_there else ""
        return f"The base URL is probably wrong: the request went to {self.url}, Novita's is {BASE_URL}"


_NAMED: Final[Mapping[str, str]] = {
    "batches": "The account of this key has no such batch.",
    "files": "The account of this key has no such file: what is uploaded is kept for 15 days, results for 30.",
}
_WORDLESS: Final = {NO_WORD, NOT_JSON} | {rule.reason for rule in RULES if rule.status is None}
NOT_FOUND: Final = 404
ORIGIN: Final = "https://api.novita.ai"
_BASE_PATHS: Final = re.compile(r"https?://[^/]+/(v3/openai|openai/v1)/")
"""Addresses under the base paths that the service has, and below it those that it has there."""
_ROUTES: Final = re.compile(_BASE_PATHS.pattern + r"(chat/completions|completions|embeddings|models|files|batches)\b")


def failure_of(error: BaseException, rules: Sequence[ErrorRule] = RULES) -> Failure:
    """Return all that is known of a failed attempt; total, and never by the text of a message."""
    status, reason = status_of(error), reason_of(error)
    return Failure(
        error,
        status,
        reason,
        _rule_for(reason, status, rules),
        said=said_by(error),
        retry_after=wait_in(partial(header_of, error)),
        should_retry=_SHOULD_RETRY.get(header_of(error, "x-should-retry") or "") if status is not None else None,
        is_ambiguous=is_ambiguous(error),
        is_unreachable=reason in (CONNECTION_ERROR, BAD_CERTIFICATE) and sdk.never_connected(error),
        request_id=header_of(error, "x-request-id"),
        url=url_of(error),
        cause=sdk.cause_in_words(error, url_of(error)) if status is None else "",
    )


_SHOULD_RETRY: Final = {"true": True, "false": False}


def classify(error: BaseException, rules: Sequence[ErrorRule] = RULES) -> ErrorRule:
    """Find the row for an error: by its reason, then by its status; :data:`UNKNOWN` where none fits.

    Earlier rows win, so put rows of your own first: ``(ErrorRule(...), *RULES)``.
    """
    return _rule_for(reason_of(error), status_of(error), rules)


def _rule_for(reason: str, status: int | None, rules: Sequence[ErrorRule]) -> ErrorRule:
    ways: tuple[Callable[[ErrorRule], bool], ...] = (
        lambda rule: rule.reason == reason and rule.status in (status, None),
        lambda rule: rule.reason == reason and reason not in (NO_WORD, NOT_JSON),
        lambda rule: rule.reason is None and rule.status == status is not None,
        lambda rule: rule.reason is None and rule.status == SERVER_ERROR <= (status or 0),
    )
    return next((rule for fits in ways for rule in rules if fits(rule)), UNKNOWN)


def reason_of(error: BaseException) -> str:
    """Return the service's word for an error, or one of this module's; the class name for an error of neither."""
    if isinstance(error, openai.APIStatusError):
        return reason_in(_body_of(error))
    if isinstance(error, openai.APIResponseValidationError):
        return _reason_of_answer(error)
    if isinstance(error, (openai.APIConnectionError, OSError)):
        return _reason_of_connection(error)
    return reason_in(error.body) if isinstance(error, openai.APIError) else type(error).__name__


def _reason_of_answer(error: openai.APIResponseValidationError) -> str:
    if isinstance(error, UnreadableEventError):
        return UNREADABLE_EVENT
    if isinstance(error, AnswerTooLargeError):
        return ANSWER_TOO_LARGE
    return SCHEMA_MISMATCH if sdk.is_named(error.__cause__, sdk.VALIDATION_ERROR) else INVALID_ANSWER


def _reason_of_connection(error: openai.APIConnectionError | OSError) -> str:
    if sdk.is_certificate_error(error):
        return BAD_CERTIFICATE
    if isinstance(error, (openai.APITimeoutError, TimeoutError)):
        lost = sdk.lost_connection(error)
        return TIMEOUT if lost is None or sdk.is_named(lost, "TimeoutError") else CONNECTION_ERROR
    if isinstance(error, (openai.APIConnectionError, ConnectionError)):
        return CONNECTION_ERROR if sdk.was_tried(error) else NOT_SENT
    return type(error).__name__


def reason_in(body: object) -> str:
    """Return the service's word in a decoded error body."""
    return word_in(body, _WORDS)


_WORDS: Final = frozenset({rule.reason for rule in RULES if rule.status is not None} - {None, NO_WORD, NOT_JSON})


def said_by(error: BaseException) -> str:
    """Return what the service said, in whichever form: in a field of its error, in a list of problems, in a page."""
    if not isinstance(error, openai.APIError):
        return ""
    response = getattr(error, "response", None)
    body = error.body if response is None else whole_body(error, response)
    if isinstance(error, openai.APIStatusError):  # in no known form it is quoted as it came
        is_to_quote = bool(body) and not isinstance(body, str)
        return said_in(body) or (said_in(json.dumps(body, ensure_ascii=False)) if is_to_quote else "")
    return said_instead(body)


def partial_text(error: BaseException) -> str:
    """Return the text that had come when a stream broke, "" where an error has none."""
    text = getattr(error, "partial_text", "")
    return text if isinstance(text, str) else ""


def _body_of(error: openai.APIStatusError) -> object:
    """Return the error body with the word: the SDK keeps only what stands under ``error``, even a plain text."""
    if isinstance(error.body, dict) and reason_in(cast("object", error.body)) != NO_WORD:
        return error.body
    return json_body(error, error.response)


def is_ambiguous(error: BaseException) -> bool:
    """Tell whether the service may have answered, and charged, a request whose answer was lost."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code == GATEWAY_TIMEOUT
    return not sdk.never_connected(error)


GATEWAY_TIMEOUT: Final = 504
