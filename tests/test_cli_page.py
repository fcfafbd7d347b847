"""The page that a batch leaves with --report: what it counts over time and shows, and that nothing in it acts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import MODEL, PROGRAM, Job, environment, row, rows
from server import CHAT, Reply, Server, error

from novita_openai.batch import BatchProgress, BatchReport
from novita_openai.batch.report import ModelReport
from novita_openai.cli.page import charts, failed
from novita_openai.cli.page.timeline import (
    FEWEST_SPANS,
    MOST_MOMENTS,
    MOST_SPANS,
    Timeline,
    all_latencies,
    joined,
    share_of,
)
from novita_openai.cli.page.writing import MARK, Page
from novita_openai.emulator import Emulator

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\x00\ud800{{ 7 * 7 }}"


def state(seconds: float, rows: int = 0, refused: int = 0, failures: int = 0, **known: Any) -> BatchProgress:
    errors = {"RATE_LIMIT_EXCEEDED": refused, "timeout": failures}
    return BatchProgress(total=9, succeeded=rows, refused=refused, errors=errors, elapsed=seconds, **known)


def followed(*states: BatchProgress) -> Timeline:
    timeline = Timeline()
    for each in states:
        timeline(each)
    return timeline


def test_a_run_is_told_by_what_happened_between_its_states() -> None:
    first, last = followed(
        state(1, 4, resumed=4),
        state(3, 6, 2, 1, resumed=4, cost=0.5, latencies={0.2: 2}),
        state(4, 9, 3, 1, resumed=4, cost=0.7, latencies={0.2: 2, 1.5: 3}),
    ).spans()
    assert (first.start, first.end, first.middle, first.rows, first.refused, first.failures) == (1, 3, 2, 2, 2, 1)
    assert (first.cost, first.latencies, first.a_second(first.rows)) == (0.5, {0.2: 2}, 1.0)
    assert (last.rows, last.refused, last.failures, last.cost, last.latencies) == (3, 1, 0, 0.7, {1.5: 3})
    assert all_latencies([first, last]) == {0.2: 2, 1.5: 3}


def test_a_long_run_takes_no_more_memory_and_loses_nothing() -> None:
    timeline = Timeline()
    for number in range(20_000):
        timeline(state(number / 2, number, number // 3))
        assert len(timeline._moments) <= MOST_MOMENTS
    spans = timeline.spans()
    assert MOST_SPANS / 4 < len(spans) <= MOST_SPANS
    assert (spans[0].start, spans[-1].end) == (0, 19_999 / 2)
    assert sum(span.rows for span in spans) == 19_999
    assert sum(span.refused for span in spans) == 19_999 // 3
    assert max(span.end - span.start for span in spans) < 4 * min(span.end - span.start for span in spans[:-1])


def test_a_long_run_of_few_rows_is_shown_in_wide_spans() -> None:
    slow, fast = (followed(*(state(each, each * rows // 60) for each in range(3_600))).spans() for rows in (3, 60))
    assert len(slow) <= FEWEST_SPANS
    assert MOST_SPANS / 4 < len(fast) <= MOST_SPANS
    assert sum(span.rows for span in slow) == 3_599 * 3 // 60


def test_spans_are_joined_into_wider_ones_and_lose_nothing() -> None:
    spans = followed(
        *(state(each, each * 60, each // 9, each // 7, latencies={1.0: each}) for each in range(100))
    ).spans()
    wide = joined(spans, 7)
    assert len(wide) <= 7 < len(spans)
    assert (wide[0].start, wide[-1].end) == (0, 99)
    for name in ("rows", "refused", "failures"):
        assert sum(getattr(span, name) for span in wide) == sum(getattr(span, name) for span in spans)
    assert all_latencies(wide) == all_latencies(spans)
    assert joined(spans, 1_000) == spans
    assert joined([], 7) == []


def test_few_refusals_in_a_long_run_are_drawn_in_wide_bars() -> None:
    states = [state(each, each * 60, each // 9) for each in range(1_000)]
    spans = followed(*states).spans()
    bars = charts.charts(spans)[1].curves[0].path.count("M")
    assert bars <= FEWEST_SPANS < len(spans)


@pytest.mark.parametrize("states", [(), (state(1, 1),), (state(1, 1), state(1, 2))])
def test_a_run_without_time_has_no_charts(states: tuple[BatchProgress, ...]) -> None:
    assert charts.charts(followed(*states).spans()) == []


def test_half_of_the_answers_came_within_their_median() -> None:
    latencies = {3.0: 1, 0.1: 6, 0.5: 12, 2.0: 1}
    assert [share_of(latencies, share) for share in (0.3, 0.5, 0.95, 1.0)] == [0.1, 0.5, 2.0, 3.0]


def test_the_charts_show_what_is_known() -> None:
    quiet = charts.charts(followed(state(0), state(2, 4)).spans())
    assert [(chart.title, chart.sum) for chart in quiet] == [
        ("Rows a second", "2 on average"),
        ("Requests a second without an answer", "none"),
    ]
    shown = charts.charts(
        followed(state(0), state(2, 4, cost=0.5, latencies={0.5: 3}), state(4, 8, 3, 2, cost=1)).spans()
    )
    assert [chart.title for chart in shown][2:] == ["Seconds to an answer", "Dollars spent"]
    assert [chart.sum for chart in shown][1:] == [
        "3 refused (429), 2 failed otherwise",
        "half within 0.5 s, 95 % within 0.5 s",
        "$1.0000",
    ]
    assert [curve.name for curve in shown[1].curves] == ["failed otherwise", "refused (429)"]
    assert shown[0].curves[1].path == "M250.0,0.0L750.0,0.0"
    assert shown[1].curves[1].path == "M550.0,100.0L550.0,62.5L950.0,62.5L950.0,100.0Z"
    assert shown[2].curves[0].path == "M250.0,0.0L250.0,0.0"
    assert (shown[3].heights, shown[3].times) == (("$1", "$0.5", "$0"), ("0 s", "2 s", "4 s"))


@pytest.mark.parametrize(
    ("most", "heights"),
    [
        (0.0, ("1", "0.5", "0")),
        (0.0123, ("0.02", "0.01", "0")),
        (31, ("40", "20", "0")),
        (9_999, ("10,000", "5,000", "0")),
    ],
)
def test_an_axis_ends_at_a_short_number(most: float, heights: tuple[str, ...]) -> None:
    assert charts._heights(charts._top(most)) == heights


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (1.26, "1.3 s"), (59.4, "59 s"), (59.6, "1:00 min"), (754, "12:34 min"), (7_500, "2:05 h")],
)
def test_times_are_told_as_people_say_them(seconds: float, words: str) -> None:
    assert charts.duration(seconds) == words


class Reader(HTMLParser):
    """Collects the elements of a page, their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.source = path.read_bytes().decode()
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def failed_row(name: str, message: str, response: Any = None) -> str:
    problem = {"code": HOSTILE, "message": message, "attempts": 2}
    return json.dumps({"id": "batch_req_1", "custom_id": name, "response": response, "error": problem}) + "\n"


