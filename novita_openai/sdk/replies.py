"""What an error of the SDK holds: the status, the headers and the body of its answer, and where the request went."""

from __future__ import annotations

from typing import Any

import openai

__all__ = ["header_of", "if_text", "json_body", "status_of", "text_of", "url_of", "whole_body", "with_readable_text"]


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error stands for, None where it has none."""
    return error.status_code if isinstance(error, openai.APIStatusError) else None


def header_of(error: BaseException, name: str) -> str | None:
    """Return a response header of the answer that an error carries, None without one."""
    response = getattr(error, "response", None)
    return None if response is None else response.headers.get(name)


def url_of(error: BaseException) -> str:
    """Return the address of the request, without its query; "" where the error holds no request."""
    request = getattr(error, "request", None) or getattr(getattr(error, "response", None), "request", None)
    return f"{getattr(request, 'url', '')}".partition("?")[0]


def whole_body(error: openai.APIError, response: Any) -> object:
    """Return the decoded body of a response, else what the SDK has kept of it, else its text."""
    try:
        return response.json()
    except (ValueError, RuntimeError):  # no JSON, nested too deeply, or a stream of which the body is not kept
        return error.body or text_of(response)


def json_body(error: openai.APIError, response: Any) -> object:
    """Return the same; {} for a JSON object of which the end is missing, as that is no page either."""
    body = whole_body(error, response)
    return {} if isinstance(body, str) and body.lstrip().startswith("{") else body


def text_of(response: Any) -> str:
    """Return the text of a response, "" for a stream of which the body is not kept."""
    try:
        return str(response.text)
    except RuntimeError:
        return ""


def with_readable_text(response: Any) -> Any:
    """Have the text of a response be read as UTF-8 where its charset cannot be, such as hex or idna; return it."""
    try:
        response.content.decode(response.encoding or "utf-8", "replace")
    except (LookupError, UnicodeError):
        response.encoding = "utf-8"
    return response


def if_text(content: bytes) -> bytes:
    """Return bytes that are text in UTF-8, none in place of others."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return b""
    return content
