# A stream that is cut midway and goes on from there, as a completion and as a chat: needs no key.
# Extras: emulator.
from typing import Any

from novita_openai import create_client
from novita_openai.emulator import Emulator, Fault

MODEL = "meta-llama/llama-3.1-8b-instruct"
PROMPT = "USER: How do I make pasta?\nASSISTANT:"
MESSAGES: Any = [{"role": "user", "content": "How do I make pasta?"}]
CUT, REST = Fault("reset", after=2_000), " ... and serve it hot."

with (
    Emulator() as server,
    create_client(base_url=server.base_url, api_key="any", resume_streams=True, timeout=60) as client,
):
    # The connection breaks after 2,000 bytes. What is asked for then is what comes after the text so far; one event,
    # `stream.resumed`, tells of it, and the loop sees nothing. A silence of `timeout` seconds counts as a cut too.
    server.script.extend([CUT, REST])
    for completion in client.completions.create(model=MODEL, prompt=PROMPT, stream=True):
        print(completion.choices[0].text, end="|")
    print("\nasked again:", server.requests[-1].json["prompt"])

    # A chat goes on in the prompt format of its model, over the completions endpoint. The tokens of both are summed.
    server.script.extend([CUT, REST])
    for chunk in client.chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True, max_tokens=90, stream_options={"include_usage": True}
    ):
        print((chunk.choices[0].delta.content or "") if chunk.choices else chunk.usage, end="|")
    print("\nasked again:", server.requests[-1].path, server.requests[-1].json)
