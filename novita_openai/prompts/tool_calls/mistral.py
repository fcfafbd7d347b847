"""Mistral v3 to v7: calls, results and declarations are turns of their own, declarations before the last user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.messages import ChatTurn, Tools
from novita_openai.prompts.tool_calls.calls import ToolCall, call_fields, json_or_none, json_text, tool_calls_in
from novita_openai.prompts.tool_calls.dialect import Dialect, refuse_content

__all__ = ["MISTRAL", "MISTRAL_V7", "MISTRAL_V7_TEKKEN", "DeclaredBeforeQuestion"]

_CALLS: Final = "[TOOL_CALLS]"
_ID: Final = "[a-zA-Z0-9]{9}"


@dataclass(frozen=True, slots=True)
class DeclaredBeforeQuestion(Dialect):
    """A dialect that declares tools in a turn of their own.

    It stands before the user's message that ``declared_before`` says, the ``"first"`` or the ``"last"``, or, where that
    is "", before all other messages but the system message.
    """

    declared_before: str = "last"

    def declare(
        self,
        turns: list[ChatTurn],
        tools: Tools,
        default: str | None,  # noqa: ARG002 - tools are not declared in the system message
    ) -> list[ChatTurn]:
        """Return the turns with the tools declared."""
        place = self._place(turns)
        return [*turns[:place], ChatTurn("declared", json_text([*tools]), turns[-1].index), *turns[place:]]

    def _place(self, turns: Sequence[ChatTurn]) -> int:
        if not self.declared_before:
            return 1 if turns[0].role == "system" else 0
        users = [place for place, turn in enumerate(turns) if turn.role == "user"]
        if not users:
            raise PromptError("the published template declares tools before a user's message, and there is none")
        return users[0 if self.declared_before == "first" else -1]

    def declared(
        self,
        turns: Sequence[ChatTurn],
        default: str | None,  # noqa: ARG002 - as in declare
    ) -> tuple[list[ChatTurn], Tools | None]:
        """Return the turns without declarations, and the tools that were declared; None if there were none."""
        texts = [turn.text for turn in turns if turn.role == "declared"]
        tools = json_or_none(texts[0]) if texts else None
        if texts and not isinstance(tools, list):
            raise PromptError("what stands in the place of declarations of tools are none", offset=0)
        return [turn for turn in turns if turn.role != "declared"], tools


@dataclass(frozen=True, slots=True)
class _Mistral(DeclaredBeforeQuestion):
    """With ``has_json_results`` a result is JSON, and a text in it is quoted."""

    has_json_results: bool = False

    def normal(self, turns: Sequence[ChatTurn]) -> list[ChatTurn]:
        turns = Dialect.normal(self, turns)
        return [self._with_json(turn) if turn.role == "tool" else turn for turn in turns]

    def _with_json(self, turn: ChatTurn) -> ChatTurn:
        """Return a result whose text is as it reads back: what is JSON, in the form in which it is written."""
        value = json_or_none(turn.text) if self.has_json_results else None
        if isinstance(value, str):
            raise PromptError("a result that is JSON of a string loses its quotes: give the string", index=turn.index)
        return turn if value is None else turn.with_text(json_text(value))

    def write_turn(self, turn: ChatTurn) -> ChatTurn:
        if turn.calls:
            return replace(turn, role="calls", text=self.write_calls(turn))
        is_text = turn.role == "tool" and self.has_json_results and not _is_json(turn.text)
        return Dialect.write_turn(self, turn.with_text(json_text(turn.text)) if is_text else turn)

    def read_turn(self, turn: ChatTurn) -> ChatTurn:
        if turn.role == "tool":
            turn = self.read_result(turn)
            value = json_or_none(turn.text) if self.has_json_results else None
            return turn.with_text(value) if isinstance(value, str) else turn
        if turn.role == "calls":
            _, calls = self.read_calls(_CALLS + turn.text)
            return replace(turn, role="assistant", text="" if calls else turn.text, calls=calls)
        return turn

    def write_calls(self, turn: ChatTurn) -> str:
        refuse_content(turn)
        calls = (
            f'{{"name": {json_text(name)}, "arguments": {arguments}, "id": "{call_id}"}}'
            for call_id, name, arguments in map(call_fields, turn.calls)
        )
        return f"[{', '.join(calls)}]"

    def read_calls(self, text: str, tools: Tools | None = None) -> tuple[str, tuple[ToolCall, ...]]:  # noqa: ARG002 - JSON says the types
        before, marker, after = text.partition(_CALLS)
        values = json_or_none(after) if marker else None
        calls = tool_calls_in(values) if isinstance(values, list) else ()
        return (before, calls) if calls else (text, ())


def _is_json(text: str) -> bool:
    return text == "null" or json_or_none(text) is not None


MISTRAL: Final = _Mistral(
    (),
    _CALLS,
    id_style="{number:09}",
    id_form=_ID,
    result='{"content": {text}, "call_id": "{id}"}',
    has_json_results=True,
)
MISTRAL_V7: Final = _Mistral(
    (), _CALLS, (("tool", "[TOOL_CONTENT]"),), id_style="{number:09}", id_form=_ID, result="{id}[TOOL_CONTENT] {text}"
)
MISTRAL_V7_TEKKEN: Final = replace(MISTRAL_V7, result="{id}[TOOL_CONTENT]{text}")
