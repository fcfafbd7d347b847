"""Arguments of a wrong type, refused with their name, what was given, and the way out."""

from __future__ import annotations

import reprlib
from typing import Any

from novita_openai.prompts.errors import PromptError

__all__ = ["check_flags", "check_text", "no_date", "shown"]


def shown(given: Any) -> str:
    """Return what was given, as errors name it: its type and, in short, its value."""
    return "None" if given is None else f"{type(given).__name__} {reprlib.repr(given)}"


def check_text(given: Any, what: str, way: str) -> None:
    """Raise PromptError for what is no text."""
    if not isinstance(given, str):
        raise PromptError(f"{what} must be text, not {shown(given)}: {way}")


def check_flags(**flags: Any) -> None:
    """Raise PromptError for a flag that is neither true nor false, nor None for the default."""
    for name, given in flags.items():
        if not (given is None or isinstance(given, bool)):
            raise PromptError(f"{name} must be True, False or None, not {shown(given)}: give one of these")


def no_date(given: Any) -> PromptError:
    """Return the error for what is neither a date nor None."""
    return PromptError(f"date must be a datetime.date, not {shown(given)}: give datetime.date(2026, 1, 31), or None")
