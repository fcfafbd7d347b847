"""How messages become others that a format can tell apart: joined, moved, or left out where they say what is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from novita_openai.prompts.engine.dates import PLACEHOLDER
from novita_openai.prompts.engine.table import ASKED, START

if TYPE_CHECKING:
    from novita_openai.prompts.engine.description import Description
    from novita_openai.prompts.messages import Turn

__all__ = ["default_of", "joined", "moved", "without_default"]


def joined(turns: Sequence[Turn], description: Description) -> list[Turn]:
    """Return the turns with neighbours made one that the format cannot tell apart."""
    found: list[Turn] = []
    for turn in turns:
        between = description.joins.get((found[-1].role, turn.role)) if found and found[-1].role == turn.role else None
        if between is None:
            found.append(turn)
        else:
            found[-1] = found[-1].with_text(found[-1].text + between + turn.text)
    return found


def moved(turns: list[Turn], description: Description) -> list[Turn]:
    """Return the turns with the system text at the start moved into the user message where it belongs."""
    users = [place for place, turn in enumerate(turns) if turn.role == "user"]
    if not description.system_in or turns[0].role != "system" or not users:
        return turns
    if description.system_in == "last" and users[-1] != len(turns) - 1:
        return turns  # the published template loses it there: the table has no place for it either
    place = users[0 if description.system_in == "first" else -1]
    text = turns[0].text + description.joins["system", "user"] + turns[place].text
    return [*turns[1:place], turns[place].with_text(text), *turns[place + 1 :]]


def without_default(turns: list[Turn], description: Description) -> list[Turn]:
    """Return the turns without a system message that says what the format says without one."""
    if [turn.role for turn in turns[:2]] not in (["system", "user"], ["system", "assistant"]):
        return turns
    known = description.separators
    for role in (turns[1].role, ASKED) if (START, ASKED) in known else (turns[1].role,):
        pieces = [known.get(pair) for pair in ((START, role), (START, "system"), ("system", role))]
        if None in pieces or PLACEHOLDER in f"{pieces[0]}" or pieces[0] != f"{pieces[1]}{turns[0].text}{pieces[2]}":
            return turns
    return turns[1:]


def default_of(separators: Mapping[tuple[str, str], str]) -> str | None:
    """Return the system text that a format writes where there is no system message, None where it writes none."""
    alone, before, after = (separators.get(pair) for pair in ((START, "user"), (START, "system"), ("system", "user")))
    if not (alone and before and after and alone.startswith(before) and alone.endswith(after)):
        return None
    return alone[len(before) : -len(after)] if len(alone) >= len(before) + len(after) else None
