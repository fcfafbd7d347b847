"""What a run spends: the tokens of its answers, their prices, and which rows ``max_cost`` still allows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from novita_openai.batch.excesses import limit_in
from novita_openai.batch.usage import Spent, reported_tokens, usage_in
from novita_openai.client.sizes import choices_of
from novita_openai.prices import Pricing, Tokens, dollars, pricing_of

if TYPE_CHECKING:
    from novita_openai.batch.requests import BatchRequest
    from novita_openai.errors import Failure

__all__ = ["ASSUMED_ANSWER", "Account", "CostLimit", "ModelPrices", "Usage"]

ASSUMED_ANSWER: Final = 4_096
"""The longest answer, in tokens, that ``max_cost`` allows for where a row sets no ``max_tokens``."""


class ModelPrices:
    """The models of the models list, and the prices of their tokens. ``rows``: the rows of the list, by id.

    ``share``: the part of the list's prices that is paid.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = (), share: float = 1.0) -> None:
        self.rows: dict[str, Mapping[str, Any]] = {str(row.get("id")): row for row in rows}
        self._share = share
        found = {model: pricing_of(row) for model, row in self.rows.items()}
        self._pricing: dict[str, Pricing] = {model: pricing for model, pricing in found.items() if pricing is not None}

    def at(self, share: float) -> ModelPrices:
        """Return the same models at a part of their prices."""
        return ModelPrices(self.rows.values(), share)

    @property
    def is_empty(self) -> bool:
        """Tell whether no price is known."""
        return not self._pricing

    def knows(self, model: str) -> bool:
        """Tell whether the price of a model is known."""
        return model in self._pricing

    def cost(self, model: str, tokens: Tokens, prompts: int = 1) -> float | None:
        """Return the dollars of a request with so many prompts; None where the model's price is not known."""
        pricing = self._pricing.get(model)
        return None if pricing is None else self._share * pricing.cost(tokens, prompts)

    def about(self, request: BatchRequest) -> float | None:
        """Return about the dollars of a row, if its answer is as long as it may be; one without a bound counts 0."""
        tokens = Tokens(request.prompt_tokens, request.max_tokens or 0)
        return self.cost(request.model, tokens, request.prompts)

    def most(self, request: BatchRequest, unbounded: int) -> float | None:
        """Return the most dollars of a row; an answer that nothing limits counts as ``unbounded`` tokens."""
        pricing, answer = self._pricing.get(request.model), request.max_tokens
        tokens = Tokens(self._most_prompt(request), unbounded if answer is None else answer)
        return None if pricing is None else self._share * pricing.most(tokens)

    def longest(self, request: BatchRequest) -> int | None:
        """Return the most tokens of an answer to a row that sets no ``max_tokens``; None where its model is silent."""
        row = self.rows.get(request.model)
        longest = limit_in(row, "max_output_tokens") or limit_in(row, "context_size")
        return None if longest is None else longest * choices_of(request.body)

    def _most_prompt(self, request: BatchRequest) -> int:
        """Return the most tokens of a row's prompts: none of them is longer than the model's context."""
        most, context = request.most_prompt_tokens, limit_in(self.rows.get(request.model), "context_size")
        return most if context is None else min(most, context * request.prompts)


