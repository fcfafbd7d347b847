"""What the service's models list says of prices, and what tokens cost by them.

Prices stand in dollars for a million tokens. A model may have tiers: bands of the length of a prompt, each with prices
of its own, which hold for the whole request. Tokens of a prompt that come out of the service's cache have a price of
their own, and so may those that go into it.
https://novita.ai/docs/api-reference/model-apis-llm-list-models
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

__all__ = ["Pricing", "Rates", "Tokens", "counted", "dollars", "pricing_of", "reported_tokens", "whole_number"]

MILLION: Final = 1_000_000
MOST_COUNTED: Final = 2**64
"""A number above counts nothing that there is, and may be too large to have a price."""
DOLLARS_PER_UNIT: Final = 0.0001
"""The list gives whole numbers in units of 0.0001 dollars for a million tokens."""
DECIMALS: Final = 4
"""Decimals of a sum in dollars; a small sum gets more of them, so that two of its digits are seen."""


class Tokens(NamedTuple):
    """Tokens of a request: of its ``prompt`` and of its ``answer``.

    ``cached``: how many of the prompt came out of the cache; ``written``: how many of it went into the cache.
    """

    prompt: int
    answer: int
    cached: int = 0
    written: int = 0

    @property
    def total(self) -> int:
        """Return the tokens of prompt and answer."""
        return self.prompt + self.answer

    def plus(self, other: Tokens) -> Tokens:
        """Return the sum of both."""
        return Tokens(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars for a million tokens: of prompts, of answers, and of prompts out of the cache or into it."""

    prompt: float
    answer: float
    cache_read: float
    cache_write: float

    def cost(self, tokens: Tokens) -> float:
        """Return dollars."""
        cached = min(tokens.cached, tokens.prompt)
        written = min(tokens.written, tokens.prompt - cached)
        plain = tokens.prompt - cached - written
        prompt = plain * self.prompt + cached * self.cache_read + written * self.cache_write
        return (prompt + tokens.answer * self.answer) / MILLION

    def most(self, tokens: Tokens) -> float:
        """Return the most dollars, whatever the cache does."""
        prompt = max(self.prompt, self.cache_read, self.cache_write)
        return (tokens.prompt * prompt + tokens.answer * self.answer) / MILLION


@dataclass(frozen=True, slots=True)
class Pricing:
    """The prices of a model: for each band the tokens of a prompt from which on it holds, ascending, and its rates."""

    bands: tuple[tuple[int, Rates], ...]

    def rates(self, prompt_tokens: float) -> Rates:
        """Return the rates for a prompt of so many tokens."""
        reached = [rates for least, rates in self.bands if least <= prompt_tokens]
        return reached[-1] if reached else self.bands[0][1]

    def cost(self, tokens: Tokens, prompts: int = 1) -> float:
        """Return the dollars of a request with so many ``prompts``, which are taken to be of equal length."""
        return self.rates(tokens.prompt / prompts).cost(tokens)

    def most(self, tokens: Tokens) -> float:
        """Return the most dollars that a request can cost which has at most so many tokens."""
        reached = [rates for least, rates in self.bands if least <= tokens.prompt] or [self.bands[0][1]]
        return max(rates.most(tokens) for rates in reached)


def pricing_of(row: Mapping[str, Any]) -> Pricing | None:
    """Return the prices that a row of the models list names; None where it does not name them all.

    A price of 0 means free, but in the plain fields of a model with tiers it means nothing.
    """
    plain = _Prices(_fields(row.get("pricing")), row)
    tiers = row.get("tiered_billing_configs") or []
    if not (tiers or row.get("is_tiered_billing")):
        rates = plain.rates()
        return None if rates is None else Pricing(((0, rates),))
    bands = [_band(_fields(tier), plain) for tier in tiers] if isinstance(tiers, list) else []
    known = sorted((band for band in bands if band is not None), key=lambda band: band[0])
    return Pricing(tuple(known)) if known and len(known) == len(bands) else None


