"""llama-index: OpenAILike takes the two clients."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from conftest import CALL, CUT, MODEL, PASSING
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

from novita_openai import AsyncOpenAI, OpenAI
from novita_openai.emulator import Emulator


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


@pytest.fixture
def model(client: OpenAI, async_client: AsyncOpenAI) -> Any:
    return OpenAILike(
        model=MODEL,
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
        openai_client=client,
        async_openai_client=async_client,
    )


def test_a_chat_after_a_429_and_a_500(model: Any, server: Emulator) -> None:
    server.script.extend([*PASSING, "Sunny."])
    assert str(model.complete("Weather?")) == "Sunny."
    assert len(server.requests) == 3


def test_a_stream(model: Any, server: Emulator) -> None:
    server.script.append("Sunny and warm.")
    assert "".join(part.delta for part in model.stream_complete("Weather?")) == "Sunny and warm."


def test_tools(model: Any, server: Emulator) -> None:
    server.script.append(CALL)
    answer = model.chat_with_tools([FunctionTool.from_defaults(weather)], user_msg="Weather?")
    assert model.get_tool_calls_from_response(answer)[0].tool_kwargs == {"city": "Rome"}


def test_a_cut_stream_raises(model: Any, server: Emulator) -> None:
    server.script.extend([CUT] * 3)
    with pytest.raises(openai.APIConnectionError):
        list(model.stream_complete("Weather?"))