@dataclass(slots=True)
class Usage:
    """Counts the tokens of prompts and of answers, and what each model has come to."""

    prompt_tokens: int = 0
    answer_tokens: int = 0
    by_model: dict[str, Spent] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Return all tokens."""
        return self.prompt_tokens + self.answer_tokens

    @property
    def spent(self) -> Spent:
        """Return the requests, tokens and dollars of all models."""
        total = Spent()
        for spent in self.by_model.values():
            total.include(spent)
        return total

    def include(self, other: Usage) -> None:
        """Count what was used elsewhere."""
        self.prompt_tokens += other.prompt_tokens
        self.answer_tokens += other.answer_tokens
        for model, spent in other.by_model.items():
            self.by_model.setdefault(model, Spent()).include(spent)

    def sent(self, model: str) -> None:
        """Count a request."""
        self.by_model.setdefault(model, Spent()).requests += 1

    def add(self, model: str, tokens: Tokens, cost: float | None) -> None:
        """Count an answer."""
        self.by_model.setdefault(model, Spent()).add(tokens.total, cost)
        self.prompt_tokens += tokens.prompt
        self.answer_tokens += tokens.answer


class CostLimit:
    """Keeps a job below ``max_cost`` dollars; None: no limit.

    What counts is what is ``spent`` already, the cost of the answers, and the most that each request can cost which is
    in flight, or of which the answer was lost on the way: the service may have charged it.
    """

    def __init__(self, max_cost: float | None, prices: ModelPrices, spent: float = 0.0) -> None:
        self._max_cost, self._prices = max_cost, prices
        self._spent, self._lost = spent, 0.0
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

    def charge(self, request: BatchRequest, cost: float | None) -> None:
        """Count what a request has cost; None where only the most is known that it can have cost."""
        self._spent += cost or 0.0
        self._lost += self._most_for(request) if cost is None else 0.0

    def allows(self, request: BatchRequest) -> bool:
        """Tell whether a row can be paid for besides the requests in flight."""
        if self._max_cost is None:
            return True
        return self._spent + self._lost + self._reserved + self._most_for(request) <= self._max_cost

    def is_priced(self, request: BatchRequest) -> bool:
        """Tell whether it is known what a row can cost at most."""
        return self._most_for(request) < math.inf

    def refusal(self, request: BatchRequest) -> str | None:
        """Return why a row that is not allowed now never will be; None where it may be once one in flight has ended."""
        if not self.is_priced(request):
            return f"max_cost needs prices, and the models list has none for {request.model}"
        if self._in_flight:
            return None
        lost = f", and lost ones may have cost {dollars(self._lost)}" if self._lost else ""
        spent = f"the answers have cost {dollars(self._spent)}{lost}"
        return f"max_cost is ${self._max_cost:g}: {spent}, and the next one could go above it"

    def _most_for(self, request: BatchRequest) -> float:
        """Return the most dollars that a row can cost: infinite without a price, 0 where nothing is limited."""
        if self._max_cost is None:
            return 0.0
        most = self._prices.most(request, ASSUMED_ANSWER)
        return math.inf if most is None else most


class Account:
    """Counts what is spent for each row, for each model and in all, and what ``limit`` leaves.

    ``before``: what earlier runs of the job have spent.
    """

    def __init__(self, max_cost: float | None, prices: ModelPrices, usage: Usage, before: Spent) -> None:
        self.limit = CostLimit(max_cost, prices, before.dollars)
        self._prices, self._usage = prices, usage

    def started(self, request: BatchRequest) -> None:
        """Count a request that is sent."""
        request.spent.requests += 1
        self._usage.sent(request.model)
        self.limit.reserve(request)

    def answered(self, request: BatchRequest, usage: object) -> int:
        """Count an answer by its ``usage``; return its tokens, 0 where it does not tell them."""
        tokens = reported_tokens(usage)
        cost = None if tokens is None else self._prices.cost(request.model, tokens, request.prompts)
        known = tokens or Tokens(0, 0)
        request.spent.add(known.total, cost)
        self._usage.add(request.model, known, cost)
        self.limit.charge(request, cost)
        return known.total

    def failed(self, request: BatchRequest, failure: Failure) -> bool:
        """Count what a failure has cost; tell whether it was charged.

        An answer that holds no choice is charged, and one that was lost may be.

        Error statuses are not charged: https://novita.ai/docs/guides/llm-billing.
        """
        usage = usage_in(failure.error)
        if reported_tokens(usage) is not None:
            self.answered(request, usage)
            return True
        if failure.is_ambiguous and failure.status is None:
            self.limit.charge(request, None)
        return False
