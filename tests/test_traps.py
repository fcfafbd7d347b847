"""The seven traps of overriding the SDK's ``request()``: each has a test that fails for a naive override."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import openai
import pytest
from conftest import Driver
from server import FILE, Reply, Server, error
from structlog.testing import capture_logs

from novita_openai import RetryPolicy

DOWN = error(500, "MODEL_NOT_AVAILABLE")


@pytest.fixture
def unlimited(connect: Callable[..., Driver]) -> Driver:
    return connect(policy=RetryPolicy(budget=None))


def test_1_a_retried_binary_stream_keeps_its_class(unlimited: Driver, server: Server) -> None:
    speech = Reply(200, b"\x00\x01\x02", {"content-type": "audio/mpeg"})
    request: Any = {"model": "m", "voice": "alloy", "input": "x"}

    def kind_after(*replies: Reply) -> Any:
        server.script.extend([*replies, speech])
        return unlimited.within(
            lambda client: client.audio.speech.with_streaming_response.create(**request),
            lambda response: type(response).__name__,
        )

    assert kind_after(DOWN, DOWN) == kind_after()


def test_2_every_page_of_a_list_is_retried(unlimited: Driver, server: Server) -> None:
    def page(name: str, more: bool) -> Reply:
        return Reply(200, {"object": "list", "data": [FILE | {"id": name}], "has_more": more})

    server.script.extend([DOWN, page("a", more=True), DOWN, DOWN, page("b", more=True), DOWN, page("c", more=False)])
    files = unlimited.collect(lambda client: client.files.list(limit=1))
    assert [file.id for file in files] == ["a", "b", "c"]
    assert len(server.requests) == 7


def test_3_the_server_is_told_the_number_of_the_retry(unlimited: Driver, server: Server) -> None:
    server.script.extend([DOWN, DOWN])
    unlimited.chat()
    assert [request.headers["x-stainless-retry-count"] for request in server.requests] == ["0", "1", "2"]
    server.script.append(DOWN)
    unlimited.chat(extra_headers={"X-Stainless-Retry-Count": "mine"})
    assert [request.headers["x-stainless-retry-count"] for request in server.requests[3:]] == ["mine", "mine"]


def test_4_raw_and_streamed_responses_know_the_retries_taken(unlimited: Driver, server: Server) -> None:
    request: Any = {"model": "m", "messages": []}
    server.script.extend([DOWN, DOWN])
    raw = unlimited.call(lambda client: client.chat.completions.with_raw_response.create(**request))
    assert raw.retries_taken == 2
    server.script.append(DOWN)
    streamed = unlimited.within(
        lambda client: client.chat.completions.with_streaming_response.create(**request),
        lambda response: response.retries_taken,
    )
    assert streamed == 1
    assert unlimited.call(lambda client: client.models.with_raw_response.list()).retries_taken == 0


class Pipe(io.RawIOBase):
    """An upload that can be read once, as a pipe or a socket."""

    def __init__(self, content: bytes) -> None:
        self.content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self.content.readinto(buffer)


def upload_file(driver: Driver, file: Any) -> Any:
    return driver.call(lambda client: client.files.create(file=file, purpose="batch"))


@pytest.mark.parametrize(
    "form", [lambda file: file, lambda file: ("name", file), lambda file: ("name", file, "text/x")]
)
def test_5_an_upload_is_sent_whole_again_or_not_at_all(
    form: Callable[[Any], Any], unlimited: Driver, server: Server
) -> None:
    file = io.BytesIO(b"not sent|the upload")
    file.seek(len(b"not sent|"))
    for upload in (form(file), form(b"the upload")):
        server.requests.clear()
        server.script.extend([DOWN, DOWN])
        upload_file(unlimited, upload)
        bodies = [request.body for request in server.requests]
        assert len(bodies) == 3
        assert all(b"the upload" in body for body in bodies)
        assert len({(len(body), b"not sent" in body) for body in bodies}) == 1


def test_5_an_upload_that_cannot_be_rewound_is_not_sent_again(connect: Callable[..., Driver], server: Server) -> None:
    server.always = DOWN
    driver = connect(policy=RetryPolicy(budget=None))
    if driver.is_async:
        pytest.skip("the async SDK takes no such file")
    with capture_logs() as logs, pytest.raises(openai.InternalServerError) as failure:
        upload_file(driver, ("name", Pipe(b"once")))
    assert (len(server.requests), logs) == (1, [])
    assert any("rewound" in note for note in failure.value.__notes__)


@pytest.mark.skipif(openai.__version__.startswith("1."), reason="raw contents came with SDK 2")
def test_5_raw_contents_are_sent_again_where_they_can_be(unlimited: Driver, server: Server) -> None:
    def post(content: Any) -> int:
        server.requests.clear()
        server.script.extend([DOWN, DOWN])
        try:
            unlimited.call(lambda client: client.post("/files", content=content, cast_to=object))
        except openai.InternalServerError:
            server.script.clear()
        assert {request.body for request in server.requests} == {b"content"}
        return len(server.requests)

    def once() -> Iterator[bytes]:
        yield b"content"

    async def once_async() -> AsyncIterator[bytes]:
        yield b"content"

    assert post(b"content") == 3
    assert post(once_async() if unlimited.is_async else once()) == 1
    if not unlimited.is_async:
        assert post([b"con", b"tent"]) == 3
        file = io.BytesIO(b"not sent|content")
        file.seek(len(b"not sent|"))
        assert post(file) == 3


def test_6_with_options_keeps_the_policy(connect: Callable[..., Driver], server: Server) -> None:
    server.always = DOWN
    driver = connect(policy=RetryPolicy(attempts=2, budget=None))
    with capture_logs(), pytest.raises(openai.InternalServerError):
        driver.of(driver.client.with_options(timeout=9).with_options(default_headers={"x-mine": "1"}).copy()).chat()
    assert len(server.requests) == 2


def test_7_the_sdks_own_knob_sets_the_attempts_and_nothing_multiplies_them(
    connect: Callable[..., Driver], server: Server
) -> None:
    server.always = DOWN
    for retries in (0, 1, 3):
        server.requests.clear()
        driver = connect(policy=RetryPolicy(budget=None))
        with capture_logs(), pytest.raises(openai.InternalServerError):
            driver.of(driver.client.with_options(max_retries=retries)).chat()
        assert len(server.requests) == 1 + retries
