"""What a job spends, against a server that keeps accounts: limits that hold, figures that are true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import MODEL, Job, policy, read, row, rows
from server import CHAT, Reply, Server, error
from structlog.testing import capture_logs

from novita_openai import batch
from novita_openai.batch import BatchInputError, BatchStopped
from novita_openai.batch.fitness import Misfit, misfits
from novita_openai.emulator import Emulator, Fault, Model, Tier

PRICED = {"id": MODEL, "object": "model", "created": 1, "input_token_price_per_m": 200, "output_token_price_per_m": 500}
COST = (3 * 0.02 + 2 * 0.05) / 1_000_000
"""Dollars of the answer CHAT, which has 3 tokens of prompt and 2 of its own."""


@pytest.fixture
def scripted(tmp_path: Path, server: Server) -> Job:
    server.script.append(Reply(body={"object": "list", "data": [PRICED]}))
    return Job(tmp_path, server.base_url)


def paid(emulator: Emulator) -> float:
    assert emulator.credit is not None
    left = emulator.credit["sk_test"]
    assert left is not None
    return 1.0 - left


@pytest.fixture
def accounts(emulator: Emulator) -> Emulator:
    """Return the emulator, where the key has a credit of a dollar."""
    emulator.keys = {"sk_test": 1.0}
    return emulator


MANY = [
    [row(f"r{number}", n=8, max_tokens=40) for number in range(60)],
    [row(f"r{number}", url="/v1/completions", prompt=["a b c"] * 20, max_tokens=40) for number in range(20)],
]


@pytest.mark.parametrize("requests", MANY, ids=["n", "prompts"])
def test_no_limit_and_no_estimate_is_exceeded(job: Job, accounts: Emulator, requests: list[Any]) -> None:
    job.write(requests)
    estimate = batch.estimate(job.requests, client=job.client())
    assert estimate.cost is not None
    limit = estimate.cost / 4
    with pytest.raises(BatchStopped, match="max_cost is") as caught:
        job.run(max_cost=limit, concurrency=4)
    assert 0 < paid(accounts) <= limit
    assert caught.value.report.cost == pytest.approx(paid(accounts))
    report = job.run()
    assert report.job_cost == pytest.approx(paid(accounts))
    assert paid(accounts) <= estimate.cost


def test_a_limit_is_that_of_all_starts_of_a_job(job: Job, accounts: Emulator) -> None:
    job.write(rows(100))
    limit, costs = 0.00005, list[float]()
    for _ in range(3):
        with pytest.raises(BatchStopped, match="max_cost is") as caught:
            job.run(max_cost=limit)
        assert caught.value.report.job_cost == pytest.approx(paid(accounts))
        costs.append(paid(accounts))
    assert limit / 2 < costs[0] <= costs[-1] <= limit


def refuse(_: batch.BatchResult) -> None:
    raise ValueError("no answer will do")


def test_a_limit_counts_what_failed_rows_have_cost_that_are_sent_again(job: Job, accounts: Emulator) -> None:
    job.write(rows(40))
    first = job.run(validate=refuse, validate_attempts=0)
    assert first.failed == 40
    limit, kept = 1.5 * paid(accounts), job.folder / "results.reopened.jsonl"
    assert not kept.exists()
    for _ in range(4):
        with pytest.raises(BatchStopped, match="max_cost is") as caught:
            job.run(validate=refuse, validate_attempts=0, retry_failed=True, max_cost=limit)
        assert caught.value.report.job_cost == pytest.approx(paid(accounts))
    assert first.cost is not None
    assert first.cost < paid(accounts) <= limit
    assert kept.exists()
    last = job.run()
    assert last.job_cost == pytest.approx(paid(accounts))
    assert not kept.exists()
    job.assert_complete(f"r{number}" for number in range(40))


def test_a_limit_counts_answers_that_another_check_takes_out(job: Job, accounts: Emulator) -> None:
    job.run(rows(40))
    limit = 1.5 * paid(accounts)
    for _ in range(3):
        with pytest.raises(BatchStopped, match="max_cost is") as caught:
            job.run(validate=refuse, validate_attempts=0, max_cost=limit)
        assert caught.value.report.job_cost == pytest.approx(paid(accounts))
    assert paid(accounts) <= limit


def test_what_was_kept_is_read_but_for_what_was_cut_and_goes_with_a_new_job(job: Job, accounts: Emulator) -> None:
    kept = job.folder / "results.reopened.jsonl"
    line = json.dumps({"custom_id": "r0", "spent": {"requests": 1, "tokens": 9, "dollars": 0.5}})
    job.run(rows(2))
    kept.write_text(f'{line}\n[]\n{{"custom_id": "r1"}}\n{line[:-9]}')
    before = paid(accounts)
    report = job.run(rows(3))
    assert report.job_cost == pytest.approx(paid(accounts))  # r0 has a result, which says what it has cost
    job.results.write_text("")
    kept.write_text(f"{line}\n")
    assert job.run().job_cost == pytest.approx(0.5 + paid(accounts) - before, rel=0.5)
    for path in (job.results, job.errors):
        path.unlink()
    kept.write_text(f"{line}\n")
    report = job.run()
    assert report.job_cost == report.cost
    assert not kept.exists()


def test_rows_that_do_not_say_what_they_cost_are_counted_by_their_usage(job: Job, accounts: Emulator) -> None:
    job.run(rows(5))
    old = [{name: value for name, value in each.items() if name != "spent"} for each in read(job.results)]
    old[0]["response"]["body"] = None
    job.results.write_text("".join(f"{json.dumps(each)}\n" for each in old))
    before = paid(accounts)
    report = job.run()
    assert report.cost == 0
    assert report.job_cost is not None
    assert before * 0.7 < report.job_cost < before
    with pytest.raises(BatchStopped, match="max_cost is"):
        job.run(rows(6), max_cost=before)


def test_the_price_is_that_of_the_prompts_band(job: Job, accounts: Emulator) -> None:
    tiers = (Tier(1, 10_000, 20_000), Tier(50, 1_000_000, 2_000_000))
    accounts.models = (Model(MODEL, tiers=tiers, cache_read_price_per_m=100),)
    requests = [row("short"), row("long", messages=[{"role": "user", "content": "word " * 60}])]
    job.write(requests)
    estimate = batch.estimate(job.requests, client=job.client())
    report = job.run()
    assert report.cost == pytest.approx(paid(accounts))
    spent = {name: each["spent"]["dollars"] for name, each in job.answers().items()}
    assert spent["long"] > 90 * spent["short"] > 0
    assert estimate.cost is not None
    assert estimate.about_cost is not None
    assert estimate.cost > estimate.about_cost > paid(accounts) / 2


def test_cached_tokens_have_their_own_price(scripted: Job, server: Server) -> None:
    list_row = PRICED | {"pricing": {"input_cache_read": {"price_per_m": 20}}}
    server.script[0] = Reply(body={"object": "list", "data": [list_row]})
    usage = CHAT["usage"] | {"prompt_tokens_details": {"cached_tokens": 2}}  # type: ignore[operator]
    server.script.append(Reply(body=CHAT | {"usage": usage}))
    report = scripted.run(rows(1))
    assert report.cost == pytest.approx((1 * 0.02 + 2 * 0.002 + 2 * 0.05) / 1_000_000)


def test_each_row_says_what_all_requests_for_it_have_spent(scripted: Job, server: Server) -> None:
    empty = Reply(body=CHAT | {"choices": []})
    server.script.extend([empty, error(500), Reply(body=CHAT), error(400, "INVALID_REQUEST_BODY")])
    report = scripted.run([row("a")], concurrency=1)
    assert scripted.answers()["a"]["spent"] == {"requests": 3, "tokens": 10, "dollars": pytest.approx(2 * COST)}
    assert report.tokens == 10
    assert report.cost == pytest.approx(2 * COST)


def test_what_a_failed_row_has_spent_goes_on_to_its_answer(scripted: Job, server: Server) -> None:
    empty = Reply(body=CHAT | {"choices": None})
    server.script.extend([empty, empty])
    scripted.run([row("a")], client=scripted.client(policy=policy(attempts=2)))
    assert scripted.failures()["a"]["spent"] == {"requests": 2, "tokens": 10, "dollars": pytest.approx(2 * COST)}
    server.script.append(Reply(body={"object": "list", "data": [PRICED]}))
    report = scripted.run(retry_failed=True)
    assert scripted.answers()["a"]["spent"] == {"requests": 3, "tokens": 15, "dollars": pytest.approx(3 * COST)}
    assert report.cost == pytest.approx(COST)
    assert report.job_cost == pytest.approx(3 * COST)
    assert scripted.run().job_cost == pytest.approx(3 * COST)


def test_an_answer_that_does_not_tell_its_tokens_has_an_unknown_cost(scripted: Job, server: Server) -> None:
    server.script.append(Reply(body=CHAT | {"usage": None}))
    report = scripted.run(rows(2), concurrency=1)
    assert (report.succeeded, report.tokens, report.unpriced, report.job_cost) == (2, 5, 1, None)
    assert report.cost == pytest.approx(COST)
    assert report.models[MODEL].unpriced == 1
    assert scripted.answers()["r0"]["spent"] == {"requests": 1, "tokens": 0, "dollars": None}
    status = batch.status(scripted.requests, scripted.results)
    assert (status.requests, status.unpriced) == (2, 1)
    assert status.cost == pytest.approx(COST)
    report = scripted.run()
    assert (report.cost, report.unpriced, report.job_cost) == (0.0, 0, None)


def test_answers_that_were_lost_count_against_the_limit(scripted: Job, server: Server) -> None:
    server.script.extend([Reply(body=CHAT, cut=20)] * 2)
    limit = 100_000 / 1_000_000 * 0.05
    with pytest.raises(BatchStopped, match=r"the answers have cost \$0\.0000, and lost ones may have cost \$0\.0050"):
        scripted.run([row("a", max_tokens=50_000)], max_cost=1.5 * limit, concurrency=1)
    assert [each.path for each in server.requests].count("/chat/completions") == 2


@pytest.mark.parametrize("size", [10, 300_000])
def test_images_of_any_size_can_be_paid_for(job: Job, emulator: Emulator, size: int) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * size}}
    job.write([row(f"r{number}", messages=[{"role": "user", "content": [part]}]) for number in range(3)])
    emulator.models = (Model(MODEL, 1_000_000),)
    estimate = batch.estimate(job.requests, client=job.client())
    assert estimate.cost == pytest.approx(3 * 16_384 * 0.02 / 1_000_000, rel=0.02)


def test_models_that_do_not_fit_are_told_before_the_first_row(job: Job, emulator: Emulator) -> None:
    emulator.models = (Model(MODEL), Model("org/embedder", model_type="embedding", endpoints=()))
    unknown = MODEL.replace("llama-3.1", "lama-3.1")
    job.write([row("a"), row("b", model=unknown), row("c", model="org/embedder")])
    first = {"event": "batch.unfit_model", "model": unknown, "problem": "is not in the models list", "near": [MODEL]}
    kind = "is of the type 'embedding', which does not serve chat/completions"
    with capture_logs() as logs:
        job.run()
    assert emulator.requests[0].path == "/models"
    second = {"event": "batch.unfit_model", "model": "org/embedder", "problem": kind, "near": None}
    assert logs[:2] == [each | {"log_level": "warning"} for each in (first, second)]
    estimate = batch.estimate(job.requests, client=job.client())
    near = f"model '{unknown}' is not in the models list; near names: {MODEL}"
    assert estimate.problems == (near, f"model 'org/embedder' {kind}")


CHAT_PATH, TEXT_PATH, EMBEDDINGS_PATH = "/chat/completions", "/completions", "/embeddings"


@pytest.mark.parametrize(
    ("fields", "path", "problem"),
    [
        ({}, CHAT_PATH, None),
        ({"status": 1, "model_type": "chat", "endpoints": ["chat/completions"]}, CHAT_PATH, None),
        ({"status": 0}, CHAT_PATH, "is not available at present (status 0 in the models list)"),
        ({"endpoints": ["chat/completions", "batch-api"]}, TEXT_PATH, "does not serve completions, but"),
        ({"endpoints": None, "model_type": None, "status": "ok"}, CHAT_PATH, None),
        ({"endpoints": ["chat/completions"], "model_type": "vlm"}, CHAT_PATH, None),
        ({"endpoints": ["responses"]}, CHAT_PATH, "does not serve chat/completions, but responses"),
        ({"model_type": "image-generation"}, TEXT_PATH, "is of the type 'image-generation'"),
        ({"model_type": "embedding"}, EMBEDDINGS_PATH, None),
        ({"model_type": "embedding", "endpoints": ["batch-api"]}, EMBEDDINGS_PATH, None),
        ({"model_type": "chat"}, EMBEDDINGS_PATH, "is of the type 'chat', which does not serve embeddings"),
    ],
)
def test_a_model_fits_by_its_row_in_the_list(fields: dict[str, Any], path: str, problem: str | None) -> None:
    found = misfits([("m", path)], {"m": {"id": "m"} | fields})
    assert [each.problem[: len(problem or "")] for each in found] == ([] if problem is None else [problem])


def test_without_a_list_all_models_fit_and_near_names_ignore_case() -> None:
    assert misfits([("m", CHAT_PATH)], {}) == []
    listed: dict[str, dict[str, Any]] = {"Org/Model-7B": {}, "else": {}}
    assert misfits([("org/model-7b", CHAT_PATH)], listed) == [
        Misfit("org/model-7b", "is not in the models list", ("Org/Model-7B",))
    ]
    assert str(misfits([("zzz", CHAT_PATH)], listed)[0]) == "model 'zzz' is not in the models list"


def test_an_input_that_changes_while_it_is_estimated_is_refused(job: Job, emulator: Emulator) -> None:
    class Changing(Model):
        def row(self) -> dict[str, Any]:
            job.requests.write_text("{\n")
            return super().row()

    emulator.models = (Changing(MODEL),)
    job.write(rows(2))
    with pytest.raises(BatchInputError, match="changed during the run"):
        batch.estimate(job.requests, client=job.client())


def test_a_fault_of_the_list_leaves_prices_unknown_and_rows_sent(job: Job, emulator: Emulator) -> None:
    emulator.script.extend([Fault("SERVICE_NOT_AVAILABLE")] * 2)
    report = job.run(rows(2))
    assert (report.succeeded, report.cost) == (2, None)


@pytest.mark.parametrize("fault", ["SERVICE_NOT_AVAILABLE", "reset", "html", "RATE_LIMIT_EXCEEDED", "null_list"])
def test_one_fault_of_the_list_costs_no_figure(job: Job, emulator: Emulator, fault: str) -> None:
    emulator.script.append(Fault(fault))
    report = job.run(rows(2))
    assert (report.succeeded, report.sent) == (2, 2)
    assert report.cost
