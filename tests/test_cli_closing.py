"""What is read of a batch at its end: the facts, as a table at a terminal and in lines elsewhere."""

from __future__ import annotations

import pytest

from novita_openai.batch import BatchReport
from novita_openai.batch.report import ModelReport
from novita_openai.cli.reports import details, failures, sums

WAY_OUT = "The row's time was up before an answer came; give rows more of it (--row-timeout)."


def facts(report: BatchReport, *, can_go_on: bool = True) -> list[tuple[str, str]]:
    told = *sums(report, "out.errors.jsonl", can_go_on=can_go_on), *details(report, can_go_on=can_go_on)
    return [(fact.name, fact.words) for fact in told]


def test_only_what_there_is_to_say_is_said() -> None:
    assert facts(BatchReport(total=1_200, succeeded=1_200)) == [
        ("rows", "1,200 of 1,200 rows succeeded, 0 failed"),
        ("requests", "0 requests sent"),
        ("tokens", "0 tokens"),
        ("time", "0.0 s"),
    ]


def test_one_of_something_is_told_as_one() -> None:
    report = BatchReport(total=1, succeeded=1, sent=1, retries=1, tokens=1, finish_reasons={"length": 1})
    assert [words for _, words in facts(report)] == [
        "1 of 1 row succeeded, 0 failed",
        "1 request sent, 1 of them a retry",
        "1 token",
        "0.0 s",
        "1 answer ended with length: cut at its max_tokens, or at the model's longest answer",
    ]


@pytest.mark.parametrize(
    ("report", "name", "words"),
    [
        (BatchReport(total=9, failed=2, errors={"x": 2}), "rows", "0 of 9 rows succeeded, 2 failed (out.errors.jsonl)"),
        (BatchReport(total=9, failed=2, errors={"x": 2}), "failed", "2 failed with x"),
        (BatchReport(total=9, failed=2, errors={"empty": 2}), "rows", "0 of 9 rows succeeded, 2 failed"),
        (
            BatchReport(total=9, failed=1, errors={"x": 1}),
            "",
            "when that is put right: --retry-failed sends the failed rows again",
        ),
        (
            BatchReport(total=9, failed=1, errors={"row_timeout": 1}, examples={"row_timeout": "r1"}),
            "failed",
            f"1 failed with row_timeout, such as r1: {WAY_OUT}",
        ),
        (
            BatchReport(
                total=9,
                failed=1,
                errors={"row_timeout": 1},
                examples={"row_timeout": "r1"},
                said={"row_timeout": "no answer within 5 s"},
            ),
            "failed",
            f"1 failed with row_timeout, such as r1: no answer within 5 s. {WAY_OUT}",
        ),
        (
            BatchReport(total=9, failed=1, errors={"x": 1}, examples={"x": "r1"}, said={"x": "No such voice."}),
            "failed",
            "1 failed with x, such as r1: No such voice.",
        ),
        (
            BatchReport(total=9, failed=1, errors={"NOT_SEEN": 1}, said={"NOT_SEEN": "no such voice"}),
            "failed",
            "1 failed with NOT_SEEN: no such voice",
        ),
        (
            BatchReport(total=9, failed=1, errors={"no_word": 1}, said={"no_word": "too long"}),
            "failed",
            "1 failed with no_word: too long. The service gave no code for it.",
        ),
        (
            BatchReport(total=9, interrupted=True),
            "unfinished",
            "interrupted with 9 rows to do: start the same again to go on",
        ),
        (BatchReport(total=9), "unfinished", "9 rows to do: start the same again to go on"),
        (BatchReport(total=1, stopped="no key"), "unfinished", "1 row to do"),
        (BatchReport(total=9, succeeded=9, resumed=4), "before", "4 done by earlier starts"),
        (BatchReport(total=9, succeeded=9, deduplicated=4), "equal rows", "4 not sent, as equal rows were"),
        (BatchReport(total=9, succeeded=9, sent=12, retries=3), "requests", "12 requests sent, 3 of them retries"),
        (BatchReport(total=9, succeeded=9, cost=0.5), "cost", "$0.5000"),
        (
            BatchReport(total=9, succeeded=9, cost=0.5, cost_is_estimate=True),
            "cost",
            "about $0.5000 (an estimate: half of the listed prices)",
        ),
        (
            BatchReport(total=9, succeeded=9, cost=0.5, unpriced=1),
            "cost",
            "$0.5000, without 1 answer of unknown cost",
        ),
        (BatchReport(total=9, succeeded=9, unpriced=9), "cost", "9 answers of unknown cost"),
        (BatchReport(total=9, succeeded=9, resumed=3, elapsed=3.0), "time", "3.0 s, 2.0 rows/s"),
        (
            BatchReport(total=9, succeeded=9, finish_reasons={"stop": 8, "content_filter": 2}),
            "answers",
            "2 answers ended with content_filter: held back by the service",
        ),
        (BatchReport(total=9, succeeded=9, finish_reasons={"odd": 2}), "answers", "2 answers ended with odd"),
    ],
)
def test_each_fact_of_a_report_is_told(report: BatchReport, name: str, words: str) -> None:
    assert (name, words) in facts(report)


def test_a_job_that_keeps_nothing_cannot_be_gone_on_with() -> None:
    told = facts(BatchReport(total=9, failed=1, errors={"x": 1}), can_go_on=False)
    assert ("unfinished", "8 rows to do") in told
    assert not [words for _, words in told if "--retry-failed" in words]


def test_failed_rows_are_told_by_code_the_most_frequent_first() -> None:
    report = BatchReport(total=9, failed=3, errors={"x": 1, "y": 2}, examples={"x": "r1"}, said={"x": "No."})
    assert list(failures(report)) == [("y", 2, "", ""), ("x", 1, "r1", "No.")]


def test_models_are_told_where_there_are_several_up_to_a_number() -> None:
    models = {f"model-{number}": ModelReport(100 - number, 5, 0.5 if number else None) for number in range(25)}
    told = [words for name, words in facts(BatchReport(total=9, succeeded=9, models=models)) if name in ("model", "")]
    assert told[:2] == ["model-0: 100 rows, 5 tokens", "model-1: 99 rows, 5 tokens, $0.5000"]
    assert told[20:] == ["and 5 more models (--json lists all)"]
    two = {"a": ModelReport(5, 1), "b": ModelReport(1, 1, 0.5, unpriced=1)}
    told = [words for name, words in facts(BatchReport(total=9, succeeded=9, models=two)) if name == "model"]
    assert told == ["a: 5 rows, 1 token", "b: 1 row, 1 token, $0.5000, without 1 answer of unknown cost"]
    assert "model" not in dict(facts(BatchReport(total=9, models={"only": ModelReport(100)})))
