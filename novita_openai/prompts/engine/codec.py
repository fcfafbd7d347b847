"""Writes and reads the prompts of one table of separators, and checks each way by the other.

What is written must read back as the same messages, and what was read must be written as the same text.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from novita_openai.prompts.engine.folding import default_system, folded
from novita_openai.prompts.engine.separators import PromptEnding, Segment, Transition
from novita_openai.prompts.engine.table import Layout, MissingSeparatorError, Table
from novita_openai.prompts.engine.trimming import trimmed, trimmed_turns
from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.messages import ChatMessage, History, Tools, Turn
from novita_openai.prompts.tool_calls.families import DIALECTS

if TYPE_CHECKING:
    from novita_openai.prompts.engine.description import Description

__all__ = ["Codec", "RenderOptions"]

_PLAIN_ROLES: Final = frozenset({"system", "user", "assistant"})


class RenderOptions(NamedTuple):
    """How a history is to be written: what ``render`` is asked for, apart from the BOS."""

    ending: str = PromptEnding.REPLY
    tools: Tools | None = None
    date: dt.date | None = None
    keep_reasoning: bool = False


class Codec:
    """Writes and reads prompts with the separators of a description as they are, without a date to fill in."""

    def __init__(self, description: Description) -> None:
        self.description = description
        self.dialect = DIALECTS[description.tools] if description.tools else None
        self._default = default_system(description.separators)
        self._may_cut = bool(description.forbidden) or bool(description.never_empty)
        self._call_markers = self.dialect.markers if self.dialect is not None else ()
        self.table = Table(
            description.separators,
            description.trim,
            bos=description.bos,
            forbidden=(*description.forbidden, *self._call_markers),
            is_countable=not description.date and description.losses is None,
        )

    def normal(self, turns: Sequence[Turn]) -> list[Turn]:
        """Return the turns as they read back: trimmed, folded, and with their tool calls in one shape."""
        turns = folded(trimmed_turns(self.table.trims, turns), self.description)
        return turns if self.dialect is None else self.dialect.normal(turns)

    def write(self, turns: Sequence[Turn], options: RenderOptions) -> str:
        """Return the prompt of normal turns; raise PromptError if it would not read back as them."""
        if options.ending == PromptEnding.PREFILL and turns[-1].role != "assistant":
            raise PromptError("only an assistant's message can be continued", index=turns[-1].index)
        segments = self._segments(turns, options)
        prompt, is_safe = self._write_segments(turns, segments, options.ending)
        if is_safe:
            return prompt
        back = self._read_back(prompt)
        if back == [turn.as_message() for turn in turns]:
            return prompt
        raise self._forged(turns, back, options.ending)

    def _write_segments(self, turns: Sequence[Turn], segments: Sequence[Segment], ending: str) -> tuple[str, bool]:
        """Return the prompt of segments, and whether it will read back for certain."""
        try:
            layout = self.table.layout(tuple([role for role, _ in segments]), ending)
        except MissingSeparatorError as error:
            index = turns[min(error.position, len(turns) - 1)].index
            raise PromptError(str(error), index=index) from None
        prompt = layout.write([text for _, text in segments])
        # Where messages were joined, white space may have come to the ends of a text, and would be stripped there.
        return prompt, layout.is_safe(prompt) and trimmed(self.table.trims, segments) == segments

    def _segments(self, turns: Sequence[Turn], options: RenderOptions) -> list[Segment]:
        """Return the segments of normal turns; raise PromptError for what the published template would lose."""
        for turn in turns:
            self._refuse_lost(turn)
        if self.dialect is not None:
            turns = self.dialect.write(turns, options.tools, self._default)
        elif options.tools:
            raise PromptError("the format has no known way to declare tools: leave them out, or use chat completions")
        if self.description.thought is not None:
            return self.description.thought.write(turns, options.ending, keep=options.keep_reasoning)
        return [(turn.role, turn.text) for turn in turns]

    def _refuse_lost(self, turn: Turn) -> None:
        if turn.role in self.description.never_empty and not (turn.text or turn.calls):
            raise PromptError("the published template drops empty messages: leave it out", index=turn.index)
        marker = self._cut_marker(turn.text) if turn.role == "assistant" else None
        if marker is not None:
            problem = f"the published template cuts from replies what ends with {marker!r}: take it out"
            raise PromptError(problem, index=turn.index, marker=marker)
        if turn.reasoning and self.description.thought is None:
            raise PromptError("the format has no place for reasoning_content: leave it out", index=turn.index)
        if self.dialect is None and (turn.calls or turn.role == "tool"):
            problem = "the format has no known way to write tool calls: leave them out, or use chat completions"
            raise PromptError(problem, index=turn.index)

    def _cut_marker(self, text: str) -> str | None:
        """Return the marker at which the published template would cut a reply; None if it has none."""
        return next((marker for marker in self.description.forbidden if marker in text), None)

    def _read_back(self, prompt: str) -> list[ChatMessage]:
        try:
            return self.read(prompt)
        except PromptError:
            return []

    def _forged(self, turns: Sequence[Turn], back: Sequence[ChatMessage], ending: str) -> PromptError:
        """Return the error for a prompt that does not read back, naming the message and what stands in it."""
        if ending == PromptEnding.PREFILL and not turns[-1].text:
            return PromptError("the last message is empty, so there is nothing to continue", index=turns[-1].index)
        marked = [(turn, marker) for turn in turns if (marker := self.table.marker_in(turn.role, turn.text))]
        differing = (turn for turn, message in zip(turns, back, strict=False) if turn.as_message() != message)
        turn, marker = next(iter(marked), (next(differing, turns[-1]), None))
        what = f"its text holds {marker!r}, a control string of the format, so" if marker else "with this content"
        problem = f"{what} the prompt would not read back as these messages: take it out, or use chat completions"
        return PromptError(problem, index=turn.index, marker=marker)

    def read(self, text: str) -> History:
        """Return the history of a prompt without BOS; raise PromptError, with the offset, if this is not a prompt."""
        failures = []
        for start in self.table.scanner.starts(text):  # almost always one
            try:
                return self._read_from(text, start)
            except PromptError as error:
                failures.append(error)
        raise failures[0]

    def _read_from(self, text: str, start: Transition) -> History:
        segments, ending = self.table.scanner.read(text, start)
        roles = tuple([role for role, _ in segments])
        if self._is_plain(roles, text):
            return self._plain_history(segments, roles, ending, text)
        turns = [Turn(role, content, place) for place, (role, content) in enumerate(segments)]
        try:
            return self._history(turns, ending, text)
        except PromptError as error:  # it names a message, whose offset is not known here
            raise PromptError(error.problem, offset=error.offset or 0) from None

    def _history(self, turns: list[Turn], ending: str, text: str) -> History:
        """Return the history of segments, given as turns, in which there is reasoning or a tool call."""
        tools, keep, thought = None, False, self.description.thought
        if thought is not None:
            turns = thought.read(turns, ending)
            keep = not thought.keeps(turns)
        if self.dialect is not None:
            turns, tools = self.dialect.read(turns, self._default)
        again = self._segments(self.normal(turns), RenderOptions(ending, tools, keep_reasoning=keep))
        self._compare([content for _, content in again], tuple([role for role, _ in again]), ending, text)
        return History((turn.as_message() for turn in turns), ending=ending, tools=tools, keep_reasoning=keep)

    def _is_plain(self, roles: tuple[str, ...], text: str) -> bool:
        """Tell whether every segment is the content of a message, without reasoning and tool calls."""
        if self._call_markers and any(marker in text for marker in self._call_markers):
            return False
        thought = self.description.thought
        if thought is not None and thought.always and roles[-1] == "assistant":
            return False  # a last reply has a thought in it, even if that is empty
        return _PLAIN_ROLES.issuperset(roles)

    def _plain_history(self, segments: list[Segment], roles: tuple[str, ...], ending: str, text: str) -> History:
        if self._may_cut:
            self._refuse_cut(segments, ending, text)
        texts = [content for _, content in segments]
        layout = self._compare(texts, roles, ending, text)
        if self.description.losses is not None or layout.trims:
            self._refuse_changed(segments, ending, layout.first_stripped(texts))
        return History([{"role": role, "content": content} for role, content in segments], ending=ending)

    def _refuse_cut(self, segments: Sequence[Segment], ending: str, text: str) -> None:
        """Raise PromptError for a message that the published template would have dropped, or cut."""
        never_empty = self.description.never_empty
        if not never_empty and self._cut_marker(text) is None:
            return
        for place, (role, content) in enumerate(segments):
            is_dropped = role in never_empty and not content
            if is_dropped or (role == "assistant" and self._cut_marker(content) is not None):
                problem = "the published template drops this message, or a part of it"
                raise PromptError(problem, offset=self._offset(segments, ending, place))

    def _refuse_changed(self, segments: Sequence[Segment], ending: str, stripped: int | None) -> None:
        """Raise PromptError for a message that the template changes, or else for the one at ``stripped``."""
        losses = self.description.losses
        found = losses.first_problem(segments, ending) if losses is not None else None
        if found is None and stripped is not None:
            found = stripped, "the format strips the white space around this text, and would not have written it"
        if found is not None:
            raise PromptError(found[1], offset=self._offset(segments, ending, found[0]))

    def _offset(self, segments: Sequence[Segment], ending: str, place: int) -> int:
        """Return where the text of a segment starts."""
        pieces = self.table.layout(tuple([role for role, _ in segments]), ending).pieces[0 : 2 * place + 1 : 2]
        return sum(map(len, pieces)) + sum(len(text) for _, text in segments[:place])

    def _compare(self, texts: Sequence[str], roles: tuple[str, ...], ending: str, text: str) -> Layout:
        """Return the layout of these roles; raise PromptError if their texts are not written as this text."""
        try:
            layout = self.table.layout(roles, ending)
        except MissingSeparatorError as error:
            raise PromptError(str(error), offset=0) from None
        written = layout.write(texts)
        if written != text:
            problem = "the format would write these messages differently from here on"
            raise PromptError(problem, offset=_difference(written, text))
        return layout


def _difference(written: str, text: str) -> int:
    """Return where two texts begin to differ."""
    pairs = enumerate(zip(written, text, strict=False))
    return next((place for place, (ours, theirs) in pairs if ours != theirs), min(len(written), len(text)))
