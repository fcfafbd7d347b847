"""The results of rows without a custom_id: matched by what was asked, so that lines may be inserted and removed.

A row without a custom_id is ``line-N`` of the present input. Its result may come from an earlier input, where it stood
in another line: it is found by the digest of its request, and gets its new name. What the present input does not hold
any more is named ``left-N``, so that it is in nobody's way, and is found again if the row comes back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from novita_openai.batch.states import Numbers, States

if TYPE_CHECKING:
    from novita_openai.batch.usage import Spent

__all__ = ["UnnamedResult", "UnnamedResults", "place_of"]

_NAME: Final = re.compile(r"(line|left)-([1-9]\d{0,17})")


def place_of(custom_id: str) -> int | None:
    """Return the number in ``line-N``, and below zero that in ``left-N``; None for the custom_ids of others."""
    found = _NAME.fullmatch(custom_id)
    if found is None:
        return None
    return int(found[2]) if found[1] == "line" else -int(found[2])


def _name_of(place: int) -> str:
    return f"line-{place}" if place > 0 else f"left-{-place}"


@dataclass(frozen=True, slots=True)
class UnnamedResult:
    """A result by its place, and whether it has ``failed``; what was ``spent`` for it, where it is known.

    ``code``: that of a failure.
    """

    place: int
    failed: bool
    spent: Spent | None = field(default=None, compare=False)
    code: str = field(default="", compare=False)


@dataclass(slots=True)
class UnnamedResults:
    """The results of unnamed rows by the digests of their requests, until each is taken by a row of the input.

    Of an ordinary job each request has one answer: its place is all that is kept of it (``_places``). ``_others`` has
    failures, and further answers to the same request. ``_names`` has those results that get another name.
    """

    _places: States = field(default_factory=States)
    _others: dict[int, dict[UnnamedResult, None]] = field(default_factory=dict)
    _names: dict[tuple[int, bool], str] = field(default_factory=dict)
    _stale: set[tuple[int, bool]] = field(default_factory=set)
    _answered: Numbers = field(default_factory=Numbers)
    count: int = 0
    taken: int = 0

    @property
    def is_changed(self) -> bool:
        """Tell whether a result gets another name than it has."""
        return bool(self._names)

    @property
    def is_empty(self) -> bool:
        """Tell whether there is no result that a row could take."""
        return self.taken == self.count

    def add(self, digest: int, result: UnnamedResult) -> None:
        """Take a result; a failure of a request that has an answer in the same place counts no more.

        Raises ``ValueError`` for a second answer in a place.
        """
        if not result.failed and result.place in self._answered:
            raise ValueError(f"the results hold custom_id {_name_of(result.place)!r} twice")
        if result.failed and UnnamedResult(result.place, failed=False) in self._known(digest):
            self._stale.add((result.place, True))
            return
        if result.failed or self._places.get(digest):
            self._others.setdefault(digest, {})[result] = None
        else:
            self._places[digest] = result.place
        self.count += 1
        if not result.failed:
            self._answered.add(result.place)

    def take(self, digest: int, line: int) -> UnnamedResult | None:
        """Return a result of a request for the row in a line, best that of the same line; None without one."""
        known = self._known(digest)
        if not known:
            return None
        found = min(known, key=lambda result: (result.failed, result.place != line))
        if found in self._others.get(digest, ()):
            del self._others[digest][found]
        else:
            self._places[digest] = 0
        self.taken += 1
        self._call(found.place, line, failed=found.failed)
        return found

    def leave_others(self) -> int:
        """Name what no row has taken, once the input is read; return how many results that are."""
        left = [(place, False) for place in self._places.values() if place]
        left += ((each.place, each.failed) for known in self._others.values() for each in known)
        used = {-place for place, _ in left if place < 0}
        free = (number for number in range(1, len(left) + len(used) + 1) if number not in used)
        for place, failed in sorted(left):
            self._call(place, place if place < 0 else -next(free), failed=failed)
        return len(left)

    def _known(self, digest: int) -> list[UnnamedResult]:
        """Return the results of a request that no row has taken."""
        place = self._places.get(digest)
        return [*([UnnamedResult(place, failed=False)] if place else []), *self._others.get(digest, ())]

    def _call(self, place: int, other: int, *, failed: bool) -> None:
        """Give the result in a place the name of another one."""
        if place != other:
            self._names[place, failed] = _name_of(other)

    def name(self, custom_id: str, *, failed: bool) -> str | None:
        """Return the name that a result gets: its own where it is not an unnamed row's, None where it is to go."""
        place = place_of(custom_id)
        if place is None:
            return custom_id
        return None if (place, failed) in self._stale else self._names.get((place, failed), custom_id)
