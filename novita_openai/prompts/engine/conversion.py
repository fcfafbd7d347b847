"""Writing the prompts of a format and reading them, with the check of each by the other."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from novita_openai.prompts.engine.dates import PLACEHOLDER, read_date, write_date
from novita_openai.prompts.engine.folding import default_of, joined, moved, without_default
from novita_openai.prompts.engine.losses import refuse_blanks, refuse_losses
from novita_openai.prompts.engine.table import (
    END,
    REPLY,
    START,
    Ending,
    NoSeparator,
    Plan,
    Row,
    Table,
    Unreadable,
    Way,
)
from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.messages import History, Turn
from novita_openai.prompts.tool_calls.families import DIALECTS

if TYPE_CHECKING:
    from novita_openai.prompts.engine.description import Description

__all__ = ["Asked", "Conversion"]


_MOST_DAYS: Final = 32
_PLAIN: Final = frozenset({"system", "user", "assistant"})


class Asked(NamedTuple):
    """What a prompt is asked to be."""

    ending: str = Ending.REPLY
    tools: Sequence[Mapping[str, Any]] | None = None
    date: dt.date | None = None
    keep_reasoning: bool = False


class Conversion:
    """A format, compiled: messages to rows of the table to text, and back."""

    def __init__(self, description: Description) -> None:
        self.description = description
        self.dialect = DIALECTS[description.tools] if description.tools else None
        self._default = default_of(description.separators)
        self._markers = self.dialect.markers if self.dialect is not None else ()
        self.table = Table(
            description.separators,
            description.trim,
            bos=description.bos,
            forbidden=(*description.forbidden, *self._markers),
            is_countable=description.may_be_empty and not description.date and description.losses is None,
        )
        self._days: dict[dt.date | None, Conversion] = {}

    def on(self, date: dt.date | None) -> Conversion:
        """Return the conversion of a day, for a format that prints it; None: of the prompts without a date."""
        if date not in self._days:
            if len(self._days) >= _MOST_DAYS:
                self._days.clear()
            text = None if date is None else write_date(self.description.date, date)
            pairs = self.description.separators.items()
            separators = {pair: dated for pair, separator in pairs if (dated := _dated(separator, text)) is not None}
            self._days[date] = Conversion(replace(self.description, separators=separators, date=""))
        return self._days[date]

    def write(self, turns: Sequence[Turn], asked: Asked) -> str:
        """Return the prompt of turns; raise PromptError if it does not read back as them."""
        refuse_losses(self.description.losses, self.table, turns, asked.ending)
        if asked.ending == Ending.PREFILL:
            self._refuse_trimming(turns[-1])
        turns = self.normal(turns)
        if self.description.system_in:
            refuse_blanks(self.table, turns)
        return (self._with_tools if asked.tools else self).write_dated(turns, asked)

    def write_dated(self, turns: Sequence[Turn], asked: Asked) -> str:
        """Return the prompt of normal turns, on the day that is asked for."""
        if not self.description.date:
            return self.write_rows(turns, asked)
        if PLACEHOLDER not in self.description.separators.get((START, turns[0].role), ""):
            return self.on(None).write_rows(turns, asked)
        if asked.date is None:
            raise PromptError("it prints today's date: give render(..., date=datetime.date(...))")
        return self.on(asked.date).write_rows(turns, asked)

    def _refuse_trimming(self, turn: Turn) -> None:
        """Refuse an open reply that the published template trims otherwise than a reply in the history."""
        [(_, open_text), (_, closed_text)] = (
            self.table.trimmed([(role, turn.text)])[0] for role in ("prefill", turn.role)
        )
        if "prefill" in self.table.trims and open_text != closed_text:
            raise PromptError(
                "blanks at the end of an open reply stay there, and no reply in a history has any", index=turn.index
            )

    @cached_property
    def _with_tools(self) -> Conversion:
        """The conversion of prompts that declare tools."""
        before, after = self.dialect.header if self.dialect is not None else ("", "")
        if not before:
            return self
        pairs = self.description.separators.items()
        separators = {pair: text.replace(before, after) if pair[0] == START else text for pair, text in pairs}
        return Conversion(replace(self.description, separators=separators))

    def write_rows(self, turns: Sequence[Turn], asked: Asked) -> str:
        """Return the prompt of normal turns, with the separators as they are."""
        if asked.ending == Ending.PREFILL and turns[-1].role != "assistant":
            raise PromptError("only an assistant's message can be continued", index=turns[-1].index)
        rows = self._rows(turns, asked)
        plan = self._plan(turns, rows, asked.ending)
        prompt = plan.write([text for _, text in rows])
        # What was joined may have got blanks at its ends, which would be trimmed of it as one text.
        if plan.is_safe(prompt) and self.table.trimmed(rows) == rows:
            return prompt
        try:
            back = self.read_plain(prompt)
        except Unreadable:
            back = History()
        if list(back) == [turn.as_message() for turn in turns]:
            return prompt
        raise self._forged(turns, back, asked)

    def _rows(self, turns: Sequence[Turn], asked: Asked) -> list[Row]:
        """Return the rows of normal turns; refuse what the published template would lose."""
        for turn in turns:
            self._refuse_lost(turn)
        if self.dialect is not None:
            turns = self.dialect.write(turns, asked.tools, self._default)
        elif asked.tools:
            raise PromptError("it has no tool calls that are known here: tools would be dropped")
        if self.description.thought is not None:
            return self.description.thought.write(turns, asked.ending, keep=asked.keep_reasoning)
        return [(turn.role, turn.text) for turn in turns]

    def _refuse_lost(self, turn: Turn) -> None:
        if not (turn.text or turn.calls or self.description.may_be_empty):
            raise PromptError("the published template drops empty messages", index=turn.index)
        if turn.role == "assistant":
            marker = self._lost(turn.text)
            if marker is not None:
                problem = f"the published template takes out of replies what ends with {marker!r}"
                raise PromptError(problem, index=turn.index, marker=marker)
        if turn.reasoning and self.description.thought is None:
            raise PromptError("it has no place for reasoning_content: leave it out", index=turn.index)
        if self.dialect is None and (turn.calls or turn.role == "tool"):
            raise PromptError("it has no tool calls that are known here", index=turn.index)

    def _lost(self, text: str) -> str | None:
        return next((marker for marker in self.description.forbidden if marker in text), None)

    def _plan(self, turns: Sequence[Turn], rows: Sequence[Row], ending: str) -> Plan:
        try:
            return self.table.plan(tuple([role for role, _ in rows]), ending)
        except NoSeparator as error:
            index = turns[min(error.position, len(turns) - 1)].index
            raise PromptError(_no_separator(error), index=index) from None

    def _forged(self, turns: Sequence[Turn], back: Sequence[Any], asked: Asked) -> PromptError:
        """Return the error for a prompt that does not read back, naming the message and what stands in it."""
        if asked.ending == Ending.PREFILL and not turns[-1].text:
            return PromptError("there is nothing to continue", index=turns[-1].index)
        marked = [(turn, marker) for turn in turns if (marker := self.table.marker(turn.role, turn.text))]
        differing = (turn for turn, message in zip(turns, back, strict=False) if turn.as_message() != message)
        turn, marker = next(iter(marked), (next(differing, turns[-1]), None))
        what = f"it holds {marker!r}, so" if marker else "with this content"
        problem = f"{what} the prompt would not read back as these messages: take it out, or use chat completions"
        return PromptError(problem, index=turn.index, marker=marker)

    def read(self, text: str) -> History:
        """Return the history of a prompt without BOS; raise Unreadable for what would not be written."""
        if self._with_tools is self:
            return self.read_dated(text)
        announced = text.startswith(self._tool_starts)
        history = (self._with_tools if announced else self).read_dated(text)
        if announced != (history.tools is not None):
            raise Unreadable("tools are announced where they are declared, and nowhere else", 0)
        return history

    @cached_property
    def _tool_starts(self) -> tuple[str, ...]:
        """How the prompts start that declare tools, where others start otherwise."""
        after = self.dialect.header[1] if self.dialect is not None else ""
        parts = (
            text.partition(after) for pair, text in self._with_tools.description.separators.items() if pair[0] == START
        )
        return tuple({before + found for before, found, _ in parts if found})

    def read_dated(self, text: str) -> History:
        """Return the history of a prompt, on the day that it prints."""
        if not self.description.date:
            return self.read_plain(text)
        date = self._date_in(text)
        history = self.on(date).read_plain(text)
        history.date = date
        return history

    def _date_in(self, text: str) -> dt.date | None:
        """Return the date that a prompt prints, None where it prints none."""
        for pair, separator in self.description.separators.items():
            before, placeholder, _ = separator.partition(PLACEHOLDER)
            if placeholder and pair[0] == START and text.startswith(before):
                return read_date(self.description.date, text, len(before))
        return None

    def read_plain(self, text: str) -> History:
        """Try each beginning that the text may be; the longest is almost always the only one."""
        failure: Unreadable | None = None
        for way in self.table.starts(text):
            try:
                return self._read_from(text, way)
            except Unreadable as error:
                failure = failure or error
        raise failure or Unreadable("no prompt of this format starts so", 0)

    def _read_from(self, text: str, start: Way) -> History:
        rows, ending = self.table.read(text, start)
        roles = tuple([role for role, _ in rows])
        if self._is_plain(roles, text):
            return self._plain_history(rows, roles, ending, text)
        turns = [Turn(role, content, place) for place, (role, content) in enumerate(rows)]
        tools, keep, thought = None, False, self.description.thought
        if thought is not None:
            turns = thought.read(turns, ending)
            keep = not thought.keeps(turns)
        if self.dialect is not None:
            turns, tools = self.dialect.read(turns, self._default)
        try:
            again = self._rows(self.normal(turns), Asked(ending, tools, None, keep))
        except PromptError as error:
            raise Unreadable(error.problem, 0) from None
        self._compare(again, tuple([role for role, _ in again]), ending, text)
        return History((turn.as_message() for turn in turns), ending=ending, tools=tools, keep_reasoning=keep)

    def _is_plain(self, roles: tuple[str, ...], text: str) -> bool:
        """Tell whether every row is a message as it stands."""
        if self._markers and any(marker in text for marker in self._markers):
            return False
        thought = self.description.thought
        if thought is not None and thought.always and roles[-1] == "assistant":
            return False
        return _PLAIN.issuperset(roles)

    def _plain_history(self, rows: list[Row], roles: tuple[str, ...], ending: str, text: str) -> History:
        if self._may_lose(text):
            lost = next((place for place, row in enumerate(rows) if self._is_lost(row)), None)
            if lost is not None:
                raise Unreadable(
                    "the published template loses a part of this message", self._offset(rows, ending, lost)
                )
        plan = self._compare(rows, roles, ending, text)
        loss = self.description.losses and self.description.losses.first(rows, ending)
        if loss:
            raise Unreadable(loss[1], self._offset(rows, ending, loss[0]))
        if plan.trims:
            blank = next((place for place, row in enumerate(rows) if plan.trims[place](row[1]) != row[1]), None)
            if blank is not None:
                raise Unreadable("the format has no blanks around this text", self._offset(rows, ending, blank))
        return History([{"role": role, "content": content} for role, content in rows], ending=ending)

    def _may_lose(self, text: str) -> bool:
        description = self.description
        return not description.may_be_empty or bool(description.forbidden and self._lost(text) is not None)

    def _is_lost(self, row: Row) -> bool:
        role, text = row
        return not (text or self.description.may_be_empty) or (role == "assistant" and self._lost(text) is not None)

    def _offset(self, rows: Sequence[Row], ending: str, place: int) -> int:
        """Return where the text of a row starts."""
        pieces = self.table.plan(tuple([role for role, _ in rows]), ending).pieces[0 : 2 * place + 1 : 2]
        return sum(map(len, pieces)) + sum(len(text) for _, text in rows[:place])

    def _compare(self, rows: Sequence[Row], roles: tuple[str, ...], ending: str, text: str) -> Plan:
        """Return the plan of the rows; raise Unreadable if they are not written as the text has them."""
        try:
            plan = self.table.plan(roles, ending)
        except NoSeparator as error:
            raise Unreadable(_no_separator(error), 0) from None
        written = plan.write([content for _, content in rows])
        if written != text:
            raise Unreadable("the format writes these messages otherwise", _difference(written, text))
        return plan

    def normal(self, turns: Sequence[Turn]) -> list[Turn]:
        """Return the turns as they read back."""
        trimmed = self.table.trimmed([(turn.role, turn.text) for turn in turns])
        turns = [turn.with_text(text) for turn, (_, text) in zip(turns, trimmed, strict=True)]
        turns = without_default(moved(joined(turns, self.description), self.description), self.description)
        return turns if self.dialect is None else self.dialect.normal(turns)


def _dated(separator: str, text: str | None) -> str | None:
    """Return a separator with the date in its place; None where there is none to put there."""
    return separator if PLACEHOLDER not in separator else text and separator.replace(PLACEHOLDER, text)


def _article(role: str) -> str:
    return f"an {role}" if role == "assistant" else f"a {role}"


def _no_separator(error: NoSeparator) -> str:
    where = "at the start" if error.previous == START else f"after {_article(error.previous)} message"
    what = {REPLY: "no reply can be asked for", END: "the history cannot be closed"}
    return f"{what.get(error.role, f'{_article(error.role)} message cannot stand')} {where}"


def _difference(written: str, text: str) -> int:
    """Return where two texts begin to differ."""
    pairs = enumerate(zip(written, text, strict=False))
    return next((place for place, (ours, theirs) in pairs if ours != theirs), min(len(written), len(text)))
