"""What a failed request means for its row, its model and the whole job: every row of the error table, and the rest."""

from __future__ import annotations

import itertools
import json
import ssl
from dataclasses import replace
from importlib import import_module
from typing import Any

import openai
import pytest

from novita_openai import RULES, Action, Backoff, ErrorRule, RetryPolicy
from novita_openai.batch import verdicts
from novita_openai.batch.verdicts import (
    ALIKE,
    Again,
    Fail,
    PutOff,
    RowHistory,
    Stop,
    Surroundings,
    Verdict,
    Wait,
    is_in_doubt,
)
from novita_openai.errors import AnswerTooLargeError, UnreadableEventError, failure_of

HTTP: Any = import_module(type(openai.DEFAULT_CONNECTION_LIMITS).__module__.partition(".")[0])
POLICY = RetryPolicy(3, backoffs={Action.WAIT: Backoff(5, 60), Action.RETRY: Backoff(2, 60)})
FIRST = RowHistory()
UNKNOWN_WORD = {"reason": "NEW_WORD", "message": "no"}
NO_WORD = {"message": "no"}
PAGE = "<html>"


def refusal(status: int, body: object, **headers: str) -> openai.APIStatusError:
    content = body if isinstance(body, str) else json.dumps(body)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    response = HTTP.Response(status, headers=names, text=content, request=HTTP.Request("POST", "http://127.0.0.1"))
    return openai.APIStatusError("no", response=response, body=None)


def failure(rule: ErrorRule) -> Exception:
    """Return an error that a row of the table is for."""
    if rule.status is not None:
        bodies: dict[str | None, object] = {None: UNKNOWN_WORD, "no_word": NO_WORD, "not_json": PAGE}
        return refusal(rule.status, bodies.get(rule.reason, {"reason": rule.reason}))
    request = HTTP.Request("POST", "http://127.0.0.1")
    response = HTTP.Response(200, request=request)
    if rule.reason == "timeout":
        return openai.APITimeoutError(request=request)
    causes = {"connection_error": None, "not_sent": ValueError("an illegal header")}
    causes["bad_certificate"] = ssl.SSLCertVerificationError("self-signed")
    if rule.reason in causes:
        error: openai.APIError = openai.APIConnectionError(request=request)
        error.__cause__ = causes[rule.reason]
    else:
        kinds: dict[str | None, Any] = {
            "unreadable_event": UnreadableEventError,
            "answer_too_large": AnswerTooLargeError,
        }
        error = kinds.get(rule.reason, openai.APIResponseValidationError)(response, None)
        error.__cause__ = type("ValidationError", (ValueError,), {})() if rule.reason == "schema_mismatch" else None
    return error


def kind(verdict: Verdict) -> str:
    if isinstance(verdict, Fail):
        return "the model fails" if verdict.of_model else "the row fails"
    kinds = {Stop: "the job stops", PutOff: "the model is put off", Wait: "the row waits"}
    return kinds.get(type(verdict), "the row is sent again")


# In the order of RULES.
TABLE = [
    (401, "INVALID_API_KEY", "the job stops"),
    (403, "NOT_ENOUGH_BALANCE", "the job stops"),
    (404, "MODEL_NOT_FOUND", "the model fails"),
    (429, "RATE_LIMIT_EXCEEDED", "the row waits"),
    (500, "MODEL_NOT_AVAILABLE", "the row is sent again"),
    (400, "INVALID_REQUEST_BODY", "the row fails"),
    (401, "FAILED_TO_AUTH", "the job stops"),
    (403, "ACCESS_DENY", "the model fails"),
    (403, "model_access_denied", "the model fails"),
    (429, "TOKEN_LIMIT_EXCEEDED", "the row waits"),
    (429, "insufficient_quota", "the job stops"),
    (429, "billing_hard_limit_reached", "the job stops"),
    (503, "SERVICE_NOT_AVAILABLE", "the row is sent again"),
    (400, None, "the row fails"),
    (401, None, "the row is sent again"),
    (403, "no_word", "the row is sent again"),
    (403, "not_json", "the row is sent again"),
    (403, None, "the row fails"),
    (404, "not_json", "the row fails"),
    (404, "no_word", "the row fails"),
    (404, None, "the row fails"),
    (408, None, "the row is sent again"),
    (409, None, "the row is sent again"),
    (429, None, "the row waits"),
    (500, None, "the row is sent again"),
    (504, None, "the row is sent again"),
    (None, "timeout", "the row is sent again"),
    (None, "connection_error", "the row is sent again"),
    (None, "bad_certificate", "the row fails"),
    (None, "invalid_answer", "the row is sent again"),
    (None, "schema_mismatch", "the row fails"),
    (None, "unreadable_event", "the row fails"),
    (None, "answer_too_large", "the row fails"),
    (None, "not_sent", "the row fails"),
]


OUTAGE = Surroundings(is_witnessed=False)


def decide(
    error: Exception, policy: RetryPolicy, history: RowHistory = FIRST, around: Surroundings | None = None
) -> Verdict:
    return verdicts.decide(failure_of(error, policy.rules), policy, history, around or Surroundings())


