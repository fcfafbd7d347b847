"""What answers cost, and which rows a limit in dollars still allows: pure decisions, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from novita_openai.batch.requests import BatchRequest, Reader
from novita_openai.batch.spending import ASSUMED_ANSWER, CostLimit, Prices, Usage, reported_tokens

# A token costs a hundredth of a dollar in the prompt, and a tenth in the answer.
PRICES = Prices([{"id": "m", "input_token_price_per_m": 100_000_000, "output_token_price_per_m": 1_000_000_000}])


def request(max_tokens: int | None = 10, model: str = "m") -> BatchRequest:
    """Return a row of which the prompt is taken for 20 tokens: it costs $0.20 and at most $1 with its answer."""
    body: dict[str, Any] = {"model": model, "max_tokens": max_tokens, "prompt": ""}
    size = len(Reader().row(1, body).content)
    return Reader().row(1, body | {"prompt": "x" * (80 - size)})


def limit(max_cost: float | None, spent: int = 0, in_flight: int = 0) -> CostLimit:
    """Return a limit of which so many dollars are spent, with so many rows of $1.20 in flight."""
    usage = Usage()
    usage.add("m", 0, 10 * spent)
    made = CostLimit(max_cost, PRICES, usage)
    for _ in range(in_flight):
        made.reserve(request())
    return made


@pytest.mark.parametrize(
    ("max_cost", "spent", "in_flight", "allowed"),
    [
        (None, 1_000, 1_000, True),
        (0.0, 0, 0, False),
        (1.19, 0, 0, False),
        (1.21, 0, 0, True),
        (2.19, 1, 0, False),
        (2.21, 1, 0, True),
        (3.59, 0, 2, False),
        (3.61, 0, 2, True),
        (4.59, 1, 2, False),
        (4.61, 1, 2, True),
    ],
)
def test_a_row_is_allowed_that_can_be_paid_for_besides_those_in_flight(
    max_cost: float | None, spent: int, in_flight: int, *, allowed: bool
) -> None:
    assert limit(max_cost, spent, in_flight).allows(request()) == allowed


def test_an_answer_without_a_bound_counts_as_a_long_one() -> None:
    most = 0.2 + 0.1 * ASSUMED_ANSWER
    assert limit(most + 0.01).allows(request(None))
    assert not limit(most - 0.01).allows(request(None))


@pytest.mark.parametrize(
    ("max_cost", "spent", "in_flight", "model", "told"),
    [
        (2.0, 1, 1, "m", None),
        (2.0, 1, 0, "m", "max_cost is $2: the answers have cost $1.0000, and the next one could go above it"),
        (2.0, 1, 1, "other", "max_cost needs prices, and the models list has none for other"),
        (2.0, 1, 0, "other", "max_cost needs prices, and the models list has none for other"),
    ],
)
def test_a_row_is_refused_for_good_where_no_answer_can_help(
    max_cost: float, spent: int, in_flight: int, model: str, told: str | None
) -> None:
    made, row = limit(max_cost, spent, in_flight), request(model=model)
    assert not made.allows(row)
    assert made.refusal(row) == told


def test_what_has_ended_is_counted_no_more() -> None:
    made = limit(2.5, in_flight=2)
    assert not made.allows(request())
    made.release(request())
    assert made.allows(request())
    made.release(request())
    assert made.refusal(request()) is not None


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}, (10, 2)),
        ({"prompt_tokens": 10}, (10, 0)),
        ({"prompt_tokens": "ten", "completion_tokens": None}, (0, 0)),
        ({}, (0, 0)),
        (None, (0, 0)),
        ("free", (0, 0)),
    ],
)
def test_usage_is_read_as_far_as_it_is_told(usage: object, tokens: tuple[int, int]) -> None:
    assert reported_tokens(usage) == tokens


def test_tokens_of_all_models_are_added_up() -> None:
    counted = Usage()
    counted.add("m", 10, 2)
    counted.add("other", 1, 0)
    assert (counted.prompt_tokens, counted.answer_tokens, counted.tokens) == (11, 2, 13)
    counted.add("m", 10, 2)
    del counted.by_model["other"]
    assert counted.cost(PRICES) == pytest.approx(0.6)


def test_the_cost_is_unknown_where_one_model_has_no_price() -> None:
    counted = Usage()
    counted.add("m", 1, 0)
    counted.add("other", 1, 0)
    assert counted.cost(PRICES) is None


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"input_token_price_per_m": 1},
        {"input_token_price_per_m": 1, "output_token_price_per_m": None},
        {"input_token_price_per_m": "1", "output_token_price_per_m": 1},
    ],
)
def test_a_price_is_known_where_both_numbers_are_given(row: dict[str, Any]) -> None:
    assert Prices([{"id": "m", **row}]).is_empty
    assert not PRICES.is_empty
