"""The law of pacing, in a simulated service: a token bucket, or a number in flight, in no real time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from random import Random
from statistics import mean

import pytest
from benchmarks.simulation import MINUTE, Asks, Limit, Service, simulate, steady, step
from hypothesis import given
from hypothesis import strategies as st

from novita_openai.pacing import FEW, FIRST_LIMIT, LONGEST_PAUSE, SHARE, Pacer


@dataclass(frozen=True)
class Case:
    """A token bucket, and what may come of it: the time of the ideal, and the share of requests refused."""

    limit: Callable[[float], tuple[Limit, float]]
    asks: Asks
    time: float
    share: float
    rate: float = 100
    burst: float = 10
    latency: float = 0.05
    refusal: float | None = None
    late: float = 0.001

    def __str__(self) -> str:
        options = ((field.name, getattr(self, field.name), field.default) for field in fields(self)[4:])
        other = (f"{name}={value:g}" for name, value, usual in options if value != usual)
        return " ".join((self.limit.__name__, str(self.asks), *other))


# What comes of jobs of 30 seconds, at 100 requests a second and others: the more are in flight when the limit is met,
# the less the service saves up, and the longer each refusal stops the model, the longer it takes to find it.
CASES = [
    Case(steady, None, 1.05, 0.03),
    Case(steady, None, 1.05, 0.03, latency=0.02),
    Case(steady, None, 1.05, 0.03, latency=0.2),
    Case(steady, None, 1.05, 0.02, latency=0.2, refusal=0.02),
    Case(steady, None, 1.10, 0.04, latency=0.5),
    Case(steady, None, 1.25, 0.05, latency=1.0),
    Case(steady, "ms", 1.05, 0.03),
    Case(steady, "ms", 1.05, 0.03, latency=0.02),
    Case(steady, "ms", 1.05, 0.03, latency=0.2),
    Case(steady, "ms", 1.05, 0.02, latency=0.2, refusal=0.02),
    Case(steady, "ms", 1.10, 0.04, latency=0.5),
    Case(steady, "ms", 1.20, 0.05, latency=1.0),
    Case(steady, "s", 1.20, 0.02),
    Case(steady, "s", 1.25, 0.02, latency=0.02),
    Case(steady, "s", 1.20, 0.02, latency=0.2),
    Case(steady, "s", 1.20, 0.02, latency=0.2, refusal=0.02),
    Case(steady, "s", 1.30, 0.03, latency=0.5),
    Case(steady, "s", 1.40, 0.04, latency=1.0),
    Case(steady, None, 1.05, 0.03, late=0.01),
    Case(steady, None, 1.15, 0.03, burst=1),
    Case(steady, "ms", 1.10, 0.03, late=0.01),
    Case(steady, "ms", 1.15, 0.03, burst=1),
    Case(step, None, 1.10, 0.04),
    Case(step, None, 1.10, 0.04, latency=0.02),
    Case(step, None, 1.10, 0.05, latency=0.2),
    Case(step, None, 1.10, 0.03, latency=0.2, refusal=0.02),
    Case(step, None, 1.20, 0.08, latency=0.5),
    Case(step, None, 1.35, 0.10, latency=1.0),
    Case(step, "ms", 1.10, 0.04),
    Case(step, "ms", 1.10, 0.03, latency=0.02),
    Case(step, "ms", 1.15, 0.05, latency=0.2),
    Case(step, "ms", 1.10, 0.03, latency=0.2, refusal=0.02),
    Case(step, "ms", 1.20, 0.08, latency=0.5),
    Case(step, "ms", 1.30, 0.10, latency=1.0),
    Case(step, "s", 1.30, 0.03),
    Case(step, "s", 1.30, 0.03, latency=0.02),
    Case(step, "s", 1.30, 0.03, latency=0.2),
    Case(step, "s", 1.30, 0.02, latency=0.2, refusal=0.02),
    Case(step, "s", 1.40, 0.05, latency=0.5),
    Case(step, "s", 1.50, 0.08, latency=1.0),
    Case(step, None, 1.10, 0.04, late=0.01),
    Case(step, None, 1.20, 0.04, burst=1),
    Case(step, "ms", 1.15, 0.04, late=0.01),
    Case(step, "ms", 1.20, 0.04, burst=1),
    Case(steady, None, 1.05, 0.18, rate=10),
    Case(steady, None, 1.05, 0.02, rate=500),
    Case(steady, None, 1.05, 0.07, burst=100),
    Case(steady, "ms", 1.05, 0.16, rate=10),
    Case(steady, "ms", 1.05, 0.02, rate=500),
    Case(steady, "ms", 1.05, 0.07, burst=100),
    Case(steady, "s", 1.10, 0.17, rate=10),
    Case(steady, "s", 1.25, 0.01, rate=500),
    Case(steady, "s", 1.15, 0.10, burst=100),
    Case(steady, "s", 1.35, 0.02, burst=1),
    Case(steady, None, 1.60, 0.09, burst=1, latency=1.0),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rate_is_found(case: Case) -> None:
    limit, more = case.limit(case.rate)
    rows = int(30 * case.rate)
    ideal = (rows - case.burst) / case.rate + more + case.latency
    for seed in (1, 2, 3):
        service = Service(rate=limit, burst=case.burst, latency=case.latency, refusal=case.refusal, asks=case.asks)
        seconds, refused = simulate(Pacer(0.0), service, rows, seed, late=case.late)
        assert seconds <= case.time * ideal
        assert refused <= case.share * rows


@dataclass(frozen=True)
class Calls:
    """A hundred calls of a program to a service of ``rpm``, and what may come of them, as for a case."""

    rpm: float
    burst: float
    time: float
    refused: int
    known: bool = False

    def __str__(self) -> str:
        return f"{self.rpm:g} a minute, {self.burst:g} at once, {'known' if self.known else 'found'}"


# Bursts as large as the limit of a minute, and of one; the limits of the service's tiers and others.
CALLS = [
    Calls(30, 30, 1.05, 25),
    Calls(30, 1, 1.30, 10),
    Calls(3, 3, 1.05, 22),
    Calls(3, 1, 1.15, 14),
    Calls(30, 30, 1.45, 0, known=True),
    Calls(30, 1, 1.15, 3, known=True),
]


@pytest.mark.parametrize("calls", CALLS, ids=str)
def test_a_hundred_calls_are_answered_in_little_more_than_the_limit_takes(calls: Calls) -> None:
    rate = calls.rpm / MINUTE
    ideal = (100 - calls.burst) / rate + 2
    for seed in range(20):
        service = Service(rate=lambda _: rate, burst=calls.burst, latency=2.0)
        pacer = Pacer(0.0, rpm=calls.rpm) if calls.known else Pacer(0.0, first=FEW, share=SHARE)
        seconds, refused = simulate(pacer, service, 100, seed, late=0.1)
        assert seconds <= calls.time * ideal
        assert refused <= calls.refused


def test_a_given_rate_is_kept_on_a_way_that_takes_now_more_now_less_time() -> None:
    for seed in range(20):
        service = Service(rate=lambda _: 0.5, burst=1, latency=2.0, way=0.1)
        seconds, refused = simulate(Pacer(0.0, rpm=30), service, 100, seed, late=0.1)
        assert seconds <= 1.10 * 200
        assert refused <= 1


def test_a_second_refusal_at_the_start_raises_no_given_rate() -> None:
    pacer = Pacer(0.0, rpm=30)
    pacer.answered(pacer.start(0.0))
    first, second = pacer.start(2.0), pacer.start(4.0)
    pacer.refused(first, 4.0, None)
    once = pacer.rate
    assert 0.46 <= once <= 0.49
    pacer.refused(second, 6.0, None)
    assert pacer.rate <= once


def test_the_first_request_that_is_refused_leaves_a_given_rate_known() -> None:
    for seed in range(20):
        service = Service(rate=lambda _: 0.5, burst=1, latency=2.0, way=0.1)
        service.level = 0.5
        seconds, refused = simulate(Pacer(0.0, rpm=30), service, 100, seed, late=0.1)
        assert seconds <= 1.15 * 200
        assert refused <= 3


@pytest.mark.parametrize("burst", [1, 10, 100])
@pytest.mark.parametrize("latency", [0.05, 1.0])
@pytest.mark.parametrize("asks", [None, "ms", 1.0])
def test_few_are_refused_after_the_first_minute(burst: int, latency: float, asks: Asks) -> None:
    service = Service(rate=lambda _: 50, burst=burst, latency=latency, asks=asks)
    rows = 50 * 4 * MINUTE
    seconds, refused = simulate(Pacer(0.0), service, rows, since=MINUTE)
    assert seconds <= 1.25 * 4 * MINUTE
    assert refused <= 0.03 * rows * 3 / 4


@pytest.mark.parametrize("burst", [1, 10, 100])
@pytest.mark.parametrize("asks", [None, "ms", 1.0])
def test_a_limit_that_is_half_as_high_for_a_minute_is_found_both_times(burst: int, asks: Asks) -> None:
    rows = 50 * 4 * MINUTE
    services = [
        Service(rate=lambda now: 25 if 80 <= now < 140 else 50, burst=burst, latency=1.0, asks=asks) for _ in range(5)
    ]
    runs = [simulate(Pacer(0.0), service, rows, seed, since=MINUTE) for seed, service in enumerate(services)]
    assert max(seconds for seconds, _ in runs) <= 1.25 * 4.5 * MINUTE
    assert mean(refused for _, refused in runs) <= 0.03 * rows * 3 / 4
    assert max(refused for _, refused in runs) <= 0.035 * rows * 3 / 4


def test_an_hour_without_requests_says_nothing_of_the_rate() -> None:
    pacer = Pacer(0.0, first=FEW, share=SHARE)
    service = Service(rate=lambda _: 10, burst=10)
    seconds, _ = simulate(pacer, service, 500)
    rate = pacer.rate
    now = seconds + 60 * MINUTE
    for _ in range(20):
        pacer.answered(pacer.start(now))
        now += max(0.0, pacer.wait(now))
    pacer.refused(pacer.start(now), now, None)
    assert pacer.rate >= rate / 2


@pytest.mark.parametrize("rpm", [3, 30, 300, 3_000, 30_000])
def test_the_same_law_holds_at_every_scale(rpm: float) -> None:
    """A service that is so many times as fast, seen by a clock that is so many times as slow, is the same service."""
    rate, rows = rpm / MINUTE, 400
    service = Service(rate=lambda _: rate, burst=30, latency=0.5 / rate)
    seconds, refused = simulate(Pacer(0.0, first=FEW, share=SHARE), service, rows, 1, late=0.0)
    assert seconds <= 1.10 * (rows - 30) / rate
    assert refused <= 0.10 * rows


@pytest.mark.parametrize("most", [3, 10, 100])
@pytest.mark.parametrize("refusal", [0.05, 1.0])
@pytest.mark.parametrize(("asks", "time"), [(None, 1.15), (1.0, 1.25)])
def test_a_limit_of_requests_in_flight_is_found(most: int, refusal: float, asks: Asks, time: float) -> None:
    for seed in range(5):
        service = Service(burst=math.inf, most=most, latency=1.0, refusal=refusal, asks=asks)
        seconds, refused = simulate(Pacer(0.0), service, 200 * most, seed)
        assert seconds <= time * 200
        assert refused <= max(0.04 * 200 * most, 2 * FIRST_LIMIT)


@dataclass(kw_only=True)
class Changing(Service):
    """Takes another number in flight, ``later``, from a time on."""

    then: float
    later: float

    def takes(self, now: float, random: Random) -> bool:
        self.most = self.later if now >= self.then else self.most
        return super().takes(now, random)


@pytest.mark.parametrize(("most", "later"), [(10, 40), (40, 10)])
@pytest.mark.parametrize(("asks", "time"), [(None, 1.35), (1.0, 1.80)])
def test_another_limit_of_requests_in_flight_is_found_too(most: int, later: int, asks: Asks, time: float) -> None:
    for seed in range(5):
        service = Changing(burst=math.inf, most=most, then=100, later=later, latency=1.0, refusal=0.05, asks=asks)
        seconds, refused = simulate(Pacer(0.0), service, 100 * (most + later), seed)
        assert seconds <= time * 200
        assert refused <= 0.03 * 100 * (most + later)


@pytest.mark.parametrize("asks", [None, 1.0])
@pytest.mark.parametrize(
    ("burst", "latency", "time"), [(10, 1.2, 1.10), (1, 1.2, 1.15), (10, 5.0, 1.20), (1, 5.0, 1.45)]
)
def test_a_rate_that_looks_like_a_number_in_flight_is_found_as_a_rate(
    burst: int, latency: float, time: float, asks: Asks
) -> None:
    """A refusal comes at once, an answer late: whenever the rate is met, about as many are in flight."""
    for seed in range(5):
        service = Service(rate=lambda _: 50, burst=burst, latency=latency, refusal=0.01, asks=asks)
        seconds, refused = simulate(Pacer(0.0), service, 50 * 4 * MINUTE, seed)
        assert seconds <= time * 4 * MINUTE
        assert refused <= 0.02 * 50 * 4 * MINUTE


@pytest.mark.parametrize("seed", [3, 30, 58])
def test_the_rate_before_a_limit_in_flight_that_is_given_up_is_gone_on_with(seed: int) -> None:
    """In these runs three refusals come by chance with as many in flight, where the service limits the rate alone."""
    service = Service(rate=lambda _: 50, burst=10, latency=5.0, refusal=0.01, asks=1.0)
    seconds, _ = simulate(Pacer(0.0), service, 50 * 4 * MINUTE, seed)
    assert seconds <= 1.17 * 4 * MINUTE


def test_a_number_of_the_users_stays_the_most_in_flight() -> None:
    service = Service(burst=math.inf, most=20, latency=1.0, refusal=0.05)
    pacer = Pacer(0.0, concurrency=30)
    seconds, _ = simulate(pacer, service, 2_000)
    assert seconds <= 1.15 * 100
    assert pacer.in_flight.most <= 30
    service.most = 100
    simulate(pacer, service, 20_000)
    assert pacer.in_flight.most <= 30


@dataclass(kw_only=True)
class Erratic(Service):
    """Refuses a ``share`` of the requests, however fast they come."""

    share: float

    def takes(self, now: float, random: Random) -> bool:
        return random.random() >= self.share and super().takes(now, random)


@pytest.mark.parametrize(
    ("share", "latency", "least"), [(0.01, 0.05, 200), (0.03, 0.05, 60), (0.07, 0.05, 60), (0.07, 1.0, 8)]
)
def test_refusals_that_slower_requests_make_no_rarer_do_not_stop_a_model(
    share: float, latency: float, least: float
) -> None:
    for seed in range(3):
        seconds, _ = simulate(Pacer(0.0), Erratic(burst=math.inf, share=share, latency=latency), 10_000, seed)
        assert 10_000 / seconds > least


def test_refusals_beside_slow_answers_do_not_put_a_model_to_sleep() -> None:
    class Slow(Erratic):
        answers = 0

        def seconds(self, *, taken: bool) -> float:
            self.answers += 1
            return super().seconds(taken=taken) * (400 if self.answers % 100 == 0 else 1)

    for seed in range(20):
        seconds, _ = simulate(Pacer(0.0, concurrency=20), Slow(burst=math.inf, share=0.07), 6_000, seed)
        assert 6_000 / seconds > 35


@pytest.mark.parametrize("rpm", [60, 300, 600])
@pytest.mark.parametrize("latency", [0.05, 1.0])
def test_the_rows_of_three_minutes_pass_in_little_more_than_two(rpm: int, latency: float) -> None:
    runs = [simulate(Pacer(0.0), Service(rpm=rpm, latency=latency), 3 * rpm, seed) for seed in range(10)]
    assert max(seconds for seconds, _ in runs) <= 1.25 * 2 * MINUTE
    assert mean(seconds for seconds, _ in runs) <= (1.18 if latency == 1.0 else 1.10) * 2 * MINUTE
    assert mean(refused for _, refused in runs) <= 0.95 * 3 * rpm


def test_a_window_that_is_used_up_is_asked_after_less_and_less() -> None:
    services = [Service(rate=lambda now: 0 if now < MINUTE else 100, burst=30, refusal=0.05) for _ in range(10)]
    runs = [simulate(Pacer(0.0), service, 60, seed) for seed, service in enumerate(services)]
    assert max(seconds for seconds, _ in runs) < MINUTE + 20
    assert mean(refused for _, refused in runs) < 75


def test_the_rate_doubles_until_the_first_refusal() -> None:
    pacer = Pacer(0.0)
    assert (pacer.rate, pacer.in_flight.limit) == (math.inf, FIRST_LIMIT)
    seconds, refused = simulate(pacer, Service(burst=math.inf, latency=0.01), 5_000)
    assert refused == 0
    assert seconds < 2.5
    assert pacer.rate == math.inf


def test_a_number_of_the_users_is_used_at_once() -> None:
    pacer = Pacer(0.0, concurrency=64)
    tickets = []
    for _ in range(64):
        assert pacer.wait(0.0) <= 0
        tickets.append(pacer.start(0.0))
    assert pacer.wait(0.0) == math.inf
    pacer.refused(tickets[-1], 0.1, None)
    assert pacer.in_flight.limit == 64
    assert pacer.rate < math.inf


def test_one_wave_of_refusals_is_one_cut() -> None:
    pacer = Pacer(0.0, concurrency=50)
    tickets = [pacer.start(number / 100) for number in range(50)]
    pacer.refused(tickets[10], 1.0, 2.0)
    rate, limit = pacer.rate, pacer.in_flight.limit
    for ticket in tickets[11:]:
        pacer.refused(ticket, 1.0, 2.0, random=0.0)
    assert (pacer.rate, pacer.in_flight.limit) == (rate, limit)
    assert pacer.wait(1.0) >= 2.0


def test_a_pause_is_for_all_rows_and_jittered() -> None:
    pacer = Pacer(0.0, concurrency=4)
    pacer.refused(pacer.start(0.0), 0.1, 10.0, random=1.0)
    assert pacer.wait(0.1) == pytest.approx(10.5)


def test_where_the_next_request_is_refused_too_one_asks_at_a_time() -> None:
    pacer, now, pauses = Pacer(0.0, concurrency=50), 0.0, []
    for _ in range(12):
        ticket = pacer.start(now)
        pacer.refused(ticket, now, None)
        pauses.append(pacer.wait(now))
        now += pauses[-1]
    assert pauses == pytest.approx(sorted(pauses))
    assert LONGEST_PAUSE / 2 <= pauses[-1] <= LONGEST_PAUSE + 0.001
    ticket = pacer.start(now)
    assert pacer.wait(now + 100) == math.inf
    pacer.answered(ticket)
    assert pacer.wait(now + 100) <= 0


def test_an_outage_pauses_the_model() -> None:
    pacer = Pacer(0.0, concurrency=8)
    tickets = [pacer.start(0.0) for _ in range(8)]
    for ticket in tickets[:3]:
        pacer.failed(ticket, 1.0, 5.0, None)
    assert pacer.wait(1.0) <= 0
    for ticket in tickets[3:]:
        pacer.failed(ticket, 1.0, 5.0, None)
    assert pacer.wait(1.0) == pytest.approx(5.0)
    assert pacer.in_flight.limit < 8


def test_a_fault_that_names_a_time_pauses_the_model() -> None:
    pacer = Pacer(0.0, concurrency=8)
    pacer.failed(pacer.start(0.0), 1.0, 0.1, 7.0)
    assert pacer.wait(1.0) == pytest.approx(7.0)


@given(st.floats(1, 6_000), st.integers(2, 50))
def test_requests_a_minute_are_never_exceeded(rpm: float, rows: int) -> None:
    pacer, now = Pacer(0.0, rpm=rpm, concurrency=100), 0.0
    for _ in range(rows):
        now += max(0.0, pacer.wait(now))
        pacer.start(now)
    assert now >= (rows - 1) * 60 / rpm - 0.021


def test_tokens_a_minute_are_settled_by_what_came() -> None:
    pacer = Pacer(0.0, tpm=60, concurrency=10)
    ticket = pacer.start(0.0, 30)
    assert pacer.wait(0.0) == pytest.approx(30, abs=0.03)
    pacer.answered(ticket, 10)
    assert pacer.wait(1.0) == pytest.approx(9, abs=0.03)


@given(st.lists(st.tuples(st.sampled_from(["answer", "refuse", "fail"]), st.floats(0, 2)), max_size=80))
def test_whatever_comes_the_pacer_goes_on(events: list[tuple[str, float]]) -> None:
    pacer, now = Pacer(0.0), 0.0
    for kind, seconds in events:
        now += seconds
        now += max(0.0, pacer.wait(now))
        ticket = pacer.start(now)
        if kind == "answer":
            pacer.answered(ticket)
        elif kind == "refuse":
            pacer.refused(ticket, now, None)
        else:
            pacer.failed(ticket, now, 1.0, None)
        assert pacer.in_flight.count == 0
        assert 1 <= pacer.in_flight.limit <= pacer.in_flight.most
        assert pacer.rate > 0
        assert pacer.wait(now) <= 31
