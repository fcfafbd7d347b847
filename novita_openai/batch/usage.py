"""What the requests for a row have spent, as far as the answers tell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, cast

from novita_openai.prices import reported_tokens, whole_number

__all__ = ["Spent", "reported_tokens", "usage_in"]

OK: Final = 200
DIGITS: Final = 12
"""Digits behind the point of a sum of dollars: enough for a tenth of the cheapest token."""


@dataclass(slots=True)
class Spent:
    """How many ``requests`` were sent for something, and the ``tokens`` and ``dollars`` of all that came back.

    ``unpriced``: how many answers are not in the dollars, as it is not known what they have cost. ``is_estimate``: the
    service names no price for some of it.
    """

    requests: int = 0
    tokens: int = 0
    dollars: float = 0.0
    unpriced: int = 0
    is_estimate: bool = False

    @property
    def cost(self) -> float | None:
        """Return the dollars that are known, None where none are, but some were spent."""
        return None if self.unpriced and not self.dollars else self.dollars

    @property
    def whole_cost(self) -> float | None:
        """Return the dollars of all that came back, None where some of them are not known."""
        return None if self.unpriced else self.dollars

    def add(self, tokens: int, dollars: float | None) -> None:
        """Count what an answer has cost."""
        self.tokens += tokens
        self.dollars += dollars or 0.0
        self.unpriced += dollars is None

    def include(self, other: Spent) -> None:
        """Count what was spent elsewhere."""
        self.requests += other.requests
        self.tokens += other.tokens
        self.dollars += other.dollars
        self.unpriced += other.unpriced
        self.is_estimate = self.is_estimate or other.is_estimate

    def fields(self) -> dict[str, Any]:
        """Return it as it stands in a row of the results."""
        dollars = None if self.unpriced else round(self.dollars, DIGITS)
        estimate = {"estimate": True} if self.is_estimate else {}
        return {"requests": self.requests, "tokens": self.tokens, "dollars": dollars} | estimate

    def json(self) -> bytes:
        """Return the same in bytes."""
        if self.is_estimate:
            return json.dumps(self.fields()).encode()
        dollars = "null" if self.unpriced else round(self.dollars, DIGITS)  # by hand, as each row has it
        return f'{{"requests": {self.requests}, "tokens": {self.tokens}, "dollars": {dollars}}}'.encode()

    @classmethod
    def read(cls, value: object) -> Self | None:
        """Return what a row of the results says that was spent; None where it says nothing, as rows of 0.1.0."""
        if not isinstance(value, dict):
            return None
        fields = cast("dict[str, Any]", value)
        amount = fields.get("dollars")
        dollars = float(amount) if isinstance(amount, (int, float)) else None
        spent = cls(_count(fields, "requests"), is_estimate=fields.get("estimate") is True)
        spent.add(_count(fields, "tokens"), dollars)
        return spent


def usage_in(error: BaseException) -> object:
    """Return the ``usage`` of an answer that was charged, but holds nothing that was asked for; None without one."""
    response = getattr(error, "response", None)
    if response is None or response.status_code != OK:
        return None
    try:
        body: object = response.json()
    except (ValueError, RuntimeError):  # no JSON, nested too deeply, or a stream of which the body is not kept
        return None
    return cast("dict[str, Any]", body).get("usage") if isinstance(body, dict) else None


def _count(fields: Mapping[str, Any], name: str) -> int:
    return whole_number(fields.get(name)) or 0
