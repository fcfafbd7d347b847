"""openai-agents: a model of chat completions takes the async client."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from conftest import CALL, CUT, MODEL, PASSING
from openai.types.responses import ResponseTextDeltaEvent

from novita_openai import AsyncOpenAI
from novita_openai.emulator import Emulator

set_tracing_disabled(disabled=True)  # its traces go to OpenAI


@function_tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


@pytest.fixture
def agent(async_client: AsyncOpenAI) -> Any:
    model = OpenAIChatCompletionsModel(model=MODEL, openai_client=async_client)
    return Agent(name="a", instructions="Be brief.", model=model, tools=[weather])


def test_tools_after_a_429_and_a_500(agent: Any, server: Emulator) -> None:
    server.script.extend([*PASSING, CALL, "Sunny in Rome."])
    assert asyncio.run(Runner.run(agent, "Weather?")).final_output == "Sunny in Rome."
    assert len(server.requests) == 4


async def read(agent: Any) -> str:
    running = Runner.run_streamed(agent, "Weather?")
    events = [event async for event in running.stream_events()]
    data = [event.data for event in events if event.type == "raw_response_event"]
    return "".join(each.delta for each in data if isinstance(each, ResponseTextDeltaEvent))


def test_a_stream(agent: Any, server: Emulator) -> None:
    server.script.append("Sunny and warm.")
    assert asyncio.run(read(agent)) == "Sunny and warm."


def test_a_cut_stream_raises(agent: Any, server: Emulator) -> None:
    server.script.extend([CUT] * 3)
    with pytest.raises(openai.APIConnectionError):
        asyncio.run(read(agent))
