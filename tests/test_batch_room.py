"""The memory that rows in flight may take, as a table of what each counts."""

from __future__ import annotations

import math
from typing import Any

from batch_jobs import MODEL, rows
from hypothesis import given
from hypothesis import strategies as st

from novita_openai.batch.backlog import ReadAhead
from novita_openai.batch.lanes import Lane
from novita_openai.batch.requests import Reader
from novita_openai.batch.room import FIRST_ANSWER, FIRST_WAVE, MOST, Room
from novita_openai.pacing import Pacer


def test_a_row_counts_its_body_and_the_longest_answer_of_its_model() -> None:
    room = Room()
    one, other = room.share(), room.share()
    one.add(1_000)
    other.add(10)
    assert room.bytes == 1_010 + 2 * FIRST_ANSWER
    one.learn(500)
    assert room.bytes == 1_010 + 500 + FIRST_ANSWER
    one.learn(300)
    one.add(1)
    assert room.bytes == 1_011 + 2 * 500 + FIRST_ANSWER


def test_the_first_wave_of_each_model_is_small() -> None:
    room = Room()
    one, other = room.share(), room.share()
    for _ in range(FIRST_WAVE):
        assert not one.is_full
        one.add(0)
    assert one.is_full
    assert not other.is_full
    one.remove(0)
    assert not one.is_full
    one.add(0)
    one.learn(5)
    assert not one.is_full


def test_answers_of_five_megabytes_leave_room_for_about_fifty() -> None:
    room = Room()
    share = room.share()
    share.learn(5 * 1024 * 1024)
    started = 0
    while not room.is_full:
        share.add(1_000)
        started += 1
    assert started == 52
    assert room.bytes >= MOST


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 100_000))))
def test_nothing_counts_once_all_have_ended(steps: list[tuple[int, int]]) -> None:
    room, sizes = Room(), list[int]()
    share = room.share()
    for kind, size in steps:
        if kind == 0:
            share.add(size)
            sizes.append(size)
        elif kind == 1:
            share.learn(size)
        elif sizes:
            share.remove(sizes.pop())
        assert room.bytes >= sum(sizes)
    for size in sizes:
        share.remove(size)
    assert room.bytes == share.in_flight == 0


def lane_of(rows: list[dict[str, Any]], room: Room) -> Lane:
    feed = ReadAhead(Reader().row(number, fields) for number, fields in enumerate(rows, start=1))
    while feed.read() is not None:
        pass
    return Lane(MODEL, Pacer(0.0, concurrency=1_000), feed, room.share())


def test_a_lane_waits_for_its_first_answer_once_the_first_wave_is_out() -> None:
    lane = lane_of(rows(FIRST_WAVE + 2), Room())
    started = []
    while (request := lane.take(0.0)) is not None:
        started.append(lane.start(request, 0.0))
    assert len(started) == FIRST_WAVE
    assert lane.wait(0.0) == math.inf
    lane.share.learn(10)
    assert lane.wait(0.0) <= 0
    assert lane.take(0.0) is not None


def test_no_row_is_taken_into_a_room_that_is_crowded_but_those_that_wait_go_on() -> None:
    room = Room()
    lane = lane_of(rows(2), room)
    request = lane.take(0.0)
    assert request is not None
    room.bytes = MOST - 1
    lane.add_again(request, 0.0)
    assert (room.is_full, room.is_crowded) == (False, True)
    assert lane.take(0.0) is request
    assert not room.is_crowded
    lane.put_back(request)
    assert lane.take(0.0) is request
    room.bytes = MOST
    assert lane.take(0.0) is None
    assert room.is_full
