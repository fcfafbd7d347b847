"""Progress in notebooks: drawn in one place, and in a real kernel."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from batch_jobs import MODEL, Job, policy

from novita_openai import AsyncNovitaOpenAI, batch
from novita_openai.batch.notebooks import NotebookLine, notebook_line, progress_line, with_notebook_line
from novita_openai.batch.report import BatchProgress, BatchReport


class Drawn:
    """IPython's display: what was drawn, and how often a new line was begun."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.begun = 0

    def display(self, content: dict[str, str], *, raw: bool, display_id: bool) -> Drawn:
        assert (raw, display_id) == (True, True)
        self.begun += 1
        self.lines.append(content["text/plain"])
        return self

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.lines.append(content["text/plain"])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Have this process look like a notebook's."""
    found = Drawn()
    ipython: Any = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1), display=found)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    return found


def client_of(job: Job) -> AsyncNovitaOpenAI:
    return AsyncNovitaOpenAI(base_url=job.base_url, api_key="sk_test", policy=policy())


def rows(count: int) -> list[dict[str, Any]]:
    body = {"model": MODEL, "prompt": "Hi", "max_tokens": 4}
    return [{"custom_id": f"{number}", "url": "/v1/completions", "body": body} for number in range(count)]


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (BatchProgress(total=9, succeeded=3, failed=1, in_flight=2, tokens=7, elapsed=1.2), None),
        (BatchProgress(total=4, succeeded=4, tokens=7, cost=0.5, elapsed=1.2), "4 rows, 7 tokens, $0.5000, 1 s"),
    ],
)
def test_a_line_says_what_there_is_to_say(progress: BatchProgress, line: str | None) -> None:
    assert progress_line(progress) == (line or "4 of 9 rows, 1 failed, 2 in flight, 7 tokens, 1 s")


def test_files_and_streams_draw_one_line_by_themselves(job: Job, drawn: Drawn) -> None:
    job.write(rows(3))

    async def work() -> int:
        await batch.arun(job.requests, job.results, client=client_of(job))
        return len([each async for each in batch.stream(rows(3), client=client_of(job))])

    assert asyncio.run(work()) == 3
    assert drawn.begun == 2
    assert [line.startswith("3 rows, ") for line in drawn.lines if " in flight" not in line]


def test_progress_can_be_switched_off_or_be_the_program_s_own(job: Job, drawn: Drawn) -> None:
    async def work() -> None:
        async for _ in batch.stream(rows(1), client=client_of(job), progress=False):
            pass

    asyncio.run(work())
    assert drawn.lines == []
    assert notebook_line({"progress": False}) is None
    own: Any = {"on_progress": print}
    assert with_notebook_line(own) is own


def test_outside_of_notebooks_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert notebook_line({}) is None
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert notebook_line({}) is None


def test_a_line_is_not_drawn_more_often_than_anyone_reads(drawn: Drawn) -> None:
    line = NotebookLine(drawn.display)
    for in_flight in (2, 1, 0):
        line.follow(BatchReport(total=1), in_flight)
    assert (drawn.begun, len(drawn.lines)) == (1, 2)


CELL = """
from novita_openai import AsyncOpenAI, batch
client = AsyncOpenAI(base_url={base_url!r}, api_key="sk_test")
body = dict(model={model!r}, prompt="Hi", max_tokens=4)
rows = [dict(custom_id=str(n), url="/v1/completions", body=body) for n in range(3)]
print(len([each async for each in batch.stream(rows, client=client)]))
"""


@pytest.mark.slow
def test_a_real_kernel_shows_the_line(job: Job) -> None:
    """In a process of its own, as the kernel's libraries warn of each other."""
    pytest.importorskip("ipykernel")
    code = f"""import nbformat, nbclient
cell = nbformat.v4.new_code_cell({CELL.format(base_url=job.base_url, model=MODEL)!r})
book = nbclient.NotebookClient(nbformat.v4.new_notebook(cells=[cell]), timeout=120, kernel_name="python3").execute()
for output in book.cells[0].outputs: print(output.output_type, output.get("text") or output.data["text/plain"])
"""
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    lines = ended.stdout.split("\n")
    assert any(line.startswith("display_data 3 rows, ") for line in lines), lines
    assert "stream 3" in lines
