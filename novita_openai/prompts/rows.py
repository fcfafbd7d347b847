"""Rows of data sets as chat histories, and histories as rows.

Three shapes are known: OpenAI's ``{"messages": [...]}``, ShareGPT's ``{"conversations": [{"from", "value"}]}``, and
Alpaca's ``{"instruction", "input", "output"}``. Their fields are those of OpenAI's fine-tuning files and of
https://llamafactory.readthedocs.io (``data preparation``), which also says how an instruction and its input are joined.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.given import shown
from novita_openai.prompts.messages import ChatMessage, History, Tools, keys_of

__all__ = ["fields_of", "messages_from", "row_of"]

_SETTINGS: Final = ("ending", "bos", "date", "tools", "keep_reasoning")
"""What a row may say besides its messages, so that a parsed prompt can be written again."""

_ENDINGS: Final = ("reply", "prefill", "closed")

_SHAPES: Final[Mapping[str, frozenset[str]]] = {
    "messages": frozenset({"messages", *_SETTINGS}),
    "conversations": frozenset({"conversations", "system", *_SETTINGS}),
    "instruction": frozenset({"instruction", "input", "output", "system", "history", *_SETTINGS}),
}
"""The fields of each shape, by the field that tells it from the others."""

_SPEAKERS: Final = {
    "human": "user", "user": "user",
    "gpt": "assistant", "assistant": "assistant", "model": "assistant", "chatgpt": "assistant", "bing": "assistant",
    "bard": "assistant", "function_call": "assistant",
    "system": "system",
    "tool": "tool", "observation": "tool", "function_response": "tool",
}  # fmt: skip
"""What ShareGPT rows call the roles."""


def messages_from(row: Any, *, ignore_unknown: bool = False) -> History:
    """Return the messages of a row in OpenAI's, ShareGPT's or Alpaca's shape, or of a list of such messages.

    The history is closed if it ends with the assistant's message, and else asks for a reply. ``tools`` of the row, and
    what ``row_of`` writes, are attributes of the list that is returned; ``render`` takes them from there.

    Raise PromptError that names the fields which are unknown, and so cannot be written in a prompt; with
    ``ignore_unknown`` they are left out.
    """
    fields = {"messages": row} if isinstance(row, (list, tuple)) else row
    if not isinstance(fields, Mapping):
        raise PromptError(f"a row must be an object or a list of messages, not {shown(row)}")
    shape = _shape_of(fields)
    if not ignore_unknown:
        _refuse_unknown(fields, _SHAPES[shape], "of the row")
    read = _alpaca if shape == "instruction" else _listed
    messages = [*read(fields, shape, ignore_unknown=ignore_unknown)]
    if not messages:
        raise PromptError("the row has no messages")
    return History(messages, **_settings(fields, messages))


def fields_of(row: Mapping[str, Any]) -> frozenset[str]:
    """Return the fields that the shape of a row has."""
    return _SHAPES[_shape_of(row)]


def row_of(history: History) -> dict[str, Any]:
    """Return the row of a parsed prompt: its messages, and what else ``render`` needs to write it again.

    ``messages_from`` undoes it, also after a way through JSON.
    """
    settings = {name: getattr(history, name) for name in _SETTINGS}
    date = settings.pop("date")
    written = {name: value for name, value in settings.items() if value}
    return {"messages": [*history], **written, **({"date": date.isoformat()} if date else {})}


def _shape_of(row: Mapping[str, Any]) -> str:
    shape = next((name for name in _SHAPES if name in row), None)
    if shape is None:
        problem = f"a row must have one of the fields {', '.join(map(repr, _SHAPES))}; it has {_names(row)}"
        raise PromptError(problem)
    return shape


def _names(fields: Iterable[Any]) -> str:
    return ", ".join(map(repr, fields)) or "none"


def _refuse_unknown(fields: Mapping[str, Any], known: Iterable[str], where: str, index: int | None = None) -> None:
    unknown = [name for name, value in fields.items() if name not in known and value not in (None, [])]
    if unknown:
        problem = f"unknown fields {where}: {_names(unknown)}; take them out, or ignore them (ignore_unknown=True)"
        raise PromptError(problem, index=index)


def _listed(row: Mapping[str, Any], shape: str, *, ignore_unknown: bool) -> Iterator[ChatMessage]:
    """Yield the messages of a row that lists them."""
    listed = row[shape]
    if not isinstance(listed, (list, tuple)):
        raise PromptError(f"{shape!r} must be a list, not {shown(listed)}")
    if shape == "conversations" and row.get("system"):
        yield {"role": "system", "content": row["system"]}
    for index, message in enumerate(listed):
        if not isinstance(message, Mapping):
            raise PromptError(f"a message must be an object, not {shown(message)}", index=index)
        read = _spoken if "from" in message else _message
        yield read(message, index, ignore_unknown=ignore_unknown)


def _message(message: Mapping[str, Any], index: int, *, ignore_unknown: bool) -> ChatMessage:
    """Return a message in OpenAI's shape, which ``render`` checks further."""
    known = keys_of(message.get("role"), index)
    if not ignore_unknown:
        _refuse_unknown(message, known, "of a message", index)
    return {name: value for name, value in message.items() if name in known}


