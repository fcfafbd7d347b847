"""The rows of a batch's results: the answer as the bytes that arrived, or what went wrong; never the key.

Their form is that of OpenAI's Batch: https://platform.openai.com/docs/guides/batch
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast

import openai
from openai.types import Completion
from openai.types.chat import ChatCompletion

from novita_openai.batch.requests import CHAT, COMPLETIONS, BatchRequest
from novita_openai.client.answers import is_whole_body, refuse
from novita_openai.errors import reason_of

__all__ = ["WholeAnswer", "answer_row", "error_row", "read_answer", "redacted", "unsent_row"]

HIDDEN: Final = "***"
LONGEST_TEXT: Final = 10_000
"""Characters that are kept of an error body which is no JSON, such as a web page."""

_SHORTEST_SECRET: Final = 6


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """A whole answer: the SDK's HTTP response, its body on one line, and its usage as the service tells it."""

    response: Any
    content: bytes
    usage: object


_KINDS: Final[dict[str, Any]] = {CHAT: ChatCompletion, COMPLETIONS: Completion}


def read_answer(request: BatchRequest, response: Any) -> WholeAnswer:
    """Return the answer that an HTTP response holds; raise the SDK error that a body without one stands for."""
    kind = _KINDS[request.path]
    try:
        content, body = compact(response.content), _decode(response.content.decode())
    except (ValueError, RecursionError):
        content, body = _rewritten(response, kind)
    if not is_whole_body(body, kind):
        refuse(response, kind)
    return WholeAnswer(response, content, body.get("usage"))


def _rewritten(response: Any, kind: Any) -> tuple[bytes, Any]:
    """Return an answer that the SDK would read although it is no strict JSON: with NaN, or in UTF-16."""
    refuse(response, kind)
    try:
        body = response.json(parse_constant=lambda _: None)
    except ValueError as error:  # a status that promises no body
        raise openai.APIResponseValidationError(response, None) from error
    return json.dumps(body).encode(), body


def answer_row(request: BatchRequest, answer: WholeAnswer) -> bytes:
    """Return the row of an answer."""
    return _row(request, _response(answer.response, answer.content), b"null")


def error_row(request: BatchRequest, error: Exception, key: str) -> bytes:
    """Return the row of a request that failed for good."""
    response = getattr(error, "response", None)
    known = b"null" if response is None else _response(response, redacted(_error_body(response), key))
    return _row(request, known, _details(error, key, request.attempts))


def unsent_row(request: BatchRequest, error: Exception, key: str) -> bytes:
    """Return the row of a request that was not sent, as an error before has said what would come."""
    return _row(request, b"null", _details(error, key, 0))


def _details(error: Exception, key: str, attempts: int) -> bytes:
    details = {"code": reason_of(error), "message": message_of(error, key), "attempts": attempts}
    return json.dumps(details).encode()


def _row(request: BatchRequest, response: bytes, error: bytes) -> bytes:
    head = f'{{"id": "{request.id}", "custom_id": {json.dumps(request.custom_id)}, "response": '
    return b"".join((head.encode(), response, b', "error": ', error, b"}"))


def _response(response: Any, body: bytes) -> bytes:
    request_id = json.dumps(response.headers.get("x-request-id"))
    head = f'{{"status_code": {response.status_code}, "request_id": {request_id}, "body": '
    return b"".join((head.encode(), body, b"}"))


def compact(content: bytes) -> bytes:
    """Return JSON on one line: outside of texts, which hold none, its line breaks are mere spaces."""
    return content.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in content or b"\r" in content else content


def _error_body(response: Any) -> bytes:
    content = cast("bytes", response.content)
    try:
        _decode(content.decode())
    except (ValueError, RecursionError):
        return json.dumps(response.text[:LONGEST_TEXT]).encode()
    return compact(content)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def message_of(error: Exception, key: str) -> str:
    """Return what the service says, else what the SDK says, without the key."""
    body = getattr(error, "body", None)
    said = cast("dict[str, object]", body).get("message") if isinstance(body, dict) else None
    text = said if isinstance(said, str) and said else str(error)
    cause = error.__cause__
    if isinstance(error, openai.APIConnectionError) and cause is not None:
        text = f"{text} ({type(cause).__name__})"
    return redacted(text.encode(errors="replace"), key).decode()


def redacted(text: bytes, key: str) -> bytes:
    """Return a text of the service without the key, which it may have repeated."""
    return text.replace(key.encode(), HIDDEN.encode()) if len(key) >= _SHORTEST_SECRET else text
