"""The chunks of a stream, put together to the answer that would have come in one piece. Pure, on decoded data.

Texts are joined, and so are lists: of things with an ``index``, such as calls of tools, those with the same one. What
names something, such as a role, an id or a reason, is said once or in every chunk, and never in parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Final

__all__ = ["Chunks"]

_NAMES: Final = frozenset({"role", "id", "index", "type", "name"})
"""Fields of a delta that are not joined; the last value counts that says something."""
_JOINED: Final = frozenset({"delta", "text", "logprobs"})
"""Fields of a choice that are joined, besides lists."""
_KINDS: Final[Mapping[object, str]] = {"chat.completion.chunk": "chat.completion"}


class Chunks:
    """Collects the chunks of one stream."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, chunk: dict[str, Any]) -> None:
        """Take a chunk."""
        for choice in chunk.pop("choices"):
            _add(self._choices.setdefault(choice["index"], {}), choice)
        self._fields |= {name: value for name, value in chunk.items() if value is not None}

    def answer(self) -> dict[str, Any]:
        """Return the answer so far."""
        kind = {"object": _KINDS[self._fields["object"]]} if self._fields.get("object") in _KINDS else {}
        choices = [_settled(self._choices[index]) for index in sorted(self._choices)]
        return {**self._fields, **kind, "choices": choices}


def _add(choice: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Add what a chunk says to a choice."""
    for name, value in part.items():
        if name in _JOINED or isinstance(value, list):
            choice[name] = _joined(choice.get(name), value)
        elif value is not None or name not in choice:
            choice[name] = value


def _joined(before: Any, value: Any) -> Any:
    """Return a value and what was added to it; of two that do not go together the later one."""
    if value is None:
        return before
    if isinstance(value, dict):
        return _object(before if isinstance(before, dict) else {}, value)
    if isinstance(value, list):
        return _list(before if isinstance(before, list) else [], value)
    return before + value if isinstance(before, str) and isinstance(value, str) else value


def _object(before: dict[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in part.items():
        known = before.get(name)
        before[name] = (known if value is None or value == "" else value) if name in _NAMES else _joined(known, value)
    return before


def _list(before: list[Any], part: list[Any]) -> list[Any]:
    for value in part:
        index = value.get("index") if isinstance(value, dict) else None
        known = next((each for each in before if isinstance(each, dict) and each.get("index") == index), None)
        if index is None or known is None:
            before.append(_joined(None, value))
        else:
            _object(known, value)
    return before


def _settled(choice: dict[str, Any]) -> dict[str, Any]:
    """Return a choice as an answer in one piece has it."""
    if "delta" not in choice:
        return choice
    message = {name: value for name, value in choice["delta"].items() if value is not None}
    calls = sorted(message.get("tool_calls", ()), key=itemgetter("index"))
    if calls:
        message["tool_calls"] = [{name: value for name, value in call.items() if name != "index"} for call in calls]
    # Every message has a content, which may be null, and is null beside calls.
    content = message.get("content") or (None if calls else message.get("content"))
    others = {name: value for name, value in choice.items() if name != "delta"}
    return {**others, "message": {"role": "assistant", **message, "content": content}}
