"""The engine: a table of separators, keyed by the roles on either side, that writes prompts and reads them back.

A prompt is ``start`` separator, text, separator, text, ..., ending. Between two texts stands ``(role, next role)``. It
ends with ``(role, "reply")`` where the assistant is to answer, with ``(role, "end")`` where the history is closed, and
with nothing where the last reply is to be continued. Where the last assistant's header differs from the others' it is
keyed ``(role, "final")``; where the header of the user's message goes on that asks for the reply, ``(role, "asked")``.

Reading goes from left to right: in a text of some role only the separators that leave this role count, the first one
wins, at one place the longest. What was written reads back unless a text holds something of a separator, so the guard
counts the **cores**, strings of which every separator holds at least one. If the prompt holds no more of them than its
separators do, each is where it was written, and so is each separator, but for those of which ``doubtful_parts`` has
something counted as well. If it holds more, the prompt is read back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from novita_openai.prompts.engine.separators import ASKED, END, FINAL, REASONED, REPLY, START, Separators, Way
from novita_openai.prompts.engine.signatures import cores_of, doubtful_parts, shared_start

__all__ = [
    "ASKED",
    "END",
    "FINAL",
    "REASONED",
    "REPLY",
    "START",
    "Ending",
    "Plan",
    "Separators",
    "Table",
    "Unreadable",
    "Way",
    "last_key",
]

Row = tuple[str, str]
"""A role and its text."""

_MOST_PLANS: Final = 512
_LONGEST_PLAN: Final = 64


class Ending:
    """How a prompt ends."""

    REPLY: Final = "reply"
    CLOSED: Final = "closed"
    PREFILL: Final = "prefill"


class Unreadable(Exception):  # noqa: N818 - it never leaves the package
    """No prompt of the table has this text; ``offset`` is where it stops being one."""

    def __init__(self, problem: str, offset: int) -> None:
        super().__init__(problem)
        self.problem, self.offset = problem, offset


class NoSeparator(Exception):  # noqa: N818 - it never leaves the package
    """The table has nothing between two roles; ``position`` is the later one's row."""

    def __init__(self, previous: str, role: str, position: int) -> None:
        super().__init__(previous, role, position)
        self.previous, self.role, self.position = previous, role, position


@dataclass(frozen=True, slots=True)
class Plan:
    """How to write the prompts of one sequence of roles.

    ``pieces`` has the separators at even places. ``counts`` are the cores and how many the separators hold, None where
    only reading back can tell; ``rivals`` are the texts with which such a prompt must not start.
    """

    pieces: tuple[str, ...]
    trims: tuple[Callable[[str], str], ...] | None
    counts: tuple[tuple[str, int], ...] | None
    rivals: tuple[str, ...]
    lengths: list[int]

    def write(self, texts: Sequence[str]) -> str:
        """Return the prompt."""
        pieces = [*self.pieces]
        pieces[1::2] = texts
        return "".join(pieces)

    def is_safe(self, prompt: str) -> bool:
        """Tell whether a prompt reads back for certain; False means: read it."""
        if self.counts is None or prompt.startswith(self.rivals):
            return False
        for core, count in self.counts:  # noqa: SIM110 - every render goes this way
            if prompt.count(core) != count:
                return False
        return True


