"""A completion's text, piece by piece, as deltas of a message: what ``PromptFormat.message`` says of the whole.

Whatever may still become a stop string, a tag of reasoning or a tool call is held back until it is decided.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.tool_calls.calls import ToolCall, numbered
from novita_openai.prompts.tool_calls.dialect import overlap

if TYPE_CHECKING:
    from novita_openai.prompts.format import PromptFormat

__all__ = ["Deltas"]

_OPENING: Final = "opening"
_THOUGHT: Final = "thought"
_GAP: Final = "gap"
_CONTENT: Final = "content"


class Deltas:
    """The state of one choice."""

    def __init__(self, fmt: PromptFormat) -> None:
        self._format = fmt
        self._unread = ""
        self._is_stopped = False
        self._state, self._held = _OPENING, ""
        self._has_begun = self._has_spoken = False

    def feed(self, text: str) -> list[dict[str, Any]]:
        """Return the deltas that a piece of text settles."""
        return [*self._settle(self._before_stop(text), is_last=False)]

    def finish(self, finish_reason: str | None) -> list[dict[str, Any]]:
        """Return the deltas of what was held back, the text being whole."""
        text, self._unread = self._unread, ""
        deltas = [*self._settle("" if self._is_stopped else text, is_last=True)]
        if self._state != _CONTENT:
            return deltas
        content, calls = self._calls(self._held, finish_reason)
        if content:
            deltas.append({"content": content})
        if calls:
            deltas.append({"tool_calls": [{"index": index, **each} for index, each in enumerate(calls)]})
        return deltas

    def _calls(self, content: str, finish_reason: str | None) -> tuple[str, tuple[ToolCall, ...]]:
        dialect = self._format.dialect
        if dialect is None or finish_reason == "length" or (self._has_spoken and dialect.is_whole):
            return content, ()
        content, calls = dialect.read_calls(content)
        return content, numbered(calls, dialect.id_style)

    def _before_stop(self, text: str) -> str:
        """Return what is before every stop string, and hold back what may be the start of one."""
        if self._is_stopped:
            return ""
        text = self._unread + text
        places = [place for place in map(text.find, self._format.stop) if place >= 0]
        self._is_stopped = bool(places)
        settled = min(places) if places else len(text) - overlap(text, *self._format.stop)
        self._unread = text[settled:]
        return text[:settled]

    def _settle(self, text: str, *, is_last: bool) -> Iterator[dict[str, Any]]:
        self._held += text
        if self._state == _OPENING:
            self._open(is_last=is_last)
        if self._state == _THOUGHT:
            thought = self._think(is_last=is_last)
            if thought:
                yield {"reasoning_content": thought}
        if self._state == _GAP:
            self._held = self._held.lstrip("\n")
            self._state = _CONTENT if self._held else _GAP
        if self._state == _CONTENT and not is_last:
            content = self._speak()
            if content:
                yield {"content": content}

    def _open(self, *, is_last: bool) -> None:
        """Leave the opening once it is decided whether the reply starts with a thought."""
        opened, blank = self._format.opening
        if not is_last and blank != self._held and blank.startswith(self._held):
            return
        text, thought = self._held.removeprefix(blank), self._format.thought
        whole = opened + text
        if thought is None:
            self._state, self._held = _CONTENT, text
        elif thought.absent and whole.startswith(thought.absent):
            self._state, self._held = _CONTENT, whole[len(thought.absent) :]
        elif whole.lstrip().startswith(thought.tags[0]):
            if is_last or not thought.absent.startswith(whole):
                self._state, self._held = _THOUGHT, whole.lstrip().removeprefix(thought.tags[0])
        elif is_last or not _may_become(whole, thought.absent, thought.tags[0]):
            self._state, self._held = _CONTENT, text

    def _think(self, *, is_last: bool) -> str:
        """Return what of the thought is settled."""
        _, end = self._format.thought.tags if self._format.thought is not None else ("", "")
        if not self._has_begun:
            self._held = self._held.lstrip("\n")
        thought, tag, rest = self._held.partition(end)
        if tag:
            self._state, self._held = _GAP, rest
        else:
            thought = self._held if is_last else self._held[: len(self._held) - overlap(self._held, end)]
        settled = thought.rstrip("\n")
        if not tag:
            self._held = self._held[len(settled) :]
        self._has_begun = self._has_begun or bool(settled)
        return settled

    def _speak(self) -> str:
        """Return what of the message is settled."""
        dialect = self._format.dialect
        is_open = dialect is not None and not (self._has_spoken and dialect.is_whole)
        settled = dialect.settled(self._held) if dialect is not None and is_open else len(self._held)
        content, self._held = self._held[:settled], self._held[settled:]
        self._has_spoken = self._has_spoken or bool(content)
        return content


def _may_become(text: str, absent: str, tag: str) -> bool:
    return (absent.startswith(text) and text != absent) or tag.startswith(text.lstrip())
