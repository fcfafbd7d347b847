"""What a person at a terminal reads of a batch at its end."""

from __future__ import annotations

import pytest

from novita_openai.batch import BatchReport
from novita_openai.batch.report import ModelReport
from novita_openai.cli import closing

TIME_WAS_UP = "The row's time was up before an answer came; give rows more of it (--row-timeout)."


def told(report: BatchReport, *, can_go_on: bool = True) -> dict[str, str]:
    lines = closing._lines(report, "out.errors.jsonl", can_go_on=can_go_on)
    return {name.strip(): value for name, value, _ in lines}


def test_only_what_there_is_to_say_is_said() -> None:
    assert told(BatchReport(total=1_200, succeeded=1_200)) == {
        "succeeded": "1,200 of 1,200 rows",
        "requests": "0",
        "tokens": "0",
        "time": "0.0 s",
    }


@pytest.mark.parametrize(
    ("report", "name", "words"),
    [
        (BatchReport(total=9, failed=2, errors={"x": 2}), "failed", "2, in out.errors.jsonl"),
        (BatchReport(total=9, failed=2, errors={"x": 2}), "2", "x"),
        (BatchReport(total=9, failed=2, errors={"empty": 2}), "failed", "2"),
        (
            BatchReport(total=9, failed=1, errors={"row_timeout": 1}, examples={"row_timeout": "r1"}),
            "1",
            f"row_timeout: such as r1: {TIME_WAS_UP}",
        ),
        (
            BatchReport(total=9, failed=1, errors={"x": 1}, examples={"x": "r1"}, said={"x": "No such voice."}),
            "1",
            "x: such as r1: No such voice.",
        ),
        (BatchReport(total=9, interrupted=True), "interrupted", "9 rows to do: start the same again to go on"),
        (BatchReport(total=9), "unfinished", "9 rows to do: start the same again to go on"),
        (BatchReport(total=9, succeeded=9, resumed=4), "before", "4 rows were done by earlier starts"),
        (BatchReport(total=9, succeeded=9, deduplicated=4), "not sent", "4 rows, as equal ones were"),
        (BatchReport(total=9, succeeded=9, sent=12, retries=3), "requests", "12, 3 of them retries"),
        (BatchReport(total=9, succeeded=9, cost=0.5), "cost", "$0.5000"),
        (BatchReport(total=9, succeeded=9, resumed=3, elapsed=3.0), "time", "3.0 s, 2.0 rows/s"),
        (
            BatchReport(total=9, succeeded=9, finish_reasons={"stop": 8, "length": 1}),
            "cut",
            "answers that the model did not end itself: 1 x length",
        ),
    ],
)
def test_a_report_is_told_line_by_line(report: BatchReport, name: str, words: str) -> None:
    assert told(report)[name] == words


def test_a_job_that_keeps_nothing_cannot_be_gone_on_with() -> None:
    assert told(BatchReport(total=9), can_go_on=False)["unfinished"] == "9 rows to do"


def test_models_are_told_where_there_are_several_up_to_a_number() -> None:
    models = {f"model-{number}": ModelReport(100 - number, 5, 0.5 if number else None) for number in range(25)}
    lines = told(BatchReport(total=9, succeeded=9, models=models))
    assert (lines["100"], lines["99"]) == ("rows of model-0: 5 tokens", "rows of model-1: 5 tokens, $0.5000")
    assert lines[""] == "and 5 more models (--json lists all)"
    assert "100" not in told(BatchReport(total=9, models={"only": ModelReport(100)}))
    two = told(BatchReport(total=9, models={"a": ModelReport(5), "b": ModelReport(4)}))
    assert ("5" in two, "4" in two, "" in two) == (True, True, False)
