"""The options of a batch, and the limits that they set."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self, TypedDict

from novita_openai.batch.report import BatchProgress  # noqa: TC001 - public annotations can be resolved at run time
from novita_openai.batch.requests import Reader, Source, prompt_body
from novita_openai.client import AsyncNovitaOpenAI  # noqa: TC001 - the same
from novita_openai.pacing import MOST_IN_FLIGHT, Pacer

__all__ = ["RunLimits", "RunOptions", "SessionOptions", "reader_for"]

RESERVED_FILES: Final = 24
"""Files that a process has open besides its connections."""


class SessionOptions(TypedDict, total=False):
    """Options of ``run``, ``arun`` and ``stream``.

    ``client``: an ``AsyncOpenAI`` of this package; None: one from the environment, with ``RetryPolicy.batch()``.
    ``concurrency``: the most requests in flight; None: found by trying. ``rpm``, ``tpm``: the most requests and tokens
    a minute for each model. ``max_errors``: the batch stops when more rows than this have failed for good.
    ``max_cost``: the batch stops before the job costs more dollars, over all its starts: what ``spent`` in the files of
    results says is counted in, but not what a kill has lost. Each request in flight is counted with the most that it
    can cost, and so is one of which the answer was lost on the way. Where a row sets no ``max_tokens``, an answer
    counts as 4,096 tokens, and one that is longer can go above the limit. ``model``: for rows that name none, and for
    prompts.
    """

    client: AsyncNovitaOpenAI | None
    concurrency: int | None
    rpm: float | None
    tpm: float | None
    max_errors: int | None
    max_cost: float | None
    model: str | None


class RunOptions(SessionOptions, total=False):
    """Options of ``run`` and ``arun``, for files: those of :class:`SessionOptions`, and these.

    ``retry_failed``: send the rows again that failed for good in an earlier run. ``ordered``: bring the results into
    the order of the input when the job is complete; else they stay in the order in which they came. ``prompts``: each
    line of the input is a prompt, as in ``.txt`` files, and is sent as it is. ``format``: each line is a user's
    message, to be rendered in the prompt format of this name. ``max_tokens``: the longest answer to a prompt.
    ``on_progress``: called about twice a second, and at the end.
    """

    retry_failed: bool
    ordered: bool
    prompts: bool
    format: str | None
    max_tokens: int | None
    on_progress: Callable[[BatchProgress], None] | None


def reader_for(source: Source, options: RunOptions) -> Reader:
    """Return what turns the lines of a source into requests."""
    format_name, model = options.get("format"), options.get("model")
    if not (options.get("prompts") or format_name or source.is_text):
        return Reader(model)
    fields = {"model": model, "max_tokens": options.get("max_tokens")}
    return Reader(model, prompt_body(format_name, {name: value for name, value in fields.items() if value is not None}))


@dataclass(frozen=True, slots=True)
class RunLimits:
    """How much a run may use: those of its options that limit it, and the most ``connections`` it may open."""

    concurrency: int | None
    connections: int
    rpm: float | None
    tpm: float | None
    max_errors: int | None
    max_cost: float | None

    @classmethod
    def of(cls, options: SessionOptions) -> Self:
        """Return the limits that options set; raise ``ValueError`` for one that cannot be kept."""
        for name, limit in (("rpm", options.get("rpm")), ("tpm", options.get("tpm"))):
            if limit is not None and not limit > 0:
                raise ValueError(f"{name}={limit}: give a number a minute, above 0, or None for no limit")
        return cls(
            concurrency=options.get("concurrency"),
            connections=_connections(options.get("concurrency")),
            rpm=options.get("rpm"),
            tpm=options.get("tpm"),
            max_errors=options.get("max_errors"),
            max_cost=options.get("max_cost"),
        )

    def pacer(self, now: float) -> Pacer:
        """Return the pacer of one model."""
        return Pacer(now, concurrency=self.concurrency, most=self.connections, rpm=self.rpm, tpm=self.tpm)


def _connections(concurrency: int | None) -> int:
    """Return how many connections a run may open."""
    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = MOST_IN_FLIGHT if open_files == resource.RLIM_INFINITY else max(1, open_files - RESERVED_FILES)
    if concurrency is None:
        return min(most, MOST_IN_FLIGHT)
    if concurrency < 1:
        raise ValueError(f"concurrency={concurrency}: give at least 1 request in flight, or None to have it found")
    if open_files != resource.RLIM_INFINITY and concurrency > most:
        raise ValueError(
            f"concurrency={concurrency}: this process may open {open_files} files, hence {most} connections; "
            "raise that limit with ulimit -n, or give a smaller number"
        )
    return concurrency
