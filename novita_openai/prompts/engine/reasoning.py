"""Reasoning: how a model's thought is written in a prompt, and how it is taken out of a completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from novita_openai.prompts.engine.separators import REASONED, PromptEnding, Segment
from novita_openai.prompts.errors import PromptError

if TYPE_CHECKING:
    from novita_openai.prompts.messages import Turn

__all__ = ["Thought"]


@dataclass(frozen=True, slots=True)
class Thought:
    """How a format writes reasoning: after the assistant's header, between ``open`` and ``close``, before the content.

    ``absent`` stands there in messages without reasoning. ``kept`` says which thoughts the published template writes:
    none (``""``), only those of replies after the last user message (``"last"``), only those after the last reply
    without tool calls (``"calls"``), or all (``"all"``). ``always`` says
    into which replies without reasoning it writes an empty thought: none (``""``), one after the last user message that
    ends the history (``"last"``), or each after the last user message (``"each"``).
    """

    open: str
    close: str
    absent: str = ""
    kept: str = ""
    always: str = ""

    def write(self, turns: Sequence[Turn], ending: str, *, keep: bool) -> list[Segment]:
        """Return the segments of turns; raise PromptError for a thought that the published template would drop."""
        first = 0 if keep else self._first_kept(turns)
        return [self._write_turn(turns, place, ending, is_kept=place >= first) for place in range(len(turns))]

    def _first_kept(self, turns: Sequence[Turn]) -> int:
        """Return the place from which on the published template writes thoughts; the number of turns if nowhere."""
        if self.kept == "calls":
            return max(
                (place + 1 for place, turn in enumerate(turns) if turn.role == "assistant" and not turn.calls),
                default=0,
            )
        return {"": len(turns), "last": _last_question(turns), "all": 0}[self.kept]

    def _write_turn(self, turns: Sequence[Turn], place: int, ending: str, *, is_kept: bool) -> Segment:
        turn, is_last = turns[place], place == len(turns) - 1
        if turn.reasoning and not is_kept:
            problem = (
                "the published template drops this reasoning_content: leave it out, or render with keep_reasoning=True"
            )
            raise PromptError(problem, index=turn.index)
        is_filled = self.always == "each" or (self.always == "last" and is_last)
        has_thought = turn.reasoning or (is_filled and place > _last_question(turns))
        if turn.role != "assistant" or not has_thought:
            return turn.role, turn.text
        thought = turn.reasoning or ""
        if thought != thought.strip("\n") or (turn.text.startswith("\n") and not turn.calls):
            problem = "newlines around reasoning_content, and before the content after it, are lost: strip them"
            raise PromptError(problem, index=turn.index, marker="\n")
        if is_last and ending == PromptEnding.PREFILL and not turn.text:
            return REASONED, thought  # a thought that is to be continued stays open
        return REASONED, f"{thought}{self.close}{turn.text}"

    def read(self, turns: Sequence[Turn], ending: str) -> list[Turn]:
        """Return the turns with their thoughts taken out of the texts."""
        return [
            self._read_turn(turn, is_open=ending == PromptEnding.PREFILL and turn is turns[-1])
            if turn.role == REASONED
            else turn
            for turn in turns
        ]

    def _read_turn(self, turn: Turn, *, is_open: bool) -> Turn:
        thought, close, text = turn.text.partition(self.close)
        if not (close or is_open):
            raise PromptError(f"the reasoning of a message does not end with {self.close!r}", offset=0)
        return replace(turn, role="assistant", text=text, reasoning=thought or None)

    def keeps(self, turns: Sequence[Turn]) -> bool:
        """Tell whether the published template writes all thoughts of these turns."""
        return not any(turn.reasoning for turn in turns[: self._first_kept(turns)])

    def split(self, text: str) -> tuple[str | None, str]:
        """Return the thought of a reply that starts with one, and the message after it; None for a reply without.

        Models leave out or add newlines at the tags, so those around the thought and before the message are taken off.
        A thought that does not end is the whole reply.
        """
        start, end = self.tags
        if not text.lstrip().startswith(start):
            return None, text
        thought, _, message = text.lstrip().removeprefix(start).partition(end)
        return thought.strip("\n") or None, message.lstrip("\n")

    @property
    def tags(self) -> tuple[str, str]:
        """What begins and ends a thought, without the white space around it."""
        return self.open.strip(), self.close.strip()


def _last_question(turns: Sequence[Turn]) -> int:
    """Return the place of the last user message; the number of turns if there is none."""
    return max((place for place, turn in enumerate(turns) if turn.role == "user"), default=len(turns))
