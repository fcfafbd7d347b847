"""The options of a job over a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypedDict

from novita_openai.batch.options import RunOptions

__all__ = ["FrameOptions", "TableOptions", "own_options"]


class _AskedOptions(TypedDict, total=False):
    prompt: str
    system: str | None
    parameters: Mapping[str, Any] | None
    id: str | None
    image: str | None


class TableOptions(_AskedOptions, RunOptions, total=False):
    """Options of ``run`` and ``arun`` for a table: those of :class:`RunOptions`, and these.

    ``prompt``: what is asked about each row, in which ``{column}`` stands for a cell, ``{{`` and ``}}`` for braces.
    ``system``: a system message, read in the same way. ``parameters``: more fields for each request, such as
    ``{"max_tokens": 50}``. ``image``: the column of images, each the URL of one, or its file beside the table. ``id``:
    the column of texts that name the rows in the journal, each another.
    """


class FrameOptions(TableOptions, total=False):
    """Options of ``table`` and ``atable``: those of :class:`TableOptions`, and ``checkpoint``.

    ``checkpoint``: the file that keeps the answers, such as ``answers.jsonl``, with ``answers.errors.jsonl`` beside
    it: called again with it, only what is missing is asked. Without one, a process that is killed has lost what it has
    paid. Without ``on_progress``, progress is shown on standard error.
    """

    checkpoint: str | Path | None


_OWN: Final = tuple(_AskedOptions.__annotations__)


def own_options(options: Mapping[str, Any]) -> list[str]:
    """Return the names of the options given that only a table has."""
    return [name for name in _OWN if options.get(name) is not None]
