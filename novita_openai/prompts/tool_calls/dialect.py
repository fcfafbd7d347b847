"""What the dialects of tool calls share.

A dialect turns messages into rows of the table of separators: calls become the text of the assistant's message, or a
row of their own (the role ``calls``); declarations become part of a message, or a row of their own (``tools``). What a
dialect reads is written again before it counts, so reading may take what it sees at its word.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.messages import Turn
from novita_openai.prompts.tool_calls.calls import Call, call, normal_calls

if TYPE_CHECKING:
    import re

__all__ = ["DeclaredInSystem", "Dialect", "Tools", "call_of", "loads", "overlap"]

Tools = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Dialect(ABC):
    """What the dialects share.

    ``markers`` are texts of which a message that holds calls or declarations has one, ``call_starts`` is what the first
    call of a reply starts with. ``id_style`` is how calls without an id are counted; with ``keeps_ids`` the prompt
    holds the ids; with ``is_whole`` a reply is a call or holds none. Where tools are declared, the first text of
    ``header`` becomes the second in the separators at the start.
    """

    markers: tuple[str, ...]
    call_starts: str
    id_style: str = "call_{}"
    keeps_ids: bool = False
    is_whole: bool = False
    header: tuple[str, str] = ("", "")

    def normal(self, turns: Sequence[Turn]) -> list[Turn]:
        """Return the turns as they read back."""
        return normal_calls(turns, self.id_style, keeps_ids=self.keeps_ids)

    def write(self, turns: Sequence[Turn], tools: Tools | None, default: str | None) -> list[Turn]:
        """Return the turns with declarations, calls and results in their texts.

        ``default`` is the system text that the format has where there is no system message.
        """
        if not all(map(_is_tool, tools or ())):
            raise PromptError("a tool is declared as {'type': 'function', 'function': {'name': ...}}")
        written = [self.write_turn(turn) for turn in turns]
        return self.declare(written, tools, default) if tools else written

    def read(self, turns: Sequence[Turn], default: str | None) -> tuple[list[Turn], Tools | None]:
        """Return what ``write`` was given."""
        turns, tools = self.declared(turns, default)
        return self.normal([self.read_turn(turn) for turn in turns]), tools

    def write_turn(self, turn: Turn) -> Turn:
        """Return the turn with its calls or its result in the text."""
        return turn.with_text(self.write_calls(turn)) if turn.calls else turn

    def read_turn(self, turn: Turn) -> Turn:
        """Return the turn with its calls or its result apart."""
        if turn.role != "assistant":
            return turn
        text, calls = self.read_calls(turn.text)
        return replace(turn, text=text, calls=calls)

    @abstractmethod
    def write_calls(self, turn: Turn) -> str:
        """Return the text of a message with calls."""

    @abstractmethod
    def read_calls(self, text: str) -> tuple[str, tuple[Call, ...]]:
        """Return a reply's text without its calls, and the calls; what is no whole call stays text."""

    @abstractmethod
    def declare(self, turns: list[Turn], tools: Tools, default: str | None) -> list[Turn]:
        """Return the turns with the tools declared."""

    @abstractmethod
    def declared(self, turns: Sequence[Turn], default: str | None) -> tuple[list[Turn], Tools | None]:
        """Return the turns without declarations, and the tools that were declared."""

    def settled(self, text: str) -> int:
        """Return how many characters at the start of an unfinished reply are no part of a call, whatever follows."""
        place = text.find(self.call_starts)
        if place < 0:
            place = len(text) - overlap(text, self.call_starts)
        return place - text.endswith("\n", 0, place)


class DeclaredInSystem(Dialect):
    """A dialect that declares tools at the end of the system message."""

    __slots__ = ()

    def declare(self, turns: list[Turn], tools: Tools, default: str | None) -> list[Turn]:
        """Return the turns with the tools declared in the system message."""
        declaration = self.declaration(tools)
        if turns[0].role == "system":
            return [turns[0].with_text(f"{turns[0].text}\n\n{declaration}"), *turns[1:]]
        text = declaration if default is None else f"{default}\n\n{declaration}"
        return [Turn("system", text, turns[0].index), *turns]

    def declared(self, turns: Sequence[Turn], default: str | None) -> tuple[list[Turn], Tools | None]:
        """Return the turns without declarations, and the tools that were declared."""
        found = self.pattern.search(turns[0].text) if turns[0].role == "system" else None
        tools = None if found is None else [loads(text) for text in self.declarations(found)]
        if found is None or tools is None or not all(map(_is_tool, tools)) or self.declaration(tools) != found.group():
            return [*turns], None
        before = turns[0].text[: found.start()]
        if before in ("", f"{default}\n\n"):
            return [*turns[1:]], tools
        return [turns[0].with_text(before.removesuffix("\n\n")), *turns[1:]], tools

    @property
    @abstractmethod
    def pattern(self) -> re.Pattern[str]:
        """What a declaration at the end of a system text looks like."""

    @abstractmethod
    def declaration(self, tools: Tools) -> str:
        """Return the text that declares tools."""

    @abstractmethod
    def declarations(self, found: re.Match[str]) -> list[str]:
        """Return the JSON of each tool in a text that declares them."""


def _is_tool(value: Any) -> bool:
    function = value.get("function") if isinstance(value, Mapping) else None
    return isinstance(function, Mapping) and isinstance(function.get("name"), str)


def overlap(text: str, *markers: str) -> int:
    """Return how many characters at the end of a text may be the start of a marker."""
    longest = max(map(len, markers), default=0)
    for size in range(min(longest - 1, len(text)), 0, -1):
        if any(marker.startswith(text[-size:]) for marker in markers):
            return size
    return 0


def loads(text: str) -> Any:
    """Return what a JSON text says, None where it is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def call_of(value: Any, arguments: str = "arguments") -> Call | None:
    """Return the call that a JSON value says, None where it is none."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    given = value.get(arguments)
    return call(value["name"], given, str(value.get("id", ""))) if isinstance(given, dict) else None
