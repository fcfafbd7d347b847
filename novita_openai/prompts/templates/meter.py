"""How much time and memory a chat template may take."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

__all__ = ["Meter", "RenderingError", "format_extent", "weight"]

MOST_WORK: Final = 2_000_000
"""How much one rendering may be charged: characters, items and steps."""

MOST_PRODUCT: Final = 16_000_000
"""The most that the weights of the two heaviest operands of one step in Python may come to, multiplied."""

MOST_SECONDS: Final = 5.0
"""How long all the renderings of a derivation may take; a rendering of an ordinary template takes 0.0001."""

_LIGHT: Final = frozenset({bool, type(None)})
_WEIGHED: Final = frozenset({dict, int, list, tuple})


class RenderingError(Exception):
    """Ends a rendering; ``ChatTemplate`` raises it as a TemplateError.

    It is not a ValueError, as filters of Jinja catch those.
    """

    def __init__(self, property: str, problem: str) -> None:
        super().__init__(problem)
        self.property, self.problem = property, problem


class Meter:
    """Adds up what renderings take; raises RenderingError when it is too much."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Start the time limit anew, for the renderings from now on."""
        self.until = time.monotonic() + MOST_SECONDS
        self.refill()

    def refill(self) -> None:
        """Start the limit of work anew, for the next rendering."""
        self.left = MOST_WORK

    def charge(self, amount: int) -> None:
        """Charge so many steps, items or characters."""
        self.left -= amount
        if self.left < 0:
            raise RenderingError("unbounded", f"a rendering takes more than {MOST_WORK} steps, items and characters")
        if time.monotonic() > self.until:
            raise RenderingError("unbounded", f"the renderings take more than {MOST_SECONDS} seconds")

    def weigh(self, value: Any) -> Any:
        """Charge for a value and all that it holds, and return it; items of an iterator are charged as they come."""
        kind = type(value)
        if kind is str:
            self.charge(len(value))
        elif kind in _LIGHT:
            self.charge(1)
        elif kind not in _WEIGHED and isinstance(value, Iterator) and not hasattr(value, "__len__"):
            return map(self.weigh, value)
        else:
            self.charge(weight(value, MOST_WORK))
        return value

    def check_operands(self, operands: Iterable[Any]) -> None:
        """Refuse a step in Python whose result could be too large before there is a result to weigh.

        A single operand that is not a number is not refused: the result grows with this operand alone, which was
        weighed when it was made.
        """
        operands = [operand for operand in operands if type(operand) not in _LIGHT]
        if len(operands) == 1 and not isinstance(operands[0], int):
            return
        first = second = 1
        for operand in operands:
            extent = len(operand) if type(operand) is str else _extent(operand)
            if extent > first:
                first, second = extent, first
            elif extent > second:
                second = extent
        if first * second > MOST_PRODUCT:
            raise RenderingError("unbounded", f"one step works on {first} times {second} characters or items")


def weight(value: Any, most: int) -> int:
    """Return how many items and characters a value holds, each as often as it holds it; no more than about ``most``."""
    weight, rest = 0, [value]
    while rest and weight <= most:
        value = rest.pop()
        weight += 1
        if type(value) is str or isinstance(value, str):
            weight += len(value)
        elif isinstance(value, int):
            weight += value.bit_length() // 8
        elif isinstance(value, (list, tuple)):
            weight += len(value)
            rest += value
        elif isinstance(value, dict):
            weight += len(value)
            rest += chain(value, value.values())
    return weight


def _extent(value: Any) -> int:
    """Return how much an operand can make a result grow: a number counts as that many times."""
    return abs(value) if isinstance(value, int) else weight(value, MOST_PRODUCT)


def format_extent(text: str) -> int:
    """Return how much a format string can ask for: its widths count as that many times."""
    return (1 + len(text)) * max(1, *(int(number[:10]) for number in re.findall(r"\d+", text)), 1)
