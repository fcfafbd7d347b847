"""The rows of a batch's results: an answer as the bytes that came, or what went wrong; never the key.

They have the form of OpenAI's Batch: https://platform.openai.com/docs/guides/batch
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from textwrap import shorten
from typing import Any, Final, NamedTuple, cast

import openai
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion

from novita_openai.batch.endpoints import CHAT, COMPLETIONS, EMBEDDINGS
from novita_openai.batch.jsonl import decode
from novita_openai.batch.requests import BatchRequest  # noqa: TC001 - annotations can be resolved at run time
from novita_openai.client.answers import is_whole_body, refuse
from novita_openai.errors import Failure  # noqa: TC001 - the same
from novita_openai.sdk.direct import as_response
from novita_openai.sdk.replies import text_of

__all__ = [
    "ID_PREFIX",
    "ROW_START",
    "ROW_TIMEOUT",
    "WholeAnswer",
    "answer_row",
    "error_in",
    "error_row",
    "read_answer",
    "rejected_row",
    "unsent_row",
]

ROW_TIMEOUT: Final = "row_timeout"
"""The code of a row whose time was up."""
ID_PREFIX: Final = "batch_req_"
"""How the id of every row begins; the digest of its request follows."""
ROW_START: Final = f'{{"id": "{ID_PREFIX}'
"""How every row begins, so that a file of another kind is recognised."""

HIDDEN: Final = "***"
LONGEST_SAID: Final = 300
"""Characters of a message in a report."""
LONGEST_TEXT: Final = 10_000
"""Characters that are kept of an error body which is not JSON, such as a web page."""

_SHORTEST_SECRET: Final = 6


class WholeAnswer(NamedTuple):
    """A whole answer: the HTTP response, its body on one line, and the ``usage`` and ``finish_reasons`` in it."""

    response: Any
    content: bytes
    usage: object
    finish_reasons: tuple[str, ...] = ()


KINDS: Final[dict[str, Any]] = {
    CHAT: ChatCompletion,
    COMPLETIONS: Completion,
    EMBEDDINGS: CreateEmbeddingResponse,
}


def read_answer(request: BatchRequest, response: Any) -> WholeAnswer:
    """Return the answer that an HTTP response holds; raise an SDK error if it holds none."""
    kind = KINDS[request.path]
    try:
        content, body = _on_one_line(response.content), decode(response.content.decode())
    except ValueError:
        content, body = _rewritten(response, kind)
    if not is_whole_body(body, kind):
        refuse(as_response(response), kind)
    reasons = finish_reasons_in(body)
    if reasons is None:
        raise openai.APIResponseValidationError(as_response(response), body, message=NO_END)
    return WholeAnswer(response, content, body.get("usage"), reasons)


def finish_reasons_in(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return why each choice of a whole answer has ended; None where one does not say so."""
    reasons = tuple(choice.get("finish_reason") for choice in body.get("choices", ()))
    return tuple(map(str, reasons)) if all(reasons) else None


NO_END: Final = "The answer may be cut: it has no finish_reason."


def _rewritten(response: Any, kind: Any) -> tuple[bytes, Any]:
    """Return the body of an answer that the SDK reads although it is not JSON (with NaN, in UTF-16), written anew."""
    response = as_response(response)
    refuse(response, kind)  # whatever is not JSON at all, such as a 204, which has no body
    body = response.json(parse_constant=lambda _: None)
    return json.dumps(body).encode(), body


def answer_row(request: BatchRequest, answer: WholeAnswer) -> bytes:
    """Return the row of an answer."""
    return _row(request, _response(answer.response, answer.content), b"null")


def rejected_row(request: BatchRequest, answer: WholeAnswer, code: str, flaw: str) -> bytes:
    """Return the row of a request of which no answer has passed the check; it keeps the last one."""
    details = {"code": code, "message": flaw, "attempts": request.corrections + 1}
    return _row(request, _response(answer.response, answer.content), json.dumps(details).encode())


def error_row(request: BatchRequest, failure: Failure, key: str, *, late: float | None = None) -> bytes:
    """Return the row of a request that failed for good; ``late``: the seconds that it had, where these were up."""
    response = getattr(failure.error, "response", None)
    known = b"null" if response is None else _response(response, _redacted(_error_body(failure.error, response), key))
    return _row(request, known, _details(failure, key, request.attempts, late=late))


def unsent_row(request: BatchRequest, failure: Failure, key: str) -> bytes:
    """Return the row of a request that was not sent, as another one's failure has shown that it would fail too."""
    return _row(request, b"null", _details(failure, key, 0))


def _details(failure: Failure, key: str, attempts: int, *, late: float | None = None) -> bytes:
    code, message = failure.reason, _message_of(failure, key)
    if late is not None:
        code, message = ROW_TIMEOUT, f"no answer within {late:g} s; the last failure: {failure.summary}: {message}"
    details = {"code": code, "message": message, "attempts": attempts}
    return json.dumps(details).encode()


def error_in(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the code in a failed row, and its message on one line of a bounded length."""
    error = row.get("error")
    fields = cast("dict[str, Any]", error) if isinstance(error, dict) else {"code": "unknown"}
    return str(fields.get("code")), shorten(str(fields.get("message") or ""), LONGEST_SAID, placeholder=" ...")


def _row(request: BatchRequest, response: bytes, error: bytes) -> bytes:
    head = f'{ROW_START}{request.digest}", "custom_id": {json.dumps(request.custom_id)}, "response": '
    metadata = b', "metadata": ' + request.metadata if request.metadata else b""
    spent = b', "spent": ' + request.spent.json()
    return b"".join((head.encode(), response, b', "error": ', error, spent, metadata, b"}"))


def _response(response: Any, body: bytes) -> bytes:
    request_id = json.dumps(response.headers.get("x-request-id"))
    head = f'{{"status_code": {response.status_code}, "request_id": {request_id}, "body": '
    return b"".join((head.encode(), body, b"}"))


def _on_one_line(content: bytes) -> bytes:
    """Return JSON without its line breaks: they stand only between its parts, never within a text."""
    return content.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in content or b"\r" in content else content


def _error_body(error: Any, response: Any) -> bytes:
    try:
        content = cast("bytes", response.content)
    except RuntimeError:  # a stream, of which the event that holds the error is kept
        content = json.dumps(error.body).encode()
    try:
        decode(content.decode())
    except ValueError:
        return json.dumps((text_of(response) or content.decode())[:LONGEST_TEXT]).encode()
    return _on_one_line(content)


def _message_of(failure: Failure, key: str) -> str:
    """Return what the service said, else what the SDK says and what the network did, without the key."""
    cause = f" ({failure.host}: {failure.cause})" if failure.cause else ""
    text = failure.said or f"{failure.error}{cause}"
    return _redacted(text.encode(errors="replace"), key).decode()


def _redacted(text: bytes, key: str) -> bytes:
    """Replace the key in a text of the service, which may have repeated it."""
    return text.replace(key.encode(), HIDDEN.encode()) if len(key) >= _SHORTEST_SECRET else text
