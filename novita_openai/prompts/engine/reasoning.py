"""Reasoning: how a model's thought is written in a prompt, and how it is taken out of a completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from novita_openai.prompts.engine.separators import REASONED, PromptEnding, Segment
from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.given import check_text

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn

__all__ = ["Thought"]


@dataclass(frozen=True, slots=True)
class Thought:
    """How a format writes reasoning: after the assistant's header, between ``open`` and ``close``, before the content.

    ``absent`` stands there in messages without reasoning. ``kept`` says which thoughts the published template writes:

    - ``""``: none; ``"all"``: all; ``"last"``: those of replies after the last user message;
    - ``"calls"``: those after the last reply without tool calls; ``"final"``: these and that of a reply which ends the
      history;
    - ``"with calls"`` and ``"last with calls"``: as ``"all"`` and ``"last"``, but of messages with tool calls alone.

    ``always`` says into which replies without reasoning it writes an empty thought: none (``""``), one after the last
    user message that ends the history (``"last"``), or each after the last user message (``"each"``). ``before_calls``
    stands in place of ``close`` before tool calls.
    """

    open: str
    close: str
    absent: str = ""
    kept: str = ""
    always: str = ""
    before_calls: str = ""

    def __post_init__(self) -> None:
        for name in fields(self):
            check_text(getattr(self, name.name), f"{name.name} of a thought", "give the text as the format writes it")

    def write(self, turns: Sequence[ChatTurn], ending: str, *, keep: bool) -> list[Segment]:
        """Return the segments of turns; raise PromptError for a thought that the published template would drop."""
        first = 0 if keep else self._first_kept(turns, ending)
        kept = [keep or self._is_kept(turn, place, first) for place, turn in enumerate(turns)]
        question = _last_question(turns)
        return [
            self._write_turn(turns, place, ending, is_kept=is_kept, is_after=place > question)
            for place, is_kept in enumerate(kept)
        ]

    def _is_kept(self, turn: ChatTurn, place: int, first: int) -> bool:
        return place >= first and (bool(turn.calls) or not self.kept.endswith("with calls"))

    def _first_kept(self, turns: Sequence[ChatTurn], ending: str) -> int:
        """Return the place from which on the published template writes thoughts; the number of turns if nowhere."""
        if self.kept in ("calls", "final"):
            replies = [place for place, turn in enumerate(turns) if turn.role == "assistant" and not turn.calls]
            is_last = self.kept == "final" and ending != PromptEnding.REPLY and replies[-1:] == [len(turns) - 1]
            return max(replies, default=-1) + (not is_last)
        last = _last_question(turns)
        return {"": len(turns), "last": last, "last with calls": last, "with calls": 0, "all": 0}[self.kept]

    def _write_turn(
        self, turns: Sequence[ChatTurn], place: int, ending: str, *, is_kept: bool, is_after: bool
    ) -> Segment:
        """Return the segment of a turn, which may be one after the last user message."""
        turn, is_last = turns[place], place == len(turns) - 1
        if turn.reasoning and not is_kept:
            problem = (
                "the published template drops this reasoning_content: leave it out, or render with keep_reasoning=True"
            )
            raise PromptError(problem, index=turn.index)
        is_filled = self.always == "each" or (self.always == "last" and is_last)
        has_thought = turn.reasoning or (is_filled and is_after)
        if turn.role != "assistant" or not has_thought:
            return turn.role, turn.text
        thought = turn.reasoning or ""
        if thought != thought.strip("\n") or (turn.text.startswith("\n") and not turn.calls):
            problem = "newlines around reasoning_content, and before the content after it, are lost: strip them"
            raise PromptError(problem, index=turn.index, marker="\n")
        if is_last and ending == PromptEnding.PREFILL and not turn.text:
            return REASONED, thought  # a thought that is to be continued stays open
        close = self.before_calls if turn.calls and self.before_calls else self.close
        return REASONED, f"{thought}{close}{turn.text}"

    def read(self, turns: Sequence[ChatTurn], ending: str) -> list[ChatTurn]:
        """Return the turns with their thoughts taken out of the texts."""
        return [
            self._read_turn(turn, is_open=ending == PromptEnding.PREFILL and turn is turns[-1])
            if turn.role == REASONED
            else turn
            for turn in turns
        ]

    def _read_turn(self, turn: ChatTurn, *, is_open: bool) -> ChatTurn:
        thought, close, text = _parted(turn.text, (self.close, self.before_calls))
        if not (close or is_open):
            raise PromptError(f"the reasoning of a message does not end with {self.close!r}", offset=0)
        return replace(turn, role="assistant", text=text, reasoning=thought or None)

    def keeps(self, turns: Sequence[ChatTurn], ending: str) -> bool:
        """Tell whether the published template writes all thoughts of these turns."""
        first = self._first_kept(turns, ending)
        return all(self._is_kept(turn, place, first) for place, turn in enumerate(turns) if turn.reasoning)

    def split(self, text: str) -> tuple[str | None, str]:
        """Return the thought of a reply that starts with one, and the message after it; None for a reply without.

        Models leave out or add newlines at the tags, so those around the thought and before the message are taken off.
        A thought that does not end is the whole reply.
        """
        start, _ = self.tags
        if not text.lstrip().startswith(start):
            return None, text
        thought, _, message = _parted(text.lstrip().removeprefix(start), self.ends)
        return thought.strip("\n") or None, message.lstrip("\n")

    def ended(self, text: str, *, is_last: bool) -> tuple[str, str, str]:
        """Return the thought that a text begins with, what ends it, and what follows.

        Without an end, all of the text is the thought; so it is where more text could make another end of this one.
        """
        thought, end, rest = _parted(text, self.ends)
        may_grow = not is_last and end not in ("", self.ends[0]) and self.ends[0].startswith(text[len(thought) :])
        return (text, "", "") if may_grow else (thought, end, rest)

    @property
    def ends(self) -> tuple[str, ...]:
        """What ends a thought in a reply, the longer one first."""
        return tuple(filter(None, (self.tags[1], self.before_calls)))

    @property
    def tags(self) -> tuple[str, str]:
        """What begins and ends a thought, without the white space around it."""
        return self.open.strip(), self.close.strip()


def _parted(text: str, ends: Sequence[str]) -> tuple[str, str, str]:
    """Return what stands before the first end in a text, the end, and the rest; of two ends at a place, the first."""
    found = [text.partition(end) for end in ends if end]
    return min(found, key=lambda parts: len(parts[0]))


def _last_question(turns: Sequence[ChatTurn]) -> int:
    """Return the place of the last user message; the number of turns if there is none."""
    return max((place for place, turn in enumerate(turns) if turn.role == "user"), default=len(turns))
