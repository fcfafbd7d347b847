"""The tokens and the cost of a job, estimated before it is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from novita_openai.batch.options import RunOptions, reader_for
from novita_openai.batch.session import Session
from novita_openai.batch.spending import Prices
from novita_openai.batch.worklist import read_worklist
from novita_openai.client.settings import MissingAPIKeyError

if TYPE_CHECKING:
    from novita_openai.batch.requests import Source

__all__ = ["BatchEstimate", "aestimate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEstimate:
    """The estimated tokens and cost of a job of ``total`` rows.

    ``prompt_tokens``: about how many are sent. ``answer_tokens``: the most that the answers can have, except those of
    ``unbounded`` rows, which set no ``max_tokens``. ``cost``: of both, in dollars, None where a price is not known.
    """

    total: int
    models: tuple[str, ...]
    prompt_tokens: int
    answer_tokens: int
    unbounded: int
    cost: float | None


async def aestimate(source: Source, options: RunOptions) -> BatchEstimate:
    """Check and estimate; see :func:`novita_openai.batch.estimate`."""
    worklist = await read_worklist(source, reader_for(source, options))
    return BatchEstimate(
        total=worklist.total,
        models=worklist.models,
        prompt_tokens=worklist.usage.prompt_tokens,
        answer_tokens=worklist.usage.answer_tokens,
        unbounded=worklist.unbounded,
        cost=worklist.usage.cost(await _prices(options)),
    )


async def _prices(options: RunOptions) -> Prices:
    try:
        session = Session(options)
    except MissingAPIKeyError:
        return Prices()
    async with session:
        await session.fetch_prices()
        return session.prices
