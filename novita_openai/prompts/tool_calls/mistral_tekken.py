"""Mistral v11 and later: each call is a token, a name, a token and JSON, at the end of a reply."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.tool_calls.calls import ToolCall, call_fields, json_or_none, tool_call
from novita_openai.prompts.tool_calls.dialect import refuse_content
from novita_openai.prompts.tool_calls.mistral import DeclaredBeforeQuestion

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn, Tools

__all__ = ["MISTRAL_V11", "MISTRAL_V11_BARE", "MISTRAL_V13"]

_CALL: Final = "[TOOL_CALLS]"
_ID: Final = "[CALL_ID]"
_ARGUMENTS: Final = "[ARGS]"
_TAGS: Final = tuple(("assistant", tag) for tag in (_CALL, _ID, _ARGUMENTS))


@dataclass(frozen=True, slots=True)
class _Tekken(DeclaredBeforeQuestion):
    """With ``has_ids`` the id of a call stands after its name."""

    has_ids: bool = False

    def write_calls(self, turn: ChatTurn) -> str:
        if self.has_ids:
            refuse_content(turn)
        return turn.text + "".join(map(self._written, turn.calls))

    def _written(self, call: ToolCall) -> str:
        call_id, name, arguments = call_fields(call)
        return f"{_CALL}{name}{_ID + call_id if self.has_ids else ''}{_ARGUMENTS}{arguments}"

    def read_calls(self, text: str, tools: Tools | None = None) -> tuple[str, tuple[ToolCall, ...]]:  # noqa: ARG002 - JSON says the types
        content, *pieces = text.split(_CALL)
        calls = tuple(filter(None, map(self._call_in, pieces)))
        return (content, calls) if calls and len(calls) == len(pieces) else (text, ())

    def _call_in(self, piece: str) -> ToolCall | None:
        head, _, text = piece.partition(_ARGUMENTS)
        name, _, call_id = head.partition(_ID)
        arguments = json_or_none(text)
        return tool_call(name, arguments, call_id) if name and isinstance(arguments, dict) else None


MISTRAL_V11: Final = _Tekken(
    (),
    _CALL,
    (*_TAGS, ("tool", "[TOOL_CONTENT]")),
    id_style="{number:09}",
    id_form="[a-zA-Z0-9]{9}",
    result="{id}[TOOL_CONTENT]{text}",
    has_ids=True,
)
MISTRAL_V11_BARE: Final = _Tekken((), _CALL, _TAGS, declared_before="")
MISTRAL_V13: Final = replace(MISTRAL_V11_BARE, declared_before="first")
