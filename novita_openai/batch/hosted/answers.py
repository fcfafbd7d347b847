"""The rows of a batch's output and error files, and the answers or errors in them.

The service documents the rows of answers; those of errors are printed nowhere, so every form is read: ``error`` null,
an object or a text, ``response`` null or with any status, the body in whichever form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, cast

import openai

from novita_openai import sdk
from novita_openai.batch.rows import KINDS, NO_END, WholeAnswer, finish_reasons_in
from novita_openai.client.answers import is_whole_body, refuse
from novita_openai.client.status_errors import status_error
from novita_openai.error_replies import said_in

__all__ = ["custom_id_in", "read_result"]

OK: Final = 200
LEAST_ERROR: Final = 400


@dataclass(frozen=True, slots=True)
class _ResultHead:
    """What a row of results takes over of a response besides its body."""

    status_code: int
    headers: Mapping[str, str | None] = field(default_factory=dict)


def custom_id_in(row: Mapping[str, Any]) -> str | None:
    """Return the custom_id of a row, which is all that joins it to a request."""
    custom_id = row.get("custom_id")
    return custom_id if isinstance(custom_id, str) else None


def read_result(row: Mapping[str, Any], path: str, url: str) -> WholeAnswer:
    """Return the answer in a row; raise an SDK error where it holds none, which is about the address ``url``."""
    response = _object(row.get("response"))
    status, body, kind = response.get("status_code", OK), response.get("body"), KINDS[path]
    if not row.get("error") and status == OK and is_whole_body(body, kind):
        fields = cast("dict[str, Any]", body)
        reasons, head = finish_reasons_in(fields), _ResultHead(OK, {"x-request-id": response.get("request_id")})
        if reasons is not None:
            return WholeAnswer(head, _encoded(fields), fields.get("usage"), reasons)
    request = sdk.http_library().Request("POST", url)
    if body is not None and not (row.get("error") and status == OK):
        _raise_for(status, body, kind, request)
    error = row.get("error") or {"message": "the service gives neither an answer nor an error"}
    raise openai.APIError(said_in(error) or json.dumps(error), request, body=error)


def _raise_for(status: object, body: object, kind: Any, request: Any) -> NoReturn:
    """Raise the error that a response with a body stands for, where it was not taken for an answer."""
    code = status if isinstance(status, int) and not isinstance(status, bool) else OK
    response = sdk.http_library().Response(code, content=json.dumps(body).encode(), request=request)
    if code >= LEAST_ERROR:
        named = {"code": code, "message": said_in(body) or json.dumps(body)}
        raise status_error(response, body) or cast("openai.APIStatusError", status_error(response, named))
    refuse(response, kind)
    raise openai.APIResponseValidationError(response, body, message=NO_END)


def _encoded(body: Mapping[str, Any]) -> bytes:
    """Return a body in bytes: texts as they are, unless one holds half a character."""
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(body).encode()


def _object(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}
