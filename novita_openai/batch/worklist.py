"""What a batch has to do: every row of the input checked, and compared with the results that are there already.

In memory each row takes about 100 bytes: a number for its custom_id and one for its state, of 60 bits each where they
are digests. The chance that two custom_ids of a million share a number, so that one is refused as given twice, is one
in 2 million.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from zlib import crc32

from novita_openai.batch.files import KnownRow, read_rows, reopened_path
from novita_openai.batch.reopened import spent_in
from novita_openai.batch.requests import BatchInputError, BatchRequest, Entry, Reader, Source
from novita_openai.batch.rows import error_in
from novita_openai.batch.states import BITS, LinePlace, Places, States
from novita_openai.batch.unnamed import UnnamedResult, UnnamedResults, place_of
from novita_openai.batch.usage import Spent, reported_tokens
from novita_openai.prices import Tokens, counted

if TYPE_CHECKING:
    from novita_openai.batch.spending import ModelPrices

__all__ = ["Worklist", "read_worklist"]

HEX_DIGITS: Final = 15
LINES_A_TURN: Final = 500
"""Lines read before the event loop may turn."""
MOST_ERRORS: Final = 10_000
"""Errors of an input after which it is read no further: it is something else."""

# The states of a row of the input. While only its result has been read, not the row itself, its state is the digest in
# the result: positive if the row was answered, negative if it failed. 4 is added to it, so that it is not one of these.
# A row is held while the service has it.
PENDING: Final = 0
ANSWERED: Final = 1
FAILED: Final = 2
HELD: Final = 3
_STATES: Final = (PENDING, ANSWERED, FAILED, HELD)
_NOT_SEEN: Final = 1 << 61
"""Added to the digest of a row that is held, until the input's row is read."""


