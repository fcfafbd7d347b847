"""Where log events go: stdout is the program's; its structlog or its standard logging gets them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
import structlog
from conftest import Driver
from server import Reply, Server, error, stream
from structlog.testing import capture_logs

from novita_openai import logs

PROGRAM = """
import json, sys
{setup}
from novita_openai import OpenAI, retry
with retry.no_wait():
    try:
        OpenAI(base_url=sys.argv[1], api_key="sk_secret", max_retries=1).models.list()
    except Exception as error:
        print(json.dumps({{"error": type(error).__name__}}))
"""


def run_program(server: Server, setup: str = "") -> tuple[list[str], list[str]]:
    """Return the lines that a program with a failing call writes to stdout and to stderr."""
    server.always = error(500, "MODEL_NOT_AVAILABLE")
    command = [sys.executable, "-c", PROGRAM.format(setup=setup), server.base_url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines(), done.stderr.splitlines()


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def fail(driver: Driver, server: Server) -> None:
    server.always = error(500, "MODEL_NOT_AVAILABLE", x_request_id="r1")
    with pytest.raises(openai.InternalServerError):
        driver.chat()


@pytest.mark.parametrize(
    "setup",
    [
        "",
        "import structlog",
        "import structlog.testing\nwith structlog.testing.capture_logs(): pass",
        "import logging; logging.basicConfig(level='DEBUG', format='%(name)s: %(message)s')",
    ],
)
def test_stdout_holds_only_what_the_program_prints(setup: str, server: Server) -> None:
    out, err = run_program(server, setup)
    assert [json.loads(line) for line in out] == [{"error": "InternalServerError"}]
    told = [line.removeprefix("novita_openai: ") for line in err if "retry." in line]
    assert [line.partition(" ")[0] for line in told] == ["retry.scheduled", "retry.gave_up"]
    assert "attempt=1 attempts=2 status=500 reason=MODEL_NOT_AVAILABLE" in told[0]
    assert "sk_secret" not in "".join(err)


@pytest.mark.parametrize("level", ["logger.setLevel('ERROR')", "logger.addHandler(logging.NullHandler())"])
def test_levels_and_handlers_of_the_program_count(level: str, server: Server) -> None:
    setup = f"import logging; logger = logging.getLogger('novita_openai'); {level}"
    assert run_program(server, setup) == (['{"error": "InternalServerError"}'], [])


def test_a_program_that_sends_its_structlog_to_stdout_finds_the_events_there(server: Server) -> None:
    setup = "import structlog; structlog.configure(processors=[structlog.processors.JSONRenderer()])"
    out, err = run_program(server, setup)
    assert err == []
    assert [json.loads(line).get("event") for line in out] == ["retry.scheduled", "retry.gave_up", None]


def test_records_say_their_event_and_hold_its_details(
    driver: Driver, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    fail(driver, server)
    scheduled, *_, gave_up = [record for record in caplog.records if record.name == "novita_openai"]
    fields = vars(scheduled)
    expected = {"event": "retry.scheduled", "attempt": 1, "attempts": 3, "status": 500, "model": "m"}
    expected |= {"reason": "MODEL_NOT_AVAILABLE", "request_id": "r1", "levelname": "WARNING"}
    assert {name: fields[name] for name in expected} == expected
    assert scheduled.getMessage().startswith("retry.scheduled attempt=1 attempts=3 status=500 ")
    assert vars(gave_up)["stopped_by"] == "attempts"
    assert "wait" not in gave_up.getMessage()


def test_the_standard_logger_gets_events_after_a_test_has_captured_structlog(
    driver: Driver, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as captured:
        fail(driver, server)
    assert len(captured) == 3
    assert not [record for record in caplog.records if record.name == "novita_openai"]
    fail(driver, server)
    assert len([record for record in caplog.records if record.name == "novita_openai"]) == 3


@pytest.mark.parametrize("name", ["processors", "wrapper_class", "logger_factory"])
def test_any_part_of_a_programs_structlog_counts(name: str, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    def see(_: Any, __: str, event: Any) -> str:
        seen.append(event)
        return ""

    parts: dict[str, Any] = {
        "processors": [see],
        "wrapper_class": structlog.make_filtering_bound_logger(logging.ERROR),
        "logger_factory": structlog.testing.CapturingLoggerFactory(),
    }
    structlog.configure(**{name: parts[name]})
    logs.warn("retry.scheduled", attempt=1)
    assert caplog.records == []
    assert len(seen) == (name == "processors")
    assert len(parts["logger_factory"].logger.calls) == (name == "logger_factory")


def test_structlog_over_standard_logging_names_the_same_logger(caplog: pytest.LogCaptureFixture) -> None:
    structlog.configure(
        processors=[structlog.stdlib.render_to_log_kwargs], logger_factory=structlog.stdlib.LoggerFactory()
    )
    logs.warn("retry.scheduled", attempt=1)
    assert [(record.name, record.message) for record in caplog.records] == [("novita_openai", "retry.scheduled")]


def test_a_resumed_stream_is_told_the_same_way(
    connect: Callable[..., Driver], server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    start = {"id": "1", "object": "text_completion", "created": 1, "model": "m"}
    cut = start | {"choices": [{"index": 0, "text": "Boil ", "finish_reason": None, "logprobs": None}]}
    rest = start | {"choices": [{"index": 0, "text": "water.", "finish_reason": "stop", "logprobs": None}]}
    cut_off = f"data: {json.dumps(cut)}\n\n"
    server.script.extend([Reply(body=cut_off, headers=dict(stream().headers)), stream(rest)])
    options = {"model": "m", "prompt": "p", "stream": True}
    chunks = connect(resume_streams=True).collect(lambda client: client.completions.create(**options))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Boil water."
    told = [record for record in caplog.records if record.name == "novita_openai"]
    assert [(vars(record)["event"], record.levelname) for record in told] == [("stream.resumed", "WARNING")]
