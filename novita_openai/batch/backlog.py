"""The rows that are still to be sent: those that are not read yet, and those that wait in the lanes of their models."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from novita_openai.batch.lanes import Held, Lane

if TYPE_CHECKING:
    from novita_openai.batch.options import RunLimits
    from novita_openai.batch.requests import BatchRequest

__all__ = ["Backlog"]


class Backlog:
    """Rows in the order of the input, read as there is room for them, each into the lane of its model.

    While a model pauses its rows wait, and those behind them are read all the same, up to a bound, so that other models
    go on.
    """

    def __init__(self, rows: Iterator[BatchRequest], limits: RunLimits) -> None:
        self._rows, self._limits = rows, limits
        self._lanes: dict[str, Lane] = {}
        self._held = Held()
        self._is_all_read = False

    @property
    def is_empty(self) -> bool:
        """Tell whether no row is left to send."""
        return self._is_all_read and not self._held.rows

    @property
    def is_readable(self) -> bool:
        """Tell whether a row may be read."""
        return not (self._is_all_read or self._held.is_full)

    def read(self, now: float) -> Lane | None:
        """Put the next row into its lane and return that, None at the end of the input."""
        request = next(self._rows, None)
        if request is None:
            self._is_all_read = True
            return None
        lane = self._lane(request.model, now)
        lane.add(request)
        return lane

    def lanes(self) -> list[Lane]:
        """Return the lanes in which rows wait."""
        return [lane for lane in self._lanes.values() if not lane.is_empty]

    def wait(self, now: float) -> float:
        """Return the seconds until a row that waits may start; infinite where a request in flight must end first."""
        return min((lane.wait(now) for lane in self.lanes()), default=math.inf)

    def _lane(self, model: str, now: float) -> Lane:
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._lanes[model] = Lane(self._limits.pacer(now), self._held)
        return lane
