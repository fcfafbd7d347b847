"""Whether the service is there at all: its models list is asked, once for all who want to know at about that time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import openai

__all__ = ["ServiceProbe"]

LASTS: Final = 10.0
"""Seconds for which an answer holds."""
TIMEOUT: Final = 10.0
"""Seconds in which the models list has to come."""


class ServiceProbe:
    """Asks whether a service answers. ``ask``: any request that needs nothing but the service itself."""

    def __init__(self, ask: Callable[[], Awaitable[object]]) -> None:
        self._ask = ask
        self._asked = -LASTS
        self._asking: asyncio.Task[bool] | None = None

    async def answers(self) -> bool:
        """Tell whether the service answers."""
        now = asyncio.get_running_loop().time()
        if self._asking is None or now - self._asked >= LASTS:
            self._asked, self._asking = now, asyncio.ensure_future(self._is_answered())
        return await asyncio.shield(self._asking)

    async def _is_answered(self) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._ask()
        except (openai.OpenAIError, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
