"""Chat messages as callers give and get them, in OpenAI's shape, and turns, the form in which formats handle them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.given import shown

__all__ = ["ChatMessage", "ChatTurn", "History", "Tools", "as_dict", "keys_of", "read_messages"]

ChatMessage = dict[str, Any]

Tools = Sequence[Mapping[str, Any]]
"""Declarations of tools as a chat request has them: ``{"type": "function", "function": {...}}``."""

_ROLES: Final = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
"""OpenAI's roles, and the role that each has in a format: a developer message is a system message."""

_KEYS: Final = {
    "system": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset({"role", "content", "tool_calls", "reasoning_content"}),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
}
"""The keys of a message of each role that can be written in a prompt."""


class History(list[Any]):
    """The messages of a parsed prompt, and what else it takes to write the same prompt again.

    Each is a dict in OpenAI's shape; type checkers take the list as the SDK's ``messages=`` too.
    ``ending`` is ``"reply"`` (the prompt asks for the assistant's reply), ``"prefill"`` (the last message is the start
    of a reply, to be continued), ``"logged"`` (the last message is a reply, and the token that ended it stands after
    it) or ``"closed"`` (the history ends as the format closes it). ``after`` is that token, and the newline at the end
    of a file. ``render`` uses both for as long as the last message is the one that was parsed.
    """

    def __init__(
        self,
        messages: Iterable[ChatMessage] = (),
        *,
        ending: str = "reply",
        bos: bool = False,
        date: dt.date | None = None,
        tools: Tools | None = None,
        keep_reasoning: bool = False,
        after: str = "",
    ) -> None:
        super().__init__(messages)
        self.after = after
        self.ending, self.bos, self.date = ending, bos, date
        self.tools, self.keep_reasoning = tools, keep_reasoning
        self._last = self[-1] if self else None

    @property
    def is_as_parsed(self) -> bool:
        """Whether the last message is still the one that was parsed."""
        return (self[-1] if self else None) is self._last


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """A message in the form in which formats handle it: checked, its content one text, developer messages as system.

    ``index`` is its place in the list of messages, for errors. ``calls`` are its tool calls; ``call_id`` names the
    call that a tool message is the result of, and ``name`` is the name that the message has beside it.
    """

    role: str
    text: str
    index: int
    reasoning: str | None = None
    calls: tuple[Mapping[str, Any], ...] = ()
    call_id: str | None = None
    name: str | None = None

    def with_text(self, text: str) -> ChatTurn:
        """Return the same turn with another text."""
        return self if text == self.text else replace(self, text=text)

    def as_message(self) -> ChatMessage:
        """Return the message in OpenAI's shape; the content of tool calls without text is None."""
        message: ChatMessage = {"role": self.role, "content": self.text or (None if self.calls else "")}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.calls:
            message["tool_calls"] = [*self.calls]
        if self.call_id is not None:
            message["tool_call_id"] = self.call_id
        if self.name is not None:
            message["name"] = self.name
        return message


def read_messages(messages: Iterable[Any]) -> list[ChatTurn]:
    """Return the turns of dicts or SDK message objects; raise PromptError for what no prompt can hold."""
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
        raise PromptError(f"messages must be a list of messages, not {shown(messages)}")
    turns = [_read_message(index, as_dict(index, message)) for index, message in enumerate(messages)]
    if not turns:
        raise PromptError("there are no messages: give at least one")
    return turns


def as_dict(index: int, given: Any, what: str = "a message") -> Mapping[str, Any]:
    """Return the fields of a dict or of an SDK object; raise PromptError for anything else."""
    if isinstance(given, Mapping):
        return given
    dump = getattr(given, "model_dump", None)
    if dump is None:
        raise PromptError(f"{what} must be a dict or an SDK object, not {shown(given)}", index=index)
    dumped: Mapping[str, Any] = dump()
    return dumped


def keys_of(name: Any, index: int) -> frozenset[str]:
    """Return the keys that a message of this role can have; raise PromptError for an unknown role."""
    return _KEYS[_role(name, index)]


def _role(name: Any, index: int) -> str:
    role = _ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        raise PromptError(f"unknown role {name!r}; the roles are {', '.join(_ROLES)}", index=index)
    return role


def _read_message(index: int, message: Mapping[str, Any]) -> ChatTurn:
    role = _role(message.get("role"), index)
    for key, value in message.items():
        if value not in (None, []) and key not in _KEYS[role]:
            raise PromptError(f"{key!r} of a {role} message cannot be written in a prompt: leave it out", index=index)
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, (list, tuple)):
        raise PromptError(f"tool_calls must be a list, not {shown(calls)}", index=index)
    reasoning = _read_text(index, message, "reasoning_content")
    text = _read_content(index, message.get("content"), may_be_none=bool(calls))
    call_id, name = (_read_text(index, message, key) if role == "tool" else None for key in ("tool_call_id", "name"))
    return ChatTurn(role, text, index, reasoning or None, tuple(calls), call_id, name)


def _read_text(index: int, message: Mapping[str, Any], key: str) -> str | None:
    """Return a field that is text, None if the message has none."""
    text = message.get(key)
    if not (text is None or isinstance(text, str)):
        raise PromptError(f"{key} must be text, not {shown(text)}", index=index)
    return text


def _read_content(index: int, content: Any, *, may_be_none: bool) -> str:
    if isinstance(content, str):
        return content
    if content is None and may_be_none:
        return ""
    if isinstance(content, (bytes, Mapping)) or not isinstance(content, Iterable):
        raise PromptError(f"content must be text or a list of text parts, not {shown(content)}", index=index)
    return "".join(_read_part(index, part) for part in content)


def _read_part(index: int, part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    if kind != "text" or not isinstance(part, Mapping):
        raise PromptError(
            f"a content part of type {kind!r} cannot be written in a text prompt: use parts of type 'text'",
            index=index,
        )
    text = part.get("text")
    if not isinstance(text, str):
        raise PromptError(f"the 'text' of a content part must be text, not {shown(text)}", index=index)
    return text