def test_every_rule_has_its_verdict() -> None:
    assert [(rule.status, rule.reason, kind(decide(failure(rule), POLICY, FIRST))) for rule in RULES] == TABLE


@pytest.mark.parametrize(
    ("statuses", "bodies", "expected"),
    [
        ((401, 403), (NO_WORD, PAGE, ""), "the row is sent again"),
        ((404,), (PAGE, "", NO_WORD, UNKNOWN_WORD), "the row fails"),
        ((403,), (UNKNOWN_WORD,), "the row fails"),
        ((400, 402, 405, 413, 415, 418, 422, 451), (NO_WORD, UNKNOWN_WORD, PAGE, ""), "the row fails"),
        ((429,), (NO_WORD, UNKNOWN_WORD, PAGE, ""), "the row waits"),
        ((408, 409, 500, 502, 503, 504, 529, 599), (NO_WORD, UNKNOWN_WORD, PAGE, ""), "the row is sent again"),
    ],
)
def test_without_a_known_word_the_status_decides(
    statuses: tuple[int, ...], bodies: tuple[object, ...], expected: str
) -> None:
    found = {kind(decide(refusal(status, body), POLICY, FIRST)) for status in statuses for body in bodies}
    assert found == {expected}


def test_too_fast_waits_as_asked_and_uses_up_no_attempt() -> None:
    for attempts in (0, 2, 99):
        assert decide(refusal(429, ""), POLICY, RowHistory(attempts, attempts, age=1e9)) == Wait(None)
        assert decide(refusal(429, "", retry_after="7"), POLICY, RowHistory(attempts, age=1e9)) == Wait(7.0)


def test_a_row_that_was_refused_three_times_pauses_longer_and_longer() -> None:
    verdicts = [decide(refusal(429, ""), POLICY, RowHistory(refusals=count)) for count in (0, 2, 3, 4, 5, 50)]
    assert verdicts == [Wait(None, pause) for pause in (0.0, 0.0, 5.0, 10.0, 20.0, 60.0)]


def test_a_wish_longer_than_the_policy_allows_puts_the_model_off() -> None:
    for status in (429, 503):
        assert kind(decide(refusal(status, "", retry_after="120"), POLICY)) != "the model is put off"
        assert decide(refusal(status, "", retry_after="121"), POLICY) == PutOff(121.0)
    assert decide(refusal(400, "", retry_after="121"), POLICY) == Fail()


def test_a_passing_fault_is_sent_again_up_to_the_attempts_and_the_time_of_the_row() -> None:
    fault, hurried = refusal(500, ""), replace(POLICY, deadline=10.0)
    histories = [RowHistory(attempts, attempts, age=1e9) for attempts in (0, 1, 2)]
    assert [decide(fault, POLICY, history) for history in histories[:2]] == [Again(2.0, None), Again(4.0, None)]
    assert decide(fault, POLICY, histories[2]) == Fail()
    assert decide(refusal(500, "", retry_after="7"), POLICY) == Again(7.0, 7.0)
    assert decide(fault, hurried, RowHistory(age=7.9)) == Again(2.0, None)
    assert decide(fault, hurried, RowHistory(age=8.0)) == Fail(is_late=True)


def test_the_time_of_a_row_ends_its_refusals_too() -> None:
    hurried = replace(POLICY, deadline=10.0)
    assert decide(refusal(429, ""), hurried, RowHistory(age=9.9)) == Wait(None)
    assert decide(refusal(429, ""), hurried, RowHistory(age=10.0)) == Fail(is_late=True)
    assert decide(refusal(429, "", retry_after="7"), hurried, RowHistory(age=3.0)) == Fail(is_late=True)


LAST = RowHistory(attempts=2, failures=2, age=1e9)
SPENT = replace(POLICY, deadline=100.0)
# What goes on around a row that has no attempt and no time left, and whether a failure with a word of the service ends
# it, and one without.
SURROUNDINGS = [
    (Surroundings(), True, True),
    (OUTAGE, False, False),
    (replace(OUTAGE, are_few=True), True, True),
    (replace(OUTAGE, was_charged=True), True, True),
    (replace(OUTAGE, is_serving=True), False, True),
]


@pytest.mark.parametrize(("around", "by_word", "by_silence"), SURROUNDINGS)
def test_an_outage_uses_up_nobodys_attempts_and_time(around: Surroundings, by_word: bool, by_silence: bool) -> None:
    worded = [refusal(status, {"reason": "NEW_WORD"}) for status in (429, 500)]
    silent = [
        refusal(503, PAGE),
        refusal(500, NO_WORD),
        openai.APITimeoutError(request=HTTP.Request("POST", "http://h")),
    ]
    for errors, is_final in ((worded, by_word), (silent, by_silence)):
        for error in errors:
            verdict = decide(error, SPENT, LAST, around)
            assert isinstance(verdict, Fail) is is_final
            assert is_final or not verdict.counts  # type: ignore[union-attr]


