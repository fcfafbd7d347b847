"""What goes in and comes out: chat messages in OpenAI's shape, and the error that names what is wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

__all__ = ["History", "Message", "PromptError", "Turn"]

Message = dict[str, Any]

ROLES: Final = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
"""The roles of OpenAI's messages, and what each is called in a format; a developer's message is a system message."""

_KEYS: Final = {
    "system": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset({"role", "content", "tool_calls", "reasoning_content"}),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
}


class PromptError(ValueError):
    """A conversion that would lose or forge something.

    ``format`` is the format's name, ``index`` the message's, ``marker`` the text that stands in the way and ``offset``
    the place in the prompt, in characters; each is None where it does not apply.
    """

    def __init__(
        self,
        problem: str,
        *,
        format: str | None = None,
        index: int | None = None,
        marker: str | None = None,
        offset: int | None = None,
    ) -> None:
        places = [
            f"format {format!r}" if format is not None else "",
            f"message {index}" if index is not None else "",
            f"offset {offset}" if offset is not None else "",
        ]
        super().__init__(f"{', '.join(place for place in places if place) or 'prompt'}: {problem}")
        self.problem, self.format, self.index, self.marker, self.offset = problem, format, index, marker, offset

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.problem, self.format, self.index, self.marker, self.offset)

    def within(self, format: str) -> PromptError:
        """Return the same error, naming the format."""
        return _restore(self.problem, format, self.index, self.marker, self.offset)


def _restore(problem: str, name: str | None, index: int | None, marker: str | None, offset: int | None) -> PromptError:
    return PromptError(problem, format=name, index=index, marker=marker, offset=offset)


class History(list[Message]):
    """The messages that a prompt holds, and what else it takes to write the same prompt again.

    ``ending`` is ``"reply"`` (the assistant's turn is open), ``"prefill"`` (so is its last message) or ``"closed"``.
    It holds for as long as the last message is the one that was parsed.
    """

    def __init__(
        self,
        messages: Iterable[Message] = (),
        *,
        ending: str = "reply",
        bos: bool = False,
        date: dt.date | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        keep_reasoning: bool = False,
    ) -> None:
        super().__init__(messages)
        self.ending, self.bos, self.date = ending, bos, date
        self.tools, self.keep_reasoning = tools, keep_reasoning
        self._last = self[-1] if self else None

    @property
    def is_as_parsed(self) -> bool:
        """Whether the last message is still the one that was parsed."""
        return (self[-1] if self else None) is self._last


@dataclass(frozen=True, slots=True)
class Turn:
    """A message as a format sees it; ``index`` is its place in the list that it came from."""

    role: str
    text: str
    index: int
    reasoning: str | None = None
    calls: tuple[Mapping[str, Any], ...] = ()
    call_id: str | None = None

    def with_text(self, text: str) -> Turn:
        """Return the same turn with another text."""
        return self if text == self.text else replace(self, text=text)

    def as_message(self) -> Message:
        """Return the message in OpenAI's shape; one that is tool calls alone has no content."""
        message: Message = {"role": self.role, "content": self.text or (None if self.calls else "")}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.calls:
            message["tool_calls"] = [*self.calls]
        if self.call_id is not None:
            message["tool_call_id"] = self.call_id
        return message


def read(messages: Iterable[Any]) -> list[Turn]:
    """Return the turns of dicts or SDK message objects; refuse what a prompt has no place for."""
    if isinstance(messages, (str, bytes, Mapping)):
        raise PromptError(f"messages are a list, not {type(messages).__name__}")
    turns = [_read_one(index, _as_dict(index, message)) for index, message in enumerate(messages)]
    if not turns:
        raise PromptError("there are no messages")
    return turns


def _as_dict(index: int, message: Any) -> Mapping[str, Any]:
    if isinstance(message, Mapping):
        return message
    dump = getattr(message, "model_dump", None)
    if dump is None:
        raise PromptError(f"a message is a dict or an SDK object, not {type(message).__name__}", index=index)
    dumped: Mapping[str, Any] = dump()
    return dumped


def _read_one(index: int, message: Mapping[str, Any]) -> Turn:
    name = message.get("role")
    role = ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        raise PromptError(f"unknown role {name!r}; known are {', '.join(ROLES)}", index=index)
    for key, value in message.items():
        if value not in (None, []) and key not in _KEYS[role]:
            raise PromptError(f"{key!r} has no place in a prompt's {role} message: leave it out", index=index)
    calls = tuple(message.get("tool_calls") or ())
    reasoning = message.get("reasoning_content")
    if not (reasoning is None or isinstance(reasoning, str)):
        raise PromptError(f"reasoning_content is text, not {type(reasoning).__name__}", index=index)
    text = _read_content(index, message.get("content"), may_be_none=bool(calls))
    return Turn(role, text, index, reasoning or None, calls, message.get("tool_call_id"))


def _read_content(index: int, content: Any, *, may_be_none: bool) -> str:
    if isinstance(content, str):
        return content
    if content is None and may_be_none:
        return ""
    if isinstance(content, (str, bytes, Mapping)) or not isinstance(content, Iterable):
        raise PromptError(f"content is text or a list of text parts, not {type(content).__name__}", index=index)
    return "".join(_read_part(index, part) for part in content)


def _read_part(index: int, part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    text = part.get("text") if kind == "text" and isinstance(part, Mapping) else None
    if not isinstance(text, str):
        raise PromptError(f"a {kind!r} part has no place in a text prompt", index=index)
    return text
