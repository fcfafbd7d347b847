"""The table in which a batch keeps the states of its rows: a dict, but smaller."""

from __future__ import annotations

import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novita_openai.batch.states import BITS, SMALLEST, Numbers, States

KEYS = st.integers(0, 40) | st.integers(0, BITS) | st.integers(0, 8).map(lambda number: number * SMALLEST)


@given(st.lists(st.tuples(KEYS.filter(lambda key: key != 1), st.integers(-BITS, BITS))))
def test_it_holds_what_a_dict_holds(pairs: list[tuple[int, int]]) -> None:
    table, plain = States(), dict[int, int]()
    for key, state in pairs:
        assert table.get(key) == plain.get(key)
        assert (key in table) == (key in plain)
        if state % 3:
            table[key] = plain[key] = state
        else:
            table.setdefault(key, state)
            plain.setdefault(key, state)
    assert len(table) == len(plain)
    assert sorted(table.values()) == sorted(plain.values())
    assert {key: table[key] for key in plain} == plain


def test_it_grows_and_stays_small() -> None:
    random, table = Random(1), States()
    keys = [random.getrandbits(60) for _ in range(20_000)]
    for key in keys:
        table[key] = -key
    assert len(table) == len(keys)
    assert all(table[key] == -key for key in keys)
    assert sys.getsizeof(table._keys) + sys.getsizeof(table._states) < 40 * len(keys)
    table.clear()
    assert (len(table), list(table.values())) == (0, [])
    with pytest.raises(KeyError):
        table[keys[0]]


@given(st.lists(st.integers(-(10**6), 10**6) | st.integers(-(10**18), 10**18)), st.integers(-(10**6), 10**6))
def test_a_set_of_numbers_holds_what_a_set_holds(numbers: list[int], other: int) -> None:
    held = Numbers()
    for number in numbers:
        held.add(number)
    assert all(number in held for number in numbers)
    assert (other in held) == (other in numbers)
