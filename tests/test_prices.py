"""Prices as the models list shows them: plain, by tiers, of cached tokens; and sums as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from novita_openai.prices import Pricing, Rates, Tokens, dollars, pricing_of


def price(units: int | None = None, decimal: str | None = None) -> dict[str, Any]:
    both = {"price_per_m": units, "price_per_m_decimal": decimal}
    return {name: value for name, value in both.items() if value is not None}


def pricing(prompt: int, completion: int, **others: int) -> dict[str, Any]:
    return {name: price(units) for name, units in {"prompt": prompt, "completion": completion, **others}.items()}


def plain(prompt: object, completion: object, **fields: Any) -> dict[str, Any]:
    return {"input_token_price_per_m": prompt, "output_token_price_per_m": completion} | fields


LOW = {"min_tokens": 1, "max_tokens": 256_000, "pricing": pricing(5_000, 30_000, input_cache_read=500)}
HIGH = {"min_tokens": 256_000, "max_tokens": 1_000_000, "pricing": pricing(20_000, 60_000)}
TIERED = plain(0, 0, is_tiered_billing=True, tiered_billing_configs=[HIGH, LOW])
BANDS = ((1, Rates(0.5, 3.0, 0.05, 0.5)), (256_000, Rates(2.0, 6.0, 2.0, 2.0)))


@pytest.mark.parametrize(
    ("row", "bands"),
    [
        (plain(2_690, 4_000), ((0, Rates(0.269, 0.4, 0.269, 0.269)),)),
        (plain(0, 0), ((0, Rates(0, 0, 0, 0)),)),
        (plain(0, 0, is_tiered_billing=False, tiered_billing_configs=None), ((0, Rates(0, 0, 0, 0)),)),
        ({"pricing": pricing(2_690, 4_000, input_cache_read=1_345)}, ((0, Rates(0.269, 0.4, 0.1345, 0.269)),)),
        (
            plain(2_690, 4_000, pricing={"input_cache_write": price(3_000), "prompt": price(2_690)}),
            ((0, Rates(0.269, 0.4, 0.269, 0.3)),),
        ),
        (
            {"pricing": {"prompt": price(0, "0.00002"), "completion": price(1, "x")}},
            ((0, Rates(2e-05, 1e-4, 2e-05, 2e-05)),),
        ),
        (TIERED, BANDS),
        (plain(0, 0, tiered_billing_configs=[LOW]), BANDS[:1]),
        (
            plain(5_000, 30_000, tiered_billing_configs=[{"min_tokens": 1, "pricing": {"prompt": price(5_000)}}]),
            ((1, Rates(0.5, 3.0, 0.5, 0.5)),),
        ),
    ],
)
def test_prices_are_read_as_the_list_shows_them(row: dict[str, Any], bands: tuple[Any, ...]) -> None:
    found = pricing_of(row)
    assert found is not None
    assert [least for least, _ in found.bands] == [least for least, _ in bands]
    for (_, rates), (_, expected) in zip(found.bands, bands, strict=True):
        for name in ("prompt", "answer", "cache_read", "cache_write"):
            assert getattr(rates, name) == pytest.approx(getattr(expected, name)), name


@pytest.mark.parametrize(
    "row",
    [
        {},
        plain(None, 1),
        plain(-1, -1),
        plain(True, 1),  # noqa: FBT003 - what a list may hold
        plain(float("inf"), 1),
        {"pricing": {"prompt": price(decimal="nan"), "completion": price(1)}},
        {"pricing": "free"},
        plain(0, 0, is_tiered_billing=True),
        plain(0, 0, is_tiered_billing=True, tiered_billing_configs=[]),
        plain(0, 0, is_tiered_billing=True, tiered_billing_configs="soon"),
        plain(0, 0, tiered_billing_configs=[LOW, {"min_tokens": 2, "pricing": {"prompt": price(5_000)}}]),
        plain(0, 0, tiered_billing_configs=[LOW, {"pricing": pricing(1, 1)}]),
        plain(0, 0, tiered_billing_configs=[None]),
    ],
)
def test_a_price_that_is_not_said_is_unknown_and_not_free(row: dict[str, Any]) -> None:
    assert pricing_of(row) is None


@pytest.mark.parametrize(
    ("tokens", "cost"),
    [
        (Tokens(0, 0), 0),
        (Tokens(255_999, 10), 255_999 * 0.5 + 30),
        (Tokens(256_000, 10), 512_000 + 60),
        (Tokens(100, 10, cached=40), 60 * 0.5 + 40 * 0.05 + 30),
        (Tokens(100, 0, cached=1_000), 100 * 0.05),
        (Tokens(100, 0, cached=60, written=60), 60 * 0.05 + 40 * 0.5),
    ],
)
def test_a_request_costs_what_its_band_says(tokens: Tokens, cost: float) -> None:
    assert Pricing(BANDS).cost(tokens) == pytest.approx(cost / 1_000_000)


def test_the_band_is_that_of_one_prompt_and_not_of_all_that_are_sent_together() -> None:
    assert Pricing(BANDS).cost(Tokens(300_000, 0), prompts=3) == pytest.approx(0.15)


@pytest.mark.parametrize(("tokens", "most"), [(100, 50), (255_999, 255_999 * 0.5), (256_000, 512_000), (0, 0)])
def test_the_most_is_that_of_the_dearest_band_within_reach(tokens: int, most: float) -> None:
    assert Pricing(BANDS).most(Tokens(tokens, 0)) == pytest.approx(most / 1_000_000)
    dear_first = Pricing(((1, Rates(9, 9, 1, 10)), (100, Rates(1, 1, 1, 1))))
    assert dear_first.most(Tokens(200, 10)) == pytest.approx(2_090 / 1_000_000)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0.0000"),
        (12.34567, "$12.3457"),
        (0.5, "$0.5000"),
        (0.0123, "$0.0123"),
        (0.00123, "$0.0012"),
        (0.000123, "$0.00012"),
        (0.0000032, "$0.0000032"),
        (1e-9, "$0.0000000010"),
    ],
)
def test_small_sums_show_two_digits(amount: float, text: str) -> None:
    assert dollars(amount) == text
