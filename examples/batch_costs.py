# What a job takes and costs online and at the service's own Batch API: needs no key. guides/batch.md shows its table.
from math import ceil

PROMPT, ANSWER = 0.02, 0.05  # dollars for a million tokens: meta-llama/llama-3.1-8b-instruct
ROW = (500 * PROMPT + 200 * ANSWER) / 1_000_000  # of 500 tokens, with an answer of 200
TIERS = {1: 30, 2: 100, 3: 1_000, 4: 3_000, 5: 6_000}  # requests a minute and model: docs/guides/llm-rate-limits
ROWS = (1_000, 100_000, 10_000_000)
PART, WINDOW, SHARE = 50_000, 48, 0.5  # rows of a batch, its hours at most, its share of the price: llm-batch-api


def duration(minutes: float) -> str:
    if minutes < 60:
        return f"{ceil(minutes)} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 60 / 24:.1f} days"


def cells(rows: int) -> list[str]:
    dollars = rows * ROW
    online = [duration(rows / limit) for limit in TIERS.values()]
    hosted = f"${SHARE * dollars:,.2f}, at most {WINDOW} h, batches: {ceil(rows / PART)}"
    return [f"{rows:,}", f"${dollars:,.2f}", *online, hosted]


headings = ["rows", "online or paced", *(f"tier {tier}" for tier in TIERS), "Batch API"]
for line in (headings, ["---"] * len(headings), *map(cells, ROWS)):
    print(f"| {' | '.join(line)} |")
