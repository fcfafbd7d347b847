"""What is known of a failed attempt: worked out once, in words that a reader can use, over each HTTP library."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import traceback
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Any

import openai
import pytest
import tenacity
from calls import CHAT
from conftest import Driver
from hypothesis import given
from hypothesis import strategies as st
from server import CHAT as CHAT_BODY
from server import Reply, Server, error
from structlog.testing import capture_logs

from novita_openai import (
    Action,
    AsyncOpenAI,
    Backoff,
    ErrorRule,
    OpenAI,
    RetryPolicy,
    create_async_client,
    error_replies,
    errors,
    retry,
)
from novita_openai.error_replies import said_in
from novita_openai.errors import Failure, failure_of, reason_of

MESSAGES: Any = [{"role": "user", "content": "Hi"}]
LIMITED = error(429, "RATE_LIMIT_EXCEEDED")
PATIENT = RetryPolicy(budget=None)


def notes_of(failure: BaseException) -> str:
    return " ".join(getattr(failure, "__notes__", ()))


def caught(driver: Driver, **options: Any) -> Any:
    with capture_logs(), pytest.raises(openai.OpenAIError) as failure:
        driver.chat(**options)
    return failure.value


# What the service says.


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(200, {"error": {"message": "Your key was revoked", "code": "gone"}}), "Your key was revoked"),
        (Reply(200, {"code": 20012, "message": "Model does not exist", "data": None}), "Model does not exist"),
        (Reply(503, {"detail": "model is loading"}), "model is loading"),
        (Reply(503, {"error": "Model too busy"}), "Model too busy"),
        (Reply(422, {"detail": [{"loc": ["body", "n"], "msg": "n must be 1"}]}), "body.n: n must be 1"),
        (Reply(422, {"errors": [{"message": "a"}, {"message": "b"}]}), "a; b"),
        (Reply(400, {"message": "too\nlong " + 400 * "x"}), "too long xxx"),
        (Reply(500, "upstream connect error"), "upstream connect error"),
        (Reply(502, "<html><title>Bad\nGateway</title>"), "a page: Bad Gateway"),
        (Reply(502, "<html>"), "a page"),
        (Reply(502, "<h1>502 Bad Gateway</h1><style>h1{}</style>nginx"), "a page: 502 Bad Gateway nginx"),
        (Reply(503, "<Error><Code>SlowDown</Code></Error>"), "a page: SlowDown"),
        (Reply(503, "connected < 2 of 3 nodes"), "connected < 2 of 3 nodes"),
        (Reply(400, {"errors": {"n": ["must be 1"]}}), '{"n": ["must be 1"]}'),
        (Reply(401, {"error": "invalid_token", "error_description": "it has expired"}), "it has expired"),
        (Reply(400, {"odd": "form"}), '{"odd": "form"}'),
        (Reply(400, [{"error": {"message": "as Google writes it"}}]), "as Google writes it"),
    ],
)
def test_what_the_service_says_reaches_the_reader(
    reply: Reply, words: str, connect: Callable[..., Driver], server: Server
) -> None:
    server.always = reply
    failure = caught(connect(policy=RetryPolicy.off()))
    assert words in f"{failure} {notes_of(failure)}"
    assert words in failure_of(failure).said
    assert len(failure_of(failure).said) < 320


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ('{"detail": "out of memory"}', "out of memory"),
        ('{"error": "model overloaded"}', "model overloaded"),
        ('{"error": "Bad Request", "message": "n must be 1"}', "n must be 1"),
        ('{"error": {"odd": "form"}}', "{'odd': 'form'}"),
        ("Internal Server Error", "Internal Server Error"),
    ],
)
def test_what_a_stream_says_reaches_the_reader(
    event: str, words: str, connect: Callable[..., Driver], server: Server
) -> None:
    server.always = Reply(body=f"data: {event}\n\n", headers={"content-type": "text/event-stream"})
    failure = caught(connect(policy=RetryPolicy.off()), stream=True)
    assert words in f"{failure} {notes_of(failure)}"
    assert "connection" not in notes_of(failure).partition("attempt")[0]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<html><title>Please log in</title></html>", "a page: Please log in"),
        ({"msg": "no such model"}, "no such model"),
        ("out of memory", "out of memory"),
        (json.dumps(CHAT_BODY)[:-9], "came instead of it."),
    ],
)
def test_what_comes_in_place_of_a_stream_is_told_but_for_replies(
    body: Any, words: str, connect: Callable[..., Driver], server: Server
) -> None:
    server.always = Reply(body=body, headers={"content-type": "text/html"})
    failure = caught(connect(policy=RetryPolicy.off()), stream=True)
    assert words in str(failure)
    assert "Boil water" not in f"{failure} {notes_of(failure)}"


def test_nothing_is_said_where_there_is_nothing_to_say() -> None:
    assert [failure_of(each).said for each in (ValueError("x"), openai.APIConnectionError(request=None))] == ["", ""]  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert said_in({"choices": [{"text": "a reply"}]}) == ""
    assert said_in(None) == ""


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached"])
@pytest.mark.parametrize("field", ["code", "type"])
def test_a_quota_that_is_used_up_is_no_rate_limit(
    code: str, field: str, connect: Callable[..., Driver], server: Server
) -> None:
    server.always = Reply(429, {"error": {"message": "You exceeded your current quota", field: code}})
    failure = caught(connect())
    assert (len(server.requests), failure_of(failure).reason) == (1, code)
    assert "quota is used up" in notes_of(failure)


def test_a_page_of_a_firewall_is_no_want_of_credit(driver: Driver, server: Server) -> None:
    server.always = Reply(403, "<title>Attention Required! | Cloudflare</title>")
    failure = caught(driver)
    assert "firewall" in notes_of(failure)
    assert "Attention Required! | Cloudflare" in notes_of(failure)
    assert "credit" not in notes_of(failure)


@pytest.mark.parametrize("options", [{}, {"policy": RetryPolicy(deadline=60.0)}], ids=["whole", "counted"])
def test_headers_of_any_letters_pass(options: Any, connect: Callable[..., Driver], server: Server) -> None:
    headers = {"X-Said": "Gr\u00f6\u00dfe"}
    server.script += [Reply(400, {"message": "no such size"}, headers), Reply(body=CHAT_BODY, headers=headers)]
    driver = connect(**options)
    failure = caught(driver)
    assert (failure.status_code, failure.response.headers["x-said"]) == (400, "Gr\u00f6\u00dfe")
    answer = driver.call(lambda client: client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES))
    assert answer.headers["x-said"] == "Gr\u00f6\u00dfe"


@pytest.mark.parametrize("sent", [json.dumps(CHAT_BODY)[:-9], " " + json.dumps([CHAT_BODY])[:-9]])
def test_a_reply_that_was_cut_is_not_quoted(sent: str, connect: Callable[..., Driver], server: Server) -> None:
    server.always = Reply(body=sent)
    failure = caught(connect(policy=RetryPolicy.off()))
    assert reason_of(failure) == "invalid_answer"
    assert "Boil water" not in f"{failure} {notes_of(failure)}"


def test_blanks_say_nothing(driver: Driver, server: Server) -> None:
    server.always = Reply(400, "  \n")
    assert "The service says" not in notes_of(caught(driver))


def test_a_word_that_was_cut_is_no_firewalls_page(driver: Driver, server: Server) -> None:
    server.always = Reply(403, '{"code": 403, "reason": "NOT_ENOUGH_BAL')
    failure = caught(driver)
    assert "firewall" not in notes_of(failure)
    assert "NOT_ENOUGH_BAL" in notes_of(failure) + str(failure)


# What is not there.


def at(url: str, body: object, status: int = 404) -> Failure:
    from novita_openai.sdk import http_library

    library = http_library()
    content = body if isinstance(body, str) else json.dumps(body)
    response = library.Response(status, text=content, request=library.Request("POST", url))
    if status == HTTPStatus.NOT_FOUND:
        return failure_of(openai.NotFoundError("no", response=response, body=None))
    return failure_of(openai.APIResponseValidationError(response, None))


SERVICE = "https://api.novita.ai/v3/openai"


def test_the_note_on_a_404_never_recommends_the_address_in_use() -> None:
    for body in ("404 page not found", {"message": "Not Found"}):
        there, elsewhere = at(f"{SERVICE}/chat/completion", body), at("https://api.example.com/chat/completions", body)
        assert SERVICE not in there.meaning
        assert "The service has no /v3/openai/chat/completion." in there.meaning
        assert f"wrong: the request went to https://api.example.com/chat/completions, Novita's is {SERVICE}" in (
            elsewhere.meaning
        )
    assert "The service has no" not in at(f"{SERVICE}/chat/completions", {"detail": "Not Found"}).meaning
    assert SERVICE not in at(f"{SERVICE}/chat/completions", "{}", 200).meaning
    assert SERVICE in at("https://x.test/chat/completions", "{}", 200).meaning


def test_the_note_on_a_404_tells_a_model_from_a_batch_and_a_file() -> None:
    word = {"reason": "NOT_HERE", "message": "no"}
    assert "no such batch" in at("https://api.novita.ai/openai/v1/batches/b", word).meaning
    assert "no such file" in at("https://api.novita.ai/openai/v1/files/f/content", word).meaning
    assert "Models:" in at(f"{SERVICE}/chat/completions", word).meaning
    assert "Models:" in at(f"{SERVICE}/chat/completions", {"reason": "MODEL_NOT_FOUND"}).meaning
    assert "Models:" not in at(f"{SERVICE}/nothing", "404 page not found").meaning


# What the network did.


@pytest.fixture
def silent() -> Iterator[str]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


MAKERS: Any = [OpenAI, AsyncOpenAI, create_async_client]


def secret() -> str:
    """Return a key that no local variable of a test holds."""
    return b64decode(b"c2tfU0VDUkVUXzEyMzQ1Njc=").decode()


def failure_at(make: Any, url: str) -> tuple[Any, str]:
    """Return the error of a call to an address, and its traceback with the local variables."""
    how: Any = {"base_url": url, "timeout": 0.5, "policy": PATIENT}
    chat: Any = {"model": "m", "messages": MESSAGES}

    async def ask_async() -> None:
        async with make(api_key=secret(), **how) as client:
            await client.chat.completions.create(**chat)

    def ask() -> None:
        with OpenAI(api_key=secret(), **how) as client:
            client.chat.completions.create(**chat)

    with capture_logs(), retry.no_wait(), pytest.raises(openai.OpenAIError) as caught:
        ask() if make is OpenAI else asyncio.run(ask_async())
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    return caught.value, "".join(shown)


@pytest.mark.parametrize("make", MAKERS)
def test_what_the_network_did_is_told_apart(make: Any, untrusted: str, silent: str) -> None:
    found = {
        name: failure_at(make, url)
        for name, url in {
            "refused": "http://127.0.0.1:9/v1",
            "unknown": "https://no-such-host.invalid/v1",
            "untrusted": untrusted,
            "silent": silent,
        }.items()
    }
    kinds = {name: type(failure) for name, (failure, _) in found.items()}
    lost = openai.APIConnectionError
    assert kinds == {"refused": lost, "unknown": lost, "untrusted": lost, "silent": openai.APITimeoutError}
    notes = {name: notes_of(failure) for name, (failure, _) in found.items()}
    assert "127.0.0.1:9: it refuses connections, as nothing listens on that port." in notes["refused"]
    assert "no-such-host.invalid: there is no host of that name." in notes["unknown"]
    assert "its certificate is not trusted (self-signed certificate)." in notes["untrusted"]
    assert "it sent nothing for too long." in notes["silent"]
    failures = {name: failure_of(failure) for name, (failure, _) in found.items()}
    assert [each.reason for each in failures.values()] == [
        "connection_error",
        "connection_error",
        "bad_certificate",
        "timeout",
    ]
    assert [each.is_unreachable for each in failures.values()] == [True, True, True, False]
    assert [each.is_ambiguous for each in failures.values()] == [False, False, False, True]
    assert "attempt 2" not in notes["untrusted"], "a certificate does not change by asking again"
    assert not any("sk_SECRET" in shown for _, shown in found.values())


@pytest.mark.parametrize("make", MAKERS)
def test_a_name_with_several_addresses_that_all_refuse_is_told_as_one(make: Any) -> None:
    failure, _ = failure_at(make, "http://localhost:9/v1")
    assert "localhost:9: it refuses connections, as nothing listens on that port." in notes_of(failure)


def test_what_the_system_says_is_the_cause_where_no_class_names_it() -> None:
    lost = openai.APIConnectionError(request=None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    lost.__cause__ = OSError(113, "")
    assert failure_of(lost).cause == "it cannot be reached (No route to host)"
    lost.__cause__ = OSError("no number")
    assert failure_of(lost).cause == ""


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("fault", ["close", "reset", "garbage"])
def test_a_connection_that_is_cut_shows_no_key_and_is_no_timeout(make: Any, fault: str, server: Server) -> None:
    server.always = Reply(fault=fault)
    failure, shown = failure_at(make, server.base_url)
    assert (type(failure), failure_of(failure).reason) == (openai.APIConnectionError, "connection_error")
    assert failure_of(failure).is_ambiguous
    assert "sk_SECRET" not in shown


def test_a_cancelled_call_shows_no_key_over_aiohttp(silent: str) -> None:
    async def ask() -> str:
        async with create_async_client(api_key=secret(), base_url=silent) as client:
            try:
                async with asyncio.timeout(0.1):
                    await client.models.list()
            except TimeoutError as error:
                return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        return "sk_SECRET"

    assert "sk_SECRET" not in asyncio.run(ask())


# Where the client was made.


TWO_LOOPS = """
import asyncio, sys, novita_openai
from novita_openai import RetryPolicy

