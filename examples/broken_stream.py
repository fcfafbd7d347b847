# What a broken stream looks like, and what to do about it: needs no key.
# Extras: emulator.
import openai

from novita_openai import OpenAI
from novita_openai.emulator import Emulator, Fault

MODEL = "meta-llama/llama-3.1-8b-instruct"
PROMPT = "USER: How do I make pasta?\nASSISTANT:"

with Emulator() as server, OpenAI(base_url=server.base_url, api_key="any") as client:
    # Before the first chunk: tried again, and nobody notices.
    server.script.extend([Fault("reset"), "First, boil water. Then, add the pasta."])
    for chunk in client.completions.create(model=MODEL, prompt=PROMPT, stream=True):
        print(chunk.choices[0].text, end="")
    print(f"  ({len(server.requests)} requests)")

    # Midway: an error with the text so far. Nothing is sent twice behind your back, as it would be paid twice.
    server.script.append(Fault("reset", after=2_000))
    try:
        for chunk in client.completions.create(model=MODEL, prompt=PROMPT, stream=True):
            print(chunk.choices[0].text, end="")
    except openai.APIError as error:  # the mother of all SDK errors of a request
        print(f"\n{type(error).__name__}: {error}")
        so_far = getattr(error, "partial_text", "")  # which errors of streams have
        rest = client.completions.create(model=MODEL, prompt=PROMPT + so_far)
        print(f"Gone on with: {so_far[:20]}...{rest.choices[0].text[:20]}...")
