"""The words of a table of separators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["ASKED", "END", "FINAL", "REASONED", "REPLY", "START", "Separators", "Way"]

START: Final = "start"
REPLY: Final = "reply"
END: Final = "end"
FINAL: Final = "final"
ASKED: Final = "asked"
REASONED: Final = "reasoned"
"""The role of an assistant's message that starts with a thought."""

Separators = Mapping[tuple[str, str], str]


class Way(NamedTuple):
    """A separator that leaves a role, and the role it leads to."""

    separator: str
    role: str
