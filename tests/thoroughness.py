"""How much of what has no end is tried: as much as fits into minutes, or, by ``NOVITA_TEST_LONG``, many times that."""

from __future__ import annotations

import os

LONG = int(os.environ.get("NOVITA_TEST_LONG", "1"))
"""How many times as many examples; ``.ci/long`` asks for many."""

SECONDS = float(os.environ.get("NOVITA_TEST_FUZZ_SECONDS", "5"))
"""How long histories and prompts are made up at random, for all formats together; ``.ci/long`` asks for an hour."""

SEED = os.environ.get("NOVITA_TEST_FUZZ_SEED", "0")
"""What they are made from: the same ones for the same seed, as far as the time allows."""

TEMPLATES = os.environ.get("NOVITA_TEST_TEMPLATES", "")
"""A folder of published chat templates that are attacked as those of the tests are."""


def examples(count: int) -> int:
    """Return the number of examples of a law."""
    return count * LONG