class Table:
    """Separators, compiled. ``trims`` are keyed by role, or by (previous role, role) where that differs."""

    def __init__(
        self,
        separators: Separators,
        trims: Mapping[str | tuple[str, str], str],
        *,
        bos: str = "",
        forbidden: Iterable[str] = (),
        is_countable: bool = True,
    ) -> None:
        self.separators, self.trims, self.bos = separators, trims, bos
        self.forbidden = tuple(forbidden)
        roles = {role for _, role in separators} - {REPLY, END, FINAL, ASKED}
        self.ways = {previous: self._ways_from(previous, roles) for previous in (START, *roles)}
        cores = cores_of([way.separator for role in roles for way in self._exits(role)])
        doubtful = {way for role in roles for way in doubtful_parts(self.ways[role], self._exits(role), cores)}
        self.cores = (*cores, *sorted(doubtful))
        self.is_countable = is_countable
        self._asked = {
            previous: text.removeprefix(separators[previous, "user"])
            for (previous, role), text in separators.items()
            if role == ASKED
        }
        self._shared = shared_start({way.separator for role in roles for way in self.ways[role]})
        self._rests = {
            role: [(way.separator[len(self._shared) :], way.role, len(way.separator)) for way in self.ways[role]]
            for role in roles
        }
        self._plans: dict[tuple[str, ...], Plan] = {}
        self.ready: dict[tuple[str, ...], Plan] = {}
        """The plans, by roles, of prompts that end with the reply and can be guarded by counting."""

    def _ways_from(self, previous: str, roles: Iterable[str]) -> list[Way]:
        pairs = ((self.separators.get((previous, role)), role) for role in sorted(roles))
        ways = [Way(separator, role) for separator, role in pairs if separator is not None]
        return sorted(ways, key=lambda way: -len(way.separator))

    def _exits(self, role: str) -> list[Way]:
        """Return the ways out of a role and to the reply."""
        reply = self.separators.get((role, REPLY))
        return [*self.ways.get(role, ()), *([Way(reply, REPLY)] if reply is not None else [])]

    def plan(self, roles: tuple[str, ...], ending: str = Ending.REPLY) -> Plan:
        """Return how to write the prompts of these roles; raise NoSeparator where the format has no such order."""
        key = (*roles, ending)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._make_plan(roles, ending)
            if len(roles) <= _LONGEST_PLAN:
                if len(self._plans) >= _MOST_PLANS:
                    self._plans.clear()
                    self.ready.clear()
                self._plans[key] = plan
                if plan.counts is not None and roles[-1] != "assistant":  # a last reply may be written otherwise
                    self.ready[roles] = plan
        return plan

    def _make_plan(self, roles: tuple[str, ...], ending: str) -> Plan:
        walk = [*self._walk(roles, ending)]
        pieces = [piece for separator in walk for piece in (separator, "")][:-1]
        trims = tuple(_TRIMS[self._trim(pair)] for pair in zip((START, *roles), roles, strict=False))
        first = walk[0]
        rivals = [way.separator for way in self.ways[START] if way.role != roles[0]]
        rivals += [self.bos] if self.bos and not first.startswith(self.bos) else []
        return Plan(
            tuple(pieces),
            None if all(trim is _keep for trim in trims) else trims,
            self._counts(roles, walk) if ending == Ending.REPLY else None,
            tuple(rival for rival in rivals if rival.startswith(first)),
            [2] * len(roles),
        )

    def _counts(self, roles: tuple[str, ...], walk: Sequence[str]) -> tuple[tuple[str, int], ...] | None:
        """Return how many of each core the separators hold, None where that proves nothing."""
        skeleton = "\0".join(walk)
        if not self.is_countable or self._roles_in(skeleton) != roles:
            return None
        return tuple((core, skeleton.count(core)) for core in (*self.cores, *self.forbidden))

    def _roles_in(self, prompt: str) -> tuple[str, ...]:
        try:
            return tuple(role for role, _ in self.read(prompt, self.starts(prompt)[0])[0])
        except Unreadable:
            return ()

    def _walk(self, roles: tuple[str, ...], ending: str) -> Iterator[str]:
        """Yield the separators from the start to the ending."""
        previous = START
        for position, role in enumerate(roles):
            last = self.separators.get((previous, last_key(role, ending))) if position == len(roles) - 1 else None
            yield self._between(previous, role, position) if last is None else last
            previous = role
        if ending == Ending.PREFILL:
            yield ""
        else:
            yield self._between(previous, REPLY if ending == Ending.REPLY else END, len(roles))

    def _between(self, previous: str, role: str, position: int) -> str:
        separator = self.separators.get((previous, role))
        if separator is None:
            raise NoSeparator(previous, role, position)
        return separator

    def _trim(self, pair: tuple[str, str]) -> str:
        return self.trims.get(pair, self.trims.get(pair[1], "none"))

    def trimmed(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows as the format writes their texts."""
        previous, out = START, []
        for role, text in rows:
            out.append((role, _TRIMS[self._trim((previous, role))](text)))
            previous = role
        return out

    def starts(self, prompt: str) -> list[Way]:
        """Return the ways in which a prompt may start, the longest first; raise Unreadable if there is none."""
        ways = [way for way in self.ways[START] if prompt.startswith(way.separator)]
        if not ways:
            known = " or ".join(repr(_shortened(way.separator)) for way in self.ways[START])
            raise Unreadable(f"a prompt starts with {known}", 0)
        return ways

    def read(self, prompt: str, first: Way) -> tuple[list[Row], str]:
        """Return the rows of a prompt and its ending; raise Unreadable where no order of roles leads to its end.

        The rows are what the prompt says if it is one: to know that it is, write them again.
        """
        rows, ending = self._read_pieces(prompt, first) if self._shared else self._read_finding(prompt, first)
        if self._asked and ending == Ending.REPLY and rows[-1][0] == "user":
            self._take_asked(prompt, rows)
        return rows, ending

    def _take_asked(self, prompt: str, rows: list[Row]) -> None:
        """Take from the last user's text what the header before it goes on with."""
        more = self._asked.get(rows[-2][0] if len(rows) > 1 else START, "")
        if not rows[-1][1].startswith(more):
            problem = f"the message that asks for the reply starts with {_shortened(more)!r}"
            raise Unreadable(problem, len(prompt) - len(self.separators["user", REPLY]) - len(rows[-1][1]))
        rows[-1] = ("user", rows[-1][1][len(more) :])

    def _read_pieces(self, prompt: str, first: Way) -> tuple[list[Row], str]:
        """Read a prompt of separators that start alike: where they start is found at once."""
        rows: list[Row] = []
        previous, role, before, begin = START, first.role, 0, len(first.separator)
        rests, shared = self._rests, len(self._shared)
        pieces = prompt.split(self._shared)
        place = len(pieces[0])
        for piece in pieces[1:]:
            if place >= begin:
                for rest, following, size in rests[role]:
                    if piece.startswith(rest):
                        rows.append((role, prompt[begin:place]))
                        previous, role, before, begin = role, following, place, place + size
                        break
            place += shared + len(piece)
        return self._finish(prompt, rows, (previous, role), before, begin)

    def _read_finding(self, prompt: str, first: Way) -> tuple[list[Row], str]:
        rows: list[Row] = []
        found: dict[str, int] = {}  # where each separator is next, so that every search goes on where it ended
        previous, role, before, position, nowhere = START, first.role, 0, len(first.separator), len(prompt) + 1
        while True:
            best, nearest = None, nowhere
            for way in self.ways[role]:
                place = found.get(way[0], -1)
                if place < position:
                    place = prompt.find(way[0], position)
                    found[way[0]] = place = nowhere if place < 0 else place
                if place < nearest:
                    best, nearest = way, place
            if best is None:
                return self._finish(prompt, rows, (previous, role), before, position)
            rows.append((role, prompt[position:nearest]))
            previous, role, before, position = role, best[1], nearest, nearest + len(best[0])

    def _finish(
        self, prompt: str, rows: list[Row], pair: tuple[str, str], before: int, position: int
    ) -> tuple[list[Row], str]:
        """Read what follows the last separator, which stands at ``before`` and leads to ``position``."""
        previous, role = pair
        if rows and prompt[before:] == self.separators.get((previous, REPLY)):
            return rows, Ending.REPLY
        tail = prompt[position:]
        reply, end = (self.separators.get((role, ending)) for ending in (REPLY, END))
        if reply and tail.endswith(reply):
            return [*rows, (role, tail[: -len(reply)])], Ending.REPLY
        ending = Ending.CLOSED if end is not None and tail.endswith(end) else Ending.PREFILL
        if ending == Ending.PREFILL and role not in ("assistant", REASONED):
            raise Unreadable(f"the {role} message does not end", len(prompt))
        if role == "assistant" and (previous, FINAL) in self.separators:
            header = self.separators[previous, FINAL]
            if not prompt.startswith(header, before):
                raise Unreadable(f"the last reply starts with {_shortened(header)!r}", before)
            position = before + len(header)
        text = prompt[position : len(prompt) - (len(end or "") if ending == Ending.CLOSED else 0)]
        return [*rows, (role, text)], ending

    def marker(self, role: str, text: str) -> str | None:
        """Return the separator, or a part of one, that stands in a text of this role."""
        whole = [way.separator for way in self._exits(role) if way.separator and way.separator in text]
        return next(iter([*whole, *(core for core in (*self.forbidden, *self.cores) if core in text)]), None)


def last_key(role: str, ending: str) -> str:
    """Return how the separator before the last message is keyed, where that differs from the others'."""
    if ending == Ending.REPLY:
        return ASKED if role == "user" else role
    return FINAL if role == "assistant" else role


def _keep(text: str) -> str:
    return text


_TRIMS: Final[Mapping[str, Callable[[str], str]]] = {
    "none": _keep,
    "left": str.lstrip,
    "right": str.rstrip,
    "both": str.strip,
}


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 20]}...{text[-15:]}"
