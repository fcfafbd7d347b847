"""The base class of dialects: what all families' ways of writing tool calls have in common.

A dialect turns messages into segments that a table of separators can write. Calls become the text of the assistant's
message, or a segment of their own (role ``calls``); declarations of tools become part of another message, or a segment
of their own (role ``declared``). Reading need not be strict: what a dialect has read is written again and compared with
the prompt before it counts.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.messages import ChatTurn, Tools
from novita_openai.prompts.tool_calls.calls import ToolCall, json_or_none, normal_calls
from novita_openai.prompts.tool_calls.declarations import TOOL_LINES, DeclarationsForm, is_tool

__all__ = ["DeclaredApart", "DeclaredInSystem", "Dialect", "overlap", "refuse_content", "refuse_unanswered"]


@dataclass(frozen=True, slots=True)
class Dialect(ABC):
    """A family's way to write tools, calls and results.

    Each message that holds calls or declarations has one of the ``markers`` in its text. The first call of a reply
    starts with ``call_starts``. ``tags`` are the control strings of calls, results and declarations that stand in no
    separator, each with the role in whose messages it is read. The prompt holds the ids of calls in the form
    ``id_form``, in which ``{name}`` stands for the function's name, or none; ``id_style`` numbers calls whose ids it
    cannot hold. ``result`` is how a result is written, with ``{text}``, ``{id}`` and ``{name}`` for what it consists
    of. With ``is_whole`` a reply is either a call or text, never both. Where tools are declared, the first text of
    ``header`` becomes the second in the separators at the start of the prompt.
    """

    markers: tuple[str, ...]
    call_starts: str
    tags: tuple[tuple[str, str], ...] = ()
    id_style: str = "call_{number}"
    id_form: str = ""
    result: str = "{text}"
    is_whole: bool = False
    header: tuple[str, str] = ("", "")

    def normal(self, turns: Sequence[ChatTurn]) -> list[ChatTurn]:
        """Return the turns as they read back from a prompt."""
        return normal_calls(turns, self.id_style, self._id_of, keeps_names="{name}" in self.result)

    def _id_of(self, call: ToolCall) -> str:
        """Return the id of a call as a prompt can hold it; "" if it cannot."""
        form = self.id_form.replace("{name}", re.escape(call["function"]["name"]))
        return call["id"] if form and re.fullmatch(form, call["id"]) else ""

    def name_in(self, call_id: str) -> str:
        """Return the name of the function that an id holds; "" if it holds none."""
        found = re.fullmatch(self.id_form.replace("{name}", "(?P<name>.+)"), call_id)
        return "" if found is None else found["name"]

    def write(self, turns: Sequence[ChatTurn], tools: Tools | None, default: str | None) -> list[ChatTurn]:
        """Return the turns with declarations, calls and results in their texts.

        ``default`` is the system text that the format writes where there is no system message.
        """
        written = [self.write_turn(turn) for turn in turns]
        return self.declare(written, tools, default) if tools else written

    def read(self, turns: Sequence[ChatTurn], default: str | None) -> tuple[list[ChatTurn], Tools | None]:
        """Return the turns and the tools that ``write`` was given."""
        turns, tools = self.declared(turns, default)
        return self.normal([self.read_turn(turn) for turn in turns]), tools

    def write_turn(self, turn: ChatTurn) -> ChatTurn:
        """Return the turn with its calls, or its result, in the text."""
        if turn.role == "tool":
            return turn.with_text(self.write_result(turn))
        return turn.with_text(self.write_calls(turn)) if turn.calls else turn

    def write_result(self, turn: ChatTurn) -> str:
        """Return the text of a result."""
        parts = {"text": turn.text, "id": turn.call_id or "", "name": turn.name or turn.role}
        return re.sub(r"\{(\w+)\}", lambda field: parts[field[1]], self.result)

    def read_result(self, turn: ChatTurn) -> ChatTurn:
        """Return a result with its parts taken out of its text."""
        found = _result_pattern(self.result).fullmatch(turn.text)
        if found is None:
            raise PromptError("this is not how the format writes the result of a call", offset=0)
        parts = found.groupdict()
        name = parts.get("name")
        named = None if name == turn.role else name
        return replace(turn, text=parts["text"], call_id=parts.get("id", turn.call_id), name=named)

    def read_turn(self, turn: ChatTurn) -> ChatTurn:
        """Return the turn with its calls, or its result, taken out of the text."""
        if turn.role != "assistant":
            return self.read_result(turn) if turn.role == "tool" else turn
        text, calls = self.read_calls(turn.text)
        return replace(turn, text=text, calls=calls)

    @abstractmethod
    def write_calls(self, turn: ChatTurn) -> str:
        """Return the text of a message with calls."""

    @abstractmethod
    def read_calls(self, text: str, tools: Tools | None = None) -> tuple[str, tuple[ToolCall, ...]]:
        """Return a reply's text without its calls, and the calls; a call that is not complete stays text.

        Where the types of arguments are not written, those that ``tools`` declare decide.
        """

    def calls_in(self, text: str) -> tuple[str, tuple[ToolCall, ...]]:
        """Return what ``read_calls`` does; what has more levels than Python can follow stays text."""
        try:
            return self.read_calls(text)
        except RecursionError:
            return text, ()

    @abstractmethod
    def declare(self, turns: list[ChatTurn], tools: Tools, default: str | None) -> list[ChatTurn]:
        """Return the turns with the tools declared."""

    @abstractmethod
    def declared(self, turns: Sequence[ChatTurn], default: str | None) -> tuple[list[ChatTurn], Tools | None]:
        """Return the turns without declarations, and the tools that were declared; None if there were none."""

    def settled(self, text: str) -> int:
        """Return how many characters at the start of an unfinished reply cannot become part of a call."""
        place = text.find(self.call_starts)
        if place < 0:
            place = len(text) - overlap(text, self.call_starts)
        return len(text[:place].rstrip("\n"))  # the newlines before a call are part of it


@dataclass(frozen=True, slots=True)
class DeclaredApart(Dialect):
    """A dialect that declares tools in a message of their own (role ``declared``), in the form ``declarations``.

    It stands before all others, or, with ``after_system``, after the system message.
    """

    declarations: DeclarationsForm = TOOL_LINES
    after_system: bool = False

    def declare(
        self,
        turns: list[ChatTurn],
        tools: Tools,
        default: str | None,  # noqa: ARG002 - the table of separators holds it
    ) -> list[ChatTurn]:
        """Return the turns with the tools declared."""
        place = 1 if self.after_system and turns[0].role == "system" else 0
        declared = ChatTurn("declared", self.declarations.write(tools), turns[0].index)
        return [*turns[:place], declared, *turns[place:]]

    def declared(
        self,
        turns: Sequence[ChatTurn],
        default: str | None,  # noqa: ARG002 - as in declare
    ) -> tuple[list[ChatTurn], Tools | None]:
        """Return the turns without declarations, and the tools that were declared; None if there were none."""
        texts = [turn.text for turn in turns if turn.role == "declared"]
        tools = self.declarations.read(texts[0]) if texts else None
        if texts and not tools:
            raise PromptError("what stands in the place of declarations of tools are none", offset=0)
        return [turn for turn in turns if turn.role != "declared"], tools


class DeclaredInSystem(Dialect):
    """A dialect that declares tools at the end of the system message, in a text that ``pattern`` finds there."""

    __slots__ = ()
    pattern: ClassVar[re.Pattern[str]]

    def declare(self, turns: list[ChatTurn], tools: Tools, default: str | None) -> list[ChatTurn]:
        """Return the turns with the tools declared in the system message."""
        declaration = self.declaration(tools)
        if turns[0].role == "system":
            return [turns[0].with_text(f"{turns[0].text}\n\n{declaration}"), *turns[1:]]
        text = declaration if default is None else f"{default}\n\n{declaration}"
        return [ChatTurn("system", text, turns[0].index), *turns]

    def declared(self, turns: Sequence[ChatTurn], default: str | None) -> tuple[list[ChatTurn], Tools | None]:
        """Return the turns without declarations, and the tools that were declared; None if there were none."""
        found = self.pattern.search(turns[0].text) if turns[0].role == "system" else None
        tools = None if found is None else [json_or_none(text) for text in self.declarations(found)]
        if found is None or tools is None or not all(map(is_tool, tools)) or self.declaration(tools) != found.group():
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


@cache
def _result_pattern(result: str) -> re.Pattern[str]:
    parts = {"text": "(?P<text>.*)", "id": r"(?P<id>[^\n]*)", "name": r"(?P<name>[^\n<|]*)"}
    pieces = re.split(r"\{(\w+)\}", result)
    return re.compile(
        "".join(parts[each] if place % 2 else re.escape(each) for place, each in enumerate(pieces)), re.DOTALL
    )


def refuse_content(turn: ChatTurn) -> None:
    """Raise PromptError for a message with both calls and content, in dialects that can write only one of them."""
    if turn.text:
        problem = "the published template drops content beside tool calls: set the content to None"
        raise PromptError(problem, index=turn.index)


def refuse_unanswered(turn: ChatTurn, following: ChatTurn | None) -> None:
    """Raise PromptError for a call after a thought without its result, in dialects that cannot tell its end alone."""
    if turn.calls and turn.reasoning and (following is None or following.role != "tool"):
        problem = "the format writes a call after a thought only with its result after it"
        raise PromptError(problem, index=turn.index)


def overlap(text: str, *markers: str) -> int:
    """Return how many characters at the end of a text may be the start of a marker."""
    longest = max(map(len, markers), default=0)
    for size in range(min(longest - 1, len(text)), 0, -1):
        if any(marker.startswith(text[-size:]) for marker in markers):
            return size
    return 0
