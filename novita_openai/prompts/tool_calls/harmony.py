"""Harmony, OpenAI's format for gpt-oss: a call is a message to a function, and so is its result to the assistant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.tool_calls.calls import ToolCall, call_fields, json_or_none, json_text, tool_call
from novita_openai.prompts.tool_calls.dialect import DeclaredApart, refuse_content, refuse_unanswered
from novita_openai.prompts.tool_calls.typescript import TYPESCRIPT

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn, Tools

__all__ = ["HARMONY"]

_CALL: Final = re.compile(
    r"\s*(?:<\|channel\|>(?:commentary|analysis)\s*)?(?:to=)?functions\.(?P<name>[^\s<|]+)"
    r"(?:<\|channel\|>(?:commentary|analysis))?\s*(?:<\|constrain\|>)?(?:json)?<\|message\|>(?P<arguments>.*)",
    re.DOTALL,
)
"""A call as the published template writes it, and as models do, which name the channel first."""

_STARTS: Final = ("functions.", "to=functions.", "<|channel|>commentary", "<|channel|>analysis to=")
_RESULT: Final = re.compile(
    r"(?P<name>[^\s<|]+) to=assistant<\|channel\|>commentary<\|message\|>(?P<text>.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class _Harmony(DeclaredApart):
    def write(self, turns: Sequence[ChatTurn], tools: Tools | None, default: str | None) -> list[ChatTurn]:
        written, name = [], ""
        for turn, following in zip(turns, [*turns[1:], None], strict=True):
            if turn.calls:
                self._refuse_unwritten(turn, following)
                name = turn.calls[0]["function"]["name"]
            written.append(replace(turn, name=name) if turn.role == "tool" else turn)
        turns = [self.write_turn(turn) for turn in written]
        return self.declare([*turns], tools, default) if tools else turns

    @staticmethod
    def _refuse_unwritten(turn: ChatTurn, following: ChatTurn | None) -> None:
        """Raise PromptError for calls that the published template does not write as they are."""
        refuse_content(turn)
        if len(turn.calls) > 1:
            problem = f"the format writes one tool call a message, and this one has {len(turn.calls)}"
            raise PromptError(problem, index=turn.index)
        refuse_unanswered(turn, following)

    def write_turn(self, turn: ChatTurn) -> ChatTurn:
        if turn.calls and not turn.reasoning:
            return replace(turn, role="calls", text=self.write_calls(turn))
        if turn.calls:
            return turn.with_text(f" to={self.write_calls(turn)}")
        return turn.with_text(self.write_result(turn)) if turn.role == "tool" else turn

    def write_calls(self, turn: ChatTurn) -> str:
        _, name, arguments = call_fields(turn.calls[0])
        return f"functions.{name}<|channel|>commentary json<|message|>{arguments}"

    def write_result(self, turn: ChatTurn) -> str:
        return f"{turn.name} to=assistant<|channel|>commentary<|message|>{json_text(turn.text)}"

    def read_turn(self, turn: ChatTurn) -> ChatTurn:
        if turn.role not in ("assistant", "calls"):
            return self.read_result(turn) if turn.role == "tool" else turn
        text, calls = self.read_calls(turn.text)
        return replace(turn, role="assistant", text=text, calls=calls)

    def read_result(self, turn: ChatTurn) -> ChatTurn:
        found = _RESULT.fullmatch(turn.text)
        text = json_or_none(found["text"]) if found is not None else None
        if not isinstance(text, str):
            raise PromptError("this is not how the format writes the result of a call", offset=0)
        return turn.with_text(text)

    def read_calls(self, text: str, tools: Tools | None = None) -> tuple[str, tuple[ToolCall, ...]]:  # noqa: ARG002 - JSON says the types
        found = _CALL.fullmatch(text)
        arguments = json_or_none(found["arguments"]) if found is not None else None
        if found is None or not isinstance(arguments, dict):
            return text, ()
        return "", (tool_call(found["name"], arguments),)

    def settled(self, text: str) -> int:
        begin = text.lstrip()
        may_be_call = any(begin.startswith(start) or start.startswith(begin) for start in _STARTS)
        return 0 if may_be_call else len(text)


HARMONY: Final = _Harmony(
    ("to=functions.",),
    "to=functions.",
    tuple(("assistant", tag) for tag in ("<|channel|>", "<|constrain|>", "<|message|>", "<|call|>")),
    is_whole=True,
    declarations=TYPESCRIPT,
    after_system=True,
    header=(
        "Channel must be included for every message.<|end|>",
        (
            "Channel must be included for every message.\n"
            "Calls to these tools must go to the commentary channel: 'functions'.<|end|>"
        ),
    ),
)
