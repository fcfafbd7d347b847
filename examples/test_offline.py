# A program of yours, and its tests without network, key or cost: pytest examples/test_offline.py
# Extras: emulator; and pytest.
from typing import Any

import openai
import pytest

from novita_openai import OpenAI
from novita_openai.emulator import Emulator, Fault


def summarize(text: str) -> str:
    messages: Any = [{"role": "user", "content": f"Summarize: {text}"}]
    with OpenAI() as client:
        answer = client.chat.completions.create(model="qwen/qwen3-30b-a3b-fp8", messages=messages)
    return answer.choices[0].message.content or ""


def test_the_text_reaches_the_model(novita: Emulator) -> None:
    novita.script.append("Pasta is boiled.")
    assert summarize("Boil water. Add the pasta.") == "Pasta is boiled."
    assert "Add the pasta." in novita.requests[-1].json["messages"][0]["content"]


def test_a_busy_day_passes_unnoticed(novita: Emulator) -> None:
    novita.script.extend([Fault("RATE_LIMIT_EXCEEDED", retry_after=20), Fault("reset"), "Pasta is boiled."])
    assert summarize("Boil water.") == "Pasta is boiled."
    assert len(novita.requests) == 3


def test_an_empty_account_is_told_at_once(novita: Emulator) -> None:
    novita.script.append(Fault("NOT_ENOUGH_BALANCE"))
    with pytest.raises(openai.PermissionDeniedError):
        summarize("Boil water.")
    assert len(novita.requests) == 1
