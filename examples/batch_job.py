# A batch job over files that is started again: needs no key.
# Extras: emulator.
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from novita_openai import batch, create_async_client
from novita_openai.emulator import Emulator

MODEL = "meta-llama/llama-3.1-8b-instruct"


def row(dish: str) -> str:
    body = {"model": MODEL, "messages": [{"role": "user", "content": f"How do I make {dish}?"}], "max_tokens": 16}
    return json.dumps({"custom_id": dish, "method": "POST", "url": "/v1/chat/completions", "body": body})


with Emulator(faults={"MODEL_NOT_AVAILABLE": 0.3}) as server, TemporaryDirectory() as folder:
    requests, results = Path(folder, "requests.jsonl"), Path(folder, "results.jsonl")
    client = create_async_client(base_url=server.base_url, api_key="any")

    # Requests in: one row each, as in OpenAI's Batch. Passing faults are tried again.
    requests.write_text("".join(f"{row(dish)}\n" for dish in ("pasta", "rice", "soup")))
    report = batch.run(requests, results, client=client)
    print(f"{report.succeeded} of {report.total} rows, {report.sent} requests, ${report.cost:.7f}")
    print(results.read_text().splitlines()[0])

    # Started again, after a kill or with more rows, it sends only what is left.
    requests.write_text(requests.read_text() + f"{row('bread')}\n")
    report = batch.run(requests, results, client=client)
    print(f"{report.succeeded} of {report.total} rows, {report.resumed} of them from before, {report.sent} sent")