def reported_tokens(usage: object) -> Tokens | None:
    """Return the tokens that the ``usage`` of an answer reports; None where it reports none.

    The service names those out of and into its cache ``cached_tokens`` and ``cache_creation_Prompt_tokens``.
    """
    fields = usage if isinstance(usage, dict) and usage.keys() >= _COUNTS else _lower(usage)
    if _COUNTS.isdisjoint(fields):
        return None
    details = _lower(fields.get("prompt_tokens_details"))
    if not details:
        return Tokens(_count(fields, "prompt_tokens"), _count(fields, "completion_tokens"))
    cached = max(_count(details, name) for name in ("cached_tokens", "cache_read_prompt_tokens"))
    written = _count(details, "cache_creation_prompt_tokens")
    return Tokens(_count(fields, "prompt_tokens"), _count(fields, "completion_tokens"), cached, written)


_COUNTS: Final = {"prompt_tokens", "completion_tokens"}


def whole_number(value: object) -> int | None:
    """Return a whole number from 0 to ``MOST_COUNTED``, also where it is written as 100.0; None for anything else."""
    if type(value) is int:  # as nearly all are
        return value if 0 <= value <= MOST_COUNTED else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 <= value <= MOST_COUNTED and value % 1 == 0 else None


def dollars(amount: float) -> str:
    """Return a sum as text, such as ``$1.2500``; a small one with two of its digits, such as ``$0.0000032``."""
    needed = 1 - math.floor(math.log10(abs(amount))) if amount else 0
    return f"${amount:.{max(DECIMALS, needed)}f}"


def counted(count: int, noun: str, verb: str = "") -> str:
    """Return a number and the name of what is counted, such as ``1 row`` and ``1,200 rows``.

    ``verb``: what follows for many of them, one of ``are``, ``have`` and ``wait``: ``1 row is``, ``2 rows are``.
    """
    words = (noun, _OF_ONE[verb]) if count == 1 else (f"{noun}s", verb)
    return f"{count:,} {' '.join(filter(None, words))}"


_OF_ONE: Final = {"": "", "are": "is", "have": "has", "wait": "waits"}


@dataclass(frozen=True, slots=True)
class _Prices:
    """The prices of one ``pricing``; where it lacks one, those of the ``row`` with plain fields."""

    pricing: Mapping[str, Any]
    row: Mapping[str, Any]

    def rates(self) -> Rates | None:
        prompt, answer = self.price("prompt"), self.price("completion")
        if prompt is None or answer is None:
            return None
        read, write = self.price("input_cache_read"), self.price("input_cache_write")
        return Rates(prompt, answer, prompt if read is None else read, prompt if write is None else write)

    def price(self, name: str) -> float | None:
        entry = _fields(self.pricing.get(name))
        exact = _decimal(entry.get("price_per_m_decimal"))
        if exact is not None:
            return exact
        return _units(entry.get("price_per_m", self.row.get(_PLAIN.get(name, ""))))


_PLAIN: Final = {"prompt": "input_token_price_per_m", "completion": "output_token_price_per_m"}


def _band(tier: Mapping[str, Any], plain: _Prices) -> tuple[int, Rates] | None:
    """Return a band; what its own prices lack is taken from the plain ones, unless that is 0."""
    row = {field: price / DOLLARS_PER_UNIT for name, field in _PLAIN.items() if (price := plain.price(name))}
    least, rates = tier.get("min_tokens"), _Prices(_fields(tier.get("pricing")), row).rates()
    return (least, rates) if isinstance(least, int) and rates is not None else None


def _fields(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _units(value: object) -> float | None:
    """Return the dollars of a price in units; None for what is no price, as -1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value * DOLLARS_PER_UNIT if 0 <= value < math.inf else None


def _decimal(value: object) -> float | None:
    try:
        price = float(value) if isinstance(value, str) else -1.0
    except ValueError:
        return None
    return price if 0 <= price < math.inf else None


def _lower(value: object) -> dict[str, Any]:
    """Return a JSON object with its names in lower case, an empty one for anything else."""
    return {str(name).lower(): each for name, each in value.items()} if isinstance(value, dict) else {}


def _count(fields: Mapping[str, Any], name: str) -> int:
    return whole_number(fields.get(name)) or 0
