# What a bad key looks like, and a server that is down, met by a patient policy: needs no key.
# Extras: local.
import openai

from novita_openai import Action, Backoff, OpenAI, RetryPolicy, classify, local

with local.LocalModel(api_key="sk_right") as server:
    client = OpenAI(base_url=server.base_url, api_key="sk_wrong")
    try:
        client.completions.create(model="gemma", prompt="USER: How do I make pasta?\nASSISTANT:", max_tokens=5)
    except openai.AuthenticationError as error:  # the SDK's own class, with notes
        rule = classify(error)
        print(f"{type(error).__name__}, to {rule.action.name}: {rule.meaning}")
        print(*error.__notes__, sep="\n")

# The server is gone now. RetryPolicy.batch() would make 8 attempts over minutes; this one makes 3 over half a second.
brief = RetryPolicy(attempts=3, backoffs={Action.RETRY: Backoff(initial=0.1, maximum=0.4)})
try:
    client.with_options(policy=brief).completions.create(model="gemma", prompt="USER: Are you there?\nASSISTANT:")
except openai.APIConnectionError as error:
    print(type(error).__name__)
    print(*error.__notes__, sep="\n")
