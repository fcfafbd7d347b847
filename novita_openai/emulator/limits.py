"""How much the emulator lets through: requests and tokens a minute, and requests at once, of each model.

Requests and tokens are token buckets (https://en.wikipedia.org/wiki/Token_bucket): a bucket starts full, holds what may
come at once, and fills at the rate of the limit. A request that finds one bucket too empty takes from none.
Nothing here reads a clock: the caller gives the time in seconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from novita_openai.emulator.replies import ServiceError

__all__ = ["Limit", "Need", "RateLimiter", "limit_of"]

_SECONDS: Final = 60.0
_UNTIL_ONE_ENDS: Final = 1.0
"""Seconds to wait for another request to end: a guess, as nobody can know."""

Limit = float | Mapping[str, float] | None
"""One number for every model, or one for each model that is named, or None for no limit."""


def limit_of(limit: Limit, model: str) -> float:
    """Return a model's limit, infinite where it has none."""
    value = limit.get(model) if isinstance(limit, Mapping) else limit
    return math.inf if value is None else value


@dataclass(frozen=True, slots=True)
class Need:
    """What a request takes of one limit, which is ``per_minute`` units, at most ``burst`` of them at once.

    ``reason`` is the word of the service's error where too little is left.
    """

    reason: str
    unit: str
    amount: float
    per_minute: float
    burst: float

    @property
    def share(self) -> float:
        """Return the amount, but no more than a full bucket holds: more would never be there."""
        return min(self.amount, self.burst)


@dataclass(slots=True)
class _Bucket:
    """What was left at a time."""

    level: float
    updated: float

    def fill(self, need: Need, now: float) -> None:
        self.level = min(need.burst, self.level + (now - self.updated) * need.per_minute / _SECONDS)
        self.updated = now

    def wait(self, need: Need) -> float:
        """Return the seconds until the need can be met, 0 where it can be now."""
        return max(0.0, (need.share - self.level) * _SECONDS / need.per_minute)


@dataclass(slots=True)
class RateLimiter:
    """What is left for each model."""

    in_flight: Counter[str] = field(default_factory=Counter)
    _buckets: dict[tuple[str, str], _Bucket] = field(default_factory=dict)

    def admit(self, model: str, needs: Sequence[Need], concurrency: float, now: float) -> None:
        """Take what a request needs, or raise :class:`ServiceError` with the seconds to wait."""
        if self.in_flight[model] >= concurrency:
            message = f"more than {concurrency:g} requests at once to {model}"
            raise ServiceError("RATE_LIMIT_EXCEEDED", message, _UNTIL_ONE_ENDS)
        buckets = [(need, self._bucket(model, need, now)) for need in needs if not math.isinf(need.per_minute)]
        for need, bucket in buckets:
            if (seconds := bucket.wait(need)) > 0:
                message = f"{model} takes {need.per_minute:g} {need.unit} a minute, {need.burst:g} at once"
                raise ServiceError(need.reason, message, seconds)
        for need, bucket in buckets:
            bucket.level -= need.share

    def _bucket(self, model: str, need: Need, now: float) -> _Bucket:
        bucket = self._buckets.setdefault((model, need.reason), _Bucket(need.burst, now))
        bucket.fill(need, now)
        return bucket
