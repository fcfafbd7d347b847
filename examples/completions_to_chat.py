# A program that wrote its prompts by hand, moved to chat: its prompt is parsed, and the chat endpoint writes the one
# that its model was trained on. Over a small model on this machine: needs no key.
# Extras: local.
from typing import Any

from novita_openai import OpenAI, local
from novita_openai.prompts import get_format

PROMPT = "You are a cooking assistant.\nUSER: How do I make pasta?\nASSISTANT: Boil it.\nUSER: How long?\nASSISTANT:"

with local.LocalModel() as server, OpenAI(base_url=server.base_url, api_key="local") as client:
    # Before: the model must guess what the role words mean, and goes on with the user's next turn if it may.
    before = client.completions.create(model="gemma", prompt=PROMPT, stop=["\nUSER:"], max_tokens=30)
    print("completions:", before.choices[0].text.strip())

    # After: the same history, and a conversation that goes on as messages.
    messages: Any = get_format("vicuna-newline").parse(PROMPT)
    chat = client.chat.completions.create(model="gemma", messages=messages, max_tokens=30)
    print("chat:", chat.choices[0].message.content)
