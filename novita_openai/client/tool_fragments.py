"""The fragments in which a streamed choice sends its tool calls, put in order where the server does not number them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["ToolFragments"]

Problem: TypeAlias = tuple[str, object] | None
"""Where a fragment cannot be read, and what stands there."""


@dataclass(slots=True)
class _ToolCall:
    """What has come of one tool call."""

    id: str | None = None
    name: str | None = None
    arguments: str = ""

    @property
    def is_complete(self) -> bool:
        try:
            return isinstance(json.loads(self.arguments), dict)
        except ValueError:
            return False


class ToolFragments:
    """Gives each fragment the index of its call: by its id, else by its place in the list.

    Fragments without either belong to the first call from that place on whose arguments are not complete; where all are
    complete, a fragment that names a function begins the next call.
    """

    def __init__(self) -> None:
        self.calls: dict[int, _ToolCall] = {}

    def mend(self, fragments: Any) -> Problem:
        """Repair the fragments of one event in place; return what cannot be read, None where all can."""
        if not isinstance(fragments, list):
            return "", fragments
        for place, fragment in enumerate(fragments):
            if not isinstance(fragment, dict):
                return f"[{place}]", fragment
            if problem := self._mend_one(fragment, place):
                return f"[{place}].{problem[0]}", problem[1]
        return None

    def _mend_one(self, fragment: dict[str, Any], place: int) -> Problem:
        function, index = fragment.get("function"), fragment.get("index")
        function = {} if function is None else function
        if not isinstance(function, dict):
            return "function", function
        arguments = function.get("arguments")
        if isinstance(arguments, (dict, list)):
            arguments = function["arguments"] = json.dumps(arguments, ensure_ascii=False)
        elif arguments is not None and not isinstance(arguments, str):
            return "function.arguments", arguments
        if isinstance(index, str) and index.isdecimal():
            index = fragment["index"] = int(index)
        if index is not None and type(index) is not int:
            return "index", index
        name = function.get("name")
        if index is None:
            index = fragment["index"] = self._index(fragment.get("id"), name, place)
            self._drop_repeated(fragment, function, self.calls.get(index))
        self._note(index, fragment, name, arguments)
        return None

    def _index(self, call_id: object, name: object, place: int) -> int:
        following = max(self.calls, default=-1) + 1
        if call_id:
            return next((index for index, call in self.calls.items() if call.id == call_id), following)
        open_calls = (index for index, call in self.calls.items() if index >= place and not call.is_complete)
        return next(open_calls, following if name or not following else following - 1)

    def _drop_repeated(self, fragment: dict[str, Any], function: dict[str, Any], call: _ToolCall | None) -> None:
        """Remove what an earlier fragment of the call has said, as readers join the parts of names and ids."""
        if call is not None and call.id and fragment.get("id") == call.id:
            fragment["id"] = None
        if call is not None and call.name and function.get("name") == call.name:
            function["name"] = None

    def _note(self, index: int, fragment: dict[str, Any], name: Any, arguments: str | None) -> None:
        call = self.calls.get(index)
        if call is None:
            call = self.calls[index] = _ToolCall()
            fragment["type"] = fragment.get("type") or "function"
        call.id, call.name = call.id or fragment.get("id"), call.name or name
        call.arguments += arguments or ""
