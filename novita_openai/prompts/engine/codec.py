"""Writes and reads the prompts of one table of separators.

What is written holds each control string only where the format writes it, so that it reads back as the same messages;
what was read must be written as the same text.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from novita_openai.prompts.engine.blanking import blanked, given_texts
from novita_openai.prompts.engine.control import Control, control_of, longer_headings, needles_of
from novita_openai.prompts.engine.folding import default_system, folded
from novita_openai.prompts.engine.forgeries import forged, lost, refuse_kept, refuse_lengthened
from novita_openai.prompts.engine.separators import REASONED, START, PromptEnding, Segment, Transition, ends_with
from novita_openai.prompts.engine.table import Layout, MissingSeparatorError, Table
from novita_openai.prompts.engine.trimming import keep, trim_for, trimmed, trimmed_turns
from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.messages import ChatTurn, History, Tools
from novita_openai.prompts.tool_calls.declarations import refuse_no_tools
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
        self._call_markers = self.dialect.markers if self.dialect is not None else ()

    @cached_property
    def control(self) -> tuple[Control, ...]:
        """The control strings of the format."""
        return control_of(self.description, self.dialect.tags if self.dialect is not None else ())

    @cached_property
    def table(self) -> Table:
        """The separators, compiled."""
        counted = (
            needles_of((*self.control, *map(Control, self._other_markers)), self.description.separators),
            (*(each.core for each in self.control), *longer_headings(self.control), *self._other_markers),
        )
        return Table(
            self.description.separators,
            self.description.trim,
            bos=self.description.bos,
            counted=counted,
        )

    @property
    def _other_markers(self) -> tuple[str, ...]:
        """What shows that a text may hold a call or a declaration, where that is no control string."""
        known = [each.text for each in self.control]
        return tuple(marker for marker in self._call_markers if marker not in known)

    def normal(self, turns: Sequence[ChatTurn]) -> list[ChatTurn]:
        """Return the turns as they read back: trimmed, folded, and with their tool calls in one shape."""
        turns = folded(trimmed_turns(self.description.trim, turns), self.description)
        return turns if self.dialect is None else self.dialect.normal(turns)

    def write_plain(self, roles: tuple[str, ...], texts: Sequence[str], ending: str) -> str | None:
        """Return the prompt of messages of nothing but text, the quick way; None where only the long way can tell."""
        if self.description.system_in and roles[0] == "system":
            moved = self._with_system_moved(roles, texts, ending)
            if moved is None:
                return None
            roles, texts = moved
        layout = self._plain_layout(roles, ending)
        if layout is None or (ending == PromptEnding.PREFILL and self._is_no_start(layout, texts[-1])):
            return None
        written = layout.trimmed(texts)
        if self._may_be_lost(roles, written, ending):
            return None
        if ending == PromptEnding.CLOSED and self._is_misread(layout, written[-1]):
            return None
        prompt = layout.write(written)
        return prompt if layout.is_safe(prompt) else None

    def _with_system_moved(
        self, roles: tuple[str, ...], texts: Sequence[str], ending: str
    ) -> tuple[tuple[str, ...], list[str]] | None:
        """Return the messages with the system text in the user's; None if only the long way can tell."""
        description = self.description
        place = 1 if description.system_in == "first" else len(roles) - 1
        if roles[place : place + 1] != ("user",) or self._may_be_lost(roles, texts, ending):
            return None
        system = trim_for(description.trim, START, "system")(texts[0])
        trim = trim_for(description.trim, roles[place - 1], "user")
        text = system + description.joins["system", "user"] + trim(texts[place])
        if trim(text) != text:
            return None
        moved = [*texts[1:]]
        moved[place - 1] = text
        return roles[1:], moved

    def _plain_layout(self, roles: tuple[str, ...], ending: str) -> Layout | None:
        """Return how messages of nothing but text are written; None for what the quick way cannot write."""
        if not _PLAIN_ROLES.issuperset(roles) or (ending == PromptEnding.PREFILL and roles[-1] != "assistant"):
            return None
        thought, before = self.description.thought, ""
        if thought is not None and thought.always and "assistant" in _after_question(roles):
            if len(_after_question(roles)) > 1:
                return None
            roles, before = (*roles[:-1], REASONED), thought.close
        try:
            return self.table.layout(roles, ending, before)
        except MissingSeparatorError:
            return None

    def _may_be_lost(self, roles: Sequence[str], texts: Sequence[str], ending: str) -> bool:
        """Tell whether the published template may lose one of these texts, or white space after a thought."""
        description = self.description
        if description.never_empty and "" in texts:
            return True
        if description.thought is not None and description.thought.always and texts[-1].startswith("\n"):
            return True
        losses = description.losses
        return losses is not None and losses.first_problem([*zip(roles, texts, strict=True)], ending) is not None

    def _is_no_start(self, layout: Layout, text: str) -> bool:
        """Tell whether a text cannot be the start of a reply that is to be continued."""
        trim = layout.trims[-1] if layout.trims is not None else keep
        return not text.endswith(trim(text)) or self._seems_ended(layout, trim(text))

    def _seems_ended(self, layout: Layout, text: str) -> bool:
        """Tell whether an open reply would read as a closed one, or as none."""
        end = layout.end
        return not text.strip() or bool(end and text.endswith(end)) or self._is_misread(layout, text)

    def _is_misread(self, layout: Layout, text: str) -> bool:
        """Tell whether a history that asks for no reply would read as one that does, or as a logged one."""
        header, after = layout.pieces[-3], text + layout.pieces[-1]
        is_asked = bool(layout.asked) and after != text + layout.asked and ends_with(after, layout.asked)
        return (
            is_asked
            or header + after in layout.ends
            or (not after.strip() and header.rstrip().endswith(self.description.reply_ends))
        )

    def write(self, turns: Sequence[ChatTurn], options: RenderOptions) -> str:
        """Return the prompt of normal turns; raise PromptError if it would not read back as them."""
        if options.ending == PromptEnding.PREFILL and turns[-1].role != "assistant":
            raise PromptError("only an assistant's message can be continued", index=turns[-1].index)
        segments = self._segments(turns, options)
        layout = self._layout(turns, segments, options.ending)
        self._refuse_misread(turns[-1], segments[-1], layout, options.ending)
        prompt = layout.write([text for _, text in segments])
        if not layout.is_safe(prompt):
            refuse_lengthened(turns, segments, layout)
            self._refuse_forged(turns, options, prompt)
        self._refuse_changed(turns, segments, options.ending)
        return prompt

    def _layout(self, turns: Sequence[ChatTurn], segments: Sequence[Segment], ending: str) -> Layout:
        try:
            return self.table.layout(tuple([role for role, _ in segments]), ending)
        except MissingSeparatorError as error:
            index = turns[min(error.position, len(turns) - 1)].index
            raise PromptError(str(error), index=index) from None

    def _segments(self, turns: Sequence[ChatTurn], options: RenderOptions) -> list[Segment]:
        """Return the segments of normal turns; raise PromptError for what the published template would lose."""
        for turn in turns:
            self._refuse_lost(turn)
        refuse_no_tools(options.tools)
        if self.dialect is not None:
            turns = self.dialect.write(turns, options.tools, self._default)
        elif options.tools:
            raise PromptError("the format has no known way to declare tools: leave them out, or use chat completions")
        if self.description.thought is not None:
            return self.description.thought.write(turns, options.ending, keep=options.keep_reasoning)
        return [(turn.role, turn.text) for turn in turns]

    def _refuse_lost(self, turn: ChatTurn) -> None:
        if turn.role in self.description.never_empty and not (turn.text or turn.calls):
            raise PromptError("the published template drops empty messages: leave it out", index=turn.index)
        if turn.reasoning and self.description.thought is None:
            raise PromptError("the format has no place for reasoning_content: leave it out", index=turn.index)
        if self.dialect is None and (turn.calls or turn.role == "tool"):
            problem = "the format has no known way to write tool calls: leave them out, or use chat completions"
            raise PromptError(problem, index=turn.index)

    def _refuse_misread(self, turn: ChatTurn, segment: Segment, layout: Layout, ending: str) -> None:
        """Raise PromptError for a last message with which the prompt would read as one that ends otherwise."""
        role, text = segment
        if ending == PromptEnding.PREFILL and (role == "calls" or self._seems_ended(layout, text)):
            problem = "there is nothing to continue: the last message is blank, or ends as a whole reply does"
            raise PromptError(problem, index=turn.index)
        if ending == PromptEnding.CLOSED and self._is_misread(layout, text):
            problem = "with this text, the prompt would read as one that asks for a reply, or ends with another one"
            raise PromptError(problem, index=turn.index)

    def _refuse_forged(self, turns: Sequence[ChatTurn], options: RenderOptions, prompt: str) -> None:
        """Raise PromptError for a control string that the format did not write."""
        rivals = self._layout(turns, self._segments(turns, options), options.ending).rivals
        for rival in rivals:
            if prompt.startswith(rival) and self._is_read_as(rival, prompt):
                raise forged(turns[0].index, rival, None) if turns[0].text else lost(turns[0].index)
        for control in self.control:
            if control.count(prompt) != self._count_written(control, turns, options):
                raise self._forgery(control, turns, options)
            refuse_kept(control, turns, options.tools)

    def _is_read_as(self, rival: str, prompt: str) -> bool:
        """Tell whether a prompt reads as one that starts with a separator of other roles, or with the BOS."""
        starts = [start for start in self.table.scanner.starts(prompt) if start.separator == rival]
        with suppress(PromptError):
            return not starts or bool(self._read_from(prompt, starts[0]))
        return False

    def _count_written(
        self, control: Control, turns: Sequence[ChatTurn], options: RenderOptions, but: ChatTurn | None = None
    ) -> int:
        """Return how often a control string stands in the prompt without the texts of the roles in which it counts."""
        turns = [blanked(turn) if control.is_read_in(turn.role) and turn is not but else turn for turn in turns]
        segments = self._segments(turns, options)
        return control.count(self._layout(turns, segments, options.ending).write([text for _, text in segments]))

    def _forgery(self, control: Control, turns: Sequence[ChatTurn], options: RenderOptions) -> PromptError:
        """Return the error for a control string, naming the message that holds it, or makes it with what is around."""
        read = [turn for turn in turns if control.is_read_in(turn.role)]
        for turn in read:
            for text in given_texts(turn):
                if control.text in text:
                    return forged(turn.index, control.text, text.index(control.text))
        written = self._count_written(control, turns, options)
        makers = (turn for turn in read if self._count_written(control, turns, options, but=turn) != written)
        return forged(next(makers, turns[-1]).index, control.text, None)

    def _refuse_changed(self, turns: Sequence[ChatTurn], segments: list[Segment], ending: str) -> None:
        """Raise PromptError for messages whose segments would be trimmed, or read as other thoughts and tool calls."""
        is_trimmed = trimmed(self.description.trim, segments) == segments
        if is_trimmed and self.description.thought is None and self.dialect is None:
            return
        back = self._turns(segments, ending)[0] if is_trimmed else []
        if [turn.as_message() for turn in back] == [turn.as_message() for turn in turns]:
            return
        differing = (turn for turn, other in zip(turns, back, strict=False) if turn.as_message() != other.as_message())
        problem = "with this content the prompt would read back as other messages: change it, or use chat completions"
        raise PromptError(problem, index=next(differing, turns[-1]).index)

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
        guessed = self.table.scanner.guess(text, start)
        if guessed is not None and self.write_plain(*guessed, PromptEnding.REPLY) == text:
            return _plain_history(*guessed, PromptEnding.REPLY)
        segments, ending = self.table.scanner.read(text, start)
        if self._is_open_thought(segments[-1], ending):
            ending = PromptEnding.PREFILL
        roles, texts = zip(*segments, strict=True)
        if self.write_plain(roles, texts, ending) == text:
            return _plain_history(roles, texts, ending)
        try:
            return self._read_written(text, segments, ending)
        except PromptError as error:
            offset = error.offset or 0
            if error.index is not None:
                offset += self._offset(segments, ending, error.index)
            raise PromptError(error.problem, marker=error.marker, offset=offset) from None

    def _is_open_thought(self, segment: Segment, ending: str) -> bool:
        """Tell whether a closed history ends within a thought, as it may where nothing is written after a reply."""
        role, text = segment
        thought = self.description.thought
        return ending == PromptEnding.CLOSED and role == REASONED and thought is not None and thought.close not in text

    def _read_written(self, text: str, segments: Sequence[Segment], ending: str) -> History:
        """Return the history of segments; raise PromptError if their messages are not written as this text."""
        self._refuse_altered(segments, ending)
        turns, tools = self._turns(segments, ending)
        if not turns:
            raise PromptError("the prompt declares tools, and has no messages", offset=0)
        thought = self.description.thought
        keep = thought is not None and not thought.keeps(turns, ending)
        written = self.write(self.normal(turns), RenderOptions(ending, tools, keep_reasoning=keep))
        if written != text:
            problem = "the format would write these messages differently from here on"
            raise PromptError(problem, offset=_difference(written, text))
        return History((turn.as_message() for turn in turns), ending=ending, tools=tools, keep_reasoning=keep)

    def _refuse_altered(self, segments: Sequence[Segment], ending: str) -> None:
        """Raise PromptError for a text that the published template would have lost, changed or stripped."""
        losses = self.description.losses
        found = losses.first_problem(segments, ending) if losses is not None else None
        for place, (given, kept) in enumerate(zip(segments, trimmed(self.description.trim, segments), strict=True)):
            if given != kept:
                found = place, "the format strips the white space around this text, and would not have written it"
                break
        if found is not None:
            raise PromptError(found[1], index=found[0])

    def _turns(self, segments: Sequence[Segment], ending: str) -> tuple[list[ChatTurn], Tools | None]:
        """Return the turns of segments, with thoughts and tool calls taken out, and the tools that are declared."""
        turns = [ChatTurn(role, content, place) for place, (role, content) in enumerate(segments)]
        if self.description.thought is not None:
            turns = self.description.thought.read(turns, ending)
        return (turns, None) if self.dialect is None else self.dialect.read(turns, self._default)

    def _offset(self, segments: Sequence[Segment], ending: str, place: int) -> int:
        """Return where the text of a segment starts."""
        layout = self.table.layout(tuple([role for role, _ in segments]), ending)
        return sum(map(len, layout.pieces[0 : 2 * place + 1 : 2])) + sum(len(text) for _, text in segments[:place])


def _plain_history(roles: Sequence[str], texts: Sequence[str], ending: str) -> History:
    pairs = zip(roles, texts, strict=True)
    return History([{"role": role, "content": text} for role, text in pairs], ending=ending)


def _after_question(roles: tuple[str, ...]) -> tuple[str, ...]:
    """Return the roles after the last user's message; none if there is no such message."""
    return roles[len(roles) - roles[::-1].index("user") :] if "user" in roles else ()


def _difference(written: str, text: str) -> int:
    """Return where two texts begin to differ."""
    pairs = enumerate(zip(written, text, strict=False))
    return next((place for place, (ours, theirs) in pairs if ours != theirs), min(len(written), len(text)))
