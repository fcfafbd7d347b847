"""What a person at a terminal meets: a conversation, interrupts at every moment, colours, tables of any width."""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import suppress

import pytest
from batch_jobs import Job, row, rows
from server import Reply, Server, chunk, stream
from terminals import Terminal

from novita_openai.emulator import Emulator

pytestmark = pytest.mark.slow

LLAMA = "meta-llama/llama-3.1-8b-instruct"


def asking(server: Server, *arguments: str, columns: int = 80, **variables: str) -> Terminal:
    variables |= {"NOVITA_API_KEY": "sk_test", "NOVITA_BASE_URL": server.base_url}
    return Terminal(*arguments, columns=columns, variables=variables)


def test_a_conversation_goes_on_after_an_answer_that_was_stopped(server: Server) -> None:
    begun = stream(chunk("Boil ")).body.replace("data: [DONE]\n\n", "").encode()
    head = {"content-type": "text/event-stream", "content-length": "100000"}
    server.script.append(Reply(body=(begun, b": wait\n\n"), headers=head, pause=0.2))
    server.always = stream(chunk("Ten minutes.", "stop"))
    with asking(server, "chat") as terminal:
        terminal.until("Ctrl-D leaves")
        terminal.until(">")
        terminal.type("How do I make pasta?\r")
        terminal.until("Boil")
        terminal.interrupt()
        terminal.until("stopped")
        terminal.until(">")
        time.sleep(0.5)  # prompt_toolkit reads its history a moment later
        terminal.type("\x1b[A\r")
        terminal.until("Ten minutes.")
        terminal.until(">")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert [each["content"] for each in server.requests[1].json["messages"]] == [
        "How do I make pasta?",
        "Boil ",
        "How do I make pasta?",
    ]
    assert "Traceback" not in terminal.text


@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.4, 0.8, 1.6])
def test_an_interrupt_at_any_moment_is_one_line(seconds: float, server: Server) -> None:
    server.always = Reply(fault="stall")
    with asking(server, "chat", "Hi") as terminal:
        time.sleep(seconds)
        terminal.interrupt()
        with suppress(subprocess.TimeoutExpired):  # what Python itself does at its start can swallow a signal
            terminal.process.wait(10)
        if terminal.process.poll() is None:
            terminal.interrupt()
        code = terminal.end()
    if code != -2 or "/novita_openai/" in terminal.text:  # else Python itself had not come to the program
        assert (code, terminal.text.strip()) == (130, "novita-openai: interrupted")


def test_thoughts_are_dim_and_no_color_is_obeyed(server: Server) -> None:
    thought = chunk("") | {"choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}, "finish_reason": None}]}
    server.always = stream(thought, chunk("Boil\x1b[2J water.", "stop"))
    with asking(server, "chat", "Hi") as terminal:
        assert terminal.end() == 0
    assert "\x1b[2mHm.\x1b[0m" in terminal.drawn
    assert "Boil\N{REPLACEMENT CHARACTER}[2J water." in terminal.drawn
    with asking(server, "chat", "Hi", NO_COLOR="1") as terminal:
        assert terminal.end() == 0
    assert re.findall(r"\x1b\[[0-9;]*m", terminal.drawn) == []


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_models_are_listed_whole_at_any_width(columns: int, server: Server) -> None:
    ids = ["deepseek/deepseek-r1-distill-qwen-14b-with-a-long-name", "a/b[/i]", LLAMA]
    server.always = Reply(body={"data": [{"id": each, "context_size": 131_072} for each in ids]})
    with asking(server, "models", columns=columns) as terminal:
        assert terminal.end() == 0
    assert [each for each in ids if each not in terminal.text] == []


def test_the_start_of_the_local_model_is_told(server: Server) -> None:
    with asking(server, "complete", "--local", "Water", "--max-tokens", "2") as terminal:
        assert terminal.end() == 0
    assert "novita-openai: starting the local model" in terminal.text


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_batch_shows_bar_count_and_time_left_and_at_the_end_a_table_at_any_width(columns: int, job: Job) -> None:
    job.write(
        [*rows(600), row("bad[/b]", model="no/such[/i]-with-a-name-that-is-longer-than-a-narrow-terminal-is-wide")]
    )
    with Emulator(latency=0.1, rpm=12_000, burst=60) as server:
        variables = {"NOVITA_API_KEY": "sk_test", "NOVITA_BASE_URL": server.base_url}
        arguments = "batch", str(job.requests), "-o", str(job.results)
        with Terminal(*arguments, columns=columns, variables=variables) as terminal:
            assert terminal.end() == 1
    frames = re.findall(r"[━╸╺]+ +\d+/601 \d:\d\d:\d\d", terminal.text)
    assert {len(frame) for frame in frames} == {columns}
    assert "rows/s" in terminal.text
    table = terminal.text[terminal.text.rindex("rows  ") :].splitlines()
    assert table[0].split()[:6] == ["rows", "600", "of", "601", "rows", "succeeded,"]
    assert [line.split()[0] for line in table if line[:1].isalpha()][:6] == [
        "rows",
        "requests",
        "tokens",
        "cost",
        "time",
        "failed",
    ]
    assert max(len(line.rstrip()) for line in table) <= columns
    whole = "".join("".join(table).split())
    for words in (
        "1failedwithMODEL_NOT_FOUND,suchasbad[/b]:",
        "no/such[/i]-with-a-name-that-is-longer-than-a-narrow-terminal-is-wide",
    ):
        assert words in whole
    assert "Traceback" not in terminal.text


def test_what_is_told_breaks_between_words(server: Server) -> None:
    server.always = Reply(body={"data": [{"id": LLAMA}]})
    with asking(server, "models", "--sort", "taste", columns=40) as terminal:
        assert terminal.end() == 2
    lines = terminal.text.splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(map(str.strip, lines)).startswith("novita-openai: ")
