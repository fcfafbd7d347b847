"""Tool calls and their results as messages have them: read strictly, written one way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from novita_openai.prompts.errors import PromptError

if TYPE_CHECKING:
    from novita_openai.prompts.messages import Turn

__all__ = ["Call", "call", "json_text", "normal_calls", "numbered"]

Call = Mapping[str, Any]


def json_text(value: Any, indent: int | None = None) -> str:
    """Return JSON as chat templates write it."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def call(name: str, arguments: Mapping[str, Any], call_id: str = "") -> Call:
    """Return a tool call in OpenAI's shape."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": json_text(arguments)}}


def numbered(calls: Iterable[Call], id_style: str, start: int = 0) -> tuple[Call, ...]:
    """Return the calls, those without an id counted."""
    return tuple({**each, "id": each["id"] or id_style.format(number)} for number, each in enumerate(calls, start))


def normal_calls(turns: Sequence[Turn], id_style: str, *, keeps_ids: bool) -> list[Turn]:
    """Return the turns with calls in one shape, and each result with the id of its call.

    Where a prompt has no ids the calls are counted. Results must stand in the order of their calls, right after them:
    in most formats that is all that tells them apart.
    """
    normal: list[Turn] = []
    pending: list[tuple[Any, str]] = []
    count = 0
    for turn in turns:
        if turn.role == "tool":
            normal.append(_answered(turn, pending))
            continue
        calls = tuple(_normal_call(turn.index, each) for each in turn.calls)
        ids = [each["id"] for each in calls]
        calls = numbered(calls if keeps_ids else [{**each, "id": ""} for each in calls], id_style, count)
        pending = [(theirs, ours["id"]) for theirs, ours in zip(ids, calls, strict=True)]
        count += len(calls)
        normal.append(replace(turn, calls=calls) if calls else turn)
    return normal


def _answered(turn: Turn, pending: list[tuple[Any, str]]) -> Turn:
    if not pending or turn.call_id not in (None, pending[0][0]):
        problem = f"a result for {turn.call_id!r} does not stand right after its call, in the order of the calls"
        raise PromptError(problem, index=turn.index)
    return replace(turn, call_id=pending.pop(0)[1])


def _normal_call(index: int, each: Any) -> Call:
    fields = each if isinstance(each, Mapping) else each.model_dump()
    function = fields.get("function")
    if fields.get("type", "function") != "function" or not isinstance(function, Mapping):
        raise PromptError(f"a tool call of type {fields.get('type')!r} has no place in a prompt", index=index)
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise PromptError(f"a tool call has a name, not {name!r}", index=index)
    return call(name, _arguments(index, function.get("arguments")), fields.get("id") or "")


def _arguments(index: int, arguments: Any) -> Mapping[str, Any]:
    """Return the arguments of a call, given as JSON text or as a dict; decoded once."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            raise PromptError(f"the arguments of a tool call are not JSON: {error}", index=index) from None
    if not isinstance(arguments, Mapping):
        raise PromptError(f"the arguments of a tool call are an object, not {type(arguments).__name__}", index=index)
    return arguments
