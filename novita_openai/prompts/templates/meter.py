"""How much time and memory a chat template may take."""

from __future__ import annotations

import re
import time
from collections.abc import ItemsView, Iterable, Iterator, KeysView, ValuesView
from itertools import chain
from operator import length_hint
from typing import Any, Final

__all__ = ["MOST_BITS", "Meter", "RenderingError", "format_extent"]

MOST_WORK: Final = 1_000_000
"""How much one rendering may be charged: characters, items and steps."""

MOST_PRODUCT: Final = 4_000_000
"""The most that the weights of the two heaviest operands of one step in Python may come to, multiplied."""

MOST_SECONDS: Final = 4.0
"""How long a derivation may take, compiling included; that of an ordinary template takes 0.03."""

MOST_BITS: Final = 16_384
"""The size of the largest number; Python itself refuses to print larger ones."""

_OBJECT: Final = 64
"""What an object is charged for that holds values apart, such as a namespace."""

_LIGHT: Final = frozenset({bool, float, type(None)})
_VIEWS: Final = (KeysView, ValuesView, ItemsView)
_TAKEN: Final[type] = type(iter([]))
"""What ``weigh`` makes of an iterator."""


class RenderingError(Exception):
    """Ends a rendering; ``ChatTemplate`` raises it as a TemplateError.

    It is not a ValueError, as filters of Jinja catch those.
    """

    def __init__(self, property: str, problem: str) -> None:
        super().__init__(problem)
        self.property, self.problem = property, problem


class Meter:
    """Adds up what renderings take; raises RenderingError when it is too much.

    ``objects`` are the types that hold values apart from data: they are charged a fixed amount. Values of types that
    are neither data nor among them are refused, as nothing is known of what they take.
    """

    def __init__(self, objects: tuple[type, ...] = ()) -> None:
        self._objects = objects
        self.restart()

    def restart(self) -> None:
        """Start the time limit anew, for the renderings from now on."""
        self.until = time.monotonic() + MOST_SECONDS
        self.refill()

    def refill(self, more: int = 0) -> None:
        """Start the limit of work anew, for the next rendering, and allow it so much more."""
        self.left, self._most_product = MOST_WORK + more, MOST_PRODUCT + more

    def charge(self, amount: int) -> None:
        """Charge so many steps, items or characters."""
        self.left -= amount
        if self.left < 0:
            raise RenderingError("unbounded", f"a rendering takes more than {MOST_WORK} steps, items and characters")
        self.look_at_clock()

    def look_at_clock(self) -> None:
        """Refuse to go on when the time is up."""
        if time.monotonic() > self.until:
            raise RenderingError("unbounded", f"the template takes more than {MOST_SECONDS} seconds")

    def weigh(self, value: Any) -> Any:
        """Charge for a value and all that it holds, and return it; what an iterator yields is taken out and charged.

        Iterators are not left to be read later, as each of a long chain of them would be read through all others.
        """
        kind = type(value)
        if kind is str:
            self.charge(len(value))
        elif kind in _LIGHT:
            self.charge(1)
        elif isinstance(value, Iterator) and not isinstance(value, self._objects):
            return iter([self.weigh(each) for each in value])
        else:
            self.charge(self.weight(value, self.left))
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
            extent = len(operand) if type(operand) is str else self._extent(operand)
            if extent > first:
                first, second = extent, first
            elif extent > second:
                second = extent
        if first * second > self._most_product:
            raise RenderingError("unbounded", f"one step works on {first} times {second} characters or items")

    def check_power(self, base: Any, exponent: Any) -> None:
        """Refuse a power that is too large a number."""
        if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > MOST_BITS:
            raise RenderingError("unbounded", f"a number has more than {MOST_BITS} bits")

    def weight(self, value: Any, most: int) -> int:
        """Return how many items and characters a value holds, each as often as it holds it; at most about ``most``."""
        weight, rest = 0, [value]
        while rest and weight <= most:
            value = rest.pop()
            weight += 1
            if isinstance(value, str):
                weight += len(value)
            elif isinstance(value, (list, tuple)):
                weight += len(value)
                rest += value
            elif isinstance(value, dict):
                weight += len(value)
                rest += chain(value, value.values())
            else:
                weight += self._weight_apart(value)
        return weight

    def _weight_apart(self, value: Any) -> int:
        """Return the weight of a value that holds no others; refuse types of which nothing is known."""
        if isinstance(value, int):
            if value.bit_length() > MOST_BITS:
                raise RenderingError("unbounded", f"a number has more than {MOST_BITS} bits")
            return value.bit_length() // 8
        if isinstance(value, (*_VIEWS, _TAKEN)):
            return length_hint(value)
        if type(value) in _LIGHT or isinstance(value, range):
            return 1
        if isinstance(value, self._objects):
            return _OBJECT
        raise RenderingError("refused", f"the template makes a {type(value).__name__}, which no prompt can hold")

    def _extent(self, value: Any) -> int:
        """Return how much an operand can make a result grow: a number counts as that many times."""
        return abs(value) if isinstance(value, int) else self.weight(value, self._most_product)


def format_extent(text: str) -> int:
    """Return how much a format string can ask for: its widths count as that many times."""
    return (1 + len(text)) * max(1, *(int(number[:10]) for number in re.findall(r"\d+", text)), 1)
