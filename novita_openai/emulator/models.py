"""The models that the emulator has: their sizes, prices and features, as the service's list shows them.

https://novita.ai/docs/api-reference/model-apis-llm-list-models
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["MODELS", "Model", "Tier", "models_by_id"]

CREATED: Final = 1_735_689_600
"""The time on every model and reply: 2025-01-01, so that equal requests get equal replies."""

CHAT: Final = "chat"
EMBEDDING: Final = "embedding"
"""The types of models that the emulator answers for."""
BATCH_API: Final = "batch-api"
"""What the ``endpoints`` of a model hold that batches may name."""
_UNITS_PER_DOLLAR: Final = 10_000
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Tier:
    """The prices, in the units of :class:`Model`, of requests with a prompt of at least ``min_tokens``."""

    min_tokens: int
    input_token_price_per_m: int
    output_token_price_per_m: int


@dataclass(frozen=True, slots=True)
class Model:
    """A model: sizes are in tokens, prices in units of 0.0001 dollars for a million tokens.

    ``cache_read_price_per_m``: of tokens out of the cache; None: the list does not say. ``tiers``: the prices of a
    model whose prices depend on the length of the prompt, the lowest with ``min_tokens`` 1; its plain prices are 0 in
    the list.
    """

    id: str
    context_size: int = 131_072
    max_output_tokens: int = 32_768
    input_token_price_per_m: int = 200
    output_token_price_per_m: int = 500
    features: tuple[str, ...] = ("function-calling", "structured-outputs", "reasoning")
    cache_read_price_per_m: int | None = None
    tiers: tuple[Tier, ...] = ()
    model_type: str = CHAT
    endpoints: tuple[str, ...] = ("chat/completions", "completions", BATCH_API)
    status: int = 1

    def row(self) -> dict[str, Any]:
        """Return the model as the models list shows it."""
        return {
            "id": self.id,
            "context_size": self.context_size,
            "max_output_tokens": self.max_output_tokens,
            "object": "model",
            "owned_by": self.id.partition("/")[0],
            "created": CREATED,
            "title": self.id,
            "display_name": self.id,
            "description": "An emulated model.",
            "model_type": self.model_type,
            "endpoints": list(self.endpoints),
            "features": list(self.features),
            "status": self.status,
        } | self._prices()

    def _prices(self) -> dict[str, Any]:
        """Return the fields of the list that hold prices; the service shows high tiers first."""
        tiers = sorted(self.tiers, key=lambda tier: -tier.min_tokens)
        ends = [self.context_size, *(tier.min_tokens for tier in tiers)]
        configs = [
            {"min_tokens": tier.min_tokens, "max_tokens": end, "pricing": self._pricing(tier)}
            for tier, end in zip(tiers, ends, strict=False)
        ]
        return {
            "input_token_price_per_m": 0 if tiers else self.input_token_price_per_m,
            "output_token_price_per_m": 0 if tiers else self.output_token_price_per_m,
            "is_tiered_billing": bool(tiers),
            "tiered_billing_configs": configs,
        } | ({} if tiers else {"pricing": self._pricing(self)})

    def _pricing(self, prices: Model | Tier) -> dict[str, Any]:
        units = {"prompt": prices.input_token_price_per_m, "completion": prices.output_token_price_per_m}
        if self.cache_read_price_per_m is not None:
            units["input_cache_read"] = self.cache_read_price_per_m
        return {
            name: {"price_per_m": price, "price_per_m_decimal": f"{price / _UNITS_PER_DOLLAR:g}"}
            for name, price in units.items()
        }

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of an answer in dollars."""
        reached = [tier for tier in self.tiers if tier.min_tokens <= max(prompt_tokens, 1)]
        prices = max(reached, key=lambda tier: tier.min_tokens, default=self)
        units = prompt_tokens * prices.input_token_price_per_m + completion_tokens * prices.output_token_price_per_m
        return units / _UNITS_PER_DOLLAR / _MILLION


MODELS: Final = (
    Model("meta-llama/llama-3.1-8b-instruct", 16_384, 16_384, 200, 500, ("function-calling",)),
    Model("meta-llama/llama-3.3-70b-instruct", 131_072, 120_000, 1_350, 4_000),
    Model("qwen/qwen3-30b-a3b-fp8", 40_960, 20_000, 900, 4_500),
    Model("deepseek/deepseek-v3.2", 163_840, 65_536, 2_690, 4_000),
    Model("deepseek/deepseek-r1-0528", 163_840, 32_768, 7_000, 25_000),
    Model("zai-org/glm-4.5", 131_072, 98_304, 6_000, 22_000),
    Model("moonshotai/kimi-k2.5", 262_144, 262_144, 6_000, 30_000, endpoints=("chat/completions", "completions")),
    Model("baai/bge-m3", 8_192, 8_192, 100, 0, (), model_type=EMBEDDING, endpoints=("embeddings",)),
)
"""The models of an emulator whose ``models`` are not set; their sizes and prices are made up."""


def models_by_id(given: Iterable[Model | str]) -> dict[str, Model]:
    """Return the models by id; an id alone stands for a model with the default sizes and prices."""
    return {each.id: each for each in (Model(each) if isinstance(each, str) else each for each in given)}
