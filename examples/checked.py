# Answers that must fit a model come as columns of a data frame: needs no key.
# Extras: emulator, tables; and polars.
from typing import Literal

import polars as pl
from pydantic import BaseModel

from novita_openai import batch, create_async_client
from novita_openai.emulator import Emulator


class Opinion(BaseModel):
    mood: Literal["good", "bad", "mixed"]
    stars: int
    tags: list[str]


reviews = pl.DataFrame({"text": ["Soft, warm and cheap.", "Shrank in the first wash.", None]})

with Emulator() as server:
    # Where the model can do that, it is asked for the form; an answer that does not fit is asked again, with what is wrong.
    answers = batch.table(
        reviews,
        prompt="What does this review say? {text}",
        model="qwen/qwen3-30b-a3b-fp8",
        validate=Opinion,
        client=create_async_client(base_url=server.base_url, api_key="any"),
        parameters={"max_tokens": 100},
    )

print(answers.select("text", "answer.mood", "answer.stars", "answer.tags", "error"))
