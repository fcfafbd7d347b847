"""Tool calls and results as messages have them: checked strictly, and brought into one shape."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.given import shown
from novita_openai.prompts.messages import as_dict

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn

__all__ = [
    "ToolCall",
    "call_fields",
    "is_json",
    "json_or_none",
    "json_text",
    "normal_calls",
    "numbered",
    "tool_call",
    "tool_calls_in",
]

ToolCall = Mapping[str, Any]
"""A call in OpenAI's shape: ``{"id": ..., "type": "function", "function": {"name": ..., "arguments": JSON text}}``."""


def json_text(value: Any, indent: int | None = None, *, is_compact: bool = False) -> str:
    """Return JSON as chat templates write it."""
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=(",", ":") if is_compact else None)


def json_or_none(text: str) -> Any:
    """Return the value of a JSON text, or None if the text is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def is_json(value: Any) -> bool:
    """Tell whether a value can be written as JSON and read back."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_json(inner) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(is_json, value))
    return value is None or isinstance(value, (str, int, float))


def tool_call(name: str, arguments: Mapping[str, Any], call_id: str = "") -> ToolCall:
    """Return a tool call in OpenAI's shape."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": json_text(arguments)}}


def call_fields(call: ToolCall) -> tuple[str, str, str]:
    """Return the id of a call, the name of its function, and its arguments as JSON text."""
    return call["id"], call["function"]["name"], call["function"]["arguments"]


def tool_calls_in(values: Iterable[Any], arguments: str = "arguments") -> tuple[ToolCall, ...]:
    """Return the calls that decoded JSON values stand for, with ``arguments`` under that key.

    The result is empty if one of the values is not a call, as then the text that they came from is not a list of calls.
    """
    calls = [_tool_call_in(value, arguments) for value in values]
    return () if None in calls else tuple(filter(None, calls))


def _tool_call_in(value: Any, arguments: str) -> ToolCall | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    given = value.get(arguments)
    return tool_call(value["name"], given, str(value.get("id", ""))) if isinstance(given, dict) else None


def numbered(calls: Iterable[ToolCall], id_style: str, start: int = 0) -> tuple[ToolCall, ...]:
    """Return the calls, with a number in ``id_style`` as the id of each that has none.

    ``{number}`` stands for the number, and ``{name}`` for the name of the function.
    """
    return tuple(
        {**each, "id": each["id"] or id_style.format(number=number, name=each["function"]["name"])}
        for number, each in enumerate(calls, start)
    )


def normal_calls(
    turns: Sequence[ChatTurn], id_style: str, id_of: Callable[[ToolCall], str], *, keeps_names: bool = False
) -> list[ChatTurn]:
    """Return the turns with all calls in one shape, and each result with the id of its call.

    ``id_of`` returns the id of a call as a prompt can hold it, "" if it cannot: such calls are numbered. Results must
    follow their calls directly and in the same order: in most formats nothing else says which call a result belongs to.
    With ``keeps_names`` a result keeps the name that its message has.
    """
    normal: list[ChatTurn] = []
    pending: list[tuple[Any, str]] = []  # the calls without a result: the id in the message, and the one in the prompt
    count = 0
    for turn in turns:
        if turn.role == "tool":
            normal.append(replace(_answering(turn, pending), name=turn.name if keeps_names else None))
            continue
        calls = tuple(_checked_call(turn.index, each) for each in turn.calls)
        ids = [each["id"] for each in calls]
        calls = numbered([{**each, "id": id_of(each)} for each in calls], id_style, count)
        pending = [(theirs, ours["id"]) for theirs, ours in zip(ids, calls, strict=True)]
        count += len(calls)
        normal.append(replace(turn, calls=calls) if calls else turn)
    return normal


def _answering(turn: ChatTurn, pending: list[tuple[Any, str]]) -> ChatTurn:
    """Return a result with the id of the first call that has no result yet."""
    if not pending or turn.call_id not in (None, pending[0][0]):
        problem = f"the result of call {turn.call_id!r} must stand right after its call, in the order of the calls"
        raise PromptError(problem, index=turn.index)
    return replace(turn, call_id=pending.pop(0)[1])


def _checked_call(index: int, each: Any) -> ToolCall:
    fields = as_dict(index, each, "a tool call")
    function, call_id = fields.get("function"), fields.get("id")
    if not (call_id is None or isinstance(call_id, str)):
        raise PromptError(f"the id of a tool call must be text, not {shown(call_id)}", index=index)
    if fields.get("type", "function") != "function" or not isinstance(function, Mapping):
        problem = f"a tool call of type {fields.get('type')!r} cannot be written in a prompt: use type 'function'"
        raise PromptError(problem, index=index)
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise PromptError(f"a tool call must have the name of a function, not {name!r}", index=index)
    return tool_call(name, _arguments(index, function.get("arguments")), call_id or "")


def _arguments(index: int, arguments: Any) -> Mapping[str, Any]:
    """Return the arguments of a call, given as JSON text or as a dict."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            raise PromptError(f"the arguments of a tool call are not JSON: {error}", index=index) from None
    if isinstance(arguments, Mapping) and not is_json(arguments):
        raise PromptError(f"the arguments of a tool call cannot be written as JSON: {arguments}", index=index)
    if not isinstance(arguments, Mapping):
        kind = type(arguments).__name__
        raise PromptError(f"the arguments of a tool call must be a JSON object, not {kind}", index=index)
    return arguments
