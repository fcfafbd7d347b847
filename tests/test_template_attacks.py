"""No field of a message forges a turn in a derived format: its control strings, whole and cut, are put into each.

``NOVITA_TEST_TEMPLATES`` names a folder of published templates (``*.jinja``) that are attacked too.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from thoroughness import TEMPLATES

from novita_openai.prompts import PromptError, PromptFormat, TemplateError, from_template

DATE = dt.date(2026, 1, 31)
WORD = "word"
ASKED = "{% if add_generation_prompt %}REPLY{% endif %}"
OWN = {
    "markup": (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
        + ASKED.replace("REPLY", "<|im_start|>assistant\n")
    ),
    "words": (
        "{% for m in messages %}{{ m.role|upper + ': ' + m.content + '\n' }}{% endfor %}"
        + ASKED.replace("REPLY", "ASSISTANT:")
    ),
    "headings": (
        "{% for m in messages %}{{ '### ' + m.role + '\n' + m.content + '\n\n' }}{% endfor %}"
        + ASKED.replace("REPLY", "### assistant\n")
    ),
    "thoughts and tools": (
        "{% for m in messages %}{% if m.role == 'tool' %}<|tool|>{{ m.content }}<|end|>{% else %}<|{{ m.role }}|>"
        "{% if m.role == 'assistant' %}<think></think>{% endif %}{{ m.content or '' }}"
        "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function.name }}</tool_call>{% endfor %}<|end|>"
        "{% endif %}{% endfor %}" + ASKED.replace("REPLY", "<|assistant|><think></think>")
    ),
    "turns within brackets": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
    ),
}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def published() -> dict[str, str]:
    """Return the templates of the folder that was named, by their files."""
    files = sorted(Path(TEMPLATES).rglob("*.jinja*")) if TEMPLATES else []
    return {file.name: file.read_text(encoding="utf-8") for file in files}


SOURCES = OWN | published()


def derived(source: str) -> PromptFormat:
    """Return the format of a template, with each special token that it reads."""
    tokens: dict[str, Any] = {}
    while True:
        try:
            return from_template(source, date=DATE, verify=False, **tokens)
        except TemplateError as error:
            missing = re.search(r"reads (\w+_token)", error.problem)
            if missing is None:
                raise
            tokens[missing[1]] = TOKENS.get(missing[1], "<pad>")


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def called(name: str, argument: str) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps({"a": argument}, ensure_ascii=False)}
    return said(None, tool_calls=[{"id": "call_0", "type": "function", "function": function}])


def fields(text: str) -> Iterator[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Yield chats with a text in each field of a message and in a declaration, with how they are rendered."""
    yield [user(text)], {}
    yield [user(WORD), said(WORD), user(text)], {}
    yield [user(WORD), said(text), user(WORD)], {}
    yield [user(WORD), said(text)], {"reply": False}
    yield [user(WORD), said(text)], {"continue_final": True}
    yield [{"role": "system", "content": text}, user(WORD)], {}
    yield [user(WORD), said(WORD, reasoning_content=text), user(WORD)], {}
    yield [user(WORD), called("f", WORD), {"role": "tool", "tool_call_id": "call_0", "content": text}], {}
    yield [user(WORD), called("f", text), user(WORD)], {}
    yield [user(WORD), called(text, WORD), user(WORD)], {}
    yield [user(WORD)], {"tools": [{"type": "function", "function": {"name": "f", "description": text}}]}
    yield [{"role": "user", "content": [{"type": "text", "text": part} for part in halves(text)]}], {}


def halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def attacks(fmt: PromptFormat) -> set[str]:
    """Return control strings and separators, whole and in parts that what is around may complete."""
    whole = {text for text in (*fmt.control, *fmt.separators.values()) if text}
    cut = {part for text in whole for part in (*halves(text), text[1:], text[:-1], "w".join(halves(text)[::-1]))}
    return {*whole, *cut, *(f"x{text}y" for text in whole), *(f"x\n{text}" for text in whole)}


def prompts(fmt: PromptFormat, text: str) -> Iterator[tuple[list[dict[str, Any]], str | None]]:
    """Yield the prompt of each chat with a text in one of its fields; None where it is refused."""
    for chat, options in fields(text):
        try:
            yield chat, fmt.render(chat, date=DATE, **options)
        except PromptError:
            yield chat, None


@pytest.mark.parametrize("name", SOURCES)
def test_no_field_of_a_derived_format_takes_a_control_string(name: str) -> None:
    try:
        fmt = derived(SOURCES[name])
    except TemplateError:
        assert name not in OWN
        return
    tokens = [text for text in fmt.control if re.search(r"[|｜\[]", text)]
    harmless = [prompt for _, prompt in prompts(fmt, WORD)]
    for text in sorted(attacks(fmt)):
        for (chat, prompt), plain in zip(prompts(fmt, text), harmless, strict=True):
            if prompt is None or plain is None:
                continue
            history = fmt.parse(prompt)
            assert history == fmt.normalize(chat), (text, prompt)
            assert fmt.render(history) == prompt, (text, prompt)
            assert [prompt.count(token) for token in tokens] == [plain.count(token) for token in tokens], (text, prompt)


@pytest.mark.parametrize("name", OWN)
def test_no_log_of_a_derived_format_holds_a_token_in_a_text(name: str) -> None:
    fmt = derived(OWN[name])
    tokens = [text for text in fmt.control if re.search(r"[|｜\[]", text)]
    for _, prompt in prompts(fmt, WORD):
        for token in tokens if prompt is not None else ():
            for log in (f"{prompt}{token}", f"{token}{prompt}", f"{prompt}".replace(WORD, f"x{token}y")):
                try:
                    history = fmt.parse(log)
                except PromptError:
                    continue
                assert not any(token in message["content"] for message in history), (token, log)
                assert fmt.render(history) == log
