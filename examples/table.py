# A column of texts becomes a column of answers, is edited, and asks only what is new: needs no key.
# Extras: emulator.
from pathlib import Path
from tempfile import TemporaryDirectory

from novita_openai import batch, create_async_client
from novita_openai.emulator import Emulator

REVIEWS = """id,stars,text
a,5,"Soft, warm and cheap."
b,2,"Shrank in the first wash.
The colour is fine."
c,4,
"""

with Emulator() as server, TemporaryDirectory() as folder:
    reviews, answers = Path(folder, "reviews.csv"), Path(folder, "answers.csv")
    client = create_async_client(base_url=server.base_url, api_key="any")

    def ask() -> batch.BatchReport:
        return batch.run(
            reviews,
            answers,
            client=client,
            model="meta-llama/llama-3.1-8b-instruct",
            prompt="Summarize this review, which gives {stars} stars: {text}",
            parameters={"max_tokens": 20, "temperature": 0},
        )

    # All columns of the input, and the answers beside them. An empty cell asks nothing.
    reviews.write_text(REVIEWS)
    report = ask()
    print(f"{report.succeeded} of {report.total} rows, {report.errors}")
    print(answers.read_text())

    # Killed, stopped or edited: the same call asks only what has no answer yet.
    reviews.write_text(REVIEWS.replace("c,4,", "c,4,Does what it should."))
    report = ask()
    print(f"{report.succeeded} of {report.total} rows, {report.sent} sent")
