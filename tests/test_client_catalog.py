"""Which models a name means."""

from __future__ import annotations

import pytest

from novita_openai.client.catalog import UnknownModelError, find_model, models_like, near_names

IDS = [
    "meta-llama/llama-3.1-8b-instruct",
    "meta-llama/llama-3.3-70b-instruct",
    "deepseek/deepseek-r1",
    "deepseek/deepseek-r1/community",
    "deepseek/deepseek-r1-0528",
    "Sao10K/L3-8B-Stheno-v3.2",
    "gemma",
]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("meta-llama/llama-3.1-8b-instruct", "meta-llama/llama-3.1-8b-instruct"),
        ("LLAMA-3.1-8B", "meta-llama/llama-3.1-8b-instruct"),
        ("deepseek-r1", "deepseek/deepseek-r1"),
        ("stheno", "Sao10K/L3-8B-Stheno-v3.2"),
        ("gemma", "gemma"),
    ],
)
def test_a_name_means_the_id_that_it_is_ends_or_is_part_of(name: str, model: str) -> None:
    assert find_model(name, IDS) == model


def test_a_name_that_means_several_or_none_is_refused_with_those_near_it() -> None:
    with pytest.raises(UnknownModelError, match="'llama' fits several models: meta-llama/llama-") as several:
        find_model("llama", IDS)
    assert several.value.near == tuple(IDS[:2])
    with pytest.raises(UnknownModelError, match="'; near names: ") as none:
        find_model("lama-3.1-8b-instrct", IDS)
    assert none.value.near[0] == IDS[0]
    with pytest.raises(UnknownModelError, match=r"'qqqq'; `client.models.list\(\)` lists them"):
        find_model("qqqq", IDS)


def test_names_are_held_against_whole_ids_and_then_against_their_ends() -> None:
    assert near_names("deepseek/deepseek-r1-528", IDS)[0] == "deepseek/deepseek-r1-0528"
    assert near_names("dpsk-r1", IDS) == ("deepseek/deepseek-r1",)
    assert models_like("nothing", IDS) == models_like("oo", ["foo", "bar"]) == near_names("", IDS) == ()
