"""How a start uses the service's Batch API, and what the service says of its batches."""

from __future__ import annotations

from dataclasses import dataclass

from novita_openai.batch.hosted.decisions import FIRST_POLL

__all__ = ["FleetOptions", "PartCounts"]


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """How a start uses the service: ``is_used`` says that it submits rows, else it only collects.

    ``cancels``: it takes back what is there, and submits nothing. ``detaches``: it does not wait. ``poll``: the first
    seconds between two looks. The others are those of :class:`~novita_openai.batch.RunOptions`.
    """

    is_used: bool = False
    cancels: bool = False
    detaches: bool = False
    create_again: bool = False
    keep_files: bool = False
    poll: float = FIRST_POLL


@dataclass(slots=True)
class PartCounts:
    """What the service says of a batch that is under way: its rows that are answered, and that have failed."""

    completed: int = 0
    failed: int = 0
