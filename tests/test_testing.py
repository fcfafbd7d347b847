"""The pytest plugin, used as people use it: in a folder of their own, by the installed entry point."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import novita_openai
from novita_openai import OpenAI
from novita_openai.emulator import Emulator, Fault

PROGRAM = """
from novita_openai import OpenAI

def ask(question):
    with OpenAI() as client:
        messages = [{"role": "user", "content": question}]
        answer = client.chat.completions.create(model="qwen/qwen3-30b-a3b-fp8", messages=messages)
        return answer.choices[0].message.content
"""
TESTS = """
import openai, os, pytest
from novita_openai.emulator import Fault
from program import ask

def test_answer(novita):
    novita.script.append("Boil water.")
    assert ask("How do I make pasta?") == "Boil water."
    assert novita.requests[-1].json["messages"][0]["content"] == "How do I make pasta?"

def test_fault(novita):
    novita.script.extend([Fault("RATE_LIMIT_EXCEEDED", retry_after=60), Fault("reset"), "Boil water."])
    assert ask("?") == "Boil water."
    assert [request.fault for request in novita.requests] == ["RATE_LIMIT_EXCEEDED", "reset", None]

def test_fresh(novita):
    assert novita.requests == []

def test_without():
    assert "NOVITA_BASE_URL" not in os.environ
"""


def test_a_users_program_is_tested_offline(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "test_program.py").write_text(TESTS, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "--import-mode=prepend"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "4 passed" in result.stdout


def test_the_plugin_loads_no_server_for_tests_that_need_none() -> None:
    code = (
        "import sys; import novita_openai.testing; print(sorted({'aiohttp', 'openai', 'pydantic'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_fixture_is_the_default_of_every_client(novita: Emulator) -> None:
    novita.script.append(Fault("MODEL_NOT_AVAILABLE"))
    with OpenAI() as client, novita_openai.create_client() as other:
        assert client.base_url == other.base_url == f"{novita.base_url}/"
        assert client.models.list().data
    assert novita.request_count == 2
