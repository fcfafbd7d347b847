"""What a benchmark found, and the table of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Comparison:
    """One figure of ours and of a peer's, round by round, and the most that ours may be of the peer's."""

    case: str
    peer: str
    unit: str
    rounds: Sequence[tuple[float, float]]
    bound: float

    @property
    def ratios(self) -> list[float]:
        """Return ours as a share of the peer's, round by round."""
        return [ours / theirs for ours, theirs in self.rounds]

    @property
    def is_kept(self) -> bool:
        """Tell whether the bound holds for the median round."""
        return median(self.ratios) <= self.bound

    def row(self) -> tuple[str, ...]:
        """Return the cells of the table."""
        ours, theirs = (f"{median(figures):.4g} {self.unit}" for figures in zip(*self.rounds, strict=True))
        spread = f"{min(self.ratios):.3f} to {max(self.ratios):.3f}"
        verdict = "pass" if self.is_kept else "FAIL"
        return self.case, self.peer, theirs, ours, f"{median(self.ratios):.3f}", spread, f"{self.bound:.2f}", verdict


def table(comparisons: Sequence[Comparison]) -> str:
    """Lay the comparisons out in columns under their headings."""
    headings = ("case", "peer", "peer's figure", "ours", "ratio", "rounds", "bound", "")
    return columns([headings, *(comparison.row() for comparison in comparisons)])


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Lay rows of as many cells each out in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
