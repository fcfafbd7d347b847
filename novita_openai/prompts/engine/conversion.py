"""Converts histories to the prompts of a format and back, with the separators for their date and tools.

Some formats print today's date at the start, and some write another header there when tools are declared. For each day,
and with tools or without, there is a ``Codec`` of its own.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.engine.codec import Codec, RenderOptions
from novita_openai.prompts.engine.dates import PLACEHOLDER, read_date, write_date
from novita_openai.prompts.engine.losses import refuse_losses, refuse_white_space
from novita_openai.prompts.engine.separators import END, START, PromptEnding, Separators
from novita_openai.prompts.engine.trimming import trim_for
from novita_openai.prompts.errors import PromptError

if TYPE_CHECKING:
    from novita_openai.prompts.engine.description import Description
    from novita_openai.prompts.messages import ChatTurn, History

__all__ = ["Conversion"]

_MOST_CODECS: Final = 32
"""How many codecs of a format are kept."""

_ANNOUNCED: Final = "the header announces tools, but none are declared"
_UNANNOUNCED: Final = "tools are declared, but the header does not announce them"


class Conversion:
    """Writes and reads the prompts of a format; ``base`` is the codec with the separators as they are described."""

    def __init__(self, description: Description) -> None:
        self._description = description
        self.base = Codec(description)
        self._header = self.base.dialect.header if self.base.dialect is not None else ("", "")
        self._codecs: dict[tuple[dt.date | None, bool], Codec] = {}

    def codec(self, date: dt.date | None, *, has_tools: bool = False) -> Codec:
        """Return the codec of prompts with this date, or with none, that declare tools or not."""
        has_header = has_tools and bool(self._header[0])
        if not (self._description.date or has_header):
            return self.base
        key = date, has_header
        if key not in self._codecs:
            if len(self._codecs) >= _MOST_CODECS:
                self._codecs.clear()
            separators = self._separators(has_header=has_header)
            if self._description.date:
                separators = _dated(separators, None if date is None else write_date(self._description.date, date))
            self._codecs[key] = Codec(replace(self._description, separators=separators, date=""))
        return self._codecs[key]

    def _separators(self, *, has_header: bool) -> Separators:
        """Return the separators, with the header that declares tools at the start or without it."""
        separators = self._description.separators
        if not has_header:
            return separators
        return {pair: text.replace(*self._header) if pair[0] == START else text for pair, text in separators.items()}

    def normal(self, turns: Sequence[ChatTurn]) -> list[ChatTurn]:
        """Return the turns as they read back from a prompt."""
        return self.base.normal(turns)

    def write(self, turns: Sequence[ChatTurn], options: RenderOptions) -> str:
        """Return the prompt of turns; raise PromptError if it would not read back as them."""
        trims = self._description.trim
        refuse_losses(self._description.losses, trims, turns, options.ending)
        if options.ending == PromptEnding.PREFILL:
            self._refuse_stripped_prefill(turns[-1])
        normal = self.normal(turns)
        if self._description.system_in:
            refuse_white_space(trims, normal)
        codec = self.codec(self._date(normal, options), has_tools=bool(options.tools))
        try:
            return codec.write(normal, options)
        except PromptError as error:
            raise _in_given(error, turns) if len(normal) < len(turns) else error from None

    def _date(self, turns: Sequence[ChatTurn], options: RenderOptions) -> dt.date | None:
        """Return the date that a prompt prints; None if it prints none."""
        if PLACEHOLDER not in self._description.separators.get((START, turns[0].role), ""):
            return None
        if options.date is None:
            raise PromptError("the format prints today's date: give render(..., date=datetime.date(...))")
        return options.date

    def _refuse_stripped_prefill(self, turn: ChatTurn) -> None:
        """Raise PromptError for an open reply that ends with white space, where the format strips that from replies."""
        if not turn.text.endswith(trim_for(self._description.trim, START, turn.role)(turn.text)):
            problem = "the format strips white space from replies, so one to continue cannot end with any: strip it"
            raise PromptError(problem, index=turn.index)

    def read(self, text: str) -> History:
        """Return the history of a prompt without BOS; raise PromptError, with the offset, if this is not a prompt.

        What does not read as a prompt may be one with a newline at its end, as files have it, or with a reply's end.
        """
        try:
            return self._read(text)
        except PromptError:
            for after in self._afters(text):
                with suppress(PromptError):
                    return self._read_before(text, after)
            raise

    def _afters(self, text: str) -> Iterator[str]:
        """Yield what may stand after a prompt and its reply."""
        for newline in ("", "\n"):
            if text.endswith(newline):
                yield from (end + newline for end in self._description.reply_ends if text.endswith(end + newline))
                yield newline

    def _read_before(self, text: str, after: str) -> History:
        """Return the history of what stands before ``after``, which is a newline, or what ends a reply after one."""
        history = self._read(text.removesuffix(after))
        history.after = after
        if after.strip():
            if not self._is_reply(history):
                raise PromptError(f"{after!r} does not stand after a reply", offset=len(text) - len(after))
            history.ending = PromptEnding.LOGGED
        return history

    def _is_reply(self, history: History) -> bool:
        """Tell whether a history ends with a whole reply that no text of the format has closed."""
        last = history[-1]
        is_bare = not self._description.separators.get(("assistant", END))
        is_open = history.ending == PromptEnding.PREFILL or (history.ending == PromptEnding.CLOSED and is_bare)
        says_something = bool((last["content"] or "").strip() or last.get("tool_calls"))
        return is_open and last["role"] == "assistant" and says_something

    def _read(self, text: str) -> History:
        if not (self._description.date or self._tool_starts):
            return self.base.read(text)
        has_header = any(start.match(text) for start in self._tool_starts)
        date = self._date_in(text, has_header=has_header)
        history = self.codec(date, has_tools=has_header).read(text)
        if self._tool_starts and has_header != (history.tools is not None):
            raise PromptError(_ANNOUNCED if has_header else _UNANNOUNCED, offset=0)
        history.date = date
        return history

    @cached_property
    def _tool_starts(self) -> tuple[re.Pattern[str], ...]:
        """Patterns of how prompts start that declare tools, where others start differently."""
        _, header = self._header
        if not header:
            return ()
        separators = self._separators(has_header=True)
        parts = (text.partition(header) for pair, text in separators.items() if pair[0] == START)
        return tuple(_dated_pattern(start) for start in {before + found for before, found, _ in parts if found})

    def _date_in(self, text: str, *, has_header: bool) -> dt.date | None:
        """Return the date that a prompt prints; None if it prints none."""
        if not self._description.date:
            return None
        for pair, separator in self._separators(has_header=has_header).items():
            before, placeholder, _ = separator.partition(PLACEHOLDER)
            if placeholder and pair[0] == START and text.startswith(before):
                return read_date(self._description.date, text, len(before))
        return None


def _dated_pattern(text: str) -> re.Pattern[str]:
    """Return a pattern of a text in which any date may stand."""
    return re.compile("[^<\n]{,40}".join(map(re.escape, text.split(PLACEHOLDER))))


def _in_given(error: PromptError, turns: Sequence[ChatTurn]) -> PromptError:
    """Return the error of a message that several were joined into, with the one that holds its control string."""
    for turn in turns:
        if error.marker and error.marker in turn.text:
            return PromptError(
                error.problem, index=turn.index, marker=error.marker, offset=turn.text.index(error.marker)
            )
    return error


def _dated(separators: Separators, date: str | None) -> Separators:
    """Return separators with the date in them; without a date, only those that print none."""
    return {
        pair: text if date is None else text.replace(PLACEHOLDER, date)
        for pair, text in separators.items()
        if date is not None or PLACEHOLDER not in text
    }
