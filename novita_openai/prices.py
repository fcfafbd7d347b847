"""What the service's models list says of prices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["prices_of"]

DOLLARS_PER_UNIT: Final = 0.0001
"""The list gives prices in units of 0.0001 dollars for a million tokens."""


def prices_of(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the dollars for a million tokens in and out that a row of the list names, None where it names none."""
    return _dollars(row.get("input_token_price_per_m")), _dollars(row.get("output_token_price_per_m"))


def _dollars(units: object) -> float | None:
    return units * DOLLARS_PER_UNIT if isinstance(units, int) else None
