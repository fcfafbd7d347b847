"""How much of what has no end is tried: as much as fits into minutes, or, by ``NOVITA_TEST_LONG``, many times that."""

from __future__ import annotations

import os

LONG = int(os.environ.get("NOVITA_TEST_LONG", "1"))
"""How many times as many examples; ``.ci/long`` asks for many."""


def examples(count: int) -> int:
    """Return the number of examples of a law."""
    return count * LONG
