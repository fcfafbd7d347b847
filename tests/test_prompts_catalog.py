"""The named formats, and the models that they are of."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prompt_texts import DATE, FORMATS

from novita_openai import prompts
from novita_openai.prompts import PromptError, PromptFormat, catalog, detect, format_for_model, format_names, get_format

# The ids that the service listed on 2026-11, by format; those without one are closed, or no chat models.
MODELS = json.loads((Path(__file__).parent / "prompt_models.json").read_text(encoding="utf-8"))
WITHOUT = [*MODELS.pop(""), *MODELS.pop("minimax-m3")]
KNOWN = [(model, name) for name, models in MODELS.items() for model in models]


@pytest.mark.parametrize(("model", "name"), KNOWN)
def test_every_model_has_its_format_however_it_is_written(model: str, name: str) -> None:
    written = (model, model.upper(), f"{model}-fp8", f"{model}-turbo", f"novita/{model}", model.partition("/")[2])
    assert {format_for_model(each).name for each in written} == {name}


@pytest.mark.parametrize("model", [*WITHOUT, "unknown", "", "openai/gpt-4"])
def test_a_model_without_a_known_format_raises(model: str) -> None:
    with pytest.raises(PromptError, match="name the format"):
        format_for_model(model)


def test_near_names_are_told() -> None:
    with pytest.raises(PromptError, match=r"near names: .*meta-llama/llama-3\.1-8b-instruct"):
        format_for_model("meta-llama/llama-3.1-8b-instuct")
    with pytest.raises(PromptError, match=r"near names: .*llama-3\.1"):
        get_format("llama-31")
    with pytest.raises(PromptError, match="format_names"):
        get_format("?")


def test_ids_that_do_not_tell_one_format_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_models", lambda: {"twin": {"chatml", "zephyr"}})
    with pytest.raises(PromptError, match="chatml or zephyr"):
        format_for_model("a/twin")


def test_the_catalog_is_whole() -> None:
    assert len(format_names()) == len(FORMATS) == 87
    assert [*format_names()] == sorted(format_names())
    assert all(fmt.source and 1 <= len(fmt.stop) <= 4 for fmt in FORMATS)
    assert get_format("chatml") is get_format("chatml")


def test_the_formats_are_found_in_a_zip(tmp_path: Path) -> None:
    package = Path(prompts.__file__).parents[1]
    archive = shutil.make_archive(f"{tmp_path / 'package'}", "zip", package.parent, package.name)
    code = "from novita_openai import prompts; print(prompts.__file__); print(*prompts.format_names())"
    unmeasured = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=unmeasured | {"PYTHONPATH": archive},
        capture_output=True,
        text=True,
        check=True,
    )
    where, *names = ran.stdout.split()
    assert where.startswith(archive)
    assert names == [*format_names()]


def test_no_default_system_text_is_longer_than_400_characters() -> None:
    for fmt in FORMATS:
        starts = {role: text for (previous, role), text in fmt.separators.items() if previous == "start"}
        assert all(len(text) - len(starts.get("system", "")) <= 450 for text in starts.values())


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_a_prompt_is_detected_as_what_it_is(fmt: PromptFormat) -> None:
    prompt = fmt.render([{"role": "user", "content": "one"}], date=DATE)
    assert fmt.name in detect(prompt)


def test_text_is_of_no_format() -> None:
    assert "chatml" not in detect("hello")
