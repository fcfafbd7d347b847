"""The prompt commands, run in this process."""

from __future__ import annotations

import json
import sys
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from test_prompts import GUIDE
from typer.testing import CliRunner

from novita_openai import prompts
from novita_openai.cli.prompt import prompt_app
from novita_openai.installing import how_to_install

MESSAGES = json.dumps([{"role": "user", "content": "How?"}])


TEMPLATE = (
    "{% if today %}{{ strftime_now('%Y') }}{% endif %}"
    "{% for m in messages %}{{ '<' + m.role + '>' + m.content + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


# Before click 8.2 the runner mixed standard output and standard error unless told not to.
STREAMS: Any = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}


def run(*arguments: str, text: str | None = None) -> tuple[int, str, str]:
    result = CliRunner(**STREAMS).invoke(prompt_app, [*arguments], input=text)
    return result.exit_code, result.stdout, result.stderr


def test_a_prompt_goes_through_the_commands_and_back() -> None:
    code, messages, _ = run("parse", "--format", "vicuna-newline", text=GUIDE)
    assert code == 0
    assert [message["role"] for message in json.loads(messages)] == ["system", "user", "assistant", "user"]
    assert run("render", "-f", "vicuna-newline", text=messages)[:2] == (0, GUIDE)
    code, names, _ = run("detect", text=GUIDE)
    assert (code, "vicuna-newline" in names.split()) == (0, True)


def test_formats_are_listed() -> None:
    assert "chatml\t'<|im_end|>'\taxolotl 0.19.0" in run("formats")[1]
    assert {row["name"] for row in json.loads(run("formats", "--json")[1])} >= {"chatml", "llama-3.1"}


def test_a_models_format_is_found() -> None:
    code, prompt, _ = run("render", MESSAGES, "--model", "openai/gpt-oss-20b", "--date", "2026-01-02", "--no-reply")
    assert (code, "Current date: 2026-01-02" in prompt) == (0, True)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """Return a chat template in a model's folder."""
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    file = tmp_path / "chat_template.jinja"
    file.write_text(TEMPLATE)
    return file


def test_a_models_folder_has_a_format(template: Path) -> None:
    folder = f"{template.parent}"
    code, prompt, _ = run("render", MESSAGES, "--template", folder)
    assert (code, prompt) == (0, "<user>How?</s><assistant>")
    assert json.loads(run("parse", prompt, "-t", folder)[1]) == json.loads(MESSAGES)
    assert run("detect", prompt, "-t", folder)[1] == f"{template.parent.name}\n"
    assert template.parent.name not in run("detect", GUIDE, "-t", folder)[1]


def test_a_template_reads_what_is_set(template: Path) -> None:
    options = ["-t", f"{template}", "--set", "eos_token=7", "--set", "today=true", "--date", "2026-01-02"]
    code, prompt, _ = run("render", MESSAGES, *options)
    assert (code, prompt) == (0, "2026<user>How?7<assistant>")
    assert json.loads(run("parse", prompt, *options)[1]) == json.loads(MESSAGES)
    assert run("detect", prompt, *options)[:2] == (0, "chat_template\n")
    assert run("render", MESSAGES, *options, "--set", "today=")[1] == "<user>How?7<assistant>"


def test_a_template_that_is_no_format_is_refused(template: Path) -> None:
    options = ["render", MESSAGES, "-t", f"{template}", "--set", "eos_token=x", "--set"]
    assert run(*options, "eos_token")[0] == 2
    assert run(*options, "date=today")[0] == 2
    code, out, errors = run(*options, "today=1")
    assert (code, out, errors) == (1, "", "novita-openai: date: the template prints today's date: give it as date=\n")
    template.write_bytes(b"\xff")
    assert run(*options, "eos_token=x")[0] == 2


def test_without_jinja_the_extra_is_named(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("chat_template", "sandbox", "literals", "derivation"):
        monkeypatch.delitem(sys.modules, f"novita_openai.prompts.templates.{module}", raising=False)
    monkeypatch.delitem(vars(prompts), "from_template", raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    code, _, errors = run("render", MESSAGES, "-t", f"{template}")
    assert (code, how_to_install("templates") in errors) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["render", MESSAGES], 2, "one of --format, --model and --template"),
        (["render", MESSAGES, "-f", "chatml", "-m", "x"], 2, "one of --format, --model and --template"),
        (["parse", "hello", "-t", "/nowhere/at/all"], 2, "does not exist"),
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
