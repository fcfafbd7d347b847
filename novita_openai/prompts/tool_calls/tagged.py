"""Dialects of tags: calls stand at the end of a reply, each with its name and arguments between texts of the family."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.tokens import is_special, named_roles, tokens_in
from novita_openai.prompts.tool_calls.arguments import JSON, Arguments, Schema, loose
from novita_openai.prompts.tool_calls.calls import ToolCall, call_fields, tool_call
from novita_openai.prompts.tool_calls.dialect import DeclaredApart

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn, Tools

__all__ = ["Tagged"]


@dataclass(frozen=True, slots=True)
class Tagged(DeclaredApart):
    """A family whose calls are marked by tags.

    ``call`` are the texts before a function's name, between the name and the arguments, and after these; ``between``
    stands between two calls, ``calls`` around all of them, and ``glue`` between the content of a message and its calls.
    With ``is_answered`` the published template ends calls otherwise where no result follows, which is refused.
    With ``is_joined`` a call that follows a thought directly has no line break before it.
    With ``names_id`` the id of the call stands in place of the function's name, and holds it.
    """

    calls: tuple[str, str] = ("", "")
    call: tuple[str, str, str] = ("", "", "")
    between: str = ""
    glue: str = ""
    arguments: Arguments = JSON
    names_id: bool = False
    is_joined: bool = False
    is_answered: bool = False

    def __post_init__(self) -> None:
        tokens = tokens_in("\n".join((*self.calls, *self.call)))
        tags = dict.fromkeys(token for token in tokens if is_special(token) or named_roles(token))
        object.__setattr__(self, "tags", tuple(("assistant", tag) for tag in tags))

    def write(self, turns: Sequence[ChatTurn], tools: Tools | None, default: str | None) -> list[ChatTurn]:
        """Return the turns with declarations, calls and results in their texts."""
        for turn, following in pairwise([*turns, None]):
            if self.is_answered and turn is not None and turn.calls and (following is None or following.role != "tool"):
                raise PromptError("the format writes calls only with their results after them", index=turn.index)
        written = [self._written(turn, tools) for turn in turns]
        return self.declare(written, tools, default) if tools else written

    def _written(self, turn: ChatTurn, tools: Tools | None) -> ChatTurn:
        written = self.write_turn(turn)
        if turn.calls:
            self._refuse_unreadable(turn, written.text, tools)
        return written

    def _refuse_unreadable(self, turn: ChatTurn, text: str, tools: Tools | None) -> None:
        """Raise PromptError for calls that read back otherwise than they were meant."""
        content, calls = self.read_calls(text, tools)
        if content == turn.text and [*map(self._meaning, calls)] == [*map(self._meaning, turn.calls)]:
            return
        functions = [each["function"] for each in calls]
        wrong: Mapping[str, Any] = next(
            (each["function"] for each in turn.calls if each["function"] not in functions), {}
        )
        problem = (
            f"the call of {wrong.get('name')!r} with the arguments {wrong.get('arguments')} would read back otherwise: "
            "declare the tool with the types of its parameters, or use chat completions"
        )
        raise PromptError(problem, index=turn.index)

    def _meaning(self, call: ToolCall) -> tuple[str, str]:
        """Return what a prompt says of a call."""
        call_id, name, arguments = call_fields(call)
        return call_id if self.names_id else name, arguments

    def read(self, turns: Sequence[ChatTurn], default: str | None) -> tuple[list[ChatTurn], Tools | None]:
        """Return the turns and the tools that ``write`` was given."""
        turns, tools = self.declared(turns, default)
        return self.normal([self._read(turn, tools) for turn in turns]), tools

    def _read(self, turn: ChatTurn, tools: Tools | None) -> ChatTurn:
        if turn.role != "assistant":
            return self.read_turn(turn)
        text, calls = self.read_calls(turn.text, tools)
        return replace(turn, text=text, calls=calls)

    def write_calls(self, turn: ChatTurn) -> str:
        """Return the text of a message with calls."""
        calls = self.between.join(map(self._written_call, turn.calls)).join(self.calls)
        if self.is_joined and turn.reasoning and not turn.text:
            return calls.lstrip("\n")
        return f"{turn.text}{self.glue if turn.text else ''}{calls}"

    def _written_call(self, each: ToolCall) -> str:
        call_id, name, arguments = call_fields(each)
        before, middle, after = self.call
        return (
            f"{before}{call_id if self.names_id else name}{middle}{self.arguments.write(json.loads(arguments))}{after}"
        )

    def read_calls(self, text: str, tools: Tools | None = None) -> tuple[str, tuple[ToolCall, ...]]:
        """Return a reply's text without its calls, and the calls; a call that is not complete stays text."""
        begin = text.find(self.call_starts)
        found = self._found(text, begin) if begin >= 0 else []
        calls = tuple(filter(None, (self._call_in(each, tools) for each in found)))
        blank = self.glue or self.calls[0][: len(self.calls[0]) - len(self.calls[0].lstrip("\n"))]
        return (text[:begin].removesuffix(blank), calls) if found and len(calls) == len(found) else (text, ())

    def _found(self, text: str, begin: int) -> list[re.Match[str]]:
        """Return the matches of the calls that a text ends with from ``begin`` on; none if it goes on otherwise."""
        first, call, last = _patterns(self)
        found: list[re.Match[str]] = []
        opened, closing = first.match(text, begin), self.call[2].strip()
        place = begin if opened is None else opened.end()
        # A call that does not end is not searched for: its pattern would be tried at each place of the rest.
        while opened is not None and text.find(closing, place) >= 0 and (each := call.match(text, place)):
            found.append(each)
            place = each.end()
        return found if last.fullmatch(text, place) else []

    def _call_in(self, found: re.Match[str], tools: Tools | None) -> ToolCall | None:
        call_id = found["name"] if self.names_id else ""
        name = self.name_in(call_id) if self.names_id else found["name"]
        arguments = self.arguments.read(found["arguments"], _schema(name, tools))
        return None if arguments is None or not name else tool_call(name, arguments, call_id)


@cache
def _patterns(dialect: Tagged) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of what stands before the first call, of a call, and of what stands after the last."""
    before, middle, after = map(loose, dialect.call)
    return (
        re.compile(loose(dialect.calls[0].lstrip("\n"))),
        re.compile(rf"\s*{before}(?P<name>[^\n<>]*){middle}(?P<arguments>.*?){after}", re.DOTALL),
        re.compile(rf"\s*{loose(dialect.calls[1])}\s*"),
    )


def _schema(name: str, tools: Tools | None) -> Schema:
    """Return the declared properties of a function's parameters; none where they are not declared."""
    functions = [tool["function"] for tool in tools or () if tool["function"]["name"] == name]
    parameters = functions[0].get("parameters") if functions else None
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    return properties if isinstance(properties, dict) else {}
