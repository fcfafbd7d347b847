"""The base class of dialects: what all families' ways of writing tool calls have in common.

A dialect turns messages into segments that a table of separators can write. Calls become the text of the assistant's
message, or a segment of their own (role ``calls``); declarations of tools become part of another message, or a segment
of their own (role ``declared``). Reading need not be strict: what a dialect has read is written again and compared with
the prompt before it counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.messages import Tools, Turn
from novita_openai.prompts.tool_calls.calls import ToolCall, json_or_none, normal_calls

if TYPE_CHECKING:
    import re

__all__ = ["DeclaredInSystem", "Dialect", "overlap", "refuse_content"]


@dataclass(frozen=True, slots=True)
class Dialect(ABC):
    """A family's way to write tools, calls and results.

    Each message that holds calls or declarations has one of the ``markers`` in its text. The first call of a reply
    starts with ``call_starts``. ``tags`` are the control strings of calls, results and declarations that stand in no
    separator, each with the role in whose messages it is read. ``id_style`` numbers calls that have no id; with
    ``keeps_ids`` the prompt holds the ids. With ``is_whole`` a reply is either a call or text, never both. Where tools
    are declared, the first text of ``header`` becomes the second in the separators at the start of the prompt.
    """

    markers: tuple[str, ...]
    call_starts: str
    tags: tuple[tuple[str, str], ...] = ()
    id_style: str = "call_{}"
    keeps_ids: bool = False
    is_whole: bool = False
    header: tuple[str, str] = ("", "")

    def normal(self, turns: Sequence[Turn]) -> list[Turn]:
        """Return the turns as they read back from a prompt."""
        return normal_calls(turns, self.id_style, keeps_ids=self.keeps_ids)

    def write(self, turns: Sequence[Turn], tools: Tools | None, default: str | None) -> list[Turn]:
        """Return the turns with declarations, calls and results in their texts.

        ``default`` is the system text that the format writes where there is no system message.
        """
        if not all(map(_is_tool, tools or ())):
            raise PromptError("a tool is declared as {'type': 'function', 'function': {'name': ...}}")
        written = [self.write_turn(turn) for turn in turns]
        return self.declare(written, tools, default) if tools else written

    def read(self, turns: Sequence[Turn], default: str | None) -> tuple[list[Turn], Tools | None]:
        """Return the turns and the tools that ``write`` was given."""
        turns, tools = self.declared(turns, default)
        return self.normal([self.read_turn(turn) for turn in turns]), tools

    def write_turn(self, turn: Turn) -> Turn:
        """Return the turn with its calls, or its result, in the text."""
        return turn.with_text(self.write_calls(turn)) if turn.calls else turn

    def read_turn(self, turn: Turn) -> Turn:
        """Return the turn with its calls, or its result, taken out of the text."""
        if turn.role != "assistant":
            return turn
        text, calls = self.read_calls(turn.text)
        return replace(turn, text=text, calls=calls)

    @abstractmethod
    def write_calls(self, turn: Turn) -> str:
        """Return the text of a message with calls."""

    @abstractmethod
    def read_calls(self, text: str) -> tuple[str, tuple[ToolCall, ...]]:
        """Return a reply's text without its calls, and the calls; a call that is not complete stays text."""

    @abstractmethod
    def declare(self, turns: list[Turn], tools: Tools, default: str | None) -> list[Turn]:
        """Return the turns with the tools declared."""

    @abstractmethod
    def declared(self, turns: Sequence[Turn], default: str | None) -> tuple[list[Turn], Tools | None]:
        """Return the turns without declarations, and the tools that were declared; None if there were none."""

    def settled(self, text: str) -> int:
        """Return how many characters at the start of an unfinished reply cannot become part of a call."""
        place = text.find(self.call_starts)
        if place < 0:
            place = len(text) - overlap(text, self.call_starts)
        return place - text.endswith("\n", 0, place)  # the newline before a call is part of it


class DeclaredInSystem(Dialect):
    """A dialect that declares tools at the end of the system message, in a text that ``pattern`` finds there."""

    __slots__ = ()
    pattern: ClassVar[re.Pattern[str]]

    def declare(self, turns: list[Turn], tools: Tools, default: str | None) -> list[Turn]:
        """Return the turns with the tools declared in the system message."""
        declaration = self.declaration(tools)
        if turns[0].role == "system":
            return [turns[0].with_text(f"{turns[0].text}\n\n{declaration}"), *turns[1:]]
        text = declaration if default is None else f"{default}\n\n{declaration}"
        return [Turn("system", text, turns[0].index), *turns]

    def declared(self, turns: Sequence[Turn], default: str | None) -> tuple[list[Turn], Tools | None]:
        """Return the turns without declarations, and the tools that were declared; None if there were none."""
        found = self.pattern.search(turns[0].text) if turns[0].role == "system" else None
        tools = None if found is None else [json_or_none(text) for text in self.declarations(found)]
        if found is None or tools is None or not all(map(_is_tool, tools)) or self.declaration(tools) != found.group():
            return [*turns], None
        before = turns[0].text[: found.start()]
        if before in ("", f"{default}\n\n"):
            return [*turns[1:]], tools
        return [turns[0].with_text(before.removesuffix("\n\n")), *turns[1:]], tools

    @abstractmethod
    def declaration(self, tools: Tools) -> str:
        """Return the text that declares tools."""

    @abstractmethod
    def declarations(self, found: re.Match[str]) -> list[str]:
        """Return the JSON of each tool in a match of the pattern."""


def _is_tool(value: Any) -> bool:
    function = value.get("function") if isinstance(value, Mapping) else None
    return isinstance(function, Mapping) and isinstance(function.get("name"), str)


def refuse_content(turn: Turn) -> None:
    """Raise PromptError for a message with both calls and content, in dialects that can write only one of them."""
    if turn.text:
        problem = "the published template drops content beside tool calls: set the content to None"
        raise PromptError(problem, index=turn.index)


def overlap(text: str, *markers: str) -> int:
    """Return how many characters at the end of a text may be the start of a marker."""
    longest = max(map(len, markers), default=0)
    for size in range(min(longest - 1, len(text)), 0, -1):
        if any(marker.startswith(text[-size:]) for marker in markers):
            return size
    return 0
