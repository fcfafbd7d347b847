"""Reasoning: how a model's thought stands in its prompt, and how it is taken out of a completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from novita_openai.prompts.engine.table import REASONED, Ending, Row, Unreadable
from novita_openai.prompts.errors import PromptError

if TYPE_CHECKING:
    from novita_openai.prompts.messages import Turn

__all__ = ["Thought"]


@dataclass(frozen=True, slots=True)
class Thought:
    """Between which texts a thought stands, after the assistant's header and before its message.

    ``absent`` stands there in messages without one. ``kept`` says which thoughts the published template writes:
    ``""`` none, ``"last"`` those of replies to the last user message. With ``always`` the last reply has one, be it
    empty.
    """

    open: str
    close: str
    absent: str = ""
    kept: str = ""
    always: bool = False

    def write(self, turns: Sequence[Turn], ending: str, *, keep: bool) -> list[Row]:
        """Return the rows of turns; refuse a thought that the published template would drop."""
        asked = max((place for place, turn in enumerate(turns) if turn.role == "user"), default=len(turns))
        return [
            self._write_one(turns, place, ending, is_kept=keep or bool(self.kept and place > asked))
            for place in range(len(turns))
        ]

    def _write_one(self, turns: Sequence[Turn], place: int, ending: str, *, is_kept: bool) -> Row:
        turn, is_last = turns[place], place == len(turns) - 1
        if turn.reasoning and not is_kept:
            problem = (
                "the published template drops this reasoning_content: leave it out, or render with keep_reasoning=True"
            )
            raise PromptError(problem, index=turn.index)
        if turn.role != "assistant" or not (turn.reasoning or (self.always and is_last and is_kept)):
            return turn.role, turn.text
        thought = turn.reasoning or ""
        if thought != thought.strip("\n") or turn.text.startswith("\n"):
            raise PromptError("newlines around a thought would be lost", index=turn.index, marker="\n")
        if is_last and ending == Ending.PREFILL and not turn.text:
            return REASONED, thought  # an open thought is continued
        return REASONED, f"{thought}{self.close}{turn.text}"

    def read(self, turns: Sequence[Turn], ending: str) -> list[Turn]:
        """Return the turns with their thoughts apart."""
        return [
            self._read_one(turn, is_open=ending == Ending.PREFILL and turn is turns[-1])
            if turn.role == REASONED
            else turn
            for turn in turns
        ]

    def _read_one(self, turn: Turn, *, is_open: bool) -> Turn:
        thought, close, text = turn.text.partition(self.close)
        if not (close or is_open):
            raise Unreadable("a thought does not end", 0)
        return replace(turn, role="assistant", text=text, reasoning=thought or None)

    def keeps(self, turns: Sequence[Turn]) -> bool:
        """Tell whether all thoughts of the turns are ones that the published template writes."""
        asked = max((place for place, turn in enumerate(turns) if turn.role == "user"), default=len(turns))
        return not any(turn.reasoning and not (self.kept and place > asked) for place, turn in enumerate(turns))

    def split(self, text: str) -> tuple[str | None, str]:
        """Return the thought of a reply that starts with one (None where it does not), and the message after it.

        Models leave out or add newlines at the tags, so those around the thought and before the message are taken off.
        A thought without an end is all there is.
        """
        start, end = self.tags
        if not text.lstrip().startswith(start):
            return None, text
        thought, _, message = text.lstrip().removeprefix(start).partition(end)
        return thought.strip("\n") or None, message.lstrip("\n")

    @property
    def tags(self) -> tuple[str, str]:
        """What begins and ends a thought, without the blanks around."""
        return self.open.strip(), self.close.strip()
