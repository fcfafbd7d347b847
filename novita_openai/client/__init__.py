"""The drop-in clients: the SDK's own, with Novita's key and address, retries, and answers that are whole.

In the order of a call: :mod:`.settings` finds key and address, :mod:`.attempts` says what each attempt sends,
:mod:`.answers` and :mod:`.streams` look at what comes back, :mod:`.resumption` goes on where a stream broke.
"""

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
from novita_openai.client.pace import Pace
from novita_openai.client.settings import MissingAPIKeyError
from novita_openai.sdk.pickling import make_picklable

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
