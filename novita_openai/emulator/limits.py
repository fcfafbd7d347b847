"""How much the emulator lets through: requests and tokens a minute, and requests at once, of each model.

Requests and tokens are token buckets (https://en.wikipedia.org/wiki/Token_bucket): a bucket starts full, holds what may
come at once, and fills at the rate of the limit. A request that finds either bucket too empty takes from neither.
Nothing here reads a clock: times are seconds, given by the caller.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from novita_openai.emulator.requests import RefusedError

__all__ = ["Limit", "Limits"]

SECONDS: Final = 60.0

Limit = float | Mapping[str, float] | None
"""One number for every model, or one for each named, or none."""


Needs = Mapping[str, tuple[float, float, float]]
"""For each word of refusal the amount that is needed, the rate a minute, and the most that may come at once."""


def limit_of(limit: Limit, model: str) -> float:
    """Return a model's limit, infinite where it has none."""
    value = limit.get(model) if isinstance(limit, Mapping) else limit
    return math.inf if value is None else value


@dataclass(slots=True)
class _Bucket:
    """What is left, as of a time."""

    level: float
    updated: float

    def fill(self, now: float, per_minute: float, capacity: float) -> None:
        self.level = min(capacity, self.level + (now - self.updated) * per_minute / SECONDS)
        self.updated = now

    def wait(self, amount: float, per_minute: float) -> float:
        """Return the seconds until the amount is there, 0 where it is."""
        return 0.0 if amount <= self.level else (amount - self.level) * SECONDS / per_minute


@dataclass(slots=True)
class Limits:
    """What each model has left."""

    in_flight: Counter[str] = field(default_factory=Counter)
    _buckets: dict[tuple[str, str], _Bucket] = field(default_factory=dict)

    def admit(
        self, model: str, needs: Mapping[str, tuple[float, float, float]], concurrency: float, now: float
    ) -> None:
        """Take what a request needs, or raise :class:`RefusedError` with the seconds to wait.

        An amount above what may come at once is taken for that, or it could never pass.
        """
        if self.in_flight[model] >= concurrency:
            message = f"more than {concurrency:g} requests at once to {model}"
            raise RefusedError("RATE_LIMIT_EXCEEDED", message, _UNTIL_ONE_ENDS)
        limited = {word: need for word, need in needs.items() if not math.isinf(need[1])}
        for word, (amount, per_minute, capacity) in limited.items():
            bucket = self._buckets.setdefault((model, word), _Bucket(capacity, now))
            bucket.fill(now, per_minute, capacity)
            if (seconds := bucket.wait(min(amount, capacity), per_minute)) > 0:
                message = f"{model} takes {per_minute:g} {_UNITS[word]} a minute, {capacity:g} at once"
                raise RefusedError(word, message, seconds)
        for word, (amount, _, capacity) in limited.items():
            self._buckets[model, word].level -= min(amount, capacity)


_UNTIL_ONE_ENDS: Final = 1.0
"""Seconds; nobody can know."""
_UNITS: Final = {"RATE_LIMIT_EXCEEDED": "requests", "TOKEN_LIMIT_EXCEEDED": "tokens"}
