"""langchain-openai: its two clients are given; its own retries are switched off by ours, which count."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from conftest import CALL, CUT, MODEL, PASSING
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from novita_openai import AsyncOpenAI, OpenAI
from novita_openai.emulator import Emulator


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


@pytest.fixture
def chat(client: OpenAI, async_client: AsyncOpenAI) -> Any:
    return ChatOpenAI(
        model=MODEL,
        api_key="unused",
        max_tokens=64,
        client=client.chat.completions,
        async_client=async_client.chat.completions,
        root_client=client,
        root_async_client=async_client,
    )


def test_a_chat_after_a_429_and_a_500(chat: Any, server: Emulator) -> None:
    server.script.extend([*PASSING, "Sunny."])
    assert chat.invoke("Weather?").content == "Sunny."
    assert len(server.requests) == 3


def test_an_async_chat_after_a_429_and_a_500(chat: Any, server: Emulator) -> None:
    server.script.extend([*PASSING, "Sunny."])
    assert asyncio.run(chat.ainvoke("Weather?")).content == "Sunny."
    assert len(server.requests) == 3


def test_a_stream(chat: Any, server: Emulator) -> None:
    server.script.append("Sunny and warm.")
    assert "".join(chunk.content for chunk in chat.stream("Weather?")) == "Sunny and warm."


def test_tools(chat: Any, server: Emulator) -> None:
    server.script.append(CALL)
    assert chat.bind_tools([weather]).invoke("Weather?").tool_calls[0]["args"] == {"city": "Rome"}


def test_a_cut_stream_raises(chat: Any, server: Emulator) -> None:
    server.script.extend([CUT] * 3)
    with pytest.raises(openai.APIConnectionError):
        list(chat.stream("Weather?"))
