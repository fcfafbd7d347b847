"""The pending rows of a file, read for each model by itself, so that no model waits for the rows of another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from novita_openai.batch.pending import PendingRows
    from novita_openai.batch.requests import BatchRequest
    from novita_openai.batch.states import Places

__all__ = ["Cursors"]


class Cursors:
    """Pending rows by model, each read when it is taken.

    ``places``: where they are; ``accept``: tells of a row, once, whether it is to be sent.
    """

    def __init__(self, rows: PendingRows, places: dict[str, Places], accept: Callable[[BatchRequest], bool]) -> None:
        self._rows, self._places, self._accept = rows, places, accept
        self._next = dict.fromkeys(places, 0)

    @property
    def is_all_read(self) -> bool:
        """Tell that every row is known."""
        return True

    def known(self) -> Iterable[str]:
        """Return the models of all rows."""
        return tuple(self._places)

    def has(self, model: str) -> bool:
        """Tell whether there may be a row of a model."""
        return self._left(model) > 0

    def take(self, model: str) -> BatchRequest | None:
        """Return the next row of a model, None where there is none, or where the input has changed."""
        places = self._places[model]
        while self.has(model):
            position = self._next[model]
            self._next[model] += 1
            request = self._rows.at(places[position])
            if request is not None and self._accept(request):
                return request
        return None

    def read(self) -> str | None:
        """Return None: the models of all rows are known."""
        return None

    def count(self, most: int) -> int:
        """Return how many rows there are, at most, counted up to ``most``."""
        return min(most, sum(map(self._left, self._places)))

    def drop(self, model: str) -> None:
        """Skip the rows of a model."""
        self._next[model] = len(self._places[model])

    def _left(self, model: str) -> int:
        has_changed = self._rows.is_cut or self._rows.error is not None
        return 0 if has_changed else len(self._places[model]) - self._next[model]
