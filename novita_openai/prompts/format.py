"""A prompt format: writes a chat history as the text that a model was trained on, and reads it back.

The law: whatever renders is parsed to the same messages, as ``normalize`` returns them; everything else is refused.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.engine.codec import RenderOptions
from novita_openai.prompts.engine.conversion import Conversion
from novita_openai.prompts.engine.description import Description
from novita_openai.prompts.engine.separators import END, REPLY, PromptEnding
from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.given import check_flags, check_text, no_date
from novita_openai.prompts.messages import ChatMessage, ChatTurn, History, Tools, read_messages
from novita_openai.prompts.tool_calls.calls import numbered

if TYPE_CHECKING:
    from novita_openai.prompts.tool_calls.dialect import Dialect

__all__ = ["PromptFormat", "ending_of"]

_FLAG_TYPES: Final = frozenset({bool, type(None)})


class PromptFormat(Description):
    """A format that renders and parses; ``Description`` says what its fields are. One engine serves all formats."""

    def render(
        self,
        messages: Iterable[Any],
        *,
        continue_final: bool | None = None,
        reply: bool | None = None,
        bos: bool | None = None,
        tools: Tools | None = None,
        date: dt.date | None = None,
        keep_reasoning: bool | None = None,
    ) -> str:
        """Return the prompt of a chat history, ready for the assistant's reply.

        ``messages`` are dicts or SDK message objects; they are not changed. With ``continue_final`` the last message,
        which must be the assistant's, is left open to be continued; with ``reply=False`` the history is closed. ``bos``
        writes the BOS text. ``tools`` are declarations as in a chat request. ``date`` is today's, for formats that
        print it. ``keep_reasoning`` writes reasoning that the published template would drop, and that is refused
        without it. A history that ``parse`` returned is written as it was read, unless an argument asks for something
        else.

        Raise PromptError for messages that would not read back, and for what the format has no place for.
        """
        if (
            continue_final is not None
            or reply is not None
            or bos is not None
            or date is not None
            or keep_reasoning is not None
        ):
            self._check_options((continue_final, reply, bos, keep_reasoning), date)
        ending, after = ending_of(messages, continue_final=continue_final, reply=reply)
        before = self.bos if _given(bos, messages, "bos") else ""
        if type(messages) is list and not tools:
            prompt = self._render_plain(messages, date, ending)
            if prompt is not None:
                return before + prompt
        options = RenderOptions(
            ending,
            _given(tools, messages, "tools"),
            _given(date, messages, "date"),
            bool(_given(keep_reasoning, messages, "keep_reasoning")),
        )
        with _named(self.name):
            prompt = self._conversion.write(read_messages(messages), options)
        return before + prompt + after

    def _check_options(self, flags: tuple[Any, ...], date: Any) -> None:
        """Raise PromptError for an argument of ``render`` that has a wrong type."""
        if _FLAG_TYPES.issuperset(map(type, flags)) and (date is None or isinstance(date, dt.date)):
            return
        with _named(self.name):
            check_flags(**dict(zip(("continue_final", "reply", "bos", "keep_reasoning"), flags, strict=True)))
            raise no_date(date)

    def _render_plain(self, messages: list[Any], date: dt.date | None, ending: str) -> str | None:
        """Return the prompt of dicts of only a role and a text, the quick way; None if they need the long way."""
        codec = self._conversion.codec(date) if self.date else self._conversion.base
        try:
            roles = tuple([message["role"] for message in messages])
            texts = [message["content"] for message in messages]
            is_plain = sum(map(len, messages)) == 2 * len(roles) > 0
            return codec.write_plain(roles, texts, ending) if is_plain else None
        except (AttributeError, KeyError, TypeError):  # a message that is not plain
            return None

    def normalize(self, messages: Iterable[Any]) -> list[Any]:
        """Return the messages as they read back from a prompt: trimmed and folded as the format does it.

        Each is a dict in OpenAI's shape; type checkers take the list as the SDK's ``messages=`` too.
        Parts of text become one text, and a developer message becomes a system message. A system message is left out if
        its text is the one that the published template writes by default. Where prompts hold no ids of tool calls, the
        calls are numbered: ``call_0``, ``call_1``.
        """
        with _named(self.name):
            return [turn.as_message() for turn in self._conversion.normal(read_messages(messages))]

    def parse(self, prompt: str) -> History:
        """Return the messages of a prompt, in a list that also says how it ended; it may start with the BOS.

        The prompt may be one with the reply to it, and the token that ended the reply, as servers log them. One newline
        at its end that the format did not write is taken for the end of a file.

        Raise PromptError, with the offset, for a text that ``render`` would not write.
        """
        check_text(prompt, "a prompt", "parse takes the prompt alone, decoded")
        begin = len(self.bos) if self.bos and prompt.startswith(self.bos) else 0
        with _named(self.name, begin):
            history = self._conversion.read(prompt[begin:] if begin else prompt)
        history.bos = begin > 0
        return history

    @property
    def control(self) -> tuple[str, ...]:
        """The texts that open, end or separate turns, calls, results and thoughts; no message may hold one.

        Tags of words, such as ``<think>`` and ``<tool_call>``, are ordinary text in messages of the roles in which the
        format does not read them.
        """
        return tuple(each.text for each in self._conversion.base.control)

    def message(self, text: str, finish_reason: str | None = None) -> ChatMessage:
        """Return the assistant's message of a completion of ``render``'s prompt.

        The message ends before the first stop string or token that ends generation, if a server included it. Reasoning
        and tool calls are taken out of its text. With the ``finish_reason`` ``"length"`` nothing is read as a tool
        call, as it may be cut. White space that the format writes after the assistant's header, where the prompt left
        it to the model, is taken off, and so is what it writes before the string that ends a reply.
        """
        reasoning, content = self.split(self.until_stop(text))
        dialect = self.dialect
        if finish_reason != "length":
            content = self.without_closing(content)
        if dialect is None or finish_reason == "length":
            return ChatTurn("assistant", content, 0, reasoning).as_message()
        content, calls = dialect.calls_in(content)
        return ChatTurn("assistant", content, 0, reasoning, numbered(calls, dialect.id_style)).as_message()

    def until_stop(self, text: str) -> str:
        """Return what stands before the first string that ends a reply."""
        _check_completion(text)
        places = [place for place in map(text.find, self.reply_ends) if place >= 0]
        return text[: min(places)] if places else text

    def without_closing(self, content: str) -> str:
        """Return the content of a whole reply without what the format writes before the string that ends it."""
        _check_completion(content)
        return "" if content == self.closing.lstrip("\n") else content.removesuffix(self.closing)

    def split(self, text: str) -> tuple[str | None, str]:
        """Return the reasoning of a completion, None if it has none, and the content after it."""
        _check_completion(text)
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
        """What the prompt adds after the assistant's header, and the end of that header that is left to the model."""
        reply, header = self.separators.get(("user", REPLY), ""), self.separators.get(("user", "assistant"), "")
        if self.thought is not None:
            header = header.removesuffix(self.thought.absent)
        if header.startswith(reply):
            return "", header[len(reply) :]
        return reply[len(header) :] if reply.startswith(header) else "", ""

    @cached_property
    def closing(self) -> str:
        """What stands between a reply and the string that ends it."""
        after = self.separators.get(("assistant", END)) or self.separators.get(("assistant", "user"), "")
        places = [place for place in map(after.find, self.stop) if place >= 0]
        return after[: min(places)] if places else ""

    @property
    def dialect(self) -> Dialect | None:
        """How the format writes tool calls, None if it has no way to."""
        return self._conversion.base.dialect

    @cached_property
    def _conversion(self) -> Conversion:
        return Conversion(self)


