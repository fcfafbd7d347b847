"""A completion's text as it comes, in the deltas of a chat message: joined, they are ``PromptFormat.message``.

Whatever may still become a stop string, a tag of reasoning or a tool call is held back until more text decides it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.tool_calls.calls import ToolCall, numbered
from novita_openai.prompts.tool_calls.dialect import overlap

if TYPE_CHECKING:
    from novita_openai.prompts.engine.reasoning import Thought
    from novita_openai.prompts.format import PromptFormat

__all__ = ["Deltas"]

# The parts of a reply, in order. In the opening it is not known yet whether the reply starts with reasoning; the gap is
# the newlines between the reasoning and the content.
_OPENING: Final = "opening"
_THOUGHT: Final = "thought"
_GAP: Final = "gap"
_CONTENT: Final = "content"


class Deltas:
    """Splits the text of one choice; ``_unread`` may start a stop string, ``_held`` is a part that is not decided."""

    def __init__(self, fmt: PromptFormat) -> None:
        self._format = fmt
        self._unread, self._held = "", ""
        self._is_stopped = False
        self._part = _OPENING
        self._has_thought = self._has_content = False

    def feed(self, text: str) -> list[dict[str, Any]]:
        """Return the deltas that are certain with this piece of text."""
        return [*self._settle(self._before_stop(text), is_last=False)]

    def finish(self, finish_reason: str | None) -> list[dict[str, Any]]:
        """Return the deltas of all that was held back, now that the text is whole."""
        text, self._unread = self._unread, ""
        deltas = [*self._settle("" if self._is_stopped else text, is_last=True)]
        if self._part != _CONTENT:
            return deltas
        content, calls = self._calls(self._held, finish_reason)
        if content:
            deltas.append({"content": content})
        if calls:
            deltas.append({"tool_calls": [{"index": index, **each} for index, each in enumerate(calls)]})
        return deltas

    def _calls(self, content: str, finish_reason: str | None) -> tuple[str, tuple[ToolCall, ...]]:
        """Return the rest of the content, and the tool calls at its end."""
        dialect = self._format.dialect
        if finish_reason != "length":
            content = self._without_closing(content)
        if dialect is None or finish_reason == "length" or (self._has_content and dialect.is_whole):
            return content, ()
        content, calls = dialect.calls_in(content)
        return content, numbered(calls, dialect.id_style)

    def _before_stop(self, text: str) -> str:
        """Return what stands before every stop string, and hold back what may be the start of one."""
        if self._is_stopped:
            return ""
        text = self._unread + text
        settled = self._format.until_stop(text)
        self._is_stopped = len(settled) < len(text)
        if not self._is_stopped:
            settled = text[: len(text) - overlap(text, *self._format.reply_ends)]
        self._unread = text[len(settled) :]
        return settled

    def _settle(self, text: str, *, is_last: bool) -> Iterator[dict[str, Any]]:
        """Yield the deltas that are certain with this text, which holds no stop string."""
        self._held += text
        if self._part == _OPENING:
            self._leave_opening(is_last=is_last)
        written = self._format.thought
        if self._part == _THOUGHT and written is not None:
            thought = self._take_thought(written, is_last=is_last)
            if thought:
                yield {"reasoning_content": thought}
        if self._part == _GAP:
            self._held = self._held.lstrip("\n")
            self._part = _CONTENT if self._held else _GAP
        if self._part == _CONTENT and not is_last:
            content = self._take_content()
            if content:
                yield {"content": content}

    def _leave_opening(self, *, is_last: bool) -> None:
        """Go on to the reasoning or to the content, once it is decided which one the reply starts with."""
        opened, blank = self._format.opening
        if not is_last and blank != self._held and blank.startswith(self._held):
            return
        text, thought = self._held.removeprefix(blank), self._format.thought
        whole = opened + text
        if thought is None:
            self._part, self._held = _CONTENT, text
        elif thought.absent and whole.startswith(thought.absent):
            self._part, self._held = _CONTENT, whole[len(thought.absent) :]
        elif whole.lstrip().startswith(thought.tags[0]):
            if is_last or not thought.absent.startswith(whole):
                self._part, self._held = _THOUGHT, whole.lstrip().removeprefix(thought.tags[0])
        elif is_last or not _may_become(whole, thought.absent, thought.tags[0]):
            self._part, self._held = _CONTENT, text

    def _take_thought(self, written: Thought, *, is_last: bool) -> str:
        """Return the part of the reasoning that is certain, and hold the rest."""
        if not self._has_thought:
            self._held = self._held.lstrip("\n")
        thought, tag, rest = written.ended(self._held, is_last=is_last)
        if tag:
            self._part, self._held = _GAP, rest
        elif not is_last:
            thought = self._held[: len(self._held) - overlap(self._held, *written.ends)]
        settled = thought.rstrip("\n")
        if not tag:
            self._held = self._held[len(settled) :]
        self._has_thought = self._has_thought or bool(settled)
        return settled

    def _take_content(self) -> str:
        """Return the part of the content that is certain, and hold the rest."""
        dialect = self._format.dialect
        may_be_call = dialect is not None and not (self._has_content and dialect.is_whole)
        settled = dialect.settled(self._held) if dialect is not None and may_be_call else len(self._held)
        settled = min(settled, len(self._held) - self._overlap_with_closing())
        content, self._held = self._held[:settled], self._held[settled:]
        self._has_content = self._has_content or bool(content)
        return content

    def _without_closing(self, content: str) -> str:
        """Return the content that is left without what the format writes before the string that ends a reply."""
        return (
            content.removesuffix(self._format.closing) if self._has_content else self._format.without_closing(content)
        )

    def _overlap_with_closing(self) -> int:
        """Return how many characters at the end of the text may be what the format writes before that string."""
        closing, text = self._format.closing, self._held
        if closing and text.endswith(closing):
            return len(closing)
        return max(overlap(text, closing), 0 if self._has_content else overlap(text, closing.lstrip("\n")))


def _may_become(text: str, absent: str, tag: str) -> bool:
    """Tell whether a text may grow into the tag of reasoning, or into what a reply without reasoning starts with."""
    return (absent.startswith(text) and text != absent) or tag.startswith(text.lstrip())
