"""respx: what a test mocks arrives as from the service; it patches httpx, which the SDK uses before 3.0."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
import respx

from novita_openai import OpenAI
from novita_openai.retry import no_wait

URL = "https://api.novita.ai/v3/openai/chat/completions"
ASK: Any = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
ANSWER = {
    "id": "1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
}
CHUNK = {"id": "1", "choices": [{"index": 0, "delta": {"content": "Hi."}, "finish_reason": "stop"}]}


@respx.mock
def test_a_chat_after_a_429_and_a_500() -> None:
    slow, down, whole = httpx.Response(429), httpx.Response(500), httpx.Response(200, json=ANSWER)
    route = respx.post(URL).mock(side_effect=[slow, down, whole])
    with no_wait():
        assert OpenAI(api_key="k").chat.completions.create(**ASK).choices[0].message.content == "Hi."
    assert route.call_count == 3


@respx.mock
def test_a_stream_that_is_labelled_as_text() -> None:
    respx.post(URL).mock(return_value=httpx.Response(200, text=f"data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n"))
    chunks = list(OpenAI(api_key="k").chat.completions.create(stream=True, **ASK))
    assert chunks[0].choices[0].delta.content == "Hi."


@respx.mock
def test_a_stream_without_an_end_raises() -> None:
    half = {"id": "1", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}
    respx.post(URL).mock(return_value=httpx.Response(200, text=f"data: {json.dumps(half)}\n\n"))
    with pytest.raises(openai.APIConnectionError):
        list(OpenAI(api_key="k").chat.completions.create(stream=True, **ASK))
