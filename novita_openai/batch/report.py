"""What a batch came to: its report, its progress, why it stopped early, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import openai

__all__ = ["BatchProgress", "BatchReport", "BatchStopped", "Prices"]

DOLLARS_PER_UNIT: Final = 0.0001
"""The models list gives prices in units of 0.0001 dollars a million tokens."""

MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What a job has come to.

    Of the whole job, earlier runs included: ``total`` rows, of which ``succeeded`` have an answer and ``failed`` failed
    for good; ``resumed`` of these were there when this run began. Of this run: ``sent`` requests, of which ``retries``
    were not the first of their row; ``tokens`` and ``cost`` (dollars by the models list, None where it does not tell)
    of its answers; ``elapsed`` seconds. ``interrupted``: a signal ended it before its time.
    """

    total: int
    succeeded: int = 0
    failed: int = 0
    resumed: int = 0
    sent: int = 0
    retries: int = 0
    tokens: int = 0
    cost: float | None = None
    elapsed: float = 0.0
    interrupted: bool = False

    @property
    def unfinished(self) -> int:
        """Return the number of rows without a result: another run sends them."""
        return self.total - self.succeeded - self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress(BatchReport):
    """A report on the way: also the requests ``in_flight``, and how often each ``errors`` reason came."""

    in_flight: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)


class BatchStopped(openai.OpenAIError):
    """A batch ended early, as going on could not help; what was unfinished stays unfinished. ``report`` tells."""

    def __init__(self, reason: str, report: BatchReport) -> None:
        super().__init__(reason)
        self.report = report

    def __reduce__(self) -> tuple[type[BatchStopped], tuple[str, BatchReport]]:
        return BatchStopped, (str(self), self.report)


class Prices:
    """Dollars for the tokens in and out of each model."""

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._prices = {row["id"]: prices for row in rows if (prices := _prices_in(row)) is not None}

    @property
    def is_empty(self) -> bool:
        """Tell whether no price is known."""
        return not self._prices

    def cost(self, model: str, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Return dollars, None where the model's price is not known."""
        if model not in self._prices:
            return None
        price_in, price_out = self._prices[model]
        return (prompt_tokens * price_in + completion_tokens * price_out) * DOLLARS_PER_UNIT / MILLION


def _prices_in(row: Mapping[str, Any]) -> tuple[float, float] | None:
    prices = row.get("input_token_price_per_m"), row.get("output_token_price_per_m")
    price_in, price_out = prices
    return (price_in, price_out) if isinstance(price_in, int) and isinstance(price_out, int) else None


@dataclass(slots=True)
class Spending:
    """Tokens of the answers so far, by model: the prices may come later."""

    tokens: int = 0
    by_model: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, model: str, usage: object) -> int:
        """Count the usage of an answer, nothing where it holds none; return its tokens."""
        sent, made = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        before = self.by_model.get(model, (0, 0))
        self.by_model[model] = before[0] + sent, before[1] + made
        self.tokens += sent + made
        return sent + made

    def cost(self, prices: Prices) -> float | None:
        """Return dollars, None where one of the models has no known price."""
        costs = [prices.cost(model, *tokens) for model, tokens in self.by_model.items()]
        return None if None in costs else sum((cost for cost in costs if cost is not None), 0.0)


@dataclass(slots=True)
class Tally:
    """What one run has done so far."""

    sent: int = 0
    retries: int = 0
    succeeded: int = 0
    failed: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    spending: Spending = field(default_factory=Spending)


def _count(usage: object, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) else 0
