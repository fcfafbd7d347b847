"""The models that the emulator has: their sizes, prices and features."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

__all__ = ["MODELS", "Model", "models_by_id"]

CREATED: Final = 1_735_689_600
"""The time on every model and reply: 2025-01-01, so that equal requests get equal replies."""

_UNITS_PER_DOLLAR: Final = 10_000
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Model:
    """A model: sizes are in tokens, prices in units of 0.0001 dollars for a million tokens."""

    id: str
    context_size: int = 131_072
    max_output_tokens: int = 32_768
    input_token_price_per_m: int = 200
    output_token_price_per_m: int = 500
    features: tuple[str, ...] = ("function-calling", "structured-outputs", "reasoning")

    def row(self) -> dict[str, Any]:
        """Return the model as the models list shows it."""
        return asdict(self) | {
            "object": "model",
            "created": CREATED,
            "title": self.id,
            "display_name": self.id,
            "description": "An emulated model.",
            "model_type": "chat",
            "endpoints": ["chat/completions", "completions"],
            "features": list(self.features),
            "status": 1,
        }

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of an answer in dollars."""
        units = prompt_tokens * self.input_token_price_per_m + completion_tokens * self.output_token_price_per_m
        return units / _UNITS_PER_DOLLAR / _MILLION


MODELS: Final = (
    Model("meta-llama/llama-3.1-8b-instruct", 16_384, 16_384, 200, 500, ("function-calling",)),
    Model("meta-llama/llama-3.3-70b-instruct", 131_072, 120_000, 1_350, 4_000),
    Model("qwen/qwen3-30b-a3b-fp8", 40_960, 20_000, 900, 4_500),
    Model("deepseek/deepseek-v3.2", 163_840, 65_536, 2_690, 4_000),
    Model("deepseek/deepseek-r1-0528", 163_840, 32_768, 7_000, 25_000),
    Model("zai-org/glm-4.5", 131_072, 98_304, 6_000, 22_000),
    Model("moonshotai/kimi-k2.5", 262_144, 262_144, 6_000, 30_000),
)
"""The models of an emulator whose ``models`` are not set; their sizes and prices are made up."""


def models_by_id(given: Iterable[Model | str]) -> dict[str, Model]:
    """Return the models by id; an id alone stands for a model with the default sizes and prices."""
    return {each.id: each for each in (Model(each) if isinstance(each, str) else each for each in given)}
