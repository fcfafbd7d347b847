"""The laws of every format, for as long as the time allows, over pieces of separators, thoughts and calls."""

from __future__ import annotations

import time
from typing import Any

import pytest
from prompt_fuzz import Fuzz
from prompt_texts import DATE, FORMATS
from thoroughness import SECONDS, SEED

from novita_openai.prompts import PromptError, PromptFormat


def rendered(fmt: PromptFormat, messages: list[dict[str, Any]], options: dict[str, Any]) -> str | None:
    try:
        return fmt.render(messages, date=DATE, **options)
    except PromptError:
        return None


def check_written(fmt: PromptFormat, messages: list[dict[str, Any]], prompt: str) -> None:
    """Hold what was written against what it reads back as; nothing but an implied system message may be gone."""
    normal = fmt.normalize(messages)
    history = fmt.parse(prompt)
    assert history == normal, (messages, prompt, history.ending)
    assert fmt.render(history) == prompt, (messages, history.ending)
    if len(normal) < len(messages) and not fmt.joins and not fmt.system_in:
        assert messages[0]["role"] == "system", messages
        assert messages[1]["role"] == "user" or messages[0]["content"], messages


def check_read(fmt: PromptFormat, text: str) -> None:
    """Hold what was read against what it is written as again."""
    try:
        history = fmt.parse(text)
    except PromptError:
        return
    assert fmt.render(history) == text, (history, history.ending)


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_nothing_made_up_is_lost_or_misread(fmt: PromptFormat) -> None:
    fuzz = Fuzz(fmt, SEED)
    end = time.monotonic() + SECONDS / len(FORMATS)
    while time.monotonic() < end:
        messages = fuzz.history()
        prompt = rendered(fmt, messages, fuzz.options())
        if prompt is not None:
            check_written(fmt, messages, prompt)
        for text in fuzz.logs(prompt):
            check_read(fmt, text)
