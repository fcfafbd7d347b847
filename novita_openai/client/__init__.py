"""The drop-in clients: the SDK's own, with Novita's key and address, retries, and answers that are whole.

In the order of a call: :mod:`.settings` finds key and address, :mod:`.attempts` says what each attempt sends,
:mod:`.answers` and :mod:`.streams` look at what comes back, :mod:`.resumption` goes on where a stream broke.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from novita_openai import sdk
from novita_openai.client.clients import (
    AsyncClient,
    AsyncNovitaOpenAI,
    AsyncOpenAI,
    Client,
    NovitaOpenAI,
    OpenAI,
    create_async_client,
    create_client,
)
from novita_openai.client.settings import MissingAPIKeyError
from novita_openai.sdk.pickling import make_picklable

if TYPE_CHECKING:
    from novita_openai.client.pace import Pace

sdk.check_classes()
make_picklable()

__all__ = [
    "AsyncClient",
    "AsyncNovitaOpenAI",
    "AsyncOpenAI",
    "Client",
    "MissingAPIKeyError",
    "NovitaOpenAI",
    "OpenAI",
    "Pace",
    "create_async_client",
    "create_client",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what few programs need when they ask for it."""
        if name != "Pace":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from novita_openai.client.pace import Pace

        globals()["Pace"] = Pace
        return Pace
