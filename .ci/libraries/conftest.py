"""What the tests of other people's libraries share: an emulator, and clients of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from novita_openai import AsyncOpenAI, OpenAI, RetryPolicy
from novita_openai.emulator import Emulator, Fault
from novita_openai.retry import no_wait

MODEL = "qwen/qwen3-30b-a3b-fp8"
CALL = {
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    ]
}
PASSING = (Fault("RATE_LIMIT_EXCEEDED"), Fault("MODEL_NOT_AVAILABLE"))
"""A 429 and a 500 before the answer."""
CUT = Fault("close", after=600)
"""A stream that is cut midway."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "NOVITA_")):
            monkeypatch.delenv(name)
    with Emulator(keys={"sk_test": None}) as running, no_wait():
        yield running


@pytest.fixture
def options(server: Emulator) -> dict[str, Any]:
    return {"api_key": "sk_test", "base_url": server.base_url, "policy": RetryPolicy(budget=None)}


@pytest.fixture
def client(options: dict[str, Any]) -> OpenAI:
    return OpenAI(**options)


@pytest.fixture
def async_client(options: dict[str, Any]) -> AsyncOpenAI:
    return AsyncOpenAI(**options)
