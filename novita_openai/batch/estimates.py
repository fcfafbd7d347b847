"""The tokens and the cost of a job, estimated before it is run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from novita_openai.batch.fitness import misfits, unbatchable
from novita_openai.batch.hosted.parts import SHARE
from novita_openai.batch.options import RunOptions, is_hosted, reader_for
from novita_openai.batch.pending import PendingRows
from novita_openai.batch.session import Session
from novita_openai.batch.spending import ModelPrices
from novita_openai.batch.worklist import Worklist, read_worklist
from novita_openai.client.settings import MissingAPIKeyError

if TYPE_CHECKING:
    from novita_openai.batch.requests import BatchRequest, Source

__all__ = ["BatchEstimate", "aestimate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEstimate:
    """The estimated tokens and cost of a job of ``total`` rows.

    ``prompt_tokens``: about how many are sent. ``answer_tokens``: the most that the answers can have, except those of
    ``unbounded`` rows, which set no ``max_tokens``. ``cost``: the most dollars that all of it can cost, without the
    answers of the unbounded rows; ``about_cost``: the same by the estimated ``prompt_tokens``. Both are of one request
    a row, and None where a price is not known. ``problems``: a line for each model that is not in the models list, or
    that does not serve what is asked of it.

    With ``via="batch-api"`` the costs are half of those by the list, as the service says of its Batch API.
    """

    total: int
    models: tuple[str, ...]
    prompt_tokens: int
    answer_tokens: int
    unbounded: int
    cost: float | None
    about_cost: float | None = None
    problems: tuple[str, ...] = ()


async def aestimate(source: Source, options: RunOptions) -> BatchEstimate:
    """Check and estimate; see :func:`novita_openai.batch.estimate`."""
    reader = reader_for(source, options)
    worklist = await read_worklist(source, reader)
    prices, rows = await _prices(options), PendingRows(source, reader, worklist)
    estimate = _estimated(rows, worklist, prices, is_hosted=is_hosted(options))
    if rows.error is not None:
        raise rows.error
    return estimate


def _estimated(
    rows: Iterable[BatchRequest], worklist: Worklist, prices: ModelPrices, *, is_hosted: bool
) -> BatchEstimate:
    unfit = unbatchable if is_hosted else misfits
    prices = prices.at(SHARE) if is_hosted else prices
    prompt_tokens = answer_tokens = unbounded = 0
    most, about = _Sum(), _Sum()
    for request in rows:
        prompt_tokens += request.prompt_tokens
        answer_tokens += request.max_tokens or 0
        unbounded += request.max_tokens is None
        most.add(prices.most(request, 0))
        about.add(prices.about(request))
    return BatchEstimate(
        total=worklist.total,
        models=worklist.models,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        unbounded=unbounded,
        cost=most.value,
        about_cost=about.value,
        problems=tuple(str(misfit) for misfit in unfit(worklist.wanted, prices.rows)),
    )


@dataclass(slots=True)
class _Sum:
    """A sum of which the ``value`` is None once a part of it is not known."""

    value: float | None = 0.0

    def add(self, part: float | None) -> None:
        self.value = None if self.value is None or part is None else self.value + part


async def _prices(options: RunOptions) -> ModelPrices:
    try:
        session = Session(options, is_alone=True)
    except MissingAPIKeyError:
        return ModelPrices()
    async with session:
        await session.fetch_prices()
        return session.prices
