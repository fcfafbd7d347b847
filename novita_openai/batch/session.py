"""What a run needs besides its rows: the client's transport and policy, the limits, the prices."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Self, TypedDict

import openai

from novita_openai.batch.requests import BatchInputError
from novita_openai.batch.spending import Prices
from novita_openai.batch.transport import Transport
from novita_openai.client import AsyncNovitaOpenAI
from novita_openai.pacing import MOST_IN_FLIGHT
from novita_openai.retry import RetryPolicy

__all__ = ["Limits", "Session", "SessionOptions"]

MOST_WITHOUT_AIOHTTP: Final = 256
"""With more connections the SDK's own HTTP library gets slower, not faster."""

PRICES_TIMEOUT: Final = 10.0
"""Seconds to wait for the models list where prices are only told."""

RESERVED_FILES: Final = 24
"""What the process has open besides connections."""


class SessionOptions(TypedDict, total=False):
    """Options of ``run``, ``arun`` and ``stream``.

    ``client``: an ``AsyncOpenAI`` of this package; None: one from the environment, with ``RetryPolicy.batch()``.
    ``concurrency``: the most requests in flight; None: it is found. ``rpm``, ``tpm``: the most requests and tokens a
    minute for each model. ``max_errors``: rows that may fail for good. ``max_cost``: dollars that this run may cost,
    for which each request in flight counts with its ``max_tokens``, or 4,096 where it sets none.
    ``model``: for rows that name none.
    """

    client: AsyncNovitaOpenAI | None
    concurrency: int | None
    rpm: float | None
    tpm: float | None
    max_errors: int | None
    max_cost: float | None
    model: str | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use: requests in flight (None: found), connections, and the user's bounds."""

    concurrency: int | None
    connections: int
    rpm: float | None
    tpm: float | None
    max_errors: int | None
    max_cost: float | None

    @classmethod
    def of(cls, options: SessionOptions) -> Self:
        """Return the limits that options ask for; raise ``ValueError`` where they cannot be."""
        for name, limit in (("rpm", options.get("rpm")), ("tpm", options.get("tpm"))):
            if limit is not None and not limit > 0:
                raise ValueError(f"{name}={limit}: a number a minute, above 0, or None")
        return cls(
            concurrency=options.get("concurrency"),
            connections=_connections(options.get("concurrency")),
            rpm=options.get("rpm"),
            tpm=options.get("tpm"),
            max_errors=options.get("max_errors"),
            max_cost=options.get("max_cost"),
        )


class Session:
    """The transport, the policy, the limits and the prices of one run; use it in ``async with``."""

    def __init__(self, options: SessionOptions) -> None:
        client, limits = options.get("client"), Limits.of(options)
        if client is not None and not isinstance(client, AsyncNovitaOpenAI):
            raise TypeError(f"client={client!r}: a batch takes an AsyncOpenAI of novita_openai: create_async_client()")
        source = client or AsyncNovitaOpenAI(policy=RetryPolicy.batch())
        self._own = source if client is None else None
        self.policy = replace(source.policy, attempts=source.policy.attempts or 1 + source.max_retries)
        self.transport = Transport(source, limits.connections)
        if not self.transport.is_fast:
            _tell_of_slowness()
            if limits.concurrency is None:
                limits = replace(limits, connections=min(limits.connections, MOST_WITHOUT_AIOHTTP))
        self.limits, self.prices = limits, Prices()
        self._no_prices = ""

    async def __aenter__(self) -> Self:
        await self.transport.prepare()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.transport.close()
        if self._own is not None:
            await self._own.close()

    async def fetch_prices(self) -> None:
        """Read the models list; without one, costs stay unknown. Where they have a limit it is asked for patiently."""
        is_needed = self.limits.max_cost is not None
        models = self.policy.wraps(self.transport.models) if is_needed else self.transport.models
        try:
            async with asyncio.timeout(None if is_needed else PRICES_TIMEOUT):
                self.prices = Prices(await models())
        except (openai.OpenAIError, TimeoutError) as error:
            self._no_prices = f"cannot be read: {error}"

    def require_prices(self, models: Iterable[str]) -> None:
        """Refuse a limit in dollars for what has no known price."""
        unknown = [model for model in models if self.prices.cost(model, 0, 0) is None]
        if self.limits.max_cost is not None and unknown:
            why = self._no_prices or f"has none for {', '.join(unknown)}"
            raise BatchInputError([f"max_cost needs prices, and the models list {why}"])


def _tell_of_slowness() -> None:
    import structlog

    structlog.get_logger("novita_openai").warning("batch.slow_transport", hint="pip install 'novita-openai[fast]'")


def _connections(concurrency: int | None) -> int:
    """Return how many connections a run may open."""
    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = MOST_IN_FLIGHT if open_files == resource.RLIM_INFINITY else max(1, open_files - RESERVED_FILES)
    if concurrency is None:
        return min(most, MOST_IN_FLIGHT)
    if concurrency < 1:
        raise ValueError(f"concurrency={concurrency}: at least 1 request in flight, or None to find the number")
    if open_files != resource.RLIM_INFINITY and concurrency > most:
        raise ValueError(f"concurrency={concurrency}: this process may open {open_files} files; see ulimit -n")
    return concurrency