@dataclass(slots=True)
class Worklist:
    """The input's rows: the state of each, and how many there are, are answered, and have failed.

    ``places``: where the pending rows are, by model; None where that is not known of all of them. ``wanted``: the
    models of the pending rows, each with the paths of their requests. ``spent``: what the rows of the results say that
    earlier runs have spent; ``unpriced``: the tokens of those that do not say what they have cost, by model, and how
    many such rows there are. ``errors``: a line for each reason for which the batch cannot be run. ``codes``: why rows
    have failed, by the numbers of their custom_ids. ``unnamed``: the results
    of rows without a custom_id. ``damaged``: the numbers of lines that are no rows, by the file of results. ``left``:
    how many results are of rows that the input does not hold any more. ``held``: how many rows of the input the service
    has. ``with_headers``: the custom_id of the first pending row that has headers.
    """

    states: States = field(default_factory=States)
    total: int = 0
    answered: int = 0
    failed: int = 0
    places: dict[str, Places] | None = None
    wanted: dict[tuple[str, str], None] = field(default_factory=dict)
    spent: Spent = field(default_factory=Spent)
    unpriced: dict[str, tuple[Tokens, int]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    unnamed: UnnamedResults = field(default_factory=UnnamedResults)
    codes: dict[int, str] = field(default_factory=dict)
    damaged: dict[Path, list[int]] = field(default_factory=dict)
    left: int = 0
    held: int = 0
    with_headers: str | None = None
    _earlier: dict[int, Spent] = field(default_factory=dict)
    _held_unnamed: Counter[int] = field(default_factory=Counter)

    @property
    def models(self) -> tuple[str, ...]:
        """Return the models of the pending rows."""
        return tuple(dict.fromkeys(model for model, _ in self.wanted))

    def is_pending(self, request: BatchRequest) -> bool:
        """Tell whether a row is to be sent; raise ``ValueError`` where it was not in the input before."""
        state = self.states.get(_number(request.custom_id))
        if state is None:
            raise ValueError(f"custom_id {request.custom_id!r} was not in it before")
        return state == PENDING

    def is_answered(self, custom_id: str) -> bool:
        """Tell whether a row of the input has an answer from an earlier run."""
        return self.states.get(_number(custom_id)) == ANSWERED

    def is_failed(self, custom_id: str) -> bool:
        """Tell whether a row of the input has failed in an earlier run, and is not sent again."""
        return self.states.get(_number(custom_id)) == FAILED

    def is_reopened(self, custom_id: str) -> bool:
        """Tell whether a row of the results is to be sent again."""
        return self.states.get(_number(custom_id)) == PENDING

    def failures(self) -> Counter[str]:
        """Return how many rows of the input have failed, by their code, and are not sent again."""
        return Counter(code for number, code in self.codes.items() if self.states.get(number) == FAILED)

    def reopen(self, custom_id: str, spent: Spent | None) -> None:
        """Have an answered row sent again, for which so much was spent."""
        self.places = None
        self.states[_number(custom_id)] = PENDING
        if spent is not None:
            self._earlier[_number(custom_id)] = spent
        self.answered -= 1

    def accept(self, custom_id: str) -> None:
        """Count a failed row as answered."""
        self.states[_number(custom_id)] = ANSWERED
        self.failed -= 1
        self.answered += 1

    def add_known(self, row: KnownRow, *, failed: bool) -> None:
        """Take a row of the results; where a row has both, its answer counts and its failure does not."""
        spent, place = Spent.read(row.fields.get("spent")), place_of(row.custom_id)
        self._count_spent(row, spent)
        digest, code = int(row.digest[:HEX_DIGITS], 16), error_in(row.fields)[0] if failed else ""
        if place is not None:
            self._add_unnamed(digest, UnnamedResult(place, failed, spent, code))
            return
        number = _number(row.custom_id)
        if not failed and number in self.states:
            self.errors.append(f"the results hold custom_id {row.custom_id!r} twice")
        digest += len(_STATES)
        self.states.setdefault(number, -digest if failed else digest)
        if failed:
            self.codes[number] = code
        if failed and spent is not None:
            self._earlier[number] = spent

    def add_reopened(self, custom_id: str, spent: Spent) -> None:
        """Take what was spent for a row whose result was taken out; one that has a new result says it itself."""
        number = _number(custom_id)
        if number not in self.states:
            self._earlier[number] = spent
            self.spent.include(spent)

    def add_held(self, custom_id: str, digest: str) -> None:
        """Take a row that the service has, by the digest of its request; one that has a result counts as that."""
        number = int(digest[:HEX_DIGITS], 16)
        if place_of(custom_id) is not None:
            self._held_unnamed[number] += 1
        else:
            self.states.setdefault(_number(custom_id), _NOT_SEEN + number)

    def _add_unnamed(self, digest: int, result: UnnamedResult) -> None:
        try:
            self.unnamed.add(digest, result)
        except ValueError as error:
            self.errors.append(str(error))

    def _count_spent(self, row: KnownRow, spent: Spent | None) -> None:
        """Count what a row of the results has cost; where it does not say that, the tokens that its answer reports."""
        is_told = spent is not None and not spent.unpriced
        model, tokens = ("", None) if is_told else _reported(row.fields)
        if tokens is not None:
            before, count = self.unpriced.get(model, (Tokens(0, 0), 0))
            self.unpriced[model] = before.plus(tokens), count + 1
        elif spent is not None:
            self.spent.include(spent)

    def spent_by(self, prices: ModelPrices) -> Spent:
        """Return what earlier runs have spent."""
        total = replace(self.spent)
        for model, (tokens, count) in self.unpriced.items():
            cost = prices.cost(model, tokens, count)
            total.include(Spent(count, tokens.total, cost or 0.0, count if cost is None else 0))
        return total

    def earlier(self, request: BatchRequest) -> Spent:
        """Return what was spent for a row that had a result and is sent again."""
        earlier = self._earlier.get(_number(request.custom_id)) if self._earlier else None
        return Spent() if earlier is None else replace(earlier)

    def add(self, request: Entry, place: LinePlace, *, retry_failed: bool) -> None:
        """Take a row of the input, with the place of its line.

        Raises ``ValueError`` where its custom_id stands for another one.
        """
        if self._add(request, retry_failed=retry_failed):
            self.wanted[request.model, request.path] = None
            if request.headers and self.with_headers is None:
                self.with_headers = request.custom_id
            if self.places is not None:
                self.places.setdefault(request.model, Places()).add(place)

    def _add(self, request: Entry, *, retry_failed: bool) -> bool:
        """Settle the state of a row; tell whether it is pending."""
        number = _number(request.custom_id)
        known = self.states.get(number)
        if known in _STATES:
            raise ValueError(f"custom_id {request.custom_id!r} was given before")
        self.total += 1
        place = place_of(request.custom_id)
        if known is None and place is not None:
            known = self._taken(number, request, place)
            known = self._held_of(request) if known is None else known
        if known is None or (known < 0 and retry_failed):
            self.states[number] = PENDING
            return True
        if known >= _NOT_SEEN:
            self._hold(number, request, known - _NOT_SEEN)
            return False
        if abs(known) != int(request.digest[:HEX_DIGITS], 16) + len(_STATES):
            again = ", or send it again with retry_failed=True" if known < 0 else ""
            raise ValueError(
                f"custom_id {request.custom_id!r} has a result already, of another request: give changed requests new "
                f"custom_ids, or another file for the results{again}"
            )
        self.states[number] = FAILED if known < 0 else ANSWERED
        self.failed += known < 0
        self.answered += known > 0
        return False

    def _taken(self, number: int, request: Entry, line: int) -> int | None:
        """Return the state that the result of an unnamed row gives it, None without one."""
        if self.unnamed.is_empty:
            return None
        digest = int(request.digest[:HEX_DIGITS], 16)
        result = self.unnamed.take(digest, line)
        if result is None:
            return None
        if result.failed:
            self.codes[number] = result.code
        if result.failed and result.spent is not None:
            self._earlier[number] = result.spent
        return -(digest + len(_STATES)) if result.failed else digest + len(_STATES)

    def _held_of(self, request: Entry) -> int | None:
        """Return the state of an unnamed row that the service has, None for another."""
        digest = int(request.digest[:HEX_DIGITS], 16) if self._held_unnamed else 0
        if not self._held_unnamed[digest]:
            return None
        self._held_unnamed[digest] -= 1
        return _NOT_SEEN + digest

    def _hold(self, number: int, request: Entry, digest: int) -> None:
        if int(request.digest[:HEX_DIGITS], 16) != digest:
            raise ValueError(
                f"custom_id {request.custom_id!r} is at the service, with another request: give changed requests new "
                "custom_ids, or another file for the results, or take it back first with cancel=True"
            )
        self.states[number] = HELD
        self.held += 1

    def finish(self) -> None:
        """Settle, once all is read, what the results hold besides the rows of the input."""
        unnamed = self.unnamed.leave_others()
        self.left = unnamed + sum(state not in _STATES and state < _NOT_SEEN for state in self.states.values())
        if self.unnamed.count and not (self.answered or self.failed or self.unnamed.taken):
            self.errors.append(
                f"the results hold {counted(self.unnamed.count, 'row')} without a custom_id, and none of them "
                "is of this input: give another file for its results"
            )

    def has_left(self, custom_id: str) -> bool:
        """Tell whether a row of the results, under the name of the present input, is not in that any more."""
        place = place_of(custom_id)
        return self.states.get(_number(custom_id)) not in _STATES if place is None else place < 0

    def is_stale(self, custom_id: str, *, retry_failed: bool) -> bool:
        """Tell whether a failed row is answered, or to be sent again."""
        state = self.states.get(_number(custom_id))
        return state == ANSWERED or (retry_failed and state == PENDING)


def _reported(row: Mapping[str, Any]) -> tuple[str, Tokens | None]:
    """Return the model and the tokens that the answer in a row of the results names."""
    response = row.get("response")
    body = response.get("body") if isinstance(response, dict) else None
    fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    return str(fields.get("model")), reported_tokens(fields.get("usage"))


def _number(custom_id: str) -> int:
    return hash(custom_id) & BITS


async def read_worklist(  # noqa: PLR0913 - what is read, and how
    source: Source,
    reader: Reader,
    results: tuple[Path, Path] | None = None,
    *,
    held: Iterable[tuple[str, str]] = (),
    retry_failed: bool = False,
    is_stopped: Callable[[], bool] = bool,
) -> Worklist:
    """Read the results, then the input; raise :class:`BatchInputError` with everything that is wrong with them.

    ``results``: the files of answers and of failed rows. ``held``: the custom_ids of the rows that the service has, and
    the digests of their requests.

    Other tasks may run meanwhile. Once ``is_stopped``, what was read so far is returned.
    """
    worklist = Worklist(places=None if source.is_sequential else {})
    if results is not None:
        await _add_results(worklist, results)
    for custom_id, digest in held:
        worklist.add_held(custom_id, digest)
    count = 0
    for count, (number, start, line) in enumerate(source.placed_lines(), start=1):
        try:
            worklist.add(reader.entry(number, line), LinePlace(number, start, crc32(line)), retry_failed=retry_failed)
        except ValueError as error:
            worklist.errors.append(f"{source}, line {number}: {error}")
            if len(worklist.errors) >= MOST_ERRORS:
                break
        if count % LINES_A_TURN == 0:
            await asyncio.sleep(0)
            if is_stopped():
                return worklist
    worklist.finish()
    if not count:
        worklist.errors.append(f"{source} holds no requests")
    if worklist.errors:
        raise BatchInputError(worklist.errors)
    return worklist


async def _add_results(worklist: Worklist, results: tuple[Path, Path]) -> None:
    for path, failed in zip(results, (False, True), strict=True):
        for number, _, row in read_rows(path) if path.exists() else ():
            if row is None:
                worklist.damaged.setdefault(path, []).append(number)
            else:
                worklist.add_known(row, failed=failed)
            if number % LINES_A_TURN == 0:
                await asyncio.sleep(0)
    for custom_id, spent in spent_in(reopened_path(results[0])).items():
        worklist.add_reopened(custom_id, spent)
