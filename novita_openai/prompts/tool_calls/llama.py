"""Llama 3.1: one call a message, as bare JSON; declarations in the first user message; results as JSON text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.tool_calls.calls import ToolCall, call_fields, json_or_none, json_text, tool_calls_in
from novita_openai.prompts.tool_calls.dialect import Dialect, refuse_content

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn, Tools

__all__ = ["LLAMA"]

_TOOLS: Final = (
    "Given the following functions, please respond with a JSON for a function call with its proper arguments that best "
    "answers the given prompt.\n\nRespond in the format "
    '{"name": function name, "parameters": dictionary of argument name and its value}.Do not use variables.\n\n'
)


class _Llama(Dialect):
    __slots__ = ()

    def write_turn(self, turn: ChatTurn) -> ChatTurn:
        return turn.with_text(json_text(turn.text)) if turn.role == "tool" else Dialect.write_turn(self, turn)

    def read_turn(self, turn: ChatTurn) -> ChatTurn:
        if turn.role == "tool" and isinstance(result := json_or_none(turn.text), str):
            return turn.with_text(result)
        return Dialect.read_turn(self, turn)

    def write_calls(self, turn: ChatTurn) -> str:
        refuse_content(turn)
        (_, name, arguments), *more = map(call_fields, turn.calls)
        if more:
            problem = f"the format writes one tool call a message, and this one has {len(turn.calls)}"
            raise PromptError(problem, index=turn.index)
        return f'{{"name": {json_text(name)}, "parameters": {arguments}}}'

    def read_calls(self, text: str, tools: Tools | None = None) -> tuple[str, tuple[ToolCall, ...]]:  # noqa: ARG002 - JSON says the types
        value = json_or_none(text) if text.lstrip().startswith("{") else None
        is_call = isinstance(value, dict) and value.keys() == {"name", "parameters"}
        calls = tool_calls_in([value], "parameters") if is_call else ()
        return ("", calls) if calls else (text, ())

    def settled(self, text: str) -> int:
        return 0 if text.lstrip()[:1] in ("", self.call_starts) else len(text)

    def declare(
        self,
        turns: list[ChatTurn],
        tools: Tools,
        default: str | None,  # noqa: ARG002 - tools are not declared in the system message
    ) -> list[ChatTurn]:
        place = 1 if turns[0].role == "system" else 0
        if len(turns) <= place or turns[place].role != "user":
            problem = "tools are declared in the first user message, which must be the first after the system message"
            raise PromptError(problem, index=turns[-1].index)
        text = _TOOLS + "".join(f"{json_text(tool, 4)}\n\n" for tool in tools) + turns[place].text
        return [*turns[:place], turns[place].with_text(text), *turns[place + 1 :]]

    def declared(
        self,
        turns: Sequence[ChatTurn],
        default: str | None,  # noqa: ARG002 - as in declare
    ) -> tuple[list[ChatTurn], Tools | None]:
        place = next((place for place, turn in enumerate(turns) if turn.role == "user"), 0)
        if not turns[place].text.startswith(_TOOLS):
            return [*turns], None
        tools, rest = _leading_objects(turns[place].text.removeprefix(_TOOLS))
        return [*turns[:place], turns[place].with_text(rest), *turns[place + 1 :]], tools


def _leading_objects(text: str) -> tuple[list[Mapping[str, Any]], str]:
    """Return the JSON objects that a text starts with, each followed by a blank line, and the rest of the text."""
    decoder, objects = json.JSONDecoder(), []
    while text.startswith("{"):
        try:
            value, end = decoder.raw_decode(text)
        except ValueError:
            break
        if not text.startswith("\n\n", end):
            break
        objects.append(value)
        text = text[end + 2 :]
    return objects, text


LLAMA: Final = _Llama(
    ('{"name": ',),
    "{",
    (("user", _TOOLS),),
    is_whole=True,
    header=("Cutting Knowledge Date", "Environment: ipython\nCutting Knowledge Date"),
)
