"""The charts of the page: lines and bars as paths of SVG in a box of ``WIDTH`` by ``HEIGHT``, and their labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from novita_openai.cli.page.timeline import FEWEST_SPANS, all_latencies, joined, share_of
from novita_openai.prices import dollars

if TYPE_CHECKING:
    from novita_openai.cli.page.timeline import Span

__all__ = ["Chart", "charts", "duration"]

WIDTH: Final = 1_000.0
HEIGHT: Final = 100.0
COUNTS_A_BAR: Final = 20
"""Failures that a bar stands for on average, where that leaves more bars than a few."""
HALF: Final = 0.5
MOST: Final = 0.95
"""The shares of answers within whose seconds the lines of latency run."""
STEPS: Final = (1.0, 2.0, 4.0, 5.0, 10.0)
"""Where an axis may end, times a power of ten: its half is a short number too."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A path of SVG, what it shows, and how it is drawn: ``line``, ``area`` or ``bars``, in a named colour."""

    name: str
    path: str
    form: str
    colour: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: its ``curves``, what stands at its ``heights`` (from the top) and along its ``times``, and its sum."""

    title: str
    sum: str
    heights: tuple[str, ...]
    times: tuple[str, ...]
    curves: tuple[Curve, ...] = field(default=())


def charts(spans: Sequence[Span]) -> list[Chart]:
    """Return the charts of a run: rows, refusals, latency, dollars; none for what is not known of it."""
    if not spans:
        return []
    drawn = [_rows(spans), _troubles(spans)]
    if any(span.latencies for span in spans):
        drawn.append(_latency(spans))
    if any(span.cost for span in spans):
        drawn.append(_cost(spans))
    return drawn


def _rows(spans: Sequence[Span]) -> Chart:
    rates = [span.a_second(span.rows) for span in spans]
    top = _top(max(rates))
    mean = sum(span.rows for span in spans) / spans[-1].end
    points = [(span.middle, rate) for span, rate in zip(spans, rates, strict=True)]
    line = _line(points, spans, top)
    curves = Curve("", _area(points, spans, top), "area", "done"), Curve("", line, "line", "done")
    return Chart("Rows a second", f"{_short(mean)} on average", _heights(top), _times(spans), curves)


def _troubles(spans: Sequence[Span]) -> Chart:
    refused, failed = sum(span.refused for span in spans), sum(span.failures for span in spans)
    spans = joined(spans, max(FEWEST_SPANS, (refused + failed) // COUNTS_A_BAR))
    top = _top(max(span.a_second(span.refused + span.failures) for span in spans))
    curves = [Curve("refused (429)", _bars(spans, [span.refused for span in spans], top), "bars", "wait")]
    if failed:  # drawn first, so that the bars of the refusals cover their lower part
        both = [span.refused + span.failures for span in spans]
        curves.insert(0, Curve("failed otherwise", _bars(spans, both, top), "bars", "bad"))
    told = f"{refused:,} refused (429), {failed:,} failed otherwise" if refused or failed else "none"
    return Chart("Requests a second without an answer", told, _heights(top), _times(spans), tuple(curves))


def _latency(spans: Sequence[Span]) -> Chart:
    answered = [span for span in spans if span.latencies]
    slow = [(span.middle, share_of(span.latencies, MOST)) for span in answered]
    half = [(span.middle, share_of(span.latencies, HALF)) for span in answered]
    top, everything = _top(max(height for _, height in slow)), all_latencies(spans)
    curves = (
        Curve("95 % of answers within", _line(slow, spans, top), "line", "wait"),
        Curve("half of them within", _line(half, spans, top), "line", "done"),
    )
    told = f"half within {share_of(everything, HALF):g} s, 95 % within {share_of(everything, MOST):g} s"
    return Chart("Seconds to an answer", told, _heights(top), _times(spans), curves)


def _cost(spans: Sequence[Span]) -> Chart:
    points = [(spans[0].start, 0.0), *((span.end, span.cost) for span in spans if span.cost is not None)]
    top = _top(points[-1][1])
    curves = Curve("", _area(points, spans, top), "area", "cost"), Curve("", _line(points, spans, top), "line", "cost")
    heights = tuple(f"${height}" for height in _heights(top))
    return Chart("Dollars spent", dollars(points[-1][1]), heights, _times(spans), curves)


Points = Sequence[tuple[float, float]]
"""Seconds and heights."""


def _line(points: Points, spans: Sequence[Span], top: float) -> str:
    if len(points) == 1:  # a dot, drawn as a line without length
        points = [*points, *points]
    return "M" + "L".join(_at(seconds, height, spans, top) for seconds, height in points)


def _area(points: Points, spans: Sequence[Span], top: float) -> str:
    feet = (points[-1][0], 0.0), (points[0][0], 0.0)
    return _line([*points, *feet], spans, top) + "Z"


def _bars(spans: Sequence[Span], counts: Sequence[int], top: float) -> str:
    pairs = zip(spans, counts, strict=True)
    return "".join(_bar(span, span.a_second(count), spans, top) for span, count in pairs if count)


def _bar(span: Span, height: float, spans: Sequence[Span], top: float) -> str:
    gap = (span.end - span.start) / 10
    left, right = span.start + gap, span.end - gap
    corners = (left, 0.0), (left, height), (right, height), (right, 0.0)
    return "M" + "L".join(_at(*corner, spans, top) for corner in corners) + "Z"


def _at(seconds: float, height: float, spans: Sequence[Span], top: float) -> str:
    return f"{WIDTH * seconds / spans[-1].end:.1f},{HEIGHT - HEIGHT * height / top:.1f}"


def _top(most: float) -> float:
    """Return where the axis ends for a highest value: at a short number that is not below it."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next((step * power for step in STEPS if step * power >= most), 10 * power)


def _heights(top: float) -> tuple[str, ...]:
    return _short(top), _short(top / 2), "0"


def _times(spans: Sequence[Span]) -> tuple[str, ...]:
    end = spans[-1].end
    return tuple(map(duration, (0.0, end / 2, end)))


def _short(number: float) -> str:
    """Return a number with three digits, such as ``12,300`` or ``0.0123``."""
    if not number:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(number))))
    text = f"{number:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text


def duration(seconds: float) -> str:
    """Return a time as people say it: ``12 s``, ``1:30 min``, ``2:05 h``."""
    whole = round(seconds)
    if whole < MINUTE:
        return f"{seconds:.0f} s" if seconds >= TEN or seconds == whole else f"{seconds:.1f} s"
    if whole < HOUR:
        return f"{whole // MINUTE}:{whole % MINUTE:02} min"
    return f"{whole // HOUR}:{whole % HOUR // MINUTE:02} h"


TEN: Final = 10
MINUTE: Final = 60
HOUR: Final = 3_600
