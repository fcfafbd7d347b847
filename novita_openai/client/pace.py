"""What a program says of the pace of its calls, and what is known of each model's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from novita_openai.client.turns import PaceClock, Turns
from novita_openai.pacing import FEW, SHARE, Pacer

__all__ = ["ModelPace", "Pace"]

MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class ModelPace:
    """What is known of the pace of one model.

    ``rate``: the requests a second that may start; ``in_flight``: those that have started and not ended; ``waiting``:
    the calls that wait for their turn; ``refused``: how many requests came too fast so far.
    """

    rate: float
    in_flight: int
    waiting: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pace:
    """How fast a client asks each model; give it as ``pace=`` to a client, a factory or ``with_options``.

    ``rpm``, ``tpm``: the most requests and tokens a minute; ``concurrency``: the most requests in flight. None: found
    by what the service refuses. ``patience``: the seconds for which a call that came too fast (429) waits for further
    turns; it uses up no attempt and no token of a budget, and ``Retry-After`` may ask for as much.

    All calls to one model share its pace: those of the client and its copies, in all threads, tasks and event loops,
    those of other clients that are given the same object, and batches that are given the client. A copy of it, and one
    in another process, learns by itself: of processes that share an account, give each ``Pace(rpm=limit / processes)``.
    """

    rpm: float | None = None
    tpm: float | None = None
    concurrency: int | None = None
    patience: float = 600.0
    clock: PaceClock = field(default_factory=PaceClock, init=False, repr=False)
    _turns: dict[str, Turns] = field(default_factory=dict, init=False, repr=False)

    if not TYPE_CHECKING:  # type checkers see the dataclass, which takes arguments by name

        def __new__(cls, *unnamed: object, **_: object) -> Self:
            """Refuse a number without a name."""
            if unnamed:
                raise TypeError(f"Pace({unnamed[0]!r}): say of what, as in Pace(rpm={unnamed[0]!r})")
            return object.__new__(cls)

    def __post_init__(self) -> None:
        for name, (is_possible, wanted) in _NUMBERS.items():
            value: object = getattr(self, name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and is_possible(value)
            if not is_number and (value is not None or name == "patience"):
                raise ValueError(f"{name}={value!r}: give {wanted}")

    def __reduce__(self) -> tuple[Callable[..., Pace], tuple[float | None, ...]]:
        return _pace, (self.rpm, self.tpm, self.concurrency, self.patience)

    @property
    def models(self) -> Mapping[str, ModelPace]:
        """Return what is known of each model that was asked so far."""
        return {model: ModelPace(*turns.state()) for model, turns in list(self._turns.items())}

    def turns(self, model: str) -> Turns:
        """Return the turns of a model."""
        known = self._turns.get(model)
        if known is None:
            pacer = Pacer(
                self.clock.now(), concurrency=self.concurrency, rpm=self.rpm, tpm=self.tpm, first=FEW, share=SHARE
            )
            rate = math.inf if self.rpm is None else self.rpm / MINUTE
            known = self._turns.setdefault(model, Turns(pacer, self.clock, rate))
        return known


def _pace(rpm: float | None, tpm: float | None, concurrency: int | None, patience: float) -> Pace:
    return Pace(rpm=rpm, tpm=tpm, concurrency=concurrency, patience=patience)


_NUMBERS: Final[Mapping[str, tuple[Callable[[float], bool], str]]] = {
    "rpm": (lambda value: 0 < value < math.inf, "requests a minute, above 0, or None to find them"),
    "tpm": (lambda value: 0 < value < math.inf, "tokens a minute, above 0, or None to find them"),
    "concurrency": (lambda value: value >= 1 and isinstance(value, int), "at least 1 request in flight, or None"),
    "patience": (lambda value: value > 0, "seconds, above 0"),
}
"""What each number may be, and how that is said."""
