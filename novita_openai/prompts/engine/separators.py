"""The words of the engine: separators and what they are keyed by, segments, and how a prompt can end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

__all__ = [
    "ASKED",
    "END",
    "FINAL",
    "REASONED",
    "REPLY",
    "START",
    "PromptEnding",
    "Segment",
    "Separators",
    "Transition",
    "can_overlap",
    "ends_with",
    "exits_of",
    "is_heading",
    "last_key",
    "transitions_of",
]

Separators = Mapping[tuple[str, str], str]
"""The texts between two roles, keyed by (role, next role) and by the words below."""

Segment = tuple[str, str]
"""A role and its text, as they stand in a prompt."""

START: Final = "start"
"""In place of the role before the first message."""

REPLY: Final = "reply"
"""In place of the role after the last message, where the prompt asks for the assistant's reply."""

END: Final = "end"
"""In place of the role after the last message, where the history is closed."""

FINAL: Final = "final"
"""In place of ``assistant`` before a reply that ends the history, where the format writes another header there."""

ASKED: Final = "asked"
"""In place of ``user`` before the message that asks for the reply, where its header is longer than that of others."""

REASONED: Final = "reasoned"
"""The role of an assistant's message that starts with reasoning."""


class PromptEnding:
    """How a prompt ends: it asks for a reply, the history is closed, or the last reply is to be continued.

    A logged prompt is one whose reply a server has put after it, with the token that ended the reply.
    """

    REPLY: Final = "reply"
    CLOSED: Final = "closed"
    PREFILL: Final = "prefill"
    LOGGED: Final = "logged"


class Transition(NamedTuple):
    """A separator that ends the text of a role, and the role that it leads to."""

    separator: str
    role: str


def transitions_of(separators: Separators) -> dict[str, list[Transition]]:
    """Return the transitions from the start and from each role to a role, those with the longest separators first."""
    roles = {role for _, role in separators} - {REPLY, END, FINAL, ASKED}
    return {previous: _transitions_from(previous, separators, roles) for previous in (START, *roles)}


def exits_of(role: str, transitions: Mapping[str, Sequence[Transition]], separators: Separators) -> list[Transition]:
    """Return the transitions from a role to another role and to the reply."""
    reply = separators.get((role, REPLY))
    return [*transitions[role], *([Transition(reply, REPLY)] if reply else [])]


def _transitions_from(previous: str, separators: Separators, roles: set[str]) -> list[Transition]:
    found = [Transition(separators[previous, role], role) for role in sorted(roles) if (previous, role) in separators]
    return sorted(found, key=lambda transition: -len(transition.separator))


def last_key(role: str, ending: str) -> str:
    """Return the key by which to look for a special separator before the last message; the role if it has none."""
    if ending == PromptEnding.REPLY:
        return ASKED if role == "user" else role
    return FINAL if role == "assistant" else role


def can_overlap(text: str) -> bool:
    """Tell whether a text can start inside of itself."""
    return any(text.startswith(text[place:]) for place in range(1, len(text)))


def is_heading(text: str) -> bool:
    """Tell whether a text starts with a mark that is repeated, as ``###``; after one more it is another one."""
    return text.startswith(("##", "==", "--", "**", "~~", ">>", "@@"))


def ends_with(text: str, separator: str) -> bool:
    """Tell whether a text ends with a separator; a heading is none in a longer run of its mark."""
    return text.endswith(separator) and not (is_heading(separator) and text[: -len(separator)].endswith(separator[0]))
