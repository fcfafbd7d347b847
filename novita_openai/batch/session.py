"""What a run needs besides its rows: how to send, the policy, the limits, the prices."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self

import openai

from novita_openai.backoff import unless_skipped
from novita_openai.batch.checks import check_of
from novita_openai.batch.options import RunLimits
from novita_openai.batch.probes import ServiceProbe
from novita_openai.batch.report import BatchReport, BatchStopped
from novita_openai.batch.requests import BatchInputError
from novita_openai.batch.spending import ModelPrices
from novita_openai.batch.transport import Transport
from novita_openai.batch.usage import Spent
from novita_openai.batch.validation import Validation
from novita_openai.client import AsyncNovitaOpenAI
from novita_openai.errors import Action, failure_of
from novita_openai.installing import how_to_install
from novita_openai.logs import warn
from novita_openai.retry import RetryPolicy

if TYPE_CHECKING:
    from novita_openai.batch.options import SessionOptions

__all__ = ["Session"]

MOST_WITHOUT_AIOHTTP: Final = 256
"""Connections above which the SDK's own HTTP library gets slower, not faster."""
MOST_OVER_A_GIVEN_ONE: Final = 100
"""Requests in flight over an ``http_client`` that the client was given: its pool has as many connections by default."""
PRICES_TIMEOUT: Final = 10.0
"""Seconds to wait for the models list where its prices are only reported."""


class Session:
    """The transport, the policy, the limits, the prices and the check of one run; use it in ``async with``.

    ``spent_before``: what earlier runs of the job have spent. ``no_prices``: why the models list could not be read;
    ``may_pass``: whether it may be readable later.

    ``is_reached``: something has come from the host. ``is_alone``: the event loop ends with the run.
    """

    def __init__(self, options: SessionOptions, *, is_alone: bool = False) -> None:
        client, limits, check = options.get("client"), RunLimits.of(options), check_of(options.get("validate"))
        if client is not None and not isinstance(client, AsyncNovitaOpenAI):
            raise TypeError(f"client={client!r}: give an AsyncOpenAI of novita_openai, as from create_async_client()")
        source = client or AsyncNovitaOpenAI(policy=RetryPolicy.batch())
        self._own = source if client is None else None
        self.policy = _policy(source, options, limits.row_timeout)
        self.transport = Transport(source, limits.connections, timeout=options.get("timeout"), is_alone=is_alone)
        if not self.transport.is_fast:
            warn("batch.slow_transport", hint=how_to_install("fast"))
            if limits.concurrency is None:
                limits = replace(limits, connections=min(limits.connections, MOST_WITHOUT_AIOHTTP))
        if source.given_http_client is not None and limits.concurrency is None:
            limits = replace(limits, connections=min(limits.connections, MOST_OVER_A_GIVEN_ONE))
        self.limits, self.prices, self.spent_before = limits, ModelPrices(), Spent()
        self.no_prices, self.may_pass, self.is_reached = "", False, False
        self.probe = ServiceProbe(self.transport.models)
        self.validation = Validation(check, limits.validate_attempts)

    async def __aenter__(self) -> Self:
        await self.transport.prepare()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.probe.close()
        await self.transport.close()
        if self._own is not None:
            await self._own.close()

    @property
    def seconds_a_row(self) -> float:
        """Return the seconds that a row has from its first request on."""
        return self.policy.deadline or math.inf

    @property
    def seconds_an_attempt(self) -> float:
        """Return the seconds in which an answer has to be whole that is no stream."""
        return self.transport.seconds or math.inf

    async def fetch_prices(self) -> None:
        """Read the models list; where that fails, costs stay unknown.

        A failed request is sent again as the policy says: where ``max_cost`` needs the prices without a time limit,
        else once, unless nobody can be reached.
        """
        is_needed = self.limits.max_cost is not None
        models = replace(self.policy, deadline=None).wraps(self.transport.models) if is_needed else self._models
        try:
            async with asyncio.timeout(None if is_needed else PRICES_TIMEOUT):
                rows = await models()
        except (openai.OpenAIError, TimeoutError) as error:
            self.no_prices, self.is_reached = f"cannot be read: {error}", isinstance(error, openai.APIStatusError)
            self.may_pass = failure_of(error, self.policy.rules).action is not Action.FAIL
            return
        self.is_reached = True
        self.prices = ModelPrices(rows)
        self.validation.learn(rows)

    async def _models(self) -> list[dict[str, Any]]:
        """Return the rows of the models list, for which is asked again once."""
        try:
            return await self.transport.models()
        except openai.APIError as error:
            failure = failure_of(error, self.policy.rules)
            if failure.is_unreachable or self.policy.refusal(failure) or self.policy.attempts == 1:
                raise
        await asyncio.sleep(unless_skipped(self.policy.delay_after(failure, 1, random=0.5)))
        return await self.transport.models()

    def require_prices(self, models: Iterable[str], total: int) -> None:
        """Refuse ``max_cost`` where one of the models has no known price; ``total``: the rows of the job."""
        unknown = [model for model in models if not self.prices.knows(model)]
        if self.limits.max_cost is not None and unknown:
            why = self.no_prices or f"has none for {', '.join(unknown)}"
            told = f"max_cost needs prices, and the models list {why}"
            raise BatchStopped(told, BatchReport(total=total)) if self.may_pass else BatchInputError([told])


def _policy(client: AsyncNovitaOpenAI, options: SessionOptions, row_timeout: float) -> RetryPolicy:
    """Return a client's policy, with what the options say in place of its own; its deadline is that of a row."""
    policy, attempts, max_wait = client.policy, options.get("attempts"), options.get("max_wait")
    return replace(
        policy,
        deadline=min(policy.deadline or row_timeout, row_timeout),
        attempts=attempts or policy.attempts or 1 + client.max_retries,
        retry_after_cap=policy.retry_after_cap if max_wait is None else max_wait,
    )
