"""pydantic-ai: the async client goes into its provider."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from conftest import CALL, CUT, MODEL, PASSING
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from novita_openai import AsyncOpenAI
from novita_openai.emulator import Emulator


@pytest.fixture
def agent(async_client: AsyncOpenAI) -> Any:
    return Agent(OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=async_client)))


def test_a_chat_after_a_429_and_a_500(agent: Any, server: Emulator) -> None:
    server.script.extend([*PASSING, "Sunny."])
    assert asyncio.run(agent.run("Weather?", model_settings={"max_tokens": 64})).output == "Sunny."
    assert len(server.requests) == 3


def test_tools(agent: Any, server: Emulator) -> None:
    @agent.tool_plain
    def weather(city: str) -> str:
        return f"sunny in {city}"

    server.script.extend([CALL, "Sunny in Rome."])
    assert asyncio.run(agent.run("Weather?")).output == "Sunny in Rome."
    assert len(server.requests) == 2


async def read(agent: Any) -> str:
    async with agent.run_stream("Weather?") as answer:
        return "".join([part async for part in answer.stream_text(delta=True)])


def test_a_stream(agent: Any, server: Emulator) -> None:
    server.script.append("Sunny and warm.")
    assert asyncio.run(read(agent)) == "Sunny and warm."


def test_a_cut_stream_raises(agent: Any, server: Emulator) -> None:
    server.script.extend([CUT] * 3)
    with pytest.raises(Exception, match=r"stream is broken|Connection") as caught:
        asyncio.run(read(agent))
    assert isinstance(caught.value, openai.APIConnectionError) or isinstance(
        caught.value.__cause__, openai.APIConnectionError
    )
