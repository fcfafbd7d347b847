# Sixty questions at once to a service that takes 1,200 a minute, 20 at once: they wait for their turn. Needs no key.
# Extras: emulator.
import asyncio

from novita_openai import AsyncOpenAI, Pace, RateLimitError, emulator

MODEL = "meta-llama/llama-3.1-8b-instruct"


async def ask(client: AsyncOpenAI, number: int) -> bool:
    try:
        await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": f"{number} + 1 = ?"}])
    except RateLimitError:
        return False
    return True


async def main() -> None:
    with emulator.Emulator(rpm=1200, burst=20, latency=0.2) as service:
        async with AsyncOpenAI(base_url=service.base_url, api_key="any", max_retries=0) as client:
            answers = await asyncio.gather(*(ask(client, number) for number in range(60)))
            print(f"without a pace: {sum(answers)} answers")
            for name, pace in (("found", True), ("given", Pace(rpm=1200))):
                paced = client.with_options(pace=pace)
                answers = await asyncio.gather(*(ask(paced, number) for number in range(60)))
                print(f"{name}: {sum(answers)} answers, {paced.pace[MODEL].refused} refused on the way")


asyncio.run(main())
