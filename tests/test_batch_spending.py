"""What answers cost, and which rows a limit in dollars still allows: pure decisions, as tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from novita_openai.batch.requests import BatchRequest, Reader
from novita_openai.batch.spending import ASSUMED_ANSWER, CostLimit, ModelPrices, Usage
from novita_openai.batch.usage import Spent, reported_tokens
from novita_openai.client.sizes import MEDIA, about_prompt_tokens, most_answer_tokens, prompt_tokens_of
from novita_openai.prices import Tokens

# A token costs a hundredth of a dollar in the prompt, and a tenth in the answer.
ROW = {"id": "m", "input_token_price_per_m": 100_000_000, "output_token_price_per_m": 1_000_000_000}
PRICES = ModelPrices([ROW])


def read(body: dict[str, Any]) -> BatchRequest:
    return Reader().row(1, body)


def request(max_tokens: int | None = 10, model: str = "m") -> BatchRequest:
    """Return a row of 120 bytes, each taken for a token: they cost $1.20, and its answer at most $1."""
    body: dict[str, Any] = {"model": model, "max_tokens": max_tokens, "prompt": ""}
    size = len(read(body).content)
    return read(body | {"prompt": "x" * (120 - size)})


def limit(max_cost: float | None, spent: int = 0, in_flight: int = 0) -> CostLimit:
    """Return a limit of which so many dollars are spent, with so many rows of $2.20 in flight."""
    made = CostLimit(max_cost, PRICES, spent / 2)
    made.charge(request(), spent / 2)
    for _ in range(in_flight):
        made.reserve(request())
    return made


@pytest.mark.parametrize(
    ("max_cost", "spent", "in_flight", "allowed"),
    [
        (None, 1_000, 1_000, True),
        (0.0, 0, 0, False),
        (2.19, 0, 0, False),
        (2.21, 0, 0, True),
        (3.19, 1, 0, False),
        (3.21, 1, 0, True),
        (6.59, 0, 2, False),
        (6.61, 0, 2, True),
        (7.59, 1, 2, False),
        (7.61, 1, 2, True),
    ],
)
def test_a_row_is_allowed_that_can_be_paid_for_besides_those_in_flight(
    max_cost: float | None, spent: int, in_flight: int, *, allowed: bool
) -> None:
    assert limit(max_cost, spent, in_flight).allows(request()) == allowed


def test_an_answer_without_a_bound_counts_as_a_long_one() -> None:
    most = 1.2 + 0.1 * ASSUMED_ANSWER
    assert limit(most + 0.01).allows(request(None))
    assert not limit(most - 0.01).allows(request(None))


@pytest.mark.parametrize(
    ("max_cost", "spent", "in_flight", "model", "told"),
    [
        (3.0, 1, 1, "m", None),
        (3.0, 1, 0, "m", "max_cost is $3: the answers have cost $1.0000, and the next one could go above it"),
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
    made = limit(4.5, in_flight=2)
    assert not made.allows(request())
    made.release(request())
    assert made.allows(request())
    made.release(request())
    assert made.refusal(request()) is not None


def test_an_answer_that_was_lost_counts_as_the_most_that_it_can_have_cost() -> None:
    made, row = limit(4.0, spent=1), request()
    assert made.allows(row)
    made.charge(row, None)
    assert not made.allows(row)
    told = "the answers have cost $1.0000, and lost ones may have cost $2.2000, and the next one could go above it"
    assert made.refusal(row) == f"max_cost is $4: {told}"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}, (10, 2, 0, 0)),
        ({"prompt_tokens": 10}, (10, 0, 0, 0)),
        ({"prompt_tokens": 10.0, "completion_tokens": -1}, (10, 0, 0, 0)),
        ({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 4}}, (10, 0, 4, 0)),
        (
            {
                "prompt_tokens": 10,
                "prompt_tokens_details": {"cache_read_Prompt_tokens": 3, "cache_creation_Prompt_tokens": 5},
            },
            (10, 0, 3, 5),
        ),
        ({"prompt_tokens": 10, "prompt_tokens_details": None}, (10, 0, 0, 0)),
        ({"prompt_tokens": "ten", "completion_tokens": True}, (0, 0, 0, 0)),
        ({"prompt_tokens": 10**400, "completion_tokens": 1e300}, (0, 0, 0, 0)),
        ({}, None),
        (None, None),
        ("free", None),
    ],
)
def test_usage_is_read_as_far_as_it_is_told(usage: object, tokens: tuple[int, ...] | None) -> None:
    assert reported_tokens(usage) == tokens


def test_tokens_of_all_models_are_added_up() -> None:
    counted = Usage()
    counted.sent("m")
    counted.add("m", Tokens(10, 2), 0.3)
    counted.add("other", Tokens(1, 0), None)
    assert (counted.prompt_tokens, counted.answer_tokens, counted.tokens) == (11, 2, 13)
    counted.add("m", Tokens(10, 2), 0.3)
    assert counted.by_model["other"] == Spent(0, 1, unpriced=1)
    assert counted.by_model["m"] == Spent(1, 24, 0.6)
    assert counted.spent == Spent(1, 25, 0.6, unpriced=1)


@pytest.mark.parametrize(
    ("spent", "cost", "whole"),
    [
        (Spent(), 0.0, 0.0),
        (Spent(2, 9, 0.5), 0.5, 0.5),
        (Spent(2, 9, 0.5, unpriced=1), 0.5, None),
        (Spent(2, 9, unpriced=2), None, None),
    ],
)
def test_the_sum_that_is_known_is_told_as_far_as_it_goes(spent: Spent, cost: float | None, whole: float | None) -> None:
    assert (spent.cost, spent.whole_cost) == (cost, whole)


def test_what_is_spent_is_written_and_read_alike() -> None:
    spent = Spent(2, 30, 0.1 + 0.2)
    assert json.loads(spent.json()) == {"requests": 2, "tokens": 30, "dollars": 0.3}
    for each in (Spent(), Spent(1, 5, unpriced=1), Spent(2, 30, 0.3)):
        assert Spent.read(json.loads(each.json())) == each
    assert Spent.read(None) is None
    spent.include(Spent(1, 1, unpriced=1, is_estimate=True))
    assert spent == Spent(3, 31, 0.1 + 0.2, 1, is_estimate=True)


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
    assert ModelPrices([{"id": "m", **row}]).is_empty
    assert not ModelPrices([{"id": "m", **row}]).knows("m")
    assert PRICES.knows("m")
    assert not PRICES.is_empty


def chat(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": [*parts]}], "max_tokens": 10} | fields


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ({"max_tokens": 100}, 100),
        ({"max_tokens": 100.0}, 100),
        ({"max_tokens": 0}, 0),
        ({"max_tokens": None, "max_completion_tokens": 50}, 50),
        ({"max_tokens": 60, "max_completion_tokens": 50}, 50),
        ({"max_tokens": True}, None),
        ({"max_tokens": "100"}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 1.5}, None),
        ({}, None),
        ({"n": 8}, None),
        ({"n": 8, "max_tokens": 100}, 800),
        ({"n": None, "max_tokens": 100}, 100),
        ({"n": 2, "best_of": 5, "max_tokens": 100}, 500),
        ({"prompt": ["a", "b", "c"], "n": 2, "max_tokens": 100}, 600),
        ({"prompt": [[1, 2], [3]], "max_tokens": 100}, 200),
        ({"prompt": [1, 2, 3], "max_tokens": 100}, 100),
        ({"prompt": [], "max_tokens": 100}, 100),
    ],
)
def test_the_longest_answer_counts_all_choices_of_all_prompts(limits: dict[str, Any], most: int | None) -> None:
    assert most_answer_tokens(limits) == most
    assert read({"model": "m", "prompt": "x"} | limits).max_tokens == most


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_images_count_by_a_bound_and_not_by_their_bytes(size: int) -> None:
    text, url = {"type": "text", "text": "What is this?"}, "data:image/png;base64," + "A" * size
    plain, one = read(chat(text)), read(chat(text, image(url)))
    for before, after in ((plain.prompt_tokens, one.prompt_tokens), (plain.most_prompt_tokens, one.most_prompt_tokens)):
        assert 0 < after - before - MEDIA["image_url"] < 100
    assert about_prompt_tokens(one.body, one.content) == one.prompt_tokens
    short = read(chat({"type": "image_url", "image_url": "https://x/y.png"}, {"type": "input_audio"}))
    assert short.prompt_tokens > MEDIA["image_url"] + MEDIA["input_audio"]


@pytest.mark.parametrize("messages", [None, [None], [{"content": '"image_url"'}], [{"content": [None, {"type": "x"}]}]])
def test_messages_without_parts_hold_no_images(messages: object) -> None:
    body = {"messages": messages, "image_url": None}
    content = json.dumps(body).encode()
    assert prompt_tokens_of(body, content)[1] == len(content)


@pytest.mark.parametrize(("context", "most"), [(16, 16 + 10), (0, None), (None, None)])
def test_no_prompt_is_longer_than_the_context(context: int | None, most: int | None) -> None:
    row = {"id": "m", "input_token_price_per_m": 10_000, "output_token_price_per_m": 10_000, "context_size": context}
    body = chat(image("data:" + "A" * 1_000))
    expected = MEDIA["image_url"] + 10 if most is None else most
    cost = ModelPrices([row]).most(read(body), 0)
    assert cost is not None
    assert expected <= cost * 1_000_000 < expected + 200


@pytest.mark.parametrize(("prompt", "unbounded", "cost"), [("x", 5, 0.1 + 0.5), (["x", "y"], 5, 0.2 + 0.5)])
def test_an_answer_without_a_bound_counts_as_is_said(prompt: Any, unbounded: int, cost: float) -> None:
    prices = ModelPrices([ROW | {"context_size": 10}])
    assert prices.most(read({"model": "m", "prompt": prompt}), unbounded) == pytest.approx(cost)
    assert prices.most(read({"model": "other", "prompt": prompt}), unbounded) is None
