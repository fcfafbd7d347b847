"""The rows that are still to be sent: those that are not read yet, and those that wait in the lanes of their models."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from novita_openai.batch.lanes import Fresh, Held, Lane, Wish
from novita_openai.batch.room import Room

if TYPE_CHECKING:
    from novita_openai.batch.options import RunLimits
    from novita_openai.batch.requests import BatchRequest

__all__ = ["Backlog", "Feed", "ReadAhead"]


class Feed(Fresh, Protocol):
    """The rows of a run that were not sent yet, and how to find their models."""

    @property
    def is_all_read(self) -> bool:
        """Tell whether the models of all rows are known."""
        ...

    def known(self) -> Iterable[str]:
        """Return the models of which rows are known from the start."""
        ...

    def read(self) -> str | None:
        """Read one row further, where there is one and room for it, and return its model."""
        ...

    def count(self, most: int) -> int:
        """Return how many rows there are at least, counted up to ``most``."""
        ...

    def drop(self, model: str) -> None:
        """Skip the rows of a model from now on."""
        ...


class ReadAhead:
    """Rows that can be read only in their order: what comes before the next row of a model is held, up to a bound."""

    def __init__(self, rows: Iterator[BatchRequest]) -> None:
        self._rows = rows
        self._held, self._waiting = Held(), dict[str, deque["BatchRequest"]]()
        self._dropped: set[str] = set()
        self.is_all_read = False

    def known(self) -> Iterable[str]:
        """Return nothing: each row says its model when it is read."""
        return ()

    def has(self, model: str) -> bool:
        """Tell whether a row of a model is held."""
        return bool(self._waiting.get(model))

    def take(self, model: str) -> BatchRequest | None:
        """Return the first row of a model that is held."""
        request = self._waiting[model].popleft()
        self._held.remove(request)
        return request

    def read(self) -> str | None:
        """Read one row further, unless too many are held."""
        return None if self._held.is_full else self._read()

    def count(self, most: int) -> int:
        """Return how many rows there are at least; this reads up to so many."""
        while self._held.rows < most and self._read() is not None:
            pass
        return self._held.rows

    def drop(self, model: str) -> None:
        """Skip the rows of a model."""
        self._dropped.add(model)
        for request in self._waiting.pop(model, ()):
            self._held.remove(request)

    def _read(self) -> str | None:
        for request in self._rows:
            if request.model not in self._dropped:
                self._held.add(request)
                self._waiting.setdefault(request.model, deque()).append(request)
                return request.model
        self.is_all_read = True
        return None


class Backlog:
    """The lanes of all models, each of which goes on by itself."""

    def __init__(self, feed: Feed, limits: RunLimits, now: float) -> None:
        self._feed, self._limits = feed, limits
        self._lanes: dict[str, Lane] = {}
        self.room = Room()
        for model in feed.known():
            self._lane(model, now)

    @property
    def is_empty(self) -> bool:
        """Tell whether no row is left to send."""
        return self._feed.is_all_read and not self.lanes()

    def read(self, now: float) -> Lane | None:
        """Read one row further, and return the lane in which it waits; None where there is no row, or no room."""
        model = self._feed.read()
        return None if model is None else self._lane(model, now)

    def lanes(self) -> list[Lane]:
        """Return the lanes in which rows wait."""
        return [lane for lane in self._lanes.values() if not lane.is_empty]

    def wait(self, now: float) -> float:
        """Return the seconds until a row that waits may start; infinite where a request in flight must end first."""
        return min((lane.wait(now) for lane in self.lanes()), default=math.inf)

    def count(self, most: int) -> int:
        """Return how many rows wait at least, counted up to ``most``; those of models that are put off do not count."""
        waiting = sum(lane.waiting for lane in self._lanes.values())
        return waiting if waiting >= most else waiting + self._feed.count(most - waiting)

    def put_off(self, lane: Lane, asked: float, now: float) -> None:
        """Send no more to a model, as the service asks to wait for so many seconds."""
        lane.put_off = Wish(asked, now + asked)
        self._feed.drop(lane.model)

    def put_off_lanes(self) -> list[Lane]:
        """Return the lanes of the models that were put off."""
        return [lane for lane in self._lanes.values() if lane.put_off is not None]

    def _lane(self, model: str, now: float) -> Lane:
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._lanes[model] = Lane(model, self._limits.pacer(model, now), self._feed, self.room.share())
        return lane
