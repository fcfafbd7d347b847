"""What a derived format refuses: tokens that are missing, replies that nobody asks for, prompts its template denies."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from novita_openai.prompts import PromptError, PromptFormat, TemplateError, from_pretrained_config, from_template

TOKENS = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
HEADLESS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def around(text: str, chat: str = "messages") -> str:
    return (
        f"{{% for m in {chat} %}}<|{{{{ m.role }}}}|>{text}<|end|>{{% endfor %}}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


@pytest.mark.parametrize("given", [{}, {"bos_token": "<s>"}, {"eos_token": "</s>"}])
def test_a_token_that_is_read_and_was_not_given_is_named(given: dict[str, Any]) -> None:
    missing = "bos_token" if "bos_token" not in given else "eos_token"
    with pytest.raises(TemplateError, match=f"reads {missing}: give {missing}='...', or {missing}=None") as caught:
        from_template(TOKENS, **given)
    assert caught.value.property == "token missing"


def test_a_model_without_a_token_says_none() -> None:
    made = from_template(TOKENS, bos_token=None, eos_token="")
    assert made.render(chat("a")) == "<|user|>a\n<|assistant|>"


def test_a_token_that_the_template_sets_itself_is_not_asked_for() -> None:
    source = "{% set eos_token = '</s>' %}" + TOKENS
    assert from_template(source, bos_token=None).render(chat("a")) == "<|user|>a</s>\n<|assistant|>"
    with pytest.raises(TemplateError, match="reads eos_token"):
        from_template("{% if not eos_token %}{% set eos_token = '</s>' %}{% endif %}" + TOKENS, bos_token=None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"eos_tokn": "</s>"}, "no variable 'eos_tokn': did you mean eos_token"),
        ({"enable_thinking": False}, "no variable 'enable_thinking': leave it out"),
        ({"messages": []}, "each rendering"),
        ({"add_generation_prompt": True}, "each rendering"),
        ({"m": 1}, "no variable 'm'"),
    ],
)
def test_a_variable_that_no_template_reads_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(TemplateError, match=words) as caught:
        from_template(TOKENS, bos_token="<s>", eos_token="</s>", **given)
    assert caught.value.property == "variable unread"


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (None, {}),
        (b"x", {}),
        (around("{{ m.content }}"), {"date": "2026-01-01"}),
        (TOKENS, {"bos_token": 7, "eos_token": "x"}),
        ("{{ cycler().next() }}" + around("{{ m.content }}"), {}),
        ("{{ x() }}" + around("{{ m.content }}"), {"x": [].pop}),
        ("{{ x }}" + around("{{ m.content }}"), {"x": object()}),
        ("", {}),
    ],
)
def test_nothing_but_a_template_error_leaves(source: Any, options: dict[str, Any]) -> None:
    with pytest.raises(TemplateError):
        from_template(source, **options)


NAMELESS = (
    "{% for m in messages %}{% if m.role == 'user' %}User: {{ m.content }}"
    "{% else %}Assistant: {{ m.content }}[EOT]{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("source", "written"),
    [
        (HEADLESS, "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"),
        (NAMELESS, "User: aAssistant: b[EOT]"),
    ],
)
def test_without_a_header_for_the_reply_only_closed_histories_are_written(source: str, written: str) -> None:
    made = from_template(source)
    with pytest.raises(PromptError, match="no reply can be asked for"):
        made.render(chat("a"))
    assert made.render(chat("a", "b"), reply=False) == written
    assert made.parse(written) == chat("a", "b")


def test_without_a_header_and_without_closed_histories_nothing_is_left() -> None:
    with pytest.raises(TemplateError) as caught:
        from_template(HEADLESS + "{% if messages[-1].role != 'user' %}{{ messages|length }}{% endif %}")
    assert caught.value.property == "no generation prompt"


def test_a_template_that_asks_without_a_header_of_its_own_is_as_good() -> None:
    made = from_template(
        "{% for m in messages %}"
        "{{ '[I] ' + m.content + ' [/I]' if loop.index0 % 2 == 0 else m.content + '</s>' }}{% endfor %}"
    )
    assert made.render(chat("a", "b", "c")) == "[I] a [/I]b</s>[I] c [/I]"


def test_a_header_whose_template_refuses_open_questions_is_a_header() -> None:
    refuses = "{% if not add_generation_prompt and messages[-1].role == 'user' %}{{ raise_exception('no') }}{% endif %}"
    headed = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    assert from_template(refuses + headed).render(chat("a")) == "<|user|>a</s>"


@pytest.mark.parametrize(("given", "bos"), [({}, "<s>"), ({"bos_token": "<s>"}, "<s>"), ({"bos_token": "<b>"}, "")])
def test_a_bos_that_is_spelled_out_is_set_apart(given: dict[str, Any], bos: str) -> None:
    made = from_template("<s>" + around("{{ m.content }}"), **given)
    assert made.bos == bos
    assert made.render(chat("a")) == "<s>".removeprefix(bos) + "<|user|>a<|end|><|assistant|>"
    assert made.render(chat("a"), bos=True) == "<s><|user|>a<|end|><|assistant|>"


def test_a_token_that_begins_each_turn_is_no_bos() -> None:
    made = from_template(around("{{ m.content }}").replace("<|{{", "<s><|{{"))
    assert made.bos == ""


LONG = [{"role": ("user", "assistant")[place % 2], "content": f"m{place}"} for place in range(41)]
LOSING = [
    (around("{{ m.content[:4000] }}"), chat("x" * 5000)),
    (around("{{ m.content | truncate(2000) }}"), chat("x " * 2500)),
    (
        around("{% if m.content|length > 5000 %}{{ raise_exception('too long') }}{% endif %}{{ m.content }}"),
        chat("x" * 6000),
    ),
    (around("{{ '?' if m.content|length < 2 else m.content }}"), chat("x")),
    (around("{{ m.content }}", "messages[-20:]"), LONG),
    (around("{% if loop.index > 30 %}(late) {% endif %}{{ m.content }}"), LONG),
    (around("{{ m.content | replace('\n\n\n', '\n\n') }}"), chat("a\n\n\nb")),
    (around("{{ m.content.splitlines() | join('\n') }}"), chat("a\r\nb")),
    (around("{% set t = {'end': '</think>'} %}{{ m.content.split(t.end)[-1] }}"), chat("a</think>b")),
    (around("{{ m.content | replace('<' ~ 'x' ~ '>', '') }}"), chat("<x>b")),
    (around("{{ '***' if 'secret' in m.content|lower else m.content }}"), chat("My SECRET")),
    (around("{{ 'number' if m.content.isdigit() else m.content }}"), chat("42")),
]  # fmt: skip


@pytest.mark.parametrize(("source", "messages"), LOSING)
def test_a_prompt_that_the_template_would_write_otherwise_is_refused(
    source: str, messages: list[dict[str, str]]
) -> None:
    made = from_template(source)
    with pytest.raises(PromptError, match=r"chat template (writes|refuses)"):
        made.render(messages)
    assert made.render(iter(chat("plain", "text", "here"))) == (
        "<|user|>plain<|end|><|assistant|>text<|end|><|user|>here<|end|><|assistant|>"
    )


def test_verification_can_be_switched_off() -> None:
    source, messages = LOSING[0]
    trusting = from_template(source, verify=False)
    prompt = trusting.render(messages)
    assert trusting.parse(prompt) == messages
    with pytest.raises(PromptError, match="chat template writes"):
        from_template(source).parse(prompt)


def test_each_way_to_end_a_prompt_is_confirmed() -> None:
    made = from_template("<s>" + around("{{ m.content }}"))
    history = chat("a", "b")
    endings: list[dict[str, Any]] = [{"reply": False}, {"continue_final": True}, {"bos": True, "reply": False}]
    for options in endings:
        prompt = made.render(history, **options)
        back = made.parse(prompt)
        assert (back, made.render(back)) == (history, prompt)


def test_long_histories_are_confirmed() -> None:
    made = from_template(around("{{ m.content.split('</t>')[-1] | trim | replace('$$', '$$') }}"))
    text = "word " * 250_000 + "end"
    assert len(made.render(chat(text, text, "more"))) > 2_500_000


def test_a_derived_format_is_data() -> None:
    made = from_template(around("{{ m.content }}"))
    for other in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):  # noqa: S301 - our own
        assert other == made
        assert other.render(chat("a")) == made.render(chat("a"))
    assert "probe" not in repr(made)


def test_threads_may_share_a_derived_format() -> None:
    made, prompts = from_template(around("{{ m.content }}")), list[str]()

    def work(text: str) -> None:
        prompts.extend(made.render(chat(text)) for _ in range(20))

    threads = [Thread(target=work, args=(f"text {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(prompts) == sorted(20 * [f"<|user|>text {number}<|end|><|assistant|>" for number in range(4)])


def folder(path: Path, **files: Any) -> Path:
    (path / "chat_template.jinja").write_text(TOKENS, encoding="utf-8")
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "files",
    [
        {"special_tokens_map": {"bos_token": "<s>", "eos_token": {"content": "</s>"}}},
        {
            "tokenizer_config": {"bos_token": "<s>", "eos_token": None},
            "special_tokens_map": {"bos_token": "<other>", "eos_token": "</s>", "pad_token": "<pad>"},
        },
    ],
)
def test_the_special_tokens_map_of_a_folder_is_read(tmp_path: Path, files: dict[str, Any]) -> None:
    made: PromptFormat = from_pretrained_config(folder(tmp_path, **files))
    assert made.render(chat("a"), bos=True) == "<s><|user|>a</s>\n<|assistant|>"


def test_a_folder_that_names_no_token_says_which(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="reads eos_token"):
        from_pretrained_config(folder(tmp_path, tokenizer_config={"bos_token": "<s>"}))
    made = from_pretrained_config(tmp_path, eos_token="</s>", name="mine", verify=False)
    assert (made.name, made.render(chat("a"))) == ("mine", "<|user|>a</s>\n<|assistant|>")


ADDED = {"1": {"content": "</s>"}, "7": {"content": "<|stop|>"}, "8": {"content": "<|other|>"}}


@pytest.mark.parametrize(
    "files",
    [
        {
            "tokenizer_config": {"bos_token": "<s>", "eos_token": "</s>", "added_tokens_decoder": ADDED},
            "generation_config": {"eos_token_id": [1, 7, 9, None]},
        },
        {
            "tokenizer_config": {"bos_token": "<s>", "eos_token": "</s>"},
            "tokenizer": {"added_tokens": [{"id": int(each), **token} for each, token in ADDED.items()]},
            "generation_config": {"eos_token_id": 7},
        },
    ],
)
def test_the_tokens_that_end_generation_are_read_from_a_folder(tmp_path: Path, files: dict[str, Any]) -> None:
    made = from_pretrained_config(folder(tmp_path, **files))
    assert {"</s>", "<|stop|>"} <= {*made.control}
    assert "<|other|>" not in made.control
    with pytest.raises(PromptError, match="control string"):
        made.render(chat("a<|stop|>"))
    assert made.parse(made.render(chat("a")) + "b<|stop|>").ending == "logged"
    assert made.render(chat("<|other|>"))


@pytest.mark.parametrize("added", [{"1": "</s>"}, ["</s>"], {"1": {}}])
def test_added_tokens_of_an_unknown_form_are_template_errors(tmp_path: Path, added: Any) -> None:
    config = {"bos_token": "<s>", "eos_token": "</s>", "added_tokens_decoder": added}
    with pytest.raises(TemplateError, match="have no ids and contents"):
        from_pretrained_config(folder(tmp_path, tokenizer_config=config, generation_config={"eos_token_id": 1}))


def test_a_token_that_ends_generation_is_a_control_string_though_the_template_does_not_write_it() -> None:
    made = from_template(around("{{ m.content }}"), eos_token="<eos>")
    assert "<eos>" in made.control
    with pytest.raises(PromptError, match="'<eos>' at character 1, a control string"):
        made.render(chat("a<eos>"))
    for none in (None, "", "\n"):
        assert "<eos>" not in from_template(around("{{ m.content }}"), eos_token=none).control


def test_a_folder_that_says_that_there_is_no_token_is_believed(tmp_path: Path) -> None:
    made = from_pretrained_config(folder(tmp_path, tokenizer_config={"bos_token": None, "eos_token": "</s>"}))
    assert made.render(chat("a"), bos=True) == "<|user|>a</s>\n<|assistant|>"


def test_files_of_a_folder_that_cannot_be_read_are_template_errors(tmp_path: Path) -> None:
    file = tmp_path / "chat_template.jinja"
    file.write_bytes(b"\xff")
    with pytest.raises(TemplateError, match="cannot be read"):
        from_pretrained_config(tmp_path)
    with pytest.raises(TemplateError, match="it has none"):
        from_pretrained_config(file)
    (tmp_path / "tokenizer_config.json").write_text("[" * 100_000)
    with pytest.raises(TemplateError, match="not JSON"):
        from_pretrained_config(tmp_path)


def test_what_is_kept_of_long_prompts_is_bounded() -> None:
    source = "{% if m.content == 'WORD' %}!{% endif %}" * 30 + "{{ m.content }}"
    words = [f"<{number}>" for number in range(30)]
    for word in words:
        source = source.replace("WORD", word, 1)
    made = from_template("x" * 40_000 + around(source))
    with pytest.raises(PromptError, match="does not keep"):
        made.render(chat(words[0]))
    assert made.render(chat("a")).endswith("x<|user|>a<|end|><|assistant|>")


THINKING = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}{% if loop.last %}<think></think>"
    "{% else %}</think>{% endif %}{% endif %}{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>{% endif %}"
)


@pytest.mark.parametrize("question", ["q", ""])
def test_a_last_reply_with_a_header_of_its_own_reads_back(question: str) -> None:
    fmt = from_template(THINKING)
    chat = [{"role": "user", "content": question}, {"role": "assistant", "content": "a"}]
    prompt = fmt.render(chat, continue_final=True)
    assert prompt == f"<|user|>{question}<|assistant|><think></think>a"
    assert fmt.parse(prompt) == chat


def test_turns_that_only_white_space_tells_apart_are_not_read() -> None:
    source = "{% for m in messages %}{{ m.content }}\n\n{% endfor %}"
    with pytest.raises(TemplateError, match=r"nothing but '\\n\\n' tells two turns") as caught:
        from_template(source)
    assert caught.value.property == "not readable"