make = getattr(novita_openai, sys.argv[1])
client = make(api_key="k", base_url=sys.argv[2], policy=RetryPolicy.off())
asyncio.run(client.models.list().__aiter__().__anext__())
try:
    asyncio.run(client.models.list().__aiter__().__anext__())
except Exception as error:
    print(*getattr(error, "__notes__", ()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("make", ["AsyncOpenAI", "create_async_client"])
def test_a_client_of_another_event_loop_says_so(make: str, server: Server) -> None:
    command = [sys.executable, "-c", TWO_LOOPS, make, server.base_url]
    assert "another event loop" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_client_of_another_process_says_so(server: Server) -> None:
    server.always = Reply(fault="close")
    with OpenAI(api_key="k", base_url=server.base_url, policy=RetryPolicy.off()) as client:
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:  # pragma: no cover - runs in another process
            try:
                client.models.list()
            except openai.OpenAIError as failure:
                os.write(writing, notes_of(failure).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(writing)
        with os.fdopen(reading) as said:
            assert "made in another process" in said.read()


# Once for each attempt.


def counted(call: Callable[[], Any]) -> Counter[str]:
    """Return how often each function of ``errors`` and of what it reads replies with is called."""
    calls: Counter[str] = Counter()

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename in (errors.__file__, error_replies.__file__):
            calls[frame.f_code.co_name] += 1

    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    return calls


def test_one_failure_is_worked_out_once(driver: Driver, server: Server) -> None:
    driver.chat()
    server.script.append(LIMITED)
    with capture_logs():
        once = counted(driver.chat)
    assert (once["failure_of"], once["reason_of"], once["_rule_for"], once["wait_in"]) == (1, 1, 1, 1)
    server.script.extend([LIMITED] * 2)
    with capture_logs():
        assert counted(driver.chat)["failure_of"] == 2


def test_what_happens_on_a_429_is_decided_in_three_files(driver: Driver, server: Server) -> None:
    deciding: set[str] = set()

    def watch(frame: FrameType, event: str, _: object) -> None:
        held = frame.f_locals.values()
        knows = any(
            isinstance(each, Failure) or (isinstance(each, retry.Call) and hasattr(each, "failure")) for each in held
        )
        if event == "return" and knows:
            deciding.add(frame.f_code.co_filename)

    driver.chat()
    server.script.append(LIMITED)
    with capture_logs():
        sys.setprofile(watch)
        try:
            driver.chat()
        finally:
            sys.setprofile(None)
    package = Path(errors.__file__).parent
    of_ours = {Path(name).relative_to(package).as_posix() for name in deciding if name.startswith(str(package))}
    assert of_ours == {"errors.py", "retry.py", "client/attempts.py"}


# The strategies for tenacity.


def waits_of_client(connect: Callable[..., Driver], policy: RetryPolicy) -> list[float]:
    with capture_logs() as logs, pytest.raises(openai.APIError):
        connect(policy=policy).chat()
    return [log["wait"] for log in logs if log["event"] == "retry.scheduled"]


def waits_of_tenacity(policy: RetryPolicy, server: Server, *, is_async: bool) -> list[float]:
    """Return what tenacity sleeps around the SDK's own client, with the strategies alone."""
    waits: list[float] = []
    how = {**policy.tenacity(), "reraise": True}
    bare: dict[str, Any] = {"api_key": "k", "base_url": server.base_url, "max_retries": 0}
    chat: Any = {"model": "m", "messages": MESSAGES}

    async def wait(seconds: float) -> None:
        waits.append(round(seconds, 3))

    async def ask_async() -> None:
        async def send() -> object:
            return await client.chat.completions.create(**chat)

        async with openai.AsyncOpenAI(**bare) as client:
            await tenacity.AsyncRetrying(sleep=wait, **how)(send)

    def ask() -> None:
        with openai.OpenAI(**bare) as client:
            tenacity.Retrying(sleep=lambda seconds: waits.append(round(seconds, 3)), **how)(
                client.chat.completions.create, **chat
            )

    with pytest.raises(openai.APIError):
        asyncio.run(ask_async()) if is_async else ask()
    return waits


STEADY = {Action.WAIT: Backoff(3.0, 8.0, jitter=0), Action.RETRY: Backoff(1.0, 30.0, jitter=0)}


@pytest.mark.parametrize(
    "reply",
    [
        LIMITED,
        error(429, "RATE_LIMIT_EXCEEDED", retry_after="7"),
        error(429, "RATE_LIMIT_EXCEEDED", retry_after="700"),
        error(500, "MODEL_NOT_AVAILABLE"),
        error(401, "INVALID_API_KEY"),
        Reply(fault="close"),
        Reply(400, {}, {"x-should-retry": "true"}),
        Reply(500, {}, {"x-should-retry": "false"}),
        Reply(504, "slow"),
    ],
)
@pytest.mark.parametrize("attempts", [None, 1, 5])
def test_tenacity_makes_the_waits_and_stops_of_the_client(
    reply: Reply, attempts: int | None, connect: Callable[..., Driver], server: Server
) -> None:
    policy = RetryPolicy(attempts, backoffs=STEADY, budget=None, retry_ambiguous=False)
    server.always = reply
    expected = waits_of_client(connect, policy)
    sent = len(server.requests)
    for is_async in (False, True):
        assert waits_of_tenacity(policy, server, is_async=is_async) == expected
        assert len(server.requests) == sent + (1 + is_async) * (len(expected) + 1)


@given(st.integers(1, 9), st.sampled_from([500, 429, 404]), st.floats(0, 1e4) | st.none())
def test_the_strategies_are_those_of_delay(attempt: int, status: int, asked: float | None) -> None:
    policy = RetryPolicy(4, backoffs=STEADY)
    strategies, failure = policy.tenacity(), refused(status, asked)
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = attempt
    state.set_exception((type(failure), failure, None))
    goes_on = strategies["retry"](state) and not strategies["stop"](state)
    assert (strategies["wait"](state) if goes_on else None) == policy.delay(failure, attempt)


def refused(status: int, asked: float | None) -> openai.APIStatusError:
    from novita_openai.sdk import http_library

    library = http_library()
    headers = {} if asked is None else {"retry-after": str(asked)}
    response = library.Response(status, headers=headers, json={}, request=library.Request("GET", "http://a"))
    return openai.APIStatusError("no", response=response, body={})


def test_tenacity_leaves_alone_what_says_nothing_about_the_service() -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tenacity.Retrying(**PATIENT.tenacity())(fail)
    rule = ErrorRule(None, "ZeroDivisionError", Action.RETRY, "Odd.")
    strategies = RetryPolicy(rules=(rule,), budget=None).tenacity()
    with pytest.raises(tenacity.RetryError):
        tenacity.Retrying(sleep=lambda _: None, **strategies)(fail)
    assert len(calls) == 1 + 3
    assert tenacity.Retrying(**strategies)(lambda: 7) == 7


def test_a_client_of_another_process_is_told_so_where_a_connection_fails(driver: Driver, server: Server) -> None:
    driver.client.process_id = -1
    for reply, is_said in (
        (Reply(401, {"reason": "INVALID_API_KEY", "message": "no"}), False),
        (Reply(fault="close"), True),
    ):
        server.always = reply
        with pytest.raises(openai.APIError) as failure:
            driver.call(lambda client: client.chat.completions.create(**CHAT))
        assert ("made in another process" in " ".join(failure.value.__notes__)) == is_said


def test_an_error_of_the_system_is_its_own_reason() -> None:
    assert reason_of(OSError("x")) == "OSError"
