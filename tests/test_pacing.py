"""The law of pacing, in a simulated service: a token bucket, or a number in flight, in no real time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novita_openai.pacing import FIRST_LIMIT, FIRST_RATE, Pacer, Ticket

Limit = Callable[[float], float]


class Service:
    """Takes ``rate(now)`` requests a second, ``burst`` at once, at most ``most`` in flight."""

    def __init__(self, rate: Limit, *, burst: float = 10, most: float = math.inf, latency: float = 0.05) -> None:
        self.rate, self.burst, self.most, self.latency = rate, burst, most, latency
        self.level, self.updated, self.in_flight = burst, 0.0, 0

    def takes(self, now: float) -> bool:
        self.level = min(self.burst, self.level + (now - self.updated) * self.rate(now))
        self.updated = now
        taken = self.level >= 1 and self.in_flight < self.most
        self.level -= taken
        self.in_flight += taken
        return taken


def simulate(pacer: Pacer, service: Service, rows: int, retry_after: float | None = None) -> tuple[float, int]:
    """Run rows through a service; return the seconds that took and the number of refusals."""
    random, now, left, refused = Random(1), 0.0, rows, 0
    events: list[tuple[float, float, bool, Ticket]] = []
    while left or events:
        while left and pacer.wait(now) <= 0:
            left -= 1
            taken = service.takes(now)
            due = now + (service.latency * random.uniform(0.8, 1.2) if taken else min(service.latency, 0.05))
            heapq.heappush(events, (due, random.random(), taken, pacer.start(now)))
        wait = pacer.wait(now) if left else math.inf
        if events and events[0][0] <= now + wait:
            now, _, taken, ticket = heapq.heappop(events)
            if taken:
                service.in_flight -= 1
                pacer.answered(ticket, now)
            else:
                pacer.refused(ticket, now, retry_after, random=random.random())
                left, refused = left + 1, refused + 1
        else:
            now += wait + random.uniform(0, 0.001)
    return now, refused


@pytest.mark.parametrize(("retry_after", "share"), [(None, 0.05), (0.01, 0.02), (1.0, 0.02)])
def test_a_rate_is_found(retry_after: float | None, share: float) -> None:
    seconds, refused = simulate(Pacer(0.0), Service(lambda _: 100), 3_000, retry_after)
    assert seconds <= 1.10 * 29.9
    assert refused <= share * 3_000


@pytest.mark.parametrize(("retry_after", "share"), [(None, 0.05), (0.01, 0.02)])
def test_a_rate_that_changes_is_found_again(retry_after: float | None, share: float) -> None:
    service = Service(lambda now: 50 if 10 <= now < 20 else 100)
    seconds, refused = simulate(Pacer(0.0), service, 3_000, retry_after)
    assert seconds <= 1.10 * 34.9
    assert refused <= share * 3_000


def test_a_number_in_flight_is_found() -> None:
    service = Service(lambda _: math.inf, burst=math.inf, most=10, latency=1.0)
    pacer = Pacer(0.0)
    seconds, refused = simulate(pacer, service, 2_000)
    assert seconds <= 1.25 * 200
    assert refused <= 0.06 * 2_000
    assert pacer.limit <= 12


def test_a_window_that_is_used_up_is_asked_after_less_and_less() -> None:
    pacer = Pacer(0.0)
    seconds, refused = simulate(pacer, Service(lambda now: 0 if now < 60 else 100, burst=30), 60)
    assert seconds < 130
    assert refused < 120


def test_the_rate_doubles_until_the_first_refusal() -> None:
    pacer = Pacer(0.0)
    assert (pacer.rate, pacer.limit) == (FIRST_RATE, FIRST_LIMIT)
    seconds, refused = simulate(pacer, Service(lambda _: math.inf, burst=math.inf, latency=0.01), 5_000)
    assert refused == 0
    assert seconds < 2.5
    assert pacer.rate > 2_000


def test_a_number_of_the_users_is_used_at_once() -> None:
    pacer = Pacer(0.0, concurrency=64)
    tickets = []
    for _ in range(64):
        assert pacer.wait(0.0) <= 0
        tickets.append(pacer.start(0.0))
    assert pacer.wait(0.0) == math.inf
    pacer.refused(tickets[-1], 0.1, None)
    assert pacer.rate < math.inf
    assert pacer.wait(0.1) > 0


def test_one_wave_of_refusals_is_one_cut() -> None:
    pacer = Pacer(0.0, concurrency=50)
    tickets = [pacer.start(number / 100) for number in range(50)]
    pacer.refused(tickets[10], 1.0, 2.0)
    rate, limit = pacer.rate, pacer.limit
    for ticket in tickets[11:]:
        pacer.refused(ticket, 1.0, 2.0, random=0.0)
    assert (pacer.rate, pacer.limit) == (rate, limit)
    assert pacer.wait(1.0) >= 2.0


def test_a_pause_is_for_all_rows_and_jittered() -> None:
    pacer = Pacer(0.0, concurrency=4)
    pacer.refused(pacer.start(0.0), 0.1, 10.0, random=1.0)
    assert pacer.wait(0.1) == pytest.approx(10.5)


def test_an_outage_pauses_the_model() -> None:
    pacer = Pacer(0.0, concurrency=8)
    tickets = [pacer.start(0.0) for _ in range(8)]
    for ticket in tickets[:3]:
        pacer.failed(ticket, 1.0, 5.0, None)
    assert pacer.wait(1.0) <= 0
    for ticket in tickets[3:]:
        pacer.failed(ticket, 1.0, 5.0, None)
    assert pacer.wait(1.0) == pytest.approx(5.0)
    assert pacer.limit < 8


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
    pacer.answered(ticket, 1.0, 10)
    assert pacer.wait(1.0) == pytest.approx(9, abs=0.03)


@given(st.lists(st.tuples(st.sampled_from(["answer", "refuse", "fail"]), st.floats(0, 2)), max_size=80))
def test_whatever_comes_the_pacer_goes_on(events: list[tuple[str, float]]) -> None:
    pacer, now = Pacer(0.0), 0.0
    for kind, seconds in events:
        now += seconds
        now += max(0.0, pacer.wait(now))
        ticket = pacer.start(now)
        if kind == "answer":
            pacer.answered(ticket, now)
        elif kind == "refuse":
            pacer.refused(ticket, now, None)
        else:
            pacer.failed(ticket, now, 1.0, None)
        assert pacer.in_flight == 0
        assert 1 <= pacer.limit <= pacer.most
        assert pacer.rate > 0
        assert pacer.wait(now) <= 121