def written(folder: Path, report: BatchReport, lines: str = "", **said: str) -> Reader:
    errors = folder / "out.errors.jsonl"
    errors.write_text(lines, encoding="utf-8")
    page = Page(folder / "report.html", followed(state(0), state(2, 4, 1, latencies={0.5: 3})))
    known = {"requests": "in.jsonl", "output": "out.jsonl", "errors": str(errors), "ended": ""}
    page.write(report, **(known | said))
    return Reader(page.path)


def test_nothing_that_others_wrote_can_act(tmp_path: Path) -> None:
    report = BatchReport(
        total=3,
        failed=2,
        succeeded=1,
        errors={HOSTILE: 2},
        examples={HOSTILE: HOSTILE},
        finish_reasons={HOSTILE: 1},
        models={HOSTILE: ModelReport(3, 5)},
    )
    answer = {"status_code": 200, "body": {"choices": [{"message": {"content": HOSTILE}}]}}
    odd = [{"choices": []}, {"choices": [7]}, {"choices": [{"message": None}]}, [], None]
    lines = [failed_row(HOSTILE, HOSTILE, answer), *(failed_row("odd", "m", {"body": body}) for body in odd), "{}\n"]
    page = written(tmp_path, report, "".join(lines), requests=HOSTILE, output=HOSTILE, ended=HOSTILE)
    assert (page.tags.count("script"), page.tags.count("style"), page.tags.count("img")) == (1, 1, 0)
    names = {name for name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")} | names & {"src", "href", "style", "action"}
    shown = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\N{REPLACEMENT CHARACTER}"
    assert page.text.count(shown) == 17
    assert page.text.count("{{ 7 * 7 }}") == 17
    for unseen in ("\u202e", "\x00"):
        assert unseen not in page.source


def test_the_policy_of_the_page_lets_its_own_script_run_and_nothing_else(tmp_path: Path) -> None:
    page = written(tmp_path, BatchReport(total=0))
    policy = next(value for _, value in page.attributes if value.startswith("default-src"))
    assert policy.startswith("default-src 'none'; base-uri 'none'; form-action 'none'; ")
    for part in ("style", "script"):
        (own,) = re.findall(rf"<{part}>(.*?)</{part}>", page.source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{part}-src 'sha256-{digest}'" in policy


def test_the_page_of_a_large_job_is_bounded_and_says_so(tmp_path: Path) -> None:
    lines = "".join(failed_row(f"row-{number}" * 1_000, "x" * 50_000) for number in range(1_200))
    page = written(tmp_path, BatchReport(total=9_000, failed=1_200), lines)
    assert page.source.count("\nrow-") + page.source.count("<bdi>row-") == failed.MOST_ROWS
    assert "This page shows the first 1,000; the file of failed rows has all." in page.text
    assert "the first 1,000 of 1,200 rows" in page.text
    assert len(page.source) < 2_000_000


def test_many_models_are_bounded_too(tmp_path: Path) -> None:
    models = {f"org/model-{number}": ModelReport(1, 1, 0.1) for number in range(60)}
    page = written(tmp_path, BatchReport(total=60, succeeded=60, models=models, cost=6.0), errors="")
    assert "and 10 more" in page.text
    assert "Failed rows" not in page.text


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (BatchReport(total=9, succeeded=9, resumed=5, cost=0.25, job_cost=0.5), "5 done by earlier starts"),
        (BatchReport(total=9, succeeded=9, resumed=5, cost=0.25, job_cost=0.5), "$0.5000 with earlier starts"),
        (
            BatchReport(total=9, succeeded=9, resumed=5),
            "charts are of this start alone; earlier ones have done 5 rows.",
        ),
        (BatchReport(total=9, succeeded=9, cost=1, cost_is_estimate=True), "about $1.0000 an estimate"),
        (
            BatchReport(total=9, succeeded=9, resumed=5, cost=0.0, job_cost=1, job_cost_is_estimate=True),
            "about $1.0000 with earlier starts",
        ),
        (BatchReport(total=9, succeeded=9, unpriced=9), "Cost not known not known of 9 answers"),
        (BatchReport(total=9, succeeded=9, cost=1, unpriced=1), "$1.0000 not known of 1 answer"),
        (BatchReport(total=9, succeeded=9, sent=10, retries=1), "1 of them a retry"),
        (
            BatchReport(total=9, succeeded=9, models={"m": ModelReport(9, 9, 0.5, unpriced=2)}),
            "$0.5000 without 2 answers",
        ),
        (BatchReport(total=9, succeeded=7, failed=2), "Complete, 2 failed"),
        (BatchReport(total=9, succeeded=5, failed=2), "Not finished, 2 failed"),
        (BatchReport(total=9, failed=9, errors={"x": 9}, said={"x": "No such voice."}), "No such voice."),
        (BatchReport(total=9, succeeded=9, deduplicated=3), "3 not sent, as equal rows were"),
        (BatchReport(total=9, succeeded=8, interrupted=True), "Interrupted"),
        (BatchReport(total=9, succeeded=8), "Not finished"),
        (BatchReport(total=9, succeeded=8), "1 to do"),
        (BatchReport(total=0), "Complete"),
        (BatchReport(total=9, succeeded=9, elapsed=3.0), "3.0 rows a second"),
    ],
)
def test_the_page_says_what_the_report_says(report: BatchReport, words: str, tmp_path: Path) -> None:
    assert words in written(tmp_path, report).text


