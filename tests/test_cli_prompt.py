"""The prompt commands, run in this process."""

from __future__ import annotations

import json

import pytest
from test_prompts import GUIDE
from typer.testing import CliRunner

from novita_openai.cli_prompt import prompt_app

MESSAGES = json.dumps([{"role": "user", "content": "How?"}])


def run(*arguments: str, text: str | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(prompt_app, [*arguments], input=text)
    return result.exit_code, result.stdout, result.stderr


def test_a_prompt_goes_through_the_commands_and_back() -> None:
    code, messages, _ = run("parse", "--format", "vicuna-newline", text=GUIDE)
    assert code == 0
    assert [message["role"] for message in json.loads(messages)] == ["system", "user", "assistant", "user"]
    assert run("render", "-f", "vicuna-newline", text=messages)[:2] == (0, GUIDE)
    code, names, _ = run("detect", text=GUIDE)
    assert (code, "vicuna-newline" in names.split()) == (0, True)


def test_formats_are_listed() -> None:
    assert "chatml\t'<|im_end|>' '<|im_start|>'\taxolotl 0.19.0" in run("formats")[1]
    assert {row["name"] for row in json.loads(run("formats", "--json")[1])} >= {"chatml", "llama-3.1"}


def test_a_models_format_is_found() -> None:
    code, prompt, _ = run("render", MESSAGES, "--model", "openai/gpt-oss-20b", "--date", "2026-01-02", "--no-reply")
    assert (code, "Current date: 2026-01-02" in prompt) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["render", MESSAGES], 2, "either --format or --model"),
        (["render", MESSAGES, "-f", "chatml", "-m", "x"], 2, "either --format or --model"),
        (["render", "{", "-f", "chatml"], 2, "not JSON"),
        (["render", MESSAGES, "-f", "gpt-oss"], 1, "novita-openai: format 'gpt-oss'"),
        (["render", MESSAGES, "-m", "unknown"], 1, "name the format"),
        (["parse", "hello", "-f", "chatml"], 1, "offset 0"),
        (["detect", "\N{SNOWMAN}<|end|>"], 1, "no format reads this prompt"),
    ],
)
def test_a_wrong_use_is_one_line_and_an_exit_code(arguments: list[str], code: int, words: str) -> None:
    found, out, errors = run(*arguments)
    assert (found, out) == (code, "")
    assert words in " ".join(errors.replace("│", " ").split())
