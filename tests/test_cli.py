"""The command line, run as people run it: real processes, a scripted server, a real model."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from server import MODELS, Reply, Server, chunk, error, stream

from novita_openai.cli.serving import EmulatorOptions
from novita_openai.installing import how_to_install

Result = subprocess.CompletedProcess[str]
Run = Callable[..., Result]
PROGRAM = [sys.executable, "-m", "novita_openai"]
ONE_MODEL = {
    "id": "meta-llama/llama-3.1-8b-instruct",
    "object": "model",
    "created": 1,
    "context_size": 16384,
    "input_token_price_per_m": 200,
    "output_token_price_per_m": 2690,
}


def environment(**variables: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("NOVITA_", "OPENAI_"))}
    return plain | variables


def program(*arguments: str, text: str | None = None, **variables: str) -> Result:
    return subprocess.run(
        [*PROGRAM, *arguments],
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def run(server: Server) -> Run:
    """Run the program against the scripted server."""

    def run(*arguments: str, text: str | None = None) -> Result:
        return program(*arguments, text=text, NOVITA_API_KEY="sk_test", NOVITA_BASE_URL=server.base_url)

    return run


def one_line(result: Result) -> str:
    assert result.stdout == ""
    return one_line_of(result.stderr)


def one_line_of(told: str) -> str:
    lines = told.splitlines()
    assert len(lines) == 1, told
    assert lines[0].startswith("novita-openai: ")
    return lines[0]


def test_chat_prints_the_answer_as_it_streams(run: Run, server: Server) -> None:
    usage = {**chunk(""), "choices": [], "usage": {"total_tokens": 1}}
    server.always = stream(chunk("Boil "), chunk("water.", "stop"), usage)
    result = run("chat", "How do I make pasta?", "--system", "You cook.", "--max-tokens", "9", "--temperature", "0")
    assert (result.returncode, result.stdout, result.stderr) == (0, "Boil water.\n", "")
    sent = server.requests[0].json
    assert sent["messages"] == [
        {"role": "system", "content": "You cook."},
        {"role": "user", "content": "How do I make pasta?"},
    ]
    expected = {"model": "meta-llama/llama-3.1-8b-instruct", "max_tokens": 9, "temperature": 0, "stream": True}
    assert expected.items() <= sent.items()


def test_complete_reads_standard_input(run: Run, server: Server) -> None:
    server.always = stream(chunk("Boil "), chunk("water.", "stop"))
    for arguments in ([], ["-"]):
        result = run("complete", *arguments, "-m", "m", text="USER: Hi\nASSISTANT:")
        assert (result.returncode, result.stdout) == (0, "Boil water.\n")
        sent = server.requests[-1].json
        assert (sent["prompt"], sent["model"], "temperature" in sent) == ("USER: Hi\nASSISTANT:", "m", False)


@pytest.mark.parametrize("command", ["chat", "complete"])
def test_json_is_the_whole_answer_in_one_line(command: str, run: Run, server: Server) -> None:
    result = run(command, "Hi", "--json")
    assert json.loads(result.stdout)["usage"]["total_tokens"] == 5
    assert result.stdout.count("\n") == 1
    assert not server.requests[0].json.get("stream")


def test_models_are_lines_for_programs(run: Run, server: Server) -> None:
    server.always = Reply(200, {"object": "list", "data": [ONE_MODEL, MODELS["data"][0]]})
    result = run("models")
    assert result.stdout == "meta-llama/llama-3.1-8b-instruct\t16384\t0.02\t0.269\nm\t4096\t\t\n"
    assert json.loads(run("models", "--json").stdout)[0]["context_size"] == 16384


def test_models_show_the_prices_of_cached_tokens_and_of_long_prompts(run: Run, server: Server) -> None:
    def tier(least: int, prompt: int, **others: int) -> dict[str, Any]:
        prices = {"prompt": prompt, "completion": 3 * prompt, **others}
        return {"min_tokens": least, "pricing": {name: {"price_per_m": price} for name, price in prices.items()}}

    tiers = [tier(256_000, 20_000), tier(1, 5_000, input_cache_read=500)]
    tiered = ONE_MODEL | {"input_token_price_per_m": 0, "output_token_price_per_m": 0, "tiered_billing_configs": tiers}
    free = ONE_MODEL | {"input_token_price_per_m": 0, "output_token_price_per_m": 0}
    server.always = Reply(200, {"object": "list", "data": [tiered, free]})
    lines = [line.split("\t")[2:] for line in run("models").stdout.splitlines()]
    assert lines == [["0.5 (cached 0.05), 2 from 256000", "1.5, 6 from 256000"], ["0", "0"]]


def test_models_are_a_table_for_people(server: Server) -> None:
    server.always = Reply(200, {"object": "list", "data": [ONE_MODEL]})
    with terminal() as (reader, writer):
        variables = environment(NOVITA_API_KEY="k", NOVITA_BASE_URL=server.base_url, TERM="dumb", COLUMNS="100")
        subprocess.run([*PROGRAM, "models"], stdout=writer, env=variables, timeout=60, check=True)
        shown = os.read(reader, 100_000).decode()
    assert "$/M in" in shown
    assert "0.269" in shown


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    reader, writer = os.openpty()
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def test_without_a_key_one_line_says_the_ways() -> None:
    result = program("chat", "Hi")
    assert result.returncode == 1
    assert "set NOVITA_API_KEY" in one_line(result)


PROBLEMS = [
    (error(401, "INVALID_API_KEY"), "401 INVALID_API_KEY: the INVALID_API_KEY message. The API key is invalid."),
    (error(403, "NOT_ENOUGH_BALANCE"), "403 NOT_ENOUGH_BALANCE: the NOT_ENOUGH_BALANCE message"),
    (error(404, "MODEL_NOT_FOUND"), "The service has no model of that name."),
    (Reply(400, {"reason": "INVALID_REQUEST_BODY", "message": "max_tokens\nis too large"}), "max_tokens is too large"),
    (Reply(404, "404 page not found"), "The service has no "),
]


@pytest.mark.parametrize(("reply", "words"), PROBLEMS)
@pytest.mark.parametrize("command", [["chat", "Hi"], ["complete", "Hi", "--json"], ["models"]])
@pytest.mark.slow
def test_a_problem_with_key_address_or_model_is_one_line(
    reply: Reply, words: str, command: list[str], run: Run, server: Server
) -> None:
    server.always = reply
    result = run(*command)
    assert result.returncode == 1
    assert words in one_line(result)
    assert "Traceback" not in result.stderr
    assert [request.path for request in server.requests[1:]] in ([], ["/models"])  # looked at for near names


@pytest.mark.slow
def test_an_address_that_is_none_or_plain_is_said(run: Run) -> None:
    result = run("chat", "Hi", "--base-url", "api.novita.ai")
    assert "--base-url 'api.novita.ai' is no address" in one_line(result)
    assert "no address" in one_line(run("chat", "Hi", "--base-url", "http://localhost:abc"))
    refused = run("models", "--base-url", "http://127.0.0.1:1/v3/openai")
    assert refused.returncode == 1
    assert "novita-openai: The connection failed" in refused.stderr


@pytest.mark.slow
def test_retries_are_told_on_stderr_alone(run: Run, server: Server) -> None:
    server.script.append(error(429, "RATE_LIMIT_EXCEEDED", retry_after="0.01"))
    server.always = stream(chunk("ok", "stop"))
    result = run("chat", "Hi")
    assert result.stdout == "ok\n"
    assert "429 RATE_LIMIT_EXCEEDED: asking again in 0.01 s (attempt 1 of 3 failed)" in one_line_of(result.stderr)


@pytest.mark.parametrize(
    ("arguments", "text", "words"),
    [
        (["chat"], "", "the prompt is empty"),
        (["chat", "  "], None, "the prompt is empty"),
        (["complete", "x", "--temperature", "9"], None, "temperature"),
        (["fly"], None, "fly"),
    ],
)
@pytest.mark.slow
def test_bad_usage_exits_2(arguments: list[str], text: str | None, words: str, run: Run) -> None:
    result = run(*arguments, text=text)
    assert result.returncode == 2
    assert words in result.stderr


@pytest.mark.slow
def test_an_answer_that_the_terminal_cannot_show_is_shown_as_far_as_it_can(server: Server) -> None:
    server.always = stream(chunk("Spätzle", "stop"))
    variables = {"NOVITA_API_KEY": "k", "NOVITA_BASE_URL": server.base_url, "PYTHONIOENCODING": "ascii"}
    assert program("chat", "Hi", **variables).stdout == "Sp?tzle\n"


@pytest.mark.slow
def test_a_prompt_that_is_not_utf_8_is_told(server: Server) -> None:
    variables = environment(NOVITA_API_KEY="k", NOVITA_BASE_URL=server.base_url)
    for argument, data in (b"\xff", b""), (b"-", b"\xff"):
        command = [part.encode() for part in PROGRAM] + [b"chat", argument]
        result = subprocess.run(command, input=data, env=variables, capture_output=True, timeout=60, check=False)
        assert result.returncode == 2
        assert b"not UTF-8" in result.stderr


@pytest.mark.slow
def test_a_full_disk_is_told(server: Server) -> None:
    server.always = stream(chunk("word", "stop"))
    variables = environment(NOVITA_API_KEY="k", NOVITA_BASE_URL=server.base_url)
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        pipe = subprocess.PIPE
        result = subprocess.run(
            [*PROGRAM, "chat", "-"],
            input="Hi",
            env=variables,
            stdout=full,
            stderr=pipe,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    assert "cannot write the output: No space left" in result.stderr


@pytest.mark.slow
def test_a_closed_standard_input_is_no_prompt(server: Server) -> None:
    command = " ".join([*PROGRAM, "chat", "<&-"])
    variables = environment(NOVITA_API_KEY="k", NOVITA_BASE_URL=server.base_url)
    result = subprocess.run(
        ["sh", "-c", command], stdin=subprocess.DEVNULL, env=variables, capture_output=True, text=True, check=False
    )
    assert (result.returncode, "no prompt" in result.stderr) == (2, True)


@pytest.mark.slow
def test_a_closed_standard_output_is_no_crash(server: Server) -> None:
    server.always = stream(chunk("word", "stop"))
    variables = environment(NOVITA_API_KEY="k", NOVITA_BASE_URL=server.base_url)
    command = " ".join([*PROGRAM, "chat", "Hi", ">&-"])
    result = subprocess.run(
        ["sh", "-c", command], stdin=subprocess.DEVNULL, env=variables, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in result.stderr


def test_a_broken_installation_is_not_taken_for_a_missing_extra() -> None:
    code = "import sys; sys.modules['logging'] = None; from novita_openai.__main__ import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "logging" in result.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_terminal_is_not_read_in_silence(server: Server) -> None:
    with terminal() as (_, writer):
        variables = environment(NOVITA_API_KEY="k", NOVITA_BASE_URL=server.base_url)
        result = subprocess.run(
            [*PROGRAM, "chat"], stdin=writer, env=variables, capture_output=True, text=True, timeout=60, check=False
        )
    assert result.returncode == 2
    assert "no prompt" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([], "NOVITA_API_KEY"),
        (["chat"], "NOVITA_BASE_URL, else Novita's own"),
        (["serve"], "a small Gemma 3"),
        (["emulate"], "a minute's worth"),
        (["batch"], "found by trying"),
    ],
)
@pytest.mark.slow
def test_help_is_there_and_shows_the_defaults(arguments: list[str], shown: str) -> None:
    result = program(*arguments, "--help", COLUMNS="200")
    assert result.returncode == 0
    assert "Usage: novita-openai" in result.stdout
    assert shown in " ".join(result.stdout.split())


UNKNOWN_SDK = "import openai._constants; del openai._constants.RAW_RESPONSE_HEADER"
LIMITED = {
    "a release of the SDK without what the clients lean on": UNKNOWN_SDK,
    "a system that is not POSIX": "import sys; sys.modules['fcntl'] = None",
}


def limited(limit: str, *arguments: str) -> Result:
    """Run the program where something is missing."""
    code = (
        f"{LIMITED[limit]}\nimport sys\nsys.argv[1:] = {arguments!r}\nfrom novita_openai.__main__ import main\nmain()"
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("limit", LIMITED)
@pytest.mark.parametrize(
    "arguments", [["--help"], ["batch", "--help"], ["prompt", "formats"], ["emulate", "--list-faults"]]
)
def test_commands_that_need_no_client_work_where_there_can_be_none(limit: str, arguments: list[str]) -> None:
    assert limited(limit, *arguments).returncode == 0


@pytest.mark.parametrize(
    ("limit", "arguments", "code", "words"),
    [
        (
            "a release of the SDK without what the clients lean on",
            ["models"],
            1,
            "has no _constants.RAW_RESPONSE_HEADER",
        ),
        (
            "a release of the SDK without what the clients lean on",
            ["batch", "a", "-o", "b"],
            2,
            "has no _constants.RAW_RESPONSE_HEADER",
        ),
        ("a system that is not POSIX", ["batch", "a", "-o", "b"], 2, "needs a POSIX system"),
        ("a system that is not POSIX", ["models", "--base-url", "nonsense"], 1, "NOVITA_API_KEY"),
    ],
)
def test_a_command_that_cannot_work_says_why(limit: str, arguments: list[str], code: int, words: str) -> None:
    result = limited(limit, *arguments)
    assert (result.returncode, words in one_line(result)) == (code, True)


@contextlib.contextmanager
def started(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Start the program, and end it where the test does not."""
    pipe = subprocess.PIPE
    command = [*PROGRAM, *arguments]
    nothing, whole = subprocess.DEVNULL, environment(**variables)
    with subprocess.Popen(command, env=whole, stdin=nothing, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_an_interrupt_exits_130(server: Server) -> None:
    server.always = Reply(fault="stall")
    with started("chat", "Hi", NOVITA_API_KEY="k", NOVITA_BASE_URL=server.base_url) as process:
        while not server.requests:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in told


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_crash(server: Server) -> None:
    server.always = stream(*(chunk("word ") for _ in range(5000)), chunk("", "stop"))
    variables = environment(NOVITA_API_KEY="k", NOVITA_BASE_URL=server.base_url)
    command, pipe = [*PROGRAM, "chat", "Hi"], subprocess.PIPE
    with subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_local_answers_with_a_real_model_and_no_key() -> None:
    greedy = ["--local", "--temperature", "0", "--max-tokens", "20"]
    answer = program("chat", "What is the capital of France?", *greedy)
    assert (answer.returncode, "Paris" in answer.stdout) == (0, True), answer
    assert "Rome" in program("complete", "The capital of France is Paris. The capital of Italy is", *greedy).stdout
    assert program("models", "--local").stdout.startswith("gemma")


@pytest.mark.slow
def test_serve_serves_until_it_is_interrupted() -> None:
    with started("serve", "--port", "0") as process:
        base_url = read_line(process)
        result = program("chat", "Hi", "--max-tokens", "5", NOVITA_API_KEY="any", NOVITA_BASE_URL=base_url)
        assert result.returncode == 0, result.stderr
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"NOVITA_BASE_URL={base_url}" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_serve_says_what_is_wrong_with_a_file(tmp_path: Any) -> None:
    result = program("serve", "--path", str(tmp_path / "none.gguf"))
    assert result.returncode == 1
    assert "none.gguf" in one_line(result)


@pytest.mark.slow
def test_emulate_emulates_until_it_is_interrupted() -> None:
    limits = ["--rpm", "60", "--burst", "2", "--retry-after", "--key", "sk_good", "--key", "sk_poor=0"]
    with started("emulate", "--port", "0", "--model", "my/model", *limits) as process:
        base_url = read_line(process)
        answers = [
            program("chat", "Hi", "--model", model, NOVITA_API_KEY=key, NOVITA_BASE_URL=base_url)
            for model, key in (
                ("my/model", "sk_good"),
                ("my/model", "sk_bad"),
                ("my/model", "sk_poor"),
                ("m", "sk_good"),
            )
        ]
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"NOVITA_BASE_URL={base_url}" in told
    assert len(answers[0].stdout.split()) > 2
    words = ("FAILED_TO_AUTH", "NOT_ENOUGH_BALANCE", "there is no model 'm'")
    assert [word in one_line(answer) for word, answer in zip(words, answers[1:], strict=True)] == [True] * 3


@pytest.mark.slow
def test_emulate_meets_every_request_with_the_fault_it_is_told() -> None:
    with started("emulate", "--port", "0", "--fault", "MODEL_NOT_FOUND") as process:
        result = program("chat", "Hi", NOVITA_API_KEY="any", NOVITA_BASE_URL=read_line(process))
        assert "MODEL_NOT_FOUND" in one_line(result)


def test_emulate_lists_its_faults() -> None:
    lines = program("emulate", "--list-faults").stdout.splitlines()
    assert "reset\tthe connection is reset" in lines
    assert any(line.startswith("RATE_LIMIT_EXCEEDED\t429") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--fault", "rest=0.1"], "near it: reset"),
        (["--fault", "reset=often"], "give --fault KIND or KIND=SHARE"),
        (["--key", "sk_secret=xyz"], "give --key KEY or KEY=DOLLARS"),
        (["--key", ""], "keys must be"),
        (["--fault", "reset=2"], "faults must be shares"),
        (["--rpm", "0"], "rpm must be above 0"),
    ],
)
@pytest.mark.slow
def test_emulate_refuses_settings_that_cannot_be(arguments: list[str], told: str) -> None:
    result = program("emulate", "--port", "0", *arguments)
    assert result.returncode == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())
    assert "secret" not in result.stderr