def test_a_page_is_written_over_by_the_next_start_and_no_other_file_is(tmp_path: Path) -> None:
    for _ in range(2):
        written(tmp_path, BatchReport(total=0))
    assert (tmp_path / "report.html").read_bytes().startswith(MARK)
    (tmp_path / "own.html").write_text("<p>Mine")
    for name, words in (
        ("own.html", "there is such a file already"),
        ("results.jsonl", "ends with .html"),
        ("no/such/folder.html", "there is no folder"),
    ):
        with pytest.raises(ValueError, match=words):
            Page(tmp_path / name)


def run(job: Job, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, str(job.requests), "-o", str(job.results), *map(str, arguments)]
    return subprocess.run(
        command, env=environment(job, **variables), capture_output=True, text=True, timeout=120, check=False
    )


def test_a_batch_leaves_a_page(job: Job, emulator: Emulator) -> None:
    path = job.folder / "report.html"
    job.write([*rows(5), row("bad", model="no/such</script>")])
    result = run(job, "--report", path)
    assert (result.returncode, result.stderr.splitlines()[-1]) == (1, f"novita-openai: the report: {path}")
    page = Reader(path)
    for words in (
        "5 succeeded",
        "1 failed",
        "Rows a second",
        "Seconds to an answer",
        "MODEL_NOT_FOUND",
        "such</script>",
    ):
        assert words in page.text
    assert "sk_test" not in page.source
    assert run(job, "--report", path, "--quiet").stderr == ""
    assert "earlier ones have done 6 rows" in Reader(path).text
    asked = len(emulator.requests)
    assert run(job, "--report", job.results).returncode == 2
    assert run(job, "--report", path, "--check").returncode == 2
    assert len(emulator.requests) == asked


