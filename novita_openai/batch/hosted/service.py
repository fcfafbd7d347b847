"""What is asked of the service for a part: each call is one request, or one list; the caller decides on failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import openai

from novita_openai import sdk
from novita_openai.batch.hosted.parts import ENDPOINTS

if TYPE_CHECKING:
    from novita_openai.client import AsyncNovitaOpenAI

__all__ = ["Service", "connected"]

WINDOW: Final[Any] = "48h"
"""What the service documents; the SDK's type allows for OpenAI's alone."""
CHUNK: Final = 262_144


class Service:
    """The files and batches of an account, by a client that repeats nothing."""

    def __init__(self, client: AsyncNovitaOpenAI) -> None:
        self._client = client

    @property
    def url(self) -> str:
        """Return the address of the service."""
        return str(self._client.base_url)

    async def upload(self, filename: str, file: BinaryIO) -> str:
        """Upload a file, from its beginning; return its id."""
        file.seek(0)
        return (await self._client.files.create(file=(filename, file), purpose="batch")).id

    async def file_named(self, filename: str, size: int) -> str | None:
        """Return the id of a whole file, None where the list does not show it."""
        async for file in self._client.files.list():
            if (file.filename, file.bytes) == (filename, size):
                return file.id
        return None

    async def create(self, file_id: str, path: str) -> str | None:
        """Create a batch; return its id, None where the reply does not name it."""
        batch = await self._client.batches.create(
            input_file_id=file_id, endpoint=cast("Any", ENDPOINTS[path]), completion_window=WINDOW
        )
        return batch.id or None

    async def batch_of(self, file_id: str) -> str | None:
        """Return the id of the batch of a file, None where the list does not show it."""
        async for batch in self._client.batches.list():
            if batch.input_file_id == file_id:
                return batch.id
        return None

    async def retrieve(self, batch_id: str) -> Any:
        """Return a batch as it is now."""
        return await self._client.batches.retrieve(batch_id)

    async def cancel(self, batch_id: str) -> None:
        """Ask that a batch be cancelled."""
        await self._client.batches.cancel(batch_id)

    async def download(self, file_id: str, into: BinaryIO) -> None:
        """Write a file of results to another, in place of what is in that."""
        into.seek(0)
        into.truncate()
        async with self._client.files.with_streaming_response.content(file_id) as response:
            async for chunk in connected(response.iter_bytes(CHUNK), response.http_request):
                into.write(chunk)
                await asyncio.sleep(0)

    async def delete(self, file_id: str) -> None:
        """Delete a file, if it is there."""
        try:
            await self._client.files.delete(file_id)
        except openai.NotFoundError:
            return


async def connected(chunks: AsyncIterator[bytes], request: Any) -> AsyncIterator[bytes]:
    """Yield chunks of a body; raise the SDK's error for one of its HTTP library."""
    try:
        async for chunk in chunks:
            yield chunk
    except Exception as error:
        if not sdk.is_network_error(error):
            raise
        raise openai.APIConnectionError(request=request) from error
