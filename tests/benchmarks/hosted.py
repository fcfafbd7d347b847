"""What a job at the service's own Batch API costs this process: ``python -m tests.benchmarks.hosted``.

A small server in a process of its own keeps what is uploaded and answers each row with the same text. One process
submits the job and leaves (planning and uploading), another collects it; each says its CPU time and its peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from novita_openai import batch, create_async_client

from .batch import MODEL, requests
from .server import _CHAT

MICROSECONDS: Final = 200.0
MEGABYTES: Final = 200.0
MILLION: Final = 1_000_000
_CUSTOM_ID: Final = re.compile(rb'^\{"custom_id": ("[^"]*")', re.MULTILINE)
_MODEL_ROW: Final = {
    "id": MODEL,
    "object": "model",
    "endpoints": ["chat/completions", "batch-api"],
    "input_token_price_per_m": 200,
    "output_token_price_per_m": 500,
}
_BODY: Final = json.dumps(_CHAT).encode()


class Service:
    """Files and batches, each of which has ended when somebody looks; files are on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.inputs = folder, 0, dict[str, str]()

    def _new(self, kind: str) -> str:
        self.count += 1
        return f"{kind}_{self.count}"

    async def upload(self, request: web.Request) -> web.Response:
        """Keep what comes, form and all."""
        name, size = self._new("file"), 0
        with (self.folder / name).open("wb") as file:
            async for chunk in request.content.iter_any():
                file.write(chunk)
                size += len(chunk)
        facts = {"object": "file", "bytes": size, "created_at": 1, "filename": "", "purpose": "batch"}
        return web.json_response({"id": name, **facts})

    async def create(self, request: web.Request) -> web.Response:
        """Make a batch."""
        name = self._new("batch")
        self.inputs[name] = (await request.json())["input_file_id"]
        return self._shown(name)

    async def retrieve(self, request: web.Request) -> web.Response:
        """Show a batch."""
        return self._shown(request.match_info["name"])

    def _shown(self, name: str) -> web.Response:
        ids = {"id": name, "input_file_id": self.inputs[name], "output_file_id": f"{name}_output", "error_file_id": ""}
        fixed = {"object": "batch", "status": "COMPLETED", "endpoint": "/v1/chat/completions", "errors": ""}
        return web.json_response(ids | fixed | {"completion_window": "48h", "created_at": "2026-01-01T00:00:00Z"})

    async def content(self, request: web.Request) -> web.StreamResponse:
        """Answer the rows of a batch."""
        response = web.StreamResponse()
        await response.prepare(request)
        async for rows in self._answered(self.inputs[request.match_info["name"].removesuffix("_output")]):
            await response.write(rows)
        return response

    async def _answered(self, name: str) -> AsyncIterator[bytes]:
        tail = b', "id": "x", "error": null, "response": {"status_code": 200, "request_id": "x", "body": %b}}\n' % _BODY
        with (self.folder / name).open("rb") as file:
            while lines := file.readlines(1_000_000):
                found = _CUSTOM_ID.findall(b"".join(lines))
                yield b"".join(b'{"custom_id": ' + custom_id + tail for custom_id in found)

    async def delete(self, request: web.Request) -> web.Response:
        """Say that a file is deleted."""
        return web.json_response({"deleted": True, "id": request.match_info["name"], "object": "file"})


def serve(folder: Path, port: int) -> None:
    """Run the server until it is killed."""
    service, app, base = Service(folder), web.Application(client_max_size=1 << 30), "/openai/v1"

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [_MODEL_ROW]})

    app.router.add_get("/v3/openai/models", models)
    app.router.add_post(f"{base}/files", service.upload)
    app.router.add_get(f"{base}/files/{{name}}/content", service.content)
    app.router.add_delete(f"{base}/files/{{name}}", service.delete)
    app.router.add_post(f"{base}/batches", service.create)
    app.router.add_get(f"{base}/batches/{{name}}", service.retrieve)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


def run(url: str, folder: Path, *, detach: bool) -> None:
    """Submit a job, or collect it; print microseconds a row and the peak memory in MB."""
    client = create_async_client(api_key="sk_test", base_url=url)
    started = time.process_time()
    report = batch.run(
        folder / "requests.jsonl", folder / "results.jsonl", client=client, via="batch-api", poll=0.1, detach=detach
    )
    seconds = time.process_time() - started
    assert report.succeeded == (0 if detach else report.total)
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(seconds / report.total * 1e6, peak)


def measured(url: str, folder: Path, *, detach: bool) -> tuple[float, float]:
    """Return the same of a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.hosted", "--url", url, "--folder", str(folder)]
    command += ["--detach"] if detach else []
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(told[-2]), float(told[-1])


def compare(url: str, folder: Path, count: int) -> bool:
    """Print what a job of so many rows costs; tell whether the bounds are kept."""
    requests(folder / "requests.jsonl", count)
    is_kept = True
    for title, detach in (("planning and uploading", True), ("collecting", False)):
        microseconds, peak = measured(url, folder, detach=detach)
        is_kept = is_kept and microseconds <= MICROSECONDS and peak <= MEGABYTES
        told = f"{microseconds:.0f} us a row (at most {MICROSECONDS:.0f})"
        print(f"{count} rows, {title}: {told}, {peak:.0f} MB (at most {MEGABYTES:.0f} for a million)", flush=True)
    return is_kept


def main() -> int:
    """Run everything, print the figures, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--port", type=int, default=8_099)
    for name in ("--url", "--folder", "--serve"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--detach", action="store_true", help=argparse.SUPPRESS)
    options: Any = parser.parse_args()
    if options.serve:
        serve(Path(options.serve), options.port)
    elif options.url:
        run(options.url, Path(options.folder), detach=options.detach)
    else:
        return 0 if measure(options.rows, options.port) else 1
    return 0


def measure(count: int, port: int) -> bool:
    """Run a server and compare."""
    with tempfile.TemporaryDirectory() as kept, tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.benchmarks.hosted", "--serve", kept, "--port", str(port)]
        with subprocess.Popen(command, env=os.environ) as server:
            try:
                time.sleep(3.0)
                return compare(f"http://127.0.0.1:{port}/v3/openai", Path(folder), count)
            finally:
                server.terminate()


if __name__ == "__main__":
    sys.exit(main())
