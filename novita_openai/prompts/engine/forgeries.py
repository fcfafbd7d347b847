"""The errors for texts that would open, end or separate what the format did not write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from novita_openai.prompts.engine.blanking import texts_in
from novita_openai.prompts.engine.separators import Segment, is_heading
from novita_openai.prompts.errors import PromptError

if TYPE_CHECKING:
    from novita_openai.prompts.engine.control import Control
    from novita_openai.prompts.engine.table import Layout
    from novita_openai.prompts.messages import ChatTurn, Tools

__all__ = ["forged", "lost", "refuse_kept", "refuse_lengthened"]


def forged(index: int, marker: str, offset: int | None) -> PromptError:
    """Return the error for a control string in a message, at an offset in its text or made with what is around it."""
    where = "" if offset is None else f" at character {offset}"
    problem = f"its text holds {marker!r}{where}, a control string of the format: take it out, or use chat completions"
    return PromptError(problem, index=index, marker=marker, offset=offset)


def refuse_lengthened(turns: Sequence[ChatTurn], segments: Sequence[Segment], layout: Layout) -> None:
    """Raise PromptError for a text that makes the heading after it one of a longer run of its mark."""
    for place, (_, text) in enumerate(segments):
        heading = layout.pieces[2 * place + 2]
        if is_heading(heading) and text.endswith(heading[0]):
            raise forged(turns[min(place, len(turns) - 1)].index, heading, None)


def lost(index: int) -> PromptError:
    """Return the error for a system message that has no text, and that nothing in the prompt stands for."""
    return PromptError("without text, nothing of this message is in the prompt: leave it out", index=index)


def refuse_kept(control: Control, turns: Sequence[ChatTurn], tools: Tools | None) -> None:
    """Raise PromptError for a control string in an id of a call, or in the declaration of a tool."""
    ids = ((turn.index, f"{each}") for turn in turns for each in (turn.call_id, *(call["id"] for call in turn.calls)))
    index = next((index for index, each in ids if control.text in each), None)
    if index is not None or (not control.roles and any(control.text in text for text in texts_in(tools))):
        what = "a declaration of tools" if index is None else "the id of a call"
        problem = f"{what} holds {control.text!r}, a control string of the format: take it out"
        raise PromptError(problem, index=index, marker=control.text)
