"""The place of a request among those in flight to its model: whoever holds it gives it back once, and surely."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import Any, Protocol

from novita_openai import sdk

__all__ = ["Place", "held_response"]


class Giver(Protocol):
    """What gives places out, and takes them back: the turns of a model."""

    def accepted(self, place: Place) -> None:
        """Count a request that the service has taken."""
        ...

    def keep(self, place: Place) -> None:
        """Take the place back by itself where it expires."""
        ...

    def give_back(self, place: Place, tokens: float | None) -> None:
        """Take a place back, once; its request used so many tokens, None: as many as were expected."""
        ...

    def drop(self, ticket: Any) -> None:
        """Take back the place of a ticket as soon as nobody else uses the turns."""
        ...


class Place:
    """The place of one request that is in flight; one that is collected is given back.

    ``expires``: by ``time.monotonic``, when it counts as given back; an answer that is being read puts this off.
    ``is_kept``: a response gives it back.
    """

    __slots__ = ("__weakref__", "_giver", "_patience", "expires", "is_kept", "is_open", "ticket")

    def __init__(self, giver: Giver, ticket: Any) -> None:
        self._giver, self.ticket = giver, ticket
        self.is_open, self.is_kept = True, False
        self.expires = self._patience = math.inf

    def __del__(self) -> None:
        if self.is_open:
            self.is_open = False  # what is collected with it may still give it back
            self._giver.drop(self.ticket)

    def give_back(self, tokens: float | None = None) -> None:
        """Give the place back; the request came to so many tokens, None: nobody knows."""
        self._giver.give_back(self, tokens)

    def accepted(self) -> None:
        """Say that the service has taken the request."""
        self._giver.accepted(self)

    def keep(self, seconds: float | None) -> None:
        """Keep the place while the answer is read, at most so many seconds after its last part; None: any number."""
        self.is_kept = True
        if seconds is not None:
            self._patience = seconds
            self.touch()
            self._giver.keep(self)

    def touch(self) -> None:
        """Note that a part of the answer has come."""
        self.expires = time.monotonic() + self._patience


def held_response(response: Any, place: Place) -> None:
    """Make a response that is not read yet give the place back at its end, when it is closed, or when it is collected.

    A response that is closed already gives it back at once.
    """
    place.accepted()
    if response.is_closed:
        place.give_back()
        return
    place.keep(response.request.extensions.get("timeout", {}).get("read"))
    response.stream = _held_bytes()(response.stream, place)


class HeldBytes:
    """The bytes of a response, sync or async, with the place that it holds."""

    def __init__(self, source: Any, place: Place) -> None:
        self._source, self._place = source, place

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._source:
            self._place.touch()
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._source:
            self._place.touch()
            yield chunk

    def close(self) -> None:
        """Close the source, and give the place back."""
        try:
            self._source.close()
        finally:
            self._place.give_back()

    async def aclose(self) -> None:
        """Close the source, and give the place back."""
        try:
            await self._source.aclose()
        finally:
            self._place.give_back()


@cache
def _held_bytes() -> Any:
    """Return the class whose objects the SDK's HTTP library takes for streams of both kinds."""
    library = sdk.http_library()
    return type("HeldBytes", (HeldBytes, library.SyncByteStream, library.AsyncByteStream), {})
