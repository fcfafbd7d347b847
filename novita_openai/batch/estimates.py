"""The tokens and the cost of a job, estimated before it is run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from novita_openai.batch.excesses import Excesses
from novita_openai.batch.fitness import misfits, unbatchable
from novita_openai.batch.hosted.parts import SHARE
from novita_openai.batch.options import RunOptions, is_hosted, reader_for
from novita_openai.batch.pending import PendingRows
from novita_openai.batch.session import Session
from novita_openai.batch.spending import ModelPrices
from novita_openai.batch.worklist import Worklist, read_worklist
from novita_openai.client.settings import MissingAPIKeyError
from novita_openai.prices import dollars

if TYPE_CHECKING:
    from novita_openai.batch.requests import BatchRequest, Source

__all__ = ["BatchEstimate", "aestimate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEstimate:
    """The estimated tokens and cost of a job of ``total`` rows.

    ``prompt_tokens``: about how many are sent. ``answer_tokens``: the most that the answers can have, except those of
    ``unbounded`` rows, which set no ``max_tokens``. ``cost``: the most dollars that all of it can cost, without the
    answers of the unbounded rows; ``about_cost``: the same by the estimated ``prompt_tokens``. Both are of one request
    a row, and None where a price is not known. ``unbounded_tokens``: the most that the answers of the unbounded rows
    can have, by the longest answer of their models, and ``most_cost``: the dollars with these; None where the models
    list does not say it.

    ``problems``: a line for each model that is not in the models list, or that does not serve what is asked of it.
    ``warnings``: a line for all that may come otherwise than is meant: rows above the longest answer or the context of
    their model, a ``max_cost`` that would end the job early, and that the models list was not looked at.

    With ``via="batch-api"`` the costs are half of those by the list, as the service says of its Batch API.
    """

    total: int
    models: tuple[str, ...]
    prompt_tokens: int
    answer_tokens: int
    unbounded: int
    cost: float | None
    about_cost: float | None = None
    unbounded_tokens: int | None = 0
    most_cost: float | None = None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


async def aestimate(source: Source, options: RunOptions) -> BatchEstimate:
    """Check and estimate; see :func:`novita_openai.batch.estimate`."""
    reader = reader_for(source, options)
    worklist = await read_worklist(source, reader)
    models, rows = await _models(options), PendingRows(source, reader, worklist)
    estimate = _estimated(rows, worklist, models, options)
    if rows.error is not None:
        raise rows.error
    return estimate


def _estimated(rows: Iterable[BatchRequest], worklist: Worklist, models: _Models, options: RunOptions) -> BatchEstimate:
    is_via_api = is_hosted(options)
    unfit, prices = (unbatchable, models.prices.at(SHARE)) if is_via_api else (misfits, models.prices)
    prompt_tokens = answer_tokens = unbounded = 0
    cost, about, most, longest, excesses = _Sum(), _Sum(), _Sum(), _Sum(), Excesses(prices.rows)
    for request in rows:
        prompt_tokens += request.prompt_tokens
        answer_tokens += request.max_tokens or 0
        about.add(prices.about(request))
        bounded = prices.most(request, 0)
        cost.add(bounded)
        if request.max_tokens is None:
            unbounded += 1
            longest.add(tokens := prices.longest(request))
            bounded = None if tokens is None else prices.most(request, tokens)
        most.add(bounded)
        excesses.add(request)
    warnings = (*models.not_read, *excesses.lines(), *_of_limit(options.get("max_cost"), most.value, about.value))
    return BatchEstimate(
        total=worklist.total,
        models=worklist.models,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        unbounded=unbounded,
        unbounded_tokens=None if longest.value is None else int(longest.value),
        cost=cost.value,
        about_cost=about.value,
        most_cost=most.value,
        problems=tuple(str(misfit) for misfit in unfit(worklist.wanted, prices.rows)),
        warnings=warnings,
    )


def _of_limit(max_cost: float | None, most: float | None, about: float | None) -> Iterator[str]:
    """Say whether a job may end early, as it costs more than it may."""
    if max_cost is None or (most is not None and most <= max_cost):
        return
    if about is None:
        yield f"max_cost={max_cost:g}: the job would not begin, as that needs the price of each model"
    elif about > max_cost:
        yield f"max_cost={max_cost:g}: the job would stop before its end, as it costs about {dollars(about)}"
    else:
        bound = "as nobody knows what it costs at most" if most is None else f"as it costs up to {dollars(most)}"
        yield f"max_cost={max_cost:g}: the job may stop before its end, {bound}"


@dataclass(slots=True)
class _Sum:
    """A sum of which the ``value`` is None once a part of it is not known."""

    value: float | None = 0.0

    def add(self, part: float | None) -> None:
        self.value = None if self.value is None or part is None else self.value + part


@dataclass(frozen=True, slots=True)
class _Models:
    """The models and prices of the models list; ``not_read``: a line that says why they are not known."""

    prices: ModelPrices
    not_read: tuple[str, ...] = ()


async def _models(options: RunOptions) -> _Models:
    try:
        session = Session(options, is_alone=True)
    except MissingAPIKeyError:
        return _Models(ModelPrices(), (f"{NOT_READ}there is no key: set NOVITA_API_KEY",))
    async with session:
        await session.fetch_prices()
        told = (f"{NOT_READ}the models list {session.no_prices}",) if session.no_prices else ()
        return _Models(session.prices, told)


NOT_READ: Final = "models and prices were not looked at: "