@pytest.mark.slow
def test_a_batch_that_stops_leaves_a_page_that_says_why(job: Job, server: Server) -> None:
    server.script += [error(429, "RATE_LIMIT_EXCEEDED", retry_after="0.01"), Reply(body=CHAT)]
    server.always = error(403, "NOT_ENOUGH_BALANCE")
    job.base_url, server.lists_apart = server.base_url, True
    job.write(rows(3))
    assert run(job, "--report", job.folder / "report.html", "--concurrency", "1").returncode == 3
    text = Reader(job.folder / "report.html").text
    assert "NOT_ENOUGH_BALANCE" in text
    assert "2 of 3 rows are unfinished: start the same again to go on" in text
    assert "1 refused (429)" in text


@pytest.mark.slow
def test_without_jinja_only_the_page_is_missing(job: Job) -> None:
    job.write(rows(1))
    code = "import sys; sys.modules['jinja2'] = None; from novita_openai.__main__ import main; main()"
    arguments = ["batch", job.requests, "-o", job.results, "--model", MODEL]
    for more, ending in ((["--report", "x.html"], 2), ([], 0)):
        command = [sys.executable, "-c", code, *map(str, arguments), *more]
        result = subprocess.run(command, env=environment(job), capture_output=True, text=True, check=False)
        assert result.returncode == ending, result.stderr
        assert ("the page of --report needs Jinja: pip install" in result.stderr) == bool(ending)
