"""What a run spends: the tokens of its answers, their prices, and which rows ``max_cost`` still allows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prices import prices_of

if TYPE_CHECKING:
    from novita_openai.batch.requests import BatchRequest

__all__ = ["ASSUMED_ANSWER", "CostLimit", "Prices", "Usage", "reported_tokens"]

MILLION: Final = 1_000_000
ASSUMED_ANSWER: Final = 4_096
"""The longest answer, in tokens, that ``max_cost`` allows for where a row sets no ``max_tokens``."""


class Prices:
    """The prices of each model's tokens, from the rows of the models list."""

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._prices = {row["id"]: prices for row in rows if (prices := _prices_in(row)) is not None}

    @property
    def is_empty(self) -> bool:
        """Tell whether no price is known."""
        return not self._prices

    def cost(self, model: str, prompt_tokens: int, answer_tokens: int) -> float | None:
        """Return dollars, None where the model's price is not known."""
        if model not in self._prices:
            return None
        price_in, price_out = self._prices[model]
        return (prompt_tokens * price_in + answer_tokens * price_out) / MILLION


def _prices_in(row: Mapping[str, Any]) -> tuple[float, float] | None:
    price_in, price_out = prices_of(row)
    return None if price_in is None or price_out is None else (price_in, price_out)


@dataclass(slots=True)
class Usage:
    """Counts tokens, those of prompts and those of answers: of all models, and of each, as they differ in price."""

    prompt_tokens: int = 0
    answer_tokens: int = 0
    by_model: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Return all tokens."""
        return self.prompt_tokens + self.answer_tokens

    def add(self, model: str, prompt_tokens: int, answer_tokens: int) -> None:
        """Count the tokens of a row."""
        before = self.by_model.get(model, (0, 0))
        self.by_model[model] = before[0] + prompt_tokens, before[1] + answer_tokens
        self.prompt_tokens += prompt_tokens
        self.answer_tokens += answer_tokens

    def cost(self, prices: Prices) -> float | None:
        """Return dollars, None where one of the models has no known price."""
        costs = [prices.cost(model, *tokens) for model, tokens in self.by_model.items()]
        return None if None in costs else sum((cost for cost in costs if cost is not None), 0.0)


def reported_tokens(usage: object) -> tuple[int, int]:
    """Return the tokens of the prompt and of the answer by the ``usage`` of an answer, 0 where it does not tell."""
    return _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")


def _count(usage: object, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) else 0


class CostLimit:
    """Keeps a run below ``max_cost`` dollars; None: no limit.

    What counts is the cost of the answers so far (``usage``), and the most that each request in flight can cost.
    """

    def __init__(self, max_cost: float | None, prices: Prices, usage: Usage) -> None:
        self._max_cost, self._prices, self._usage = max_cost, prices, usage
        self._in_flight = 0
        self._reserved = 0.0

    def reserve(self, request: BatchRequest) -> None:
        """Count a request that starts."""
        self._in_flight += 1
        self._reserved += self._most_for(request)

    def release(self, request: BatchRequest) -> None:
        """Count a request that has ended."""
        self._in_flight -= 1
        self._reserved = self._reserved - self._most_for(request) if self._in_flight else 0.0

    def allows(self, request: BatchRequest) -> bool:
        """Tell whether a row can be paid for besides the requests in flight."""
        return self._max_cost is None or self._spent + self._reserved + self._most_for(request) <= self._max_cost

    def refusal(self, request: BatchRequest) -> str | None:
        """Return why a row that is not allowed now never will be; None where it may be once one in flight has ended."""
        if self._most_for(request) == math.inf:
            return f"max_cost needs prices, and the models list has none for {request.model}"
        if self._in_flight:
            return None
        spent = f"the answers have cost ${self._spent:.4f}"
        return f"max_cost is ${self._max_cost:g}: {spent}, and the next one could go above it"

    @property
    def _spent(self) -> float:
        return _or_infinite(self._usage.cost(self._prices))

    def _most_for(self, request: BatchRequest) -> float:
        """Return about the most dollars that a row can cost: infinite without a price, 0 where nothing is limited."""
        if self._max_cost is None:
            return 0.0
        tokens = ASSUMED_ANSWER if request.max_tokens is None else request.max_tokens
        return _or_infinite(self._prices.cost(request.model, request.prompt_tokens, tokens))


def _or_infinite(cost: float | None) -> float:
    return math.inf if cost is None else cost
