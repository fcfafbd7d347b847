"""A prompt format: how a chat history is written as the text that a model was trained on, and read back from it.

The law is that what renders, parses back, up to what ``normalize`` does; everything else is refused.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from novita_openai.prompts.engine.conversion import Asked, Conversion
from novita_openai.prompts.engine.description import Description
from novita_openai.prompts.engine.table import REPLY, Ending, Unreadable
from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.messages import ChatMessage, History, Turn, read_messages
from novita_openai.prompts.tool_calls.calls import numbered

if TYPE_CHECKING:
    from novita_openai.prompts.tool_calls.dialect import Dialect

__all__ = ["PromptFormat"]


class PromptFormat(Description):
    """A format that renders and parses; ``Description`` says what its fields are. One engine serves all formats."""

    def render(
        self,
        messages: Iterable[Any],
        *,
        continue_final: bool | None = None,
        reply: bool | None = None,
        bos: bool | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        date: dt.date | None = None,
        keep_reasoning: bool | None = None,
    ) -> str:
        """Return the prompt of a chat history, ready for the assistant's reply.

        ``messages`` are dicts or SDK message objects; they stay as they are. With ``continue_final`` the last message,
        the assistant's, is left open; with ``reply=False`` the history is closed. ``bos`` writes the BOS text.
        ``tools`` are declared as OpenAI's are. ``date`` is today's, for the formats that print it. ``keep_reasoning``
        writes the thoughts that the published template would drop, which are refused otherwise. A history that
        ``parse`` returned is written as it was read where nothing else is asked for.

        Raise PromptError for what would not read back, and for what the format has no place for.
        """
        if not (continue_final or bos or tools) and reply is not False and type(messages) is list:
            prompt = self._render_at_once(messages, date)
            if prompt is not None:
                return prompt
        asked = Asked(
            _ending(messages, continue_final=continue_final, reply=reply),
            _given(tools, messages, "tools"),
            _given(date, messages, "date"),
            bool(_given(keep_reasoning, messages, "keep_reasoning")),
        )
        try:
            prompt = self._conversion.write(read_messages(messages), asked)
        except PromptError as error:
            raise error.within(self.name) from None
        return (self.bos if _given(bos, messages, "bos") else "") + prompt

    def _render_at_once(self, messages: list[Any], date: dt.date | None) -> str | None:
        """Return the prompt of plain dicts that need nothing but the table; None: take the longer way."""
        table = self._conversion.on(date).table if self.date and date else self._conversion.table
        try:
            plan = table.ready[tuple([message["role"] for message in messages])]
            texts = [message["content"] for message in messages]
            if plan.trims:
                texts = [trim(text) for trim, text in zip(plan.trims, texts, strict=True)]
            prompt = plan.write(texts)
        except (KeyError, TypeError):  # a new order of roles, no text, or no dict: the longer way says which
            return None
        return prompt if [*map(len, messages)] == plan.lengths and plan.is_safe(prompt) else None

    def normalize(self, messages: Iterable[Any]) -> list[ChatMessage]:
        """Return the messages as they read back from a prompt: trimmed and folded as the format does it.

        Parts of text become one text, a developer's message a system message. A system message that repeats the text
        which the published template writes without one is left out. Where a prompt has no ids of tool calls, they are
        counted: ``call_0``, ``call_1``.
        """
        try:
            return [turn.as_message() for turn in self._conversion.normal(read_messages(messages))]
        except PromptError as error:
            raise error.within(self.name) from None

    def parse(self, prompt: str) -> History:
        """Return the messages of a prompt, in a list that also tells how it ended; the BOS may stand in front of it.

        Raise PromptError, with the offset, for a text that ``render`` would not write.
        """
        begin = len(self.bos) if self.bos and prompt.startswith(self.bos) else 0
        try:
            history = self._conversion.read(prompt[begin:] if begin else prompt)
        except Unreadable as error:
            raise PromptError(error.problem, format=self.name, offset=begin + error.offset) from None
        history.bos = begin > 0
        return history

    def message(self, text: str, finish_reason: str | None = None) -> ChatMessage:
        """Return the assistant's message of a completion of ``render``'s prompt.

        It ends before the first stop string, as does a completion of a server that writes them; reasoning and tool
        calls are taken out of it. With the ``finish_reason`` ``"length"`` an unfinished tool call stays text. The blank
        that the history has after the assistant's header, and a model writes first, is taken off once.
        """
        reasoning, content = self.split(self.until_stop(text))
        dialect = self.dialect
        if dialect is None or finish_reason == "length":
            return Turn("assistant", content, 0, reasoning).as_message()
        content, calls = dialect.read_calls(content)
        return Turn("assistant", content, 0, reasoning, numbered(calls, dialect.id_style)).as_message()

    def until_stop(self, text: str) -> str:
        """Return what stands before the first stop string."""
        places = [place for place in map(text.find, self.stop) if place >= 0]
        return text[: min(places)] if places else text

    def split(self, text: str) -> tuple[str | None, str]:
        """Return the thought of a completion, None where it has none, and the rest; the first blank is taken off."""
        opened, blank = self.opening
        text = text.removeprefix(blank)
        if self.thought is None:
            return None, text
        whole, absent = opened + text, self.thought.absent
        if absent and whole.startswith(absent):
            return None, whole[len(absent) :]
        return self.thought.split(whole)

    @cached_property
    def opening(self) -> tuple[str, str]:
        """What the prompt has after the assistant's header, and what of the header it leaves to the model."""
        reply, header = self.separators.get(("user", REPLY), ""), self.separators.get(("user", "assistant"), "")
        if self.thought is not None:
            header = header.removesuffix(self.thought.absent)
        if header.startswith(reply):
            return "", header[len(reply) :]
        return reply[len(header) :] if reply.startswith(header) else "", ""

    @property
    def dialect(self) -> Dialect | None:
        """How the format writes tool calls, None where it has none."""
        return self._conversion.dialect

    @cached_property
    def _conversion(self) -> Conversion:
        return Conversion(self)


def _given(option: Any, messages: Iterable[Any], name: str) -> Any:
    """Return an option, or what a parsed history says of it."""
    return option if option is not None else getattr(messages, name, None)


def _ending(messages: Iterable[Any], *, continue_final: bool | None, reply: bool | None) -> str:
    """Return how a prompt is to end: as asked, or as it was parsed, or with the reply."""
    if continue_final:
        return Ending.PREFILL
    if continue_final is None and reply is None and isinstance(messages, History) and messages.is_as_parsed:
        return messages.ending
    return Ending.CLOSED if reply is False else Ending.REPLY
