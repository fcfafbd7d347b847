"""Tracers that patch the SDK: their spans hold the answer, and the program gets the stream as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from conftest import CUT, MODEL, PASSING
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from novita_openai import OpenAI
from novita_openai.emulator import Emulator

ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Weather?"}]}


def by_logfire(exporter: InMemorySpanExporter) -> Iterator[None]:
    import logfire

    logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(exporter)])
    with logfire.instrument_openai():
        yield


def by_openinference(exporter: InMemorySpanExporter) -> Iterator[None]:
    from openinference.instrumentation.openai import OpenAIInstrumentor

    yield from instrumented(OpenAIInstrumentor(), exporter)


def by_opentelemetry(exporter: InMemorySpanExporter) -> Iterator[None]:
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    yield from instrumented(OpenAIInstrumentor(), exporter)


def instrumented(instrumentor: Any, exporter: InMemorySpanExporter) -> Iterator[None]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor.instrument(tracer_provider=provider)
    try:
        yield
    finally:
        instrumentor.uninstrument()


TRACERS: dict[str, Callable[[InMemorySpanExporter], Iterator[None]]] = {
    "logfire": by_logfire,
    "openinference": by_openinference,
    "opentelemetry": by_opentelemetry,
}


SPANS_OF_THREE_ATTEMPTS = {"logfire": 3, "openinference": 3, "opentelemetry": 1}
"""The first two patch ``request``, so that each attempt is a span; the third patches ``create``: a call is a span."""


@pytest.fixture(params=TRACERS, scope="module")
def tracer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def patched(tracer: str) -> Iterator[InMemorySpanExporter]:
    """Patch once for all tests of a tracer: the wrapt-based one keeps no text when it is put on a second time."""
    kept = InMemorySpanExporter()
    yield from (kept for _ in TRACERS[tracer](kept))


@pytest.fixture
def exporter(patched: InMemorySpanExporter) -> InMemorySpanExporter:
    patched.clear()
    return patched


def words_in(exporter: InMemorySpanExporter) -> str:
    return "".join(span.to_json() for span in exporter.get_finished_spans())


def test_a_chat_after_a_429_and_a_500(
    tracer: str, exporter: InMemorySpanExporter, client: OpenAI, server: Emulator
) -> None:
    server.script.extend([*PASSING, "Sunny."])
    assert client.chat.completions.create(**ASK).choices[0].message.content == "Sunny."
    assert MODEL in words_in(exporter)
    assert len(server.requests) == 3
    assert len(exporter.get_finished_spans()) == SPANS_OF_THREE_ATTEMPTS[tracer]


def test_a_stream(exporter: InMemorySpanExporter, client: OpenAI, server: Emulator) -> None:
    server.script.append("Sunny and warm.")
    chunks = client.chat.completions.create(stream=True, **ASK)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Sunny and warm."
    assert "Sunny and warm." in words_in(exporter)


@pytest.mark.usefixtures("exporter")
def test_a_cut_stream_raises(client: OpenAI, server: Emulator) -> None:
    server.script.extend([CUT] * 3)
    with pytest.raises(openai.APIConnectionError):
        list(client.chat.completions.create(stream=True, **ASK))
