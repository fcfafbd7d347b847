# The cooking assistant of Novita's guide as a chat, with the import changed: put your key in, or delete both
# arguments and set NOVITA_API_KEY. Without an account: `novita-openai serve`, then its address and any key.
from novita_openai import OpenAI

client = OpenAI(
    base_url="https://api.novita.ai/v3/openai",
    # Get the Novita AI API Key from: https://novita.ai/settings/key-management.
    api_key="<YOUR Novita AI API Key>",
)

model = "meta-llama/llama-3.1-8b-instruct"
stream = True  # or False
max_tokens = 512

chat_completion_res = client.chat.completions.create(
    model=model,
    messages=[
        {"role": "system", "content": "You are a cooking assistant.\nBe edgy in your cooking ideas."},
        {"role": "user", "content": "How do I make pasta?"},
        {"role": "assistant", "content": "First, boil water. Then cook the pasta for 8-10 minutes. Drain and serve!"},
        {"role": "user", "content": "How do I make it better?"},
    ],
    stream=stream,
    max_tokens=max_tokens,
)

if stream:
    for chunk in chat_completion_res:
        print(chunk.choices[0].delta.content or "", end="")
else:
    print(chat_completion_res.choices[0].message.content)
