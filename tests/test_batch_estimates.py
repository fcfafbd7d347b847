"""What an estimate warns of before anything is sent: rows above the limits of their model, and a limit in dollars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from batch_jobs import MODEL, Job, row
from server import Server, error

from novita_openai import batch
from novita_openai.emulator import Emulator, Model

SMALL = Model(MODEL, context_size=1_000, max_output_tokens=100)


def warnings(job: Job, *rows: dict[str, Any], **options: Any) -> tuple[str, ...]:
    job.write(rows)
    return batch.estimate(job.requests, client=job.client(), **options).warnings


def completion(custom_id: str, prompt: Any, **fields: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "body": {"model": MODEL, "prompt": prompt, **fields}}


def test_rows_that_ask_for_more_than_the_longest_answer_are_told(job: Job, emulator: Emulator) -> None:
    emulator.models = (SMALL,)
    (line,) = warnings(job, row("a", max_tokens=101), row("b", max_tokens=500), row("c", max_tokens=100))
    told = "2 rows have a max_tokens above the model's longest answer of 100 tokens, up to 500, such as a"
    assert line == f"{MODEL}: {told}: the service refuses that"
    assert len(warnings(job, row("a", max_completion_tokens=200, max_tokens=None))) == 1


def test_rows_that_are_longer_than_the_context_are_told(job: Job, emulator: Emulator) -> None:
    emulator.models = (SMALL,)
    (line,) = warnings(job, completion("a", "x" * 3_900, max_tokens=90), completion("b", "x", max_tokens=9))
    told = "1 row has more tokens than the model's context of 1,000, prompt and max_tokens together, up to about 1,"
    assert line.startswith(f"{MODEL}: {told}")
    assert line.endswith("such as a: the answer is shorter than asked for, or the service refuses the row")
    assert len(warnings(job, completion("a", "x" * 8_000))) == 1


def test_each_choice_and_each_prompt_is_measured_by_itself(job: Job, emulator: Emulator) -> None:
    emulator.models = (SMALL,)
    prompts = ["x" * 1_000] * 5
    assert warnings(job, row("a", max_tokens=100, n=20), completion("b", prompts, max_tokens=100, n=3)) == ()
    assert len(warnings(job, completion("b", prompts, max_tokens=101))) == 1


def test_a_model_that_names_no_limits_has_none(job: Job, emulator: Emulator) -> None:
    emulator.models = (Model(MODEL, context_size=0, max_output_tokens=0),)
    assert warnings(job, row("a", max_tokens=10**9)) == ()
    estimate = batch.estimate(job.requests, client=job.client())
    assert (estimate.unbounded, estimate.unbounded_tokens, estimate.most_cost) == (0, 0, estimate.cost)
    job.write([row("a", max_tokens=None)])
    estimate = batch.estimate(job.requests, client=job.client())
    assert (estimate.unbounded, estimate.unbounded_tokens, estimate.most_cost) == (1, None, None)
    assert estimate.cost is not None


def test_rows_without_a_limit_are_bounded_by_the_longest_answer_of_their_model(job: Job, emulator: Emulator) -> None:
    emulator.models = (SMALL,)
    job.write([row("a", max_tokens=None, n=2), completion("b", ["x", "y"]), row("c", max_tokens=8)])
    estimate = batch.estimate(job.requests, client=job.client())
    assert (estimate.unbounded, estimate.unbounded_tokens, estimate.answer_tokens) == (2, 400, 8)
    assert estimate.cost is not None
    assert estimate.most_cost == pytest.approx(estimate.cost + 400 * SMALL.output_token_price_per_m * 1e-10)
    emulator.models = (Model(MODEL, context_size=1_000, max_output_tokens=0),)
    assert batch.estimate(job.requests, client=job.client()).unbounded_tokens == 4_000


@pytest.mark.parametrize(
    ("max_cost", "fields", "words"),
    [
        (1.0, {}, ()),
        (0.0, {}, ("max_cost=0: the job would stop before its end, as it costs about $0.0000",)),
        (0.000001, {}, ("max_cost=1e-06: the job may stop before its end, as it costs up to $0.0000",)),
        (1e-5, {"max_tokens": None}, ("max_cost=1e-05: the job may stop before its end, as it costs up to $0.",)),
    ],
)
def test_a_limit_in_dollars_that_ends_the_job_early_is_told(
    job: Job, max_cost: float, fields: dict[str, Any], words: tuple[str, ...]
) -> None:
    told = warnings(job, row("a", **fields), max_cost=max_cost)
    assert len(told) == len(words)
    assert all(line.startswith(start) for line, start in zip(told, words, strict=True))


def test_a_limit_in_dollars_that_nobody_can_keep_is_told(job: Job, emulator: Emulator) -> None:
    emulator.models = (Model(MODEL, context_size=0, max_output_tokens=0),)
    assert warnings(job, row("a", max_tokens=None), max_cost=1.0) == (
        "max_cost=1: the job may stop before its end, as nobody knows what it costs at most",
    )
    told = warnings(job, row("a", model="no/such"), max_cost=1.0)
    assert told == ("max_cost=1: the job would not begin, as that needs the price of each model",)


def test_a_models_list_that_cannot_be_read_is_told(tmp_path: Path, server: Server) -> None:
    server.always = error(404, "NOT_FOUND")
    (line,) = warnings(Job(tmp_path, server.base_url), row("a"))
    assert line.startswith("models and prices were not looked at: the models list cannot be read: Error code: 404")
