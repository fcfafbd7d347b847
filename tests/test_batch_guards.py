"""What a batch does not do: spend more than allowed, spoil files of others, wait for what is not needed."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import MODEL, Job, row, rows, until
from server import Server, error

from novita_openai import Action, Backoff, RetryPolicy, batch
from novita_openai.batch import BatchInputError, BatchProgress, BatchStopped
from novita_openai.batch.requests import Source
from novita_openai.emulator import Emulator, Model
from novita_openai.emulator.faults import Fault


@pytest.fixture
def scripted(tmp_path: Path, server: Server) -> Job:
    server.lists_apart = True
    return Job(tmp_path, server.base_url)


@pytest.mark.parametrize("name", ["results", "errors"])
@pytest.mark.parametrize("content", ['[{"my": "only copy"}]', "a,b\n1,2\n3,4", '{\n "a": 1\n}', '{"a": 1}'])
def test_a_file_that_holds_something_else_is_left_as_it_is(job: Job, name: str, content: str) -> None:
    path: Path = getattr(job, name)
    path.write_text(content)
    with pytest.raises(BatchInputError, match="give another file"):
        job.run(rows(2))
    assert path.read_text() == content


@pytest.mark.parametrize("torn", ["{", '{"id": "batch_req_', '{"id": "batch_req_12", "custom'])
def test_a_first_row_that_is_torn_is_mended(job: Job, torn: str) -> None:
    job.results.write_text(torn)
    job.run(rows(2))
    job.assert_complete(["r0", "r1"])


def test_what_a_killed_run_left_beside_is_no_obstacle(job: Job) -> None:
    (job.folder / f".results.jsonl.{os.getpid()}.new").write_text("half")
    job.run(rows(3), ordered=True)
    assert list(job.answers()) == ["r0", "r1", "r2"]


@pytest.mark.parametrize(("max_tokens", "most"), [(200, 0.45), (None, 1.0)])
@pytest.mark.slow
def test_many_in_flight_do_not_cost_more_than_allowed(
    job: Job, emulator: Emulator, max_tokens: int | None, most: float
) -> None:
    emulator.models = (Model(MODEL, output_token_price_per_m=1_000_000),)  # 100 dollars a million
    emulator.latency = 0.05
    with pytest.raises(BatchStopped, match="max_cost is") as caught:
        job.run([row(f"r{number}", max_tokens=max_tokens) for number in range(400)], concurrency=300, max_cost=most)
    report = caught.value.report
    assert report.cost is not None
    assert most / 2 <= report.cost <= most
    assert report.unfinished == 400 - report.succeeded


def test_a_stream_with_a_limit_in_dollars_needs_prices(job: Job, emulator: Emulator) -> None:
    emulator.models = (Model("another/model"), Model(MODEL))
    emulator.script.extend([Fault("MODEL_NOT_FOUND")])
    with pytest.raises(BatchStopped, match=rf"cannot be read|none for {MODEL}") as caught:
        list(batch.stream(rows(3), client=job.client(), max_cost=1.0))
    assert (caught.value.report.sent, emulator.request_count) == (0, 1)


def test_a_models_list_that_a_limit_needs_is_asked_for_again(job: Job, emulator: Emulator) -> None:
    emulator.script.append(Fault("SERVICE_NOT_AVAILABLE"))
    assert job.run(rows(2), max_cost=1.0).succeeded == 2


def test_a_run_that_is_refused_changes_no_file(scripted: Job, server: Server) -> None:
    server.script.append(error(400, "INVALID_REQUEST_BODY"))
    assert scripted.run(rows(1)).failed == 1
    before = scripted.errors.read_bytes()
    server.always, server.lists_apart = error(404, "MODEL_NOT_FOUND"), False
    with pytest.raises(BatchInputError, match=r"max_cost needs prices, and the models list cannot be read: .*404"):
        scripted.run(retry_failed=True, max_cost=1.0)
    assert scripted.errors.read_bytes() == before
    for path in (scripted.results, scripted.errors):
        path.unlink()
    with pytest.raises(BatchInputError, match="max_cost needs prices"):
        scripted.run(max_cost=1.0)
    assert sorted(path.name for path in scripted.folder.iterdir()) == ["requests.jsonl"]


def test_a_signal_ends_the_wait_for_the_models_list(job: Job, emulator: Emulator) -> None:
    def press() -> None:
        until(lambda: emulator.request_count == 1)
        os.kill(os.getpid(), signal.SIGINT)

    emulator.script.append(Fault("stall"))
    thread = threading.Thread(target=press)
    thread.start()
    report = job.run(rows(1))
    thread.join()
    assert (report.interrupted, report.sent, report.unfinished) == (True, 0, 1)


def test_an_input_that_shrinks_while_it_is_run_is_told(job: Job, emulator: Emulator) -> None:
    def cut(progress: BatchProgress) -> None:
        if progress.sent:
            os.truncate(job.requests, 512)  # at the end of a row, as are the blocks in which a file is read

    emulator.latency = 0.02
    with pytest.raises(BatchInputError, match=r"changed during the run: .* of its rows are gone"):
        job.run([f"{json.dumps(each):<511}" for each in rows(3_000)], concurrency=4, on_progress=cut)


def test_one_signal_ends_all_jobs_of_a_loop(tmp_path: Path, emulator: Emulator) -> None:
    jobs = [Job(tmp_path / name, emulator.base_url) for name in ("a", "b")]
    for job, count in zip(jobs, (2_000, 1), strict=True):
        job.folder.mkdir()
        job.write(rows(count))

    async def both() -> list[Any]:
        first, second = (
            asyncio.ensure_future(batch.arun(job.requests, job.results, client=job.client(), concurrency=1))
            for job in jobs
        )
        ended = await second
        os.kill(os.getpid(), signal.SIGINT)
        return [await first, ended]

    emulator.latency = 0.02
    before = signal.getsignal(signal.SIGINT)
    first, second = asyncio.run(both())
    assert (first.interrupted, second.interrupted, second.succeeded) == (True, False, 1)
    assert first.unfinished > 0
    assert signal.getsignal(signal.SIGINT) == before


class Strict(Emulator):
    """Refuses one row again and again, as too large for the limit, but the last time."""

    left = 5

    def _drawn(self, body: bytes) -> Fault | None:
        if b'"r0"' not in body or not self.left:
            return None
        self.left -= 1
        return Fault("TOKEN_LIMIT_EXCEEDED")


@pytest.mark.slow
def test_a_row_that_is_refused_again_and_again_lets_the_others_go_first(tmp_path: Path) -> None:
    with Strict() as server:
        job = Job(tmp_path, server.base_url)
        waits = {Action.WAIT: Backoff(3, 3, jitter=0)}
        assert job.run(rows(60), client=job.client(policy=RetryPolicy(3, backoffs=waits))).succeeded == 60
    assert list(job.answers())[-1] == "r0"


def test_a_compressed_file_that_is_damaged_is_refused(job: Job, tmp_path: Path) -> None:
    path, content = tmp_path / "r.jsonl.gz", bytearray(gzip.compress(json.dumps(row("a")).encode()))
    content[10] = 0xFF  # no kind of block
    path.write_bytes(content)
    with pytest.raises(BatchInputError, match=r"r.jsonl.gz: .*invalid"):
        batch.run(path, job.results, client=job.client())


def test_a_format_needs_a_model(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("Hello\n")
    with pytest.raises(BatchInputError, match="no model for the prompts"):
        batch.run(path, job.results, client=job.client(), format="llama-3")


def test_a_byte_order_mark_is_no_part_of_a_prompt(job: Job, tmp_path: Path, emulator: Emulator) -> None:
    path = tmp_path / "p.txt"
    path.write_text("\ufeffHello\n", encoding="utf-8")
    assert batch.run(path, job.results, client=job.client(), model=MODEL, raw=True).succeeded == 1
    assert json.loads(emulator.requests[-1].body)["prompt"] == "Hello"


def test_a_closed_standard_input_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(OSError, match="it is closed: 'standard input'"):
        Source("-")


def test_what_was_printed_is_not_advised_to_be_gone_on_with(scripted: Job, server: Server) -> None:
    server.always = error(401, "INVALID_API_KEY")
    scripted.write(rows(3))
    with pytest.raises(BatchStopped, match=r"3 of 3 rows are unfinished$"):
        batch.run(scripted.requests, "-", client=scripted.client())


WITHOUT_FCNTL = """
import sys
sys.modules["fcntl"] = None
import novita_openai
from novita_openai import OpenAI
print(OpenAI(api_key="k").base_url)
try:
    novita_openai.batch
except ImportError as error:
    print(error)
"""


def test_without_posix_the_import_of_batches_says_so_and_the_client_works() -> None:
    found = subprocess.run([sys.executable, "-c", WITHOUT_FCNTL], capture_output=True, text=True, check=True)
    url, told = found.stdout.splitlines()
    assert url.startswith("https://api.novita.ai/")
    assert "needs a POSIX system, such as Linux or macOS" in told
    assert "everything else in novita_openai works" in told
