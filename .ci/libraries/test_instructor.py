"""instructor: the client is patched; it retries what does not fit the model, ours what the service refuses."""

from __future__ import annotations

from typing import Any

import instructor
import openai
import pytest
from conftest import CUT, MODEL, PASSING
from pydantic import BaseModel

from novita_openai import OpenAI
from novita_openai.emulator import Emulator

ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Weather in Rome?"}]}


class Weather(BaseModel):
    city: str


def call(arguments: str) -> dict[str, Any]:
    function = {"name": "Weather", "arguments": arguments}
    return {"tool_calls": [{"id": "call_1", "type": "function", "function": function}]}


def test_tools_after_a_429_and_a_500(client: OpenAI, server: Emulator) -> None:
    server.script.extend([*PASSING, call('{"city": "Rome"}')])
    found = instructor.from_openai(client).chat.completions.create(response_model=Weather, **ASK)
    assert found.city == "Rome"
    assert len(server.requests) == 3


def test_what_does_not_fit_is_asked_again_by_instructor(client: OpenAI, server: Emulator) -> None:
    server.script.extend([call('{"town": 5}'), call('{"city": "Rome"}')])
    patched = instructor.from_openai(client)
    assert patched.chat.completions.create(response_model=Weather, max_retries=2, **ASK).city == "Rome"
    assert len(server.requests) == 2


def test_a_stream_of_partial_objects(client: OpenAI, server: Emulator) -> None:
    server.script.append(call('{"city": "Rome"}'))
    parts = list(instructor.from_openai(client).chat.completions.create_partial(response_model=Weather, **ASK))
    assert parts[-1].city == "Rome"


def test_a_cut_stream_raises(client: OpenAI, server: Emulator) -> None:
    server.script.extend([CUT] * 3)
    patched = instructor.from_openai(client)
    with pytest.raises(openai.APIConnectionError):
        list(patched.chat.completions.create(response_model=None, stream=True, **ASK))
