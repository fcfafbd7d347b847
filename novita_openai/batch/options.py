"""The options of a batch, and the limits that they set."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Literal, Self, TypedDict

from novita_openai.batch.checks import Validate, reads_text
from novita_openai.batch.report import BatchProgress  # noqa: TC001 - public annotations can be resolved at run time
from novita_openai.batch.requests import Reader, Source, text_body
from novita_openai.batch.shutdown import DRAIN
from novita_openai.client import AsyncNovitaOpenAI
from novita_openai.client.lending import LentTurns
from novita_openai.client.pace import Pace  # noqa: TC001 - the same
from novita_openai.pacing import MOST_IN_FLIGHT, Pacer

__all__ = ["RunLimits", "RunOptions", "SessionOptions", "checked", "is_hosted", "reader_for"]

RESERVED_FILES: Final = 24
"""Files that a process has open besides its connections."""
ROW_TIMEOUT: Final = 1_800.0
"""Seconds that a row has, by default, from its first request to its result."""
VALIDATE_ATTEMPTS: Final = 2
"""How often a row is asked again, by default, because its answer does not pass the check."""


class SessionOptions(TypedDict, total=False):
    """Options of ``run``, ``arun`` and ``stream``; None stands for the default.

    ``client``: an ``AsyncOpenAI`` of this package; else one from the environment, with ``RetryPolicy.batch()``. Where
    it was given an ``http_client``, that sends the rows too, and it stays open. ``concurrency``: the most requests in
    flight; else found by trying. ``rpm``, ``tpm``: the most requests and tokens a minute for each model.
    ``max_errors``: the batch stops when more rows than this have failed for good. ``max_cost``: the batch stops before
    the job costs more dollars, over all its starts: what ``spent`` in the files of results says is counted in, and what
    was spent for results that were taken out of them, but not what a stop or a kill leaves without a result. Each
    request in flight is counted with the most that it can cost, and so is one of which the answer was lost on the way.
    Where a row sets no ``max_tokens``, an answer counts as 4,096 tokens, and one that is longer can go above the limit.
    ``model``: for rows that name none, and for lines of text.

    In seconds: ``timeout``, how long an attempt may take until its answer is whole, or where that is a stream, until
    its next event (default: the client's); ``row_timeout``, how long a row has from its first request to its result
    (1,800); ``max_wait``, the longest pause that the service may ask for (the policy's ``retry_after_cap``); ``drain``,
    how long requests in flight have to end once the batch is ended early (8). ``attempts``: how often a row is sent
    before it has failed for good (the policy's).

    ``validate``: what an answer must be: a JSON Schema, a pydantic model, or a function that gets a
    :class:`BatchResult` and returns None or a text that says what is wrong (a ``ValueError`` says it too; any other
    exception stops the batch). A row whose answer does not pass is asked again, with the answer and what was wrong,
    ``validate_attempts`` (2) times; then it has failed, with the code ``validation_failed`` and its last answer. A
    chat without a ``response_format`` gets that of the schema or model, where the models list says that its model has
    structured outputs.

    ``progress``: in a notebook, a line under the cell shows how far ``arun`` and ``stream`` are; False: none.
    """

    client: AsyncNovitaOpenAI | None
    concurrency: int | None
    rpm: float | None
    tpm: float | None
    max_errors: int | None
    max_cost: float | None
    model: str | None
    timeout: float | None
    row_timeout: float | None
    max_wait: float | None
    drain: float | None
    attempts: int | None
    validate: Validate | None
    validate_attempts: int | None
    progress: bool


class RunOptions(SessionOptions, total=False):
    """Options of ``run`` and ``arun``, for files: those of :class:`SessionOptions`, and these.

    ``retry_failed``: send the rows again that failed for good in an earlier run. ``ordered``: bring the results into
    the order of the input when the job is complete; else they stay in the order in which they came. ``raw``: each line
    of the input, be it a ``.txt`` file or not, is a prompt that is sent to completions as it is. ``format``: each line
    is a user's message, to be rendered in the prompt format of this name. ``max_tokens``: the longest answer to a line
    of text. ``dedupe``: of rows with equal requests one is sent, and the others get its result; rows that ask for
    samples are all sent: those with a ``temperature`` above 0, an ``n`` or ``best_of`` above 1, or a ``seed``.
    ``on_progress``: called about twice a second, and at the end.

    ``via``: "online" sends each row as a request of its own; "batch-api" has the service's own fleet run them, within
    48 hours and for half the price, where their model offers that. Then what says how requests are sent has no effect
    (``concurrency``, ``rpm``, ``tpm``, ``row_timeout``, ``attempts``), and a row can have no ``headers``. What the
    service has is in ``NAME.batches.jsonl`` beside the results; its rows are sent by no start as long as it has them.
    ``detach``: do not wait for the batches; a later start collects them. ``cancel``: take back what is at the service,
    collect what is there by then, and send nothing. ``create_again``: submit rows anew of which nobody knows whether
    the service has them. ``keep_files``: leave the files at the service that are deleted there otherwise. ``poll``:
    the first seconds between two looks (5); they grow to 60.

    With ``validate``, answers of earlier runs are checked again: a row of which the answer does not pass is sent again,
    and one that had failed with an answer that passes now has succeeded.
    """

    retry_failed: bool
    ordered: bool
    raw: bool
    format: str | None
    max_tokens: int | None
    dedupe: bool
    via: Literal["online", "batch-api"]
    detach: bool
    cancel: bool
    create_again: bool
    keep_files: bool
    poll: float | None
    on_progress: Callable[[BatchProgress], None] | None


CHANGED: Final = {
    "prompts": "raw=True sends each line to completions as it is; a line of a .txt file is a user's message"
}
"""Options of version 0.1.0 that have another name now, and what to write instead."""


def checked(options: Mapping[str, Any], kind: type[SessionOptions]) -> None:
    """Raise ``TypeError`` for an option that there is not, with the one that is meant."""
    for name in options.keys() - kind.__annotations__.keys():
        if name in CHANGED:
            raise TypeError(f"{name}={options[name]!r}: there is no such option any more: {CHANGED[name]}")
        near = get_close_matches(name, kind.__annotations__, n=1) or sorted(kind.__annotations__)
        raise TypeError(f"{name}={options[name]!r}: there is no such option; there is {', '.join(near)}")


def is_hosted(options: RunOptions) -> bool:
    """Tell whether the service's Batch API is to be used; raise ``ValueError`` for options that do not go together."""
    via, cancels = options.get("via") or ONLINE, bool(options.get("cancel"))
    if via not in (ONLINE, BATCH_API):
        raise ValueError(f"via={via!r}: give {ONLINE!r} or {BATCH_API!r}")
    given = [name for name in ("detach", "create_again") if options.get(name)]
    if given and (via == ONLINE or cancels):
        why = "cancel=True submits nothing" if cancels else f"only via={BATCH_API!r} has batches"
        raise ValueError(f"{given[0]}=True: {why}; leave one out")
    poll = options.get("poll")
    if poll is not None and (isinstance(poll, bool) or not _is_above_zero(poll)):
        raise ValueError(f"poll={poll!r}: give seconds, above 0, or None for the default")
    return via == BATCH_API or cancels


ONLINE: Final = "online"
BATCH_API: Final = "batch-api"


def reader_for(source: Source, options: RunOptions) -> Reader:
    """Return what turns the lines of a source into requests."""
    format_name, model, is_raw = options.get("format"), options.get("model"), bool(options.get("raw"))
    if format_name and is_raw:
        raise ValueError(f"format={format_name!r} and raw=True: a line is rendered or sent as it is; leave one out")
    needs_text = reads_text(options.get("validate"))
    if not (is_raw or format_name or source.is_text):
        return Reader(model, needs_text=needs_text)
    fields = {"model": model, "max_tokens": options.get("max_tokens")}
    given = {name: value for name, value in fields.items() if value is not None}
    return Reader(model, text_body(format_name, given, is_raw=is_raw))


@dataclass(frozen=True, slots=True)
class RunLimits:
    """How much a run may use: those of its options that limit it, and the most ``connections`` it may open.

    ``pace``: the one of its client, None where the run finds its own.
    """

    concurrency: int | None
    connections: int
    rpm: float | None
    tpm: float | None
    max_errors: int | None
    max_cost: float | None
    row_timeout: float
    drain: float
    validate_attempts: int
    pace: Pace | None = None

    @classmethod
    def of(cls, options: SessionOptions) -> Self:
        """Return the limits that options set; raise ``ValueError`` for one that cannot be kept."""
        for name, (is_possible, wanted) in _NUMBERS.items():
            value = options.get(name)
            if value is not None and (isinstance(value, bool) or not is_possible(value)):
                raise ValueError(f"{name}={value!r}: give {wanted}, or None for the default")
        client = options.get("client")
        pace = client.paced_by if isinstance(client, AsyncNovitaOpenAI) else None
        if pace is not None and (options.get("rpm") or options.get("tpm")):
            raise ValueError(f"rpm and tpm: the client has a pace, so give them to that, instead of {pace!r}")
        row_timeout, drain, more = options.get("row_timeout"), options.get("drain"), options.get("validate_attempts")
        return cls(
            concurrency=options.get("concurrency"),
            connections=_connections(options.get("concurrency")),
            rpm=options.get("rpm"),
            tpm=options.get("tpm"),
            max_errors=options.get("max_errors"),
            max_cost=options.get("max_cost"),
            row_timeout=ROW_TIMEOUT if row_timeout is None else row_timeout,
            drain=DRAIN if drain is None else drain,
            validate_attempts=VALIDATE_ATTEMPTS if more is None else more,
            pace=pace,
        )

    def pacer(self, model: str, now: float) -> Pacer | LentTurns:
        """Return the pacer of a model: that which the client's calls share, or a new one."""
        if self.pace is not None:
            return LentTurns(self.pace.turns(model))
        return Pacer(now, concurrency=self.concurrency, most=self.connections, rpm=self.rpm, tpm=self.tpm)


def _is_above_zero(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 0


def _is_from_zero(value: Any) -> bool:
    return isinstance(value, (int, float)) and value >= 0


def _is_tally(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value > 0


_NUMBERS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "concurrency": (_is_count, "at least 1 request in flight"),
    "rpm": (_is_above_zero, "a number a minute, above 0"),
    "tpm": (_is_above_zero, "a number a minute, above 0"),
    "max_errors": (_is_from_zero, "a number of rows, 0 or more"),
    "max_cost": (_is_from_zero, "dollars, 0 or more"),
    "timeout": (_is_above_zero, "seconds, above 0"),
    "row_timeout": (_is_above_zero, "seconds, above 0"),
    "max_wait": (_is_from_zero, "seconds, 0 or more"),
    "drain": (_is_from_zero, "seconds, 0 or more"),
    "attempts": (_is_count, "a whole number of requests for a row, at least 1"),
    "validate_attempts": (_is_tally, "how often a row is asked again, a whole number, 0 or more"),
}
"""What each option with a number may be, and how that is said."""


def _connections(concurrency: int | None) -> int:
    """Return how many connections a run may open."""
    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = MOST_IN_FLIGHT if open_files == resource.RLIM_INFINITY else max(1, open_files - RESERVED_FILES)
    if concurrency is None:
        return min(most, MOST_IN_FLIGHT)
    if open_files != resource.RLIM_INFINITY and concurrency > most:
        raise ValueError(
            f"concurrency={concurrency}: this process may open {open_files} files, hence {most} connections; "
            "raise that limit with ulimit -n, or give a smaller number"
        )
    return concurrency