def test_the_models_list_is_asked_only_where_it_decides() -> None:
    silent, worded = failure_of(refusal(503, PAGE)), failure_of(refusal(503, {"reason": "NEW_WORD"}))
    assert is_in_doubt(silent, FIRST, OUTAGE)
    assert not is_in_doubt(worded, FIRST, OUTAGE)
    assert not any(is_in_doubt(silent, FIRST, each) for each in (Surroundings(), replace(OUTAGE, are_few=True)))


def test_a_row_that_fails_while_others_are_answered_goes_on_to_fail_by_its_own_fault() -> None:
    for witnessed, is_final in ((2, False), (3, True)):
        verdict = decide(refusal(500, UNKNOWN_WORD), POLICY, replace(LAST, witnessed=witnessed), OUTAGE)
        assert isinstance(verdict, Fail) is is_final


def test_what_is_charged_though_it_holds_nothing_is_asked_for_twice() -> None:
    patient, paid = replace(POLICY, attempts=8), Surroundings(was_charged=True)
    empty = failure(next(rule for rule in RULES if rule.reason == "invalid_answer"))
    assert kind(decide(empty, patient, FIRST, paid)) == "the row is sent again"
    assert decide(empty, patient, RowHistory(1, 1), paid) == Fail()
    assert kind(decide(empty, patient, RowHistory(1, 1))) == "the row is sent again"


@pytest.mark.parametrize("error", [refusal(401, ""), refusal(403, PAGE), refusal(403, NO_WORD)])
def test_a_status_without_a_word_stops_the_job_only_where_three_rows_in_a_row_meet_it(error: Exception) -> None:
    found = [kind(decide(error, POLICY, FIRST, Surroundings(in_a_row=count))) for count in (1, 2, 3)]
    assert found == ["the row is sent again", "the row is sent again", "the job stops"]
    patient = replace(POLICY, attempts=8)
    assert kind(decide(error, patient, RowHistory(1, 1))) == "the row is sent again"
    assert decide(error, patient, RowHistory(2, 2)) == Fail()
    assert kind(decide(error, replace(POLICY, backoffs={Action.WAIT: Backoff(1, 1)}), FIRST)) == "the row is sent again"


def test_a_refused_key_needs_a_change() -> None:
    around = Surroundings(in_a_row=3)
    verdicts = [decide(error, POLICY, FIRST, around) for error in (refusal(401, ""), refusal(403, PAGE))]
    assert [isinstance(verdict, Stop) and verdict.needs_change for verdict in verdicts] == [True, False]


def test_malformed_requests_never_stop_a_job() -> None:
    for status, body in itertools.product((400, 404, 422), (NO_WORD, UNKNOWN_WORD, PAGE)):
        assert kind(decide(refusal(status, body), POLICY, FIRST, Surroundings(in_a_row=99))) == "the row fails"


def test_a_model_of_which_a_hundred_rows_are_refused_alike_is_given_up() -> None:
    for count, of_model in ((ALIKE - 1, False), (ALIKE, True)):
        assert decide(refusal(400, NO_WORD), POLICY, FIRST, Surroundings(alike=count)) == Fail(of_model=of_model)


def test_a_host_that_cannot_be_reached_stops_the_job_before_anything_has_come_from_it() -> None:
    refused: Any = openai.APIConnectionError(request=HTTP.Request("POST", "http://127.0.0.1:9/v3/openai"))
    refused.__cause__ = HTTP.ConnectError("no")
    refused.__cause__.__cause__ = ConnectionRefusedError(111, "Connection refused")
    verdict = decide(refused, POLICY, FIRST, Surroundings(is_reached=False))
    assert isinstance(verdict, Stop)
    assert "127.0.0.1:9" in verdict.reason
    assert not verdict.needs_change
    assert kind(decide(refused, POLICY)) == "the row is sent again"


def test_the_policy_says_what_is_sent_again() -> None:
    careful = replace(POLICY, retry_ambiguous=False)
    waiting = replace(POLICY, backoffs={Action.WAIT: Backoff(1, 1)})
    lost = openai.APITimeoutError(request=HTTP.Request("POST", "http://127.0.0.1"))
    assert decide(lost, careful, FIRST) == Fail()
    assert decide(refusal(500, ""), waiting, FIRST) == Fail()
    assert decide(refusal(500, "", x_should_retry="false"), POLICY, FIRST) == Fail()


def test_rules_of_users_come_first() -> None:
    mine = ErrorRule(500, "BURNT_DOWN", Action.RETRY, "No more kitchen.", stops_batch=True)
    policy = replace(POLICY, rules=(mine, *RULES))
    assert decide(refusal(500, {"reason": "BURNT_DOWN"}), policy, FIRST) == Stop("500 BURNT_DOWN: No more kitchen.")
    assert decide(refusal(500, ""), policy, FIRST) == Again(2.0, None)


def test_why_a_job_stops_is_told_on_one_line() -> None:
    verdict = decide(refusal(401, {"reason": "INVALID_API_KEY"}), POLICY, FIRST)
    assert isinstance(verdict, Stop)
    assert verdict.reason.startswith("401 INVALID_API_KEY: The API key is invalid. Keys: https://")