def _spoken(message: Mapping[str, Any], index: int, *, ignore_unknown: bool) -> ChatMessage:
    """Return a message in ShareGPT's shape."""
    if not ignore_unknown:
        _refuse_unknown(message, {"from", "value"}, "of a message", index)
    speaker = message["from"]
    role = _SPEAKERS.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise PromptError(f"unknown speaker {speaker!r}; known are {', '.join(_SPEAKERS)}", index=index)
    if speaker == "function_call":
        return {"role": role, "content": None, "tool_calls": [*_calls(message.get("value"), index)]}
    return {"role": role, "content": message.get("value")}


def _calls(value: Any, index: int) -> Iterator[ChatMessage]:
    """Yield the tool calls of a ``function_call``, which is JSON: a call with its name and arguments, or a list."""
    try:
        read = json.loads(value) if isinstance(value, str) else value
        for call in read if isinstance(read, list) else [read]:
            yield {"type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
    except (KeyError, TypeError, ValueError) as error:
        problem = f"a function_call must be JSON with 'name' and 'arguments', not {value!r}"
        raise PromptError(problem, index=index) from error


def _alpaca(row: Mapping[str, Any], _: str, *, ignore_unknown: bool) -> Iterator[ChatMessage]:  # noqa: ARG001 - as _listed
    """Yield the messages of an Alpaca row; an empty output asks for the reply."""
    texts = {name: row.get(name) or "" for name in ("system", "instruction", "input", "output")}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise PromptError(f"{name!r} must be text, not {shown(text)}")
    if texts["system"]:
        yield {"role": "system", "content": texts["system"]}
    for asked, answered in _rounds(row.get("history") or []):
        yield {"role": "user", "content": asked}
        yield {"role": "assistant", "content": answered}
    yield {"role": "user", "content": "\n".join(text for text in (texts["instruction"], texts["input"]) if text)}
    if texts["output"]:
        yield {"role": "assistant", "content": texts["output"]}


def _rounds(history: Any) -> list[Any]:
    """Return the rounds before an Alpaca row's own: pairs of what was asked and answered."""
    is_read = isinstance(history, list) and all(isinstance(each, list) and len(each) == 2 for each in history)  # noqa: PLR2004
    if not is_read:
        raise PromptError("'history' must be a list of pairs: what was asked, and the answer")
    rounds: list[Any] = history
    return rounds


def _settings(row: Mapping[str, Any], messages: list[ChatMessage]) -> dict[str, Any]:
    """Return what a row says besides its messages, as a history has it."""
    ending = row.get("ending") or ("closed" if messages[-1]["role"] == "assistant" else "reply")
    if ending not in _ENDINGS:
        raise PromptError(f"'ending' must be one of {', '.join(_ENDINGS)}, not {ending!r}")
    return {
        "ending": ending,
        "bos": _flag(row, "bos"),
        "keep_reasoning": _flag(row, "keep_reasoning"),
        "date": _date(row.get("date")),
        "tools": _tools(row.get("tools")),
    }


def _flag(row: Mapping[str, Any], name: str) -> bool:
    value = row.get(name) or False
    if not isinstance(value, bool):
        raise PromptError(f"{name!r} must be true or false, not {value!r}")
    return value


def _date(value: Any) -> dt.date | None:
    if value is None or isinstance(value, dt.date):
        return value
    try:
        return dt.date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise PromptError(f"'date' must be a date such as 2026-01-31, not {value!r}") from error


def _tools(value: Any) -> Tools | None:
    """Return declarations of tools, which ShareGPT rows give as JSON text; None where there are none."""
    try:
        tools = json.loads(value) if isinstance(value, str) and value else value
    except ValueError as error:
        raise PromptError(f"'tools' is not JSON: {error}") from error
    if not tools:
        return None
    if not (isinstance(tools, list) and all(isinstance(each, Mapping) for each in tools)):
        raise PromptError("'tools' must be a list of declarations of tools")
    return [*map(_declared, tools)]


def _declared(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a declaration as a chat request has it; ShareGPT rows give the function alone."""
    return tool if "function" in tool else {"type": "function", "function": dict(tool)}