@contextmanager
def _named(name: str, begin: int | None = None) -> Iterator[None]:
    """Add the format's name to errors; with ``begin``, they are of a prompt that was read from there on."""
    try:
        yield
    except PromptError as error:
        if begin is None:
            raise error.within(name) from None
        raise PromptError(error.problem, format=name, marker=error.marker, offset=begin + (error.offset or 0)) from None
    except RecursionError:
        problem = "arguments, a result or a declaration of tools have too many levels: take some out"
        raise PromptError(problem, format=name) from None


def _check_completion(text: Any) -> None:
    check_text(text, "a completion", "give the text of a choice")


def _given(option: Any, messages: Iterable[Any], name: str) -> Any:
    """Return an option; if it was not given, its value in a parsed history."""
    return option if option is not None else getattr(messages, name, None)


def ending_of(messages: Iterable[Any], *, continue_final: bool | None, reply: bool | None) -> tuple[str, str]:
    """Return how a prompt is to end, as it is asked to, or else as it was parsed, and what stands after that."""
    if continue_final:
        return PromptEnding.PREFILL, ""
    if continue_final is None and reply is None and isinstance(messages, History) and messages.is_as_parsed:
        is_logged = messages.ending == PromptEnding.LOGGED
        return PromptEnding.PREFILL if is_logged else messages.ending, messages.after
    return PromptEnding.CLOSED if reply is False else PromptEnding.REPLY, ""
