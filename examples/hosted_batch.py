# A job that the service's own fleet runs, for half the price and within 48 hours: needs no key.
# Extras: emulator.
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from novita_openai import batch, create_async_client
from novita_openai.emulator import Emulator

MODEL = "meta-llama/llama-3.1-8b-instruct"


def row(dish: str) -> str:
    body = {"model": MODEL, "messages": [{"role": "user", "content": f"How do I make {dish}?"}], "max_tokens": 16}
    return json.dumps({"custom_id": dish, "body": body})


with Emulator(batch_seconds=0.5) as server, TemporaryDirectory() as folder:
    requests, results = Path(folder, "requests.jsonl"), Path(folder, "results.jsonl")
    requests.write_text("".join(f"{row(dish)}\n" for dish in ("pasta", "rice", "soup")))
    client = create_async_client(base_url=server.base_url, api_key="any")
    online, hosted = (batch.estimate(requests, client=client, via=via) for via in ("online", "batch-api"))
    print(f"at most ${online.cost:.7f} online, ${hosted.cost:.7f} at the service's own Batch API")

    # Submitted, and left to the service: this process may end, and the machine may be switched off.
    report = batch.run(requests, results, client=client, via="batch-api", detach=True)
    print(f"{report.stopped}")

    # Any later start collects. Until then none sends these rows, not online either.
    report = batch.run(requests, results, client=client, via="batch-api", poll=0.1)
    print(f"{report.succeeded} of {report.total} rows, about ${report.cost:.7f}")
    print(results.read_text().splitlines()[0])
