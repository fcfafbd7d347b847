"""Changes of a history that a format needs: messages are joined, moved into another one, or left out as implied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from novita_openai.prompts.engine.dates import PLACEHOLDER
from novita_openai.prompts.engine.separators import ASKED, START, Separators

if TYPE_CHECKING:
    from novita_openai.prompts.engine.description import Description
    from novita_openai.prompts.messages import ChatTurn

__all__ = ["default_system", "folded"]


def folded(turns: Sequence[ChatTurn], description: Description) -> list[ChatTurn]:
    """Return the turns as the format writes them and reads them back."""
    return _without_default(_with_system_moved(_joined(turns, description), description), description)


def _joined(turns: Sequence[ChatTurn], description: Description) -> list[ChatTurn]:
    """Return the turns with neighbours of one role joined, where the format does not tell them apart."""
    joined: list[ChatTurn] = []
    for turn in turns:
        between = description.joins.get((turn.role, turn.role)) if joined and _are_alike(joined[-1], turn) else None
        if between is None:
            joined.append(turn)
        else:
            joined[-1] = joined[-1].with_text(joined[-1].text + between + turn.text)
    return joined


def _are_alike(turn: ChatTurn, other: ChatTurn) -> bool:
    """Tell whether two turns are of one role and of nothing but text."""
    return turn.role == other.role and not any((turn.calls, turn.reasoning, other.calls, other.reasoning))


def _with_system_moved(turns: list[ChatTurn], description: Description) -> list[ChatTurn]:
    """Return the turns with the system text at the start moved into the user message that the format writes it in."""
    users = [place for place, turn in enumerate(turns) if turn.role == "user"]
    if not description.system_in or turns[0].role != "system" or not users:
        return turns
    if description.system_in == "last" and users[-1] != len(turns) - 1:
        return turns  # the published template loses it there, and the table refuses a system message
    place = users[0 if description.system_in == "first" else -1]
    text = turns[0].text + description.joins["system", "user"] + turns[place].text
    return [*turns[1:place], turns[place].with_text(text), *turns[place + 1 :]]


def _without_default(turns: list[ChatTurn], description: Description) -> list[ChatTurn]:
    """Return the turns without a system message whose text is the one that the format writes by default.

    An empty one before the assistant's message stays, and is refused as it would not read back.
    """
    begins = [turn.role for turn in turns[:2]]
    if begins != ["system", "user"] and (begins != ["system", "assistant"] or not turns[0].text):
        return turns
    separators = description.separators
    for role in (turns[1].role, ASKED) if (START, ASKED) in separators else (turns[1].role,):
        texts = [separators.get(pair) for pair in ((START, role), (START, "system"), ("system", role))]
        without, before, after = texts
        if None in texts or PLACEHOLDER in f"{without}" or without != f"{before}{turns[0].text}{after}":
            return turns
    return turns[1:]


def default_system(separators: Separators) -> str | None:
    """Return the system text that a format writes where there is no system message; None if it writes none."""
    pairs = ((START, "user"), (START, "system"), ("system", "user"))
    without, before, after = (separators.get(pair) for pair in pairs)
    if not (without and before and after and without.startswith(before) and without.endswith(after)):
        return None
    return without[len(before) : -len(after)] if len(without) >= len(before) + len(after) else None
