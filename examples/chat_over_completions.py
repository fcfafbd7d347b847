# Chat over the completions endpoint: the prompt that a model was trained on, and its text as SDK chat objects, whole
# and streamed. Over a small Gemma 3 on this machine: needs no key.
# Extras: local.
from novita_openai import OpenAI, local
from novita_openai.prompts import chat_to_completion, completion_to_chat, completions_to_chunks, get_format

fmt = get_format("vicuna-newline")  # for a model of the service: format_for_model(its id)
messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is the capital of France?"}]

with local.LocalModel() as server, OpenAI(base_url=server.base_url, api_key="local") as client:
    arguments = chat_to_completion(messages=messages, model="gemma", format=fmt, max_tokens=30, temperature=0)
    chat = completion_to_chat(client.completions.create(**arguments), fmt)
    print(chat.choices[0].finish_reason, repr(chat.choices[0].message.content))

    for chunk in completions_to_chunks(client.completions.create(**arguments, stream=True), fmt):
        print(chunk.choices[0].delta.content or "", end="")
    print()
