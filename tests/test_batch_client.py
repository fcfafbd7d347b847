"""How a batch sends: as its client does, over the HTTP client that this was given, with the key that it has now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from batch_jobs import Job, body, policy, row, rows
from server import CHAT, MODELS, Reply, Server, error

from novita_openai import AsyncOpenAI, OpenAI, batch, create_async_client, create_client
from novita_openai.batch import BatchStopped

LIST = Reply(body=MODELS)
REFUSED = error(401, "INVALID_API_KEY")
NOWHERE = "http://llm.invalid/v3/openai"


@pytest.fixture
def scripted(tmp_path: Path, server: Server) -> Job:
    return Job(tmp_path, server.base_url)


def posts(server: Server) -> list[Any]:
    return [request for request in server.requests if request.method == "POST"]


def over_aiohttp(**options: Any) -> Any:
    return openai.DefaultAioHttpClient(**options)


def over_httpx(**options: Any) -> Any:
    return openai.DefaultAsyncHttpxClient(**options)


@pytest.mark.parametrize("make", [over_httpx, over_aiohttp])
@pytest.mark.parametrize("derive", [lambda client: client, lambda client: client.with_options(timeout=30)])
@pytest.mark.filterwarnings("ignore:base_url")
def test_a_proxy_of_the_client_carries_the_batch(
    scripted: Job, server: Server, make: Callable[..., Any], derive: Callable[[AsyncOpenAI], AsyncOpenAI]
) -> None:
    server.always = Reply(body=CHAT)
    proxied = make(proxy=f"http://127.0.0.1:{server.port}")
    client = derive(scripted.client(base_url=NOWHERE, http_client=proxied))
    for _ in range(2):  # each in an event loop of its own
        scripted.results.unlink(missing_ok=True)
        assert scripted.run(rows(3), client=client).succeeded == 3
    assert [request.path for request in posts(server)] == [f"{NOWHERE}/chat/completions"] * 6


def test_a_hook_of_the_client_sees_each_row_and_the_client_stays_open(scripted: Job, server: Server) -> None:
    seen: list[str] = []

    async def hook(request: Any) -> None:
        seen.append(request.url.path)

    scripted.write(rows(3))

    async def run() -> int:
        http_client = over_httpx(event_hooks={"request": [hook]})
        async with scripted.client(http_client=http_client) as client:
            report = await batch.arun(scripted.requests, scripted.results, client=client)
            await client.models.list()
        return report.succeeded

    assert asyncio.run(run()) == 3
    assert seen.count("/v3/openai/chat/completions") == 3
    assert seen[-1] == "/v3/openai/models"
    assert len(posts(server)) == 3


def test_rows_of_a_stream_go_over_the_clients_own_http_client(scripted: Job, server: Server) -> None:
    proxied = over_httpx(proxy=f"http://127.0.0.1:{server.port}")
    client = scripted.client(base_url="http://localhost:1/v3/openai", http_client=proxied)
    for _ in range(2):
        assert len(list(batch.stream(rows(2), client=client))) == 2


def test_a_client_knows_whether_its_http_client_was_given() -> None:
    given: Any = over_httpx()
    options: dict[str, Any] = {"api_key": "sk_test"}
    assert AsyncOpenAI(**options).given_http_client is None
    assert create_async_client(**options).with_options(timeout=3).given_http_client is None
    assert create_client(**options).given_http_client is None
    for client in (AsyncOpenAI(**options, http_client=given), create_async_client(**options, http_client=given)):
        assert client.given_http_client is client.with_options(timeout=3).given_http_client is given
    assert AsyncOpenAI(**options).with_options(http_client=given).given_http_client is given
    sync = openai.DefaultHttpxClient()
    assert OpenAI(**options, http_client=sync).copy().given_http_client is sync


def test_translation_is_the_clients_in_rows_too(scripted: Job, server: Server) -> None:
    sent = body("x", max_completion_tokens=5)
    scripted.run([{"custom_id": "a", "body": sent}])
    scripted.run([{"custom_id": "b", "body": sent}], client=scripted.client(translate=False), retry_failed=True)
    assert [request.json.get("max_completion_tokens") for request in posts(server)] == [None, 5]


def test_a_row_that_was_refused_with_an_old_key_is_sent_with_the_new_one(scripted: Job, server: Server) -> None:
    keys = iter(["sk_old", "sk_old", "sk_new"])
    current = "sk_old"

    def key() -> str:
        nonlocal current
        current = next(keys, current)
        return current

    server.script.extend([LIST, REFUSED])
    report = scripted.run(rows(1), client=scripted.client(api_key=key), on_progress=lambda _: None)
    assert (report.succeeded, report.sent, report.retries) == (1, 2, 1)
    assert [request.headers["authorization"] for request in posts(server)] == ["Bearer sk_old", "Bearer sk_new"]


def test_a_key_that_is_assigned_while_the_batch_runs_is_sent(scripted: Job, server: Server) -> None:
    client = scripted.client(api_key="sk_old")

    def rotate(_: Any) -> None:
        client.api_key = "sk_new"

    server.script.extend([LIST, REFUSED])
    assert scripted.run(rows(1), client=client, on_progress=rotate).succeeded == 1
    assert [request.headers["authorization"] for request in posts(server)] == ["Bearer sk_old", "Bearer sk_new"]


def test_a_new_key_that_is_refused_too_stops_the_batch(scripted: Job, server: Server) -> None:
    server.always = REFUSED
    numbers = iter(range(1_000))
    with pytest.raises(BatchStopped, match="401 INVALID_API_KEY") as caught:
        scripted.run(rows(1), client=scripted.client(api_key=lambda: f"sk_test{next(numbers)}"))
    assert caught.value.needs_change
    assert len(posts(server)) == 2


def test_a_key_file_that_changes_is_read_anew(
    scripted: Job, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text("sk_old\n")
    monkeypatch.setenv("NOVITA_API_KEY_FILE", str(file))
    client = AsyncOpenAI(base_url=server.base_url, policy=policy())
    assert client.api_key == client.copy().api_key == "sk_old"
    scripted.run([row("a")], client=client)
    file.write_text("sk_newer\n")
    scripted.run([row("a"), row("b")], client=client)
    file.write_text("")  # somebody is writing it
    scripted.run([row("a"), row("b"), row("c")], client=client)
    file.unlink()
    scripted.run([row("a"), row("b"), row("c"), row("d")], client=client)
    sent = [request.headers["authorization"] for request in posts(server)]
    assert sent == ["Bearer sk_old", *["Bearer sk_newer"] * 3]


def test_a_sync_client_reads_a_key_file_anew(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk_old")
    monkeypatch.setenv("NOVITA_API_KEY_FILE", str(file))
    with OpenAI(base_url=server.base_url) as client:
        client.models.list()
        file.write_text("sk_newer")
        client.models.list()
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer sk_old", "Bearer sk_newer"]


def test_options_of_a_run_stand_in_for_the_policys(scripted: Job, server: Server) -> None:
    server.always = error(500, "MODEL_NOT_AVAILABLE")
    scripted.run([row("a")], attempts=2)
    assert scripted.failures()["a"]["error"]["attempts"] == 2
    server.always = error(429, "RATE_LIMIT_EXCEEDED", retry_after="7")
    with pytest.raises(BatchStopped, match=r"asks to wait 7 s"):
        scripted.run([row("b")], max_wait=5)


def test_an_attempt_has_the_seconds_of_timeout(scripted: Job, server: Server) -> None:
    server.script.extend([LIST, Reply(fault="stall")])
    scripted.run([row("a")], timeout=0.2, attempts=1, on_progress=lambda _: None)
    assert scripted.failures()["a"]["error"]["code"] == "timeout"


@pytest.fixture
def _no_requests(server: Server) -> Iterator[None]:
    yield
    assert server.requests == []


@pytest.mark.usefixtures("_no_requests")
def test_an_option_that_there_is_not_is_refused_with_the_one_that_is_meant(scripted: Job) -> None:
    scripted.write(rows(1))
    unknown: Any = {"concurency": 3}
    of_files: Any = {"ordered": True}
    for call in (scripted.run, lambda **options: batch.estimate(scripted.requests, **options)):
        with pytest.raises(TypeError, match="concurency=3: there is no such option; there is concurrency"):
            call(**unknown)
    with pytest.raises(TypeError, match="ordered=True: there is no such option; there is "):
        batch.stream(rows(1), **of_files)
    changed: Any = {"prompts": True}
    with pytest.raises(TypeError, match="prompts=True: there is no such option any more: raw=True"):
        scripted.run(**changed)
    with pytest.raises(ValueError, match="leave one out"):
        scripted.run(format="llama-3", raw=True)


def test_a_row_has_the_seconds_of_row_timeout_whatever_it_waits_for(scripted: Job, server: Server) -> None:
    server.lists_apart, server.always = True, Reply(fault="stall")
    report = scripted.run([row("a"), row("b")], row_timeout=0.3)
    assert (report.failed, report.errors) == (2, {"row_timeout": 2})
    assert report.elapsed < 30
