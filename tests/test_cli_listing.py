"""The commands `models` and `doctor`: what they find, in which order, and what they say where they find nothing."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest
from server import Reply, Server, chunk, error, stream
from shell import Shell

from novita_openai.client.catalog import abilities

VISION: dict[str, Any] = {
    "id": "qwen/qwen-vl",
    "title": "Qwen that sees",
    "context_size": 32_000,
    "input_modalities": ["text", "image"],
    "features": ["function-calling", "serverless"],
    "endpoints": ["chat/completions", "batch-api"],
    "input_token_price_per_m": 9000,
    "output_token_price_per_m": 9000,
}
SMALL: dict[str, Any] = {
    "id": "meta-llama/llama-3.1-8b-instruct",
    "context_size": 16_384,
    "features": ["structured-outputs"],
    "input_token_price_per_m": 200,
    "output_token_price_per_m": 500,
}
OTHER: dict[str, Any] = {"id": "baai/bge-m3", "model_type": "embedding", "context_size": 0, "features": None}


@pytest.fixture(autouse=True)
def _listed(server: Server) -> None:
    server.always = Reply(body={"data": [VISION, OTHER, SMALL]})


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], ["qwen/qwen-vl", "baai/bge-m3", "meta-llama/llama-3.1-8b-instruct"]),
        (["LLAMA"], ["meta-llama/llama-3.1-8b-instruct"]),
        (["qwen", "sees"], ["qwen/qwen-vl"]),
        (["--sort", "price"], ["meta-llama/llama-3.1-8b-instruct", "qwen/qwen-vl", "baai/bge-m3"]),
        (["--sort", "context"], ["qwen/qwen-vl", "meta-llama/llama-3.1-8b-instruct", "baai/bge-m3"]),
        (["--can", "vision,tools, batch-api"], ["qwen/qwen-vl"]),
        (["--can", "embeddings"], ["baai/bge-m3"]),
    ],
)
def test_models_are_searched_and_sorted(arguments: list[str], found: list[str], shell: Shell) -> None:
    ended = shell("models", *arguments)
    assert (ended.code, [line.partition("\t")[0] for line in ended.out.splitlines()]) == (0, found)
    assert [row["id"] for row in json.loads(shell("models", *arguments, "--json").out)] == found


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lema-3.1-8b"], "no model fits; near names: meta-llama/llama-3.1-8b-instruct"),
        (["zzzz"], "no model fits; 'novita-openai models' lists them all"),
        (["llama", "--can", "vision"], "no model fits"),
        (["--can", "fly"], "no model says that it can 'fly'; they say: batch-api, chat, "),
    ],
)
def test_where_no_model_fits_that_is_said(arguments: list[str], words: str, shell: Shell) -> None:
    ended = shell("models", *arguments)
    assert (ended.code, ended.out) == (1, "")
    assert ended.line.startswith(words)


def test_an_empty_list_is_no_failure(shell: Shell, server: Server) -> None:
    server.always = Reply(body={"data": []})
    assert (shell("models").code, shell("models", "--json").out) == (0, "[]\n")


def test_an_order_that_does_not_exist_is_refused(shell: Shell) -> None:
    assert shell("models", "--sort", "name").code == 2


def test_what_the_list_is_silent_of_is_no_ability() -> None:
    assert abilities(OTHER) == {"embeddings"}


def balance(amount: object) -> Reply:
    return Reply(body={"availableBalance": amount})


def doctor_of(shell: Shell, *arguments: str) -> dict[str, tuple[bool | None, str]]:
    ended = shell("doctor", "--json", *arguments)
    found = {each["name"]: (each["is_good"], each["said"]) for each in json.loads(ended.out)}
    assert ended.code == int(any(good is False for good, _ in found.values()))
    return found


def test_the_doctor_says_what_works(shell: Shell, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("HTTP_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "https_proxy", "http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    server.script.extend([Reply(body={"data": [SMALL]}), balance("12345"), stream(chunk("Hi", "stop"))])
    ended = shell("doctor")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert f"Python {platform.python_version()}" in lines[0]
    assert lines[1] == "   network: HTTPS_PROXY=http://...@proxy.example:3128, NO_PROXY=127.0.0.1"
    assert lines[2] == "ok key: 7 characters, from NOVITA_API_KEY"
    assert lines[3] == f"ok address: {server.base_url}/"
    assert lines[4].startswith("ok route: 1 models in ")
    assert lines[5] == "ok balance: $1.23"
    assert lines[6].startswith("ok first token: ")
    assert "sk_test" not in ended.out
    assert "secret" not in ended.out
    assert server.requests[2].json["max_tokens"] == 1


def test_the_doctor_says_what_does_not_work(shell: Shell, server: Server) -> None:
    server.script.extend([Reply(body={"data": []}), error(401, "INVALID_API_KEY"), error(404, "MODEL_NOT_FOUND")])
    found = doctor_of(shell, "-m", "nothing")
    assert "it does not have nothing" in found["route"][1]
    assert found["balance"][0] is False
    assert found["balance"][1].startswith("401 INVALID_API_KEY: ")
    assert found["first token"][0] is False


def test_the_doctor_takes_a_short_name_and_says_which_names_are_near(shell: Shell, server: Server) -> None:
    listed = Reply(body={"data": [SMALL, SMALL | {"id": f"{SMALL['id']}-large"}]})
    server.script.extend([listed, balance("1"), stream(chunk("Hi", "stop"))])
    name = SMALL["id"].rpartition("/")[2]
    assert f"it has {SMALL['id']}" in doctor_of(shell, "-m", name)["route"][1]
    assert server.requests[2].json["model"] == SMALL["id"]
    server.script.extend([listed, balance("1"), error(404, "MODEL_NOT_FOUND")])
    wrong = f"{name}x"
    said = doctor_of(shell, "-m", wrong)["route"][1]
    assert f"it does not have {wrong}; near names: {SMALL['id']}" in said


@pytest.mark.parametrize(
    ("reply", "good", "said"),
    [
        (Reply(404, "404 page not found"), None, "not told by this host"),
        (balance(None), None, "not told"),
        (Reply(body=[]), None, "not told"),
        (balance("0"), False, "$0.00"),
    ],
)
def test_a_balance_that_is_not_told_is_no_fault(
    reply: Reply, good: bool | None, said: str, shell: Shell, server: Server
) -> None:
    server.script.extend([Reply(body={"data": []}), reply, stream(chunk("Hi", "stop"))])
    assert doctor_of(shell)["balance"] == (good, said)


def test_without_a_key_the_doctor_looks_at_the_rest(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOVITA_API_KEY")
    found = doctor_of(shell)
    assert found["key"][0] is False
    assert (found["route"][0], "balance" in found) == (True, False)


def test_a_key_in_a_file_and_an_address_that_is_none_are_told(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NOVITA_API_KEY")
    (tmp_path / "key").write_text("sk_12345\n")
    monkeypatch.setenv("NOVITA_API_KEY_FILE", str(tmp_path / "key"))
    found = doctor_of(shell, "--base-url", "nonsense")
    assert found["key"] == (True, "8 characters, from the file that NOVITA_API_KEY_FILE names")
    assert found["address"][0] is False
    assert "route" not in found
