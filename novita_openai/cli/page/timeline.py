"""What a run did over time, worked out of its states; nothing here reads or writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from novita_openai.batch import BatchProgress

__all__ = ["FEWEST_SPANS", "Span", "Timeline", "all_latencies", "joined", "share_of"]

MOST_MOMENTS: Final = 240
"""Moments that are kept; when there are more, every second one is dropped."""
MOST_SPANS: Final = 60
"""Spans that a chart shows at most."""
FEWEST_SPANS: Final = 12
ROWS_A_SPAN: Final = 30
"""Rows that a span has on average, where that leaves more than ``FEWEST_SPANS``: with fewer a rate is chance."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a run had come to, so many seconds after its beginning."""

    seconds: float
    rows: int
    refused: int
    failures: int
    cost: float | None
    latencies: Mapping[float, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """What happened between two moments of a run, each in seconds after its beginning.

    ``rows`` that ended, requests that were ``refused`` with 429, other ``failures`` of requests, the ``latencies`` of
    answers (their number by seconds); ``cost``: dollars of the run up to its end, None where they are not known.
    """

    start: float
    end: float
    rows: int
    refused: int
    failures: int
    cost: float | None
    latencies: Mapping[float, int]

    @property
    def middle(self) -> float:
        """Return the seconds from the beginning of the run to its middle."""
        return (self.start + self.end) / 2

    def a_second(self, count: int) -> float:
        """Return how many of something that was counted in the span came in a second."""
        return count / (self.end - self.start)


class Timeline:
    """Keeps what a run has come to at up to ``MOST_MOMENTS`` moments, each time it is called with a state.

    ``last``: the last state, None before the first.
    """

    def __init__(self) -> None:
        self.last: BatchProgress | None = None
        self._moments: list[Moment] = []
        self._step = 0.0

    def __call__(self, progress: BatchProgress) -> None:
        """Take a state of the run."""
        self.last = progress
        if self._moments and progress.elapsed < self._moments[-1].seconds + self._step:
            return
        self._moments.append(_moment(progress))
        if len(self._moments) > MOST_MOMENTS:
            self._moments = self._moments[::2]
            self._step = 2 * progress.elapsed / MOST_MOMENTS

    def spans(self) -> list[Span]:
        """Return what happened, in at most ``MOST_SPANS`` spans one after the other, each of many rows."""
        last = [] if self.last is None else [_moment(self.last)]
        moments = [*self._moments[:-1], *last]  # the last moment is in the last state, which may be later
        rows = moments[-1].rows - moments[0].rows if moments else 0
        every = -(-len(moments) // min(MOST_SPANS, max(FEWEST_SPANS, rows // ROWS_A_SPAN)))
        kept = [*moments[:-1:every], *moments[-1:]] if every else []
        return [_span(earlier, later) for earlier, later in pairwise(kept) if later.seconds > earlier.seconds]


def joined(spans: Sequence[Span], most: int) -> list[Span]:
    """Return the same in at most so many spans, which are wider."""
    every = -(-len(spans) // most)
    return [_joined(spans[start : start + every]) for start in range(0, len(spans), every or 1)]


def _joined(spans: Sequence[Span]) -> Span:
    sums = (sum(counts) for counts in zip(*((span.rows, span.refused, span.failures) for span in spans), strict=True))
    rows, refused, failures = sums
    return Span(spans[0].start, spans[-1].end, rows, refused, failures, spans[-1].cost, all_latencies(spans))


def share_of(latencies: Mapping[float, int], share: float) -> float:
    """Return the seconds within which a share of the answers came, of which there is at least one."""
    ranked = sorted(latencies)
    counts = accumulate(latencies[seconds] for seconds in ranked)
    needed = share * sum(latencies.values())
    return next(seconds for seconds, count in zip(ranked, counts, strict=True) if count >= needed)


def all_latencies(spans: Iterable[Span]) -> Mapping[float, int]:
    """Return the latencies of all spans."""
    return sum((Counter(span.latencies) for span in spans), Counter[float]())


def _moment(progress: BatchProgress) -> Moment:
    return Moment(
        progress.elapsed,
        progress.succeeded + progress.failed - progress.resumed,
        progress.refused,
        sum(progress.errors.values()) - progress.refused,
        progress.cost,
        progress.latencies,
    )


def _span(earlier: Moment, later: Moment) -> Span:
    return Span(
        earlier.seconds,
        later.seconds,
        max(0, later.rows - earlier.rows),
        later.refused - earlier.refused,
        later.failures - earlier.failures,
        later.cost,
        Counter(later.latencies) - Counter(earlier.latencies),
    )