@pytest.mark.parametrize("command", ["emulate", "serve"])
def test_a_port_that_is_taken_is_told(command: str, server: Server) -> None:
    result = program(command, "--port", str(server.port))
    assert result.returncode == 2
    assert f"--port {server.port}: Address already in use; name another, or 0 for a free one" in result.stderr


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("typer", ["models"], "cli"),
        ("xllamacpp", ["chat", "Hi", "--local"], "local"),
        ("aiohttp", ["emulate"], "emulator"),
    ],
)
def test_a_missing_extra_is_named_with_its_install_line(module: str, arguments: list[str], extra: str) -> None:
    hidden = f"import sys; sys.modules[{module!r}] = None; sys.argv[1:] = {arguments!r}"
    code = f"{hidden}\nfrom novita_openai.__main__ import main\nmain()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode in (1, 2)
    assert how_to_install(extra) in one_line(result)


@pytest.mark.slow
def test_a_local_model_that_ends_while_it_serves_is_told() -> None:
    with started("serve", "--port", "0") as process:
        assert read_line(process).startswith("http://127.0.0.1:")
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, check=True)
        for pid in listed.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "process has ended" in told


def test_keys_and_faults_of_the_emulator_have_numbers() -> None:
    options = EmulatorOptions(keys=["a", "b=2"], faults=["stall=0.1", "reset"])
    assert options.arguments()["keys"] == {"a": None, "b": 2.0}
    assert options.arguments()["faults"] == {"stall": 0.1, "reset": 1.0}
    with pytest.raises(typer.BadParameter, match="give --key KEY or KEY=DOLLARS: what follows"):
        EmulatorOptions(keys=["secret=x"]).arguments()
