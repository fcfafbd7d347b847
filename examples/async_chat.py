# Several questions at once, over a small model on this machine: needs no key.
# Extras: fast, local.
import asyncio

from novita_openai import create_async_client, local

QUESTIONS = ["How do I make pasta?", "How do I make rice?", "How do I make tea?"]


async def main() -> None:
    with local.LocalModel() as server:
        async with create_async_client(base_url=server.base_url, api_key="local") as client:

            async def ask(question: str) -> str | None:
                answer = await client.chat.completions.create(
                    model="gemma", messages=[{"role": "user", "content": question}], max_tokens=30
                )
                return answer.choices[0].message.content

            for question, answer in zip(QUESTIONS, await asyncio.gather(*map(ask, QUESTIONS)), strict=True):
                print(f"{question} {answer}")


asyncio.run(main())
