"""Converts histories to the prompts of a format and back, with the separators for their date and tools.

Some formats print today's date at the start, and some write another header there when tools are declared. For each day,
and with tools or without, there is a ``Codec`` of its own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.engine.codec import Codec, RenderOptions
from novita_openai.prompts.engine.dates import PLACEHOLDER, read_date, write_date
from novita_openai.prompts.engine.losses import refuse_losses, refuse_white_space
from novita_openai.prompts.engine.separators import START, PromptEnding, Separators
from novita_openai.prompts.engine.trimming import trim_for
from novita_openai.prompts.errors import PromptError

if TYPE_CHECKING:
    from novita_openai.prompts.engine.description import Description
    from novita_openai.prompts.messages import History, Turn

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

    def normal(self, turns: Sequence[Turn]) -> list[Turn]:
        """Return the turns as they read back from a prompt."""
        return self.base.normal(turns)

    def write(self, turns: Sequence[Turn], options: RenderOptions) -> str:
        """Return the prompt of turns; raise PromptError if it would not read back as them."""
        trims = self._description.trim
        refuse_losses(self._description.losses, trims, turns, options.ending)
        if options.ending == PromptEnding.PREFILL:
            self._refuse_stripped_prefill(turns[-1])
        turns = self.normal(turns)
        if self._description.system_in:
            refuse_white_space(trims, turns)
        return self.codec(self._date(turns, options), has_tools=bool(options.tools)).write(turns, options)

    def _date(self, turns: Sequence[Turn], options: RenderOptions) -> dt.date | None:
        """Return the date that a prompt prints; None if it prints none."""
        if PLACEHOLDER not in self._description.separators.get((START, turns[0].role), ""):
            return None
        if options.date is None:
            raise PromptError("the format prints today's date: give render(..., date=datetime.date(...))")
        return options.date

    def _refuse_stripped_prefill(self, turn: Turn) -> None:
        """Raise PromptError for an open reply whose white space the published template strips once it is closed."""
        trims = self._description.trim
        opened, closed = (trim_for(trims, START, role)(turn.text) for role in ("prefill", turn.role))
        if "prefill" in trims and opened != closed:
            problem = "a reply to continue keeps the white space at its end, and no other reply has any: strip it"
            raise PromptError(problem, index=turn.index)

    def read(self, text: str) -> History:
        """Return the history of a prompt without BOS; raise PromptError, with the offset, if this is not a prompt."""
        if not (self._description.date or self._tool_starts):
            return self.base.read(text)
        has_header = text.startswith(self._tool_starts)
        date = self._date_in(text, has_header=has_header)
        history = self.codec(date, has_tools=has_header).read(text)
        if self._tool_starts and has_header != (history.tools is not None):
            raise PromptError(_ANNOUNCED if has_header else _UNANNOUNCED, offset=0)
        history.date = date
        return history

    @cached_property
    def _tool_starts(self) -> tuple[str, ...]:
        """How prompts start that declare tools, where others start differently."""
        _, header = self._header
        if not header:
            return ()
        separators = self._separators(has_header=True)
        parts = (text.partition(header) for pair, text in separators.items() if pair[0] == START)
        return tuple({before + found for before, found, _ in parts if found})

    def _date_in(self, text: str, *, has_header: bool) -> dt.date | None:
        """Return the date that a prompt prints; None if it prints none."""
        if not self._description.date:
            return None
        for pair, separator in self._separators(has_header=has_header).items():
            before, placeholder, _ = separator.partition(PLACEHOLDER)
            if placeholder and pair[0] == START and text.startswith(before):
                return read_date(self._description.date, text, len(before))
        return None


def _dated(separators: Separators, date: str | None) -> Separators:
    """Return separators with the date in them; without a date, only those that print none."""
    return {
        pair: text if date is None else text.replace(PLACEHOLDER, date)
        for pair, text in separators.items()
        if date is not None or PLACEHOLDER not in text
    }
