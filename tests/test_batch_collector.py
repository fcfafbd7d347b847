"""The thresholds of Python's garbage collector while batches run."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_jobs import Job, rows
from server import Server

from novita_openai.batch.collector import RARER, seldom_collected

OWN = (600, 9, 8)
SELDOM = (600, 9, 8 * RARER)


@pytest.fixture(autouse=True)
def _thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*OWN)
    yield
    gc.set_threshold(*before)


def test_old_objects_are_looked_at_more_seldom_until_the_last_of_several_has_ended() -> None:
    first, second = seldom_collected(), seldom_collected()
    with first:
        assert gc.get_threshold() == SELDOM
        second.__enter__()
        assert gc.get_threshold() == SELDOM
    assert gc.get_threshold() == SELDOM
    second.__exit__(None, None, None)
    assert gc.get_threshold() == OWN


def test_what_the_program_sets_meanwhile_stays() -> None:
    with seldom_collected():
        gc.set_threshold(5_000, 1, 1)
    assert gc.get_threshold() == (5_000, 1, 1)


def test_after_a_run_the_thresholds_are_those_of_before(tmp_path: Path, server: Server) -> None:
    during: list[tuple[int, int, int]] = []
    server.answer = lambda _: during.append(gc.get_threshold())
    Job(tmp_path, server.base_url).run(rows(2))
    assert set(during) >= {SELDOM}
    assert gc.get_threshold() == OWN
