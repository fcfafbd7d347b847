"""What a job would come to, before it is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from novita_openai.batch.job import RunOptions, reader_for
from novita_openai.batch.plan import check
from novita_openai.batch.session import Session
from novita_openai.batch.spending import Prices, Usage
from novita_openai.client.settings import MissingAPIKeyError

if TYPE_CHECKING:
    from novita_openai.batch.requests import Source

__all__ = ["BatchEstimate", "aestimate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEstimate:
    """What a job would come to: rows, about the tokens sent, the most tokens of the answers, and dollars at most.

    ``unbounded`` rows set no ``max_tokens``: their answers are in neither figure. ``cost`` is None without prices.
    """

    total: int
    models: tuple[str, ...]
    prompt_tokens: int
    answer_tokens: int
    unbounded: int
    cost: float | None


async def aestimate(source: Source, options: RunOptions) -> BatchEstimate:
    """Check and estimate; see :func:`novita_openai.batch.estimate`."""
    plan = await check(source, reader_for(source, options))
    usage = Usage(by_model={name: (plan.prompt_tokens[name], plan.answer_tokens[name]) for name in plan.models})
    return BatchEstimate(
        total=plan.total,
        models=plan.models,
        prompt_tokens=sum(plan.prompt_tokens.values()),
        answer_tokens=sum(plan.answer_tokens.values()),
        unbounded=plan.unbounded,
        cost=usage.cost(await _prices(options)),
    )


async def _prices(options: RunOptions) -> Prices:
    try:
        session = Session(options)
    except MissingAPIKeyError:
        return Prices()
    async with session:
        await session.fetch_prices()
        return session.prices
