"""Arguments of a wrong type: a table of odd values over all public callables, each refused by name with the way out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import Completion, CompletionChoice
from prompt_texts import DATE

from novita_openai.prompts import (
    PromptError,
    PromptFormat,
    TemplateError,
    Thought,
    achat,
    chat,
    chat_to_completion,
    check,
    completion_to_chat,
    completions_to_chunks,
    detect,
    format_for_model,
    from_pretrained_config,
    from_template,
    get_format,
    messages_from,
)

QUESTION: dict[str, Any] = {"role": "user", "content": "q"}
SOURCE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
COMPLETION = Completion(id="c", choices=[], created=1, model="m", object="text_completion")
CHATML, QWEN, LLAMA = get_format("chatml"), get_format("qwen3"), get_format("llama-3.1")
CLIENT = OpenAI(api_key="none", base_url="http://127.0.0.1:9/v1", max_retries=0)
ASYNC_CLIENT = AsyncOpenAI(api_key="none", base_url="http://127.0.0.1:9/v1", max_retries=0)
PAIRS: dict[tuple[str, str], str] = {("start", "user"): "U", ("user", "reply"): "A"}


def made(**fields: Any) -> PromptFormat:
    return PromptFormat(**{"name": "own", "separators": PAIRS, **fields})


def asked(**params: Any) -> dict[str, Any]:
    return chat_to_completion(**{"messages": [QUESTION], "model": "m", "format": CHATML, **params})


NO_TEXT: Any = (None, 5, True, 1.5, b"x", {}, ["a"], object(), {1: 2}, range(3), DATE, {1, 2}, len, float("nan"))
"""What is no text, no client and no completion."""

ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    "a prompt": CHATML.parse,
    "a prompt of a format with a BOS": LLAMA.parse,
    "a prompt to detect": detect,
    "a completion": CHATML.message,
    "a completion to cut": CHATML.until_stop,
    "a completion to split": QWEN.split,
    "a completion to close": CHATML.without_closing,
    "the name of a format": get_format,
    "the id of a model": format_for_model,
    "the messages of a row": lambda odd: messages_from({"messages": odd}),
    "a model to ask": lambda odd: asked(model=odd),
    "a format to ask in": lambda odd: asked(format=5 if odd is None else odd),
    "a completion of the SDK": lambda odd: completion_to_chat(odd, CHATML),
    "the format of a completion": lambda odd: completion_to_chat(COMPLETION, odd),
    "the format of a stream": lambda odd: completions_to_chunks([], odd),
    "a stream": lambda odd: [*completions_to_chunks([odd], CHATML)],
    "a client": lambda odd: chat(odd, messages=[QUESTION], model="m", format=CHATML),
    "an async client": lambda odd: asyncio.run(achat(odd, messages=[QUESTION], model="m", format=CHATML)),
    "a client to check": lambda odd: check(odd, "m", format=CHATML),
    "a model to check": lambda odd: check(CLIENT, odd, format=CHATML),
    "a template": from_template,
    "a folder": from_pretrained_config,
    "the name of a derived format": lambda odd: from_template(SOURCE, name=odd),
    "the separators of a format": lambda odd: made(separators=odd or 5),
    "the text of a separator": lambda odd: made(separators={("start", "user"): odd}),
    "the roles of a separator": lambda odd: made(separators={("start", repr(odd), "user"): "U"}),
    "the stop strings of a format": lambda odd: made(stop=odd),
    "a stop string of a format": lambda odd: made(stop=(odd,)),
    "the ends of a format": lambda odd: made(ends=odd),
    "the BOS of a format": lambda odd: made(bos=odd),
    "a tag of a thought": lambda odd: Thought(open="<t>", close=odd),
}


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_each_argument_of_a_wrong_type_is_refused_by_name(argument: str) -> None:
    for odd in NO_TEXT:
        with pytest.raises((PromptError, TemplateError), match=": ") as caught:
            ARGUMENTS[argument](odd)
        assert "object has no attribute" not in str(caught.value)


@pytest.mark.parametrize("flag", ["continue_final", "reply", "bos", "keep_reasoning"])
def test_a_flag_is_true_or_false(flag: str) -> None:
    odd: Any
    for odd in ("no", 0, 1, b"", ["a"], DATE):
        with pytest.raises(PromptError, match=f"'chatml': {flag} must be True, False or None, not "):
            CHATML.render([QUESTION], **{flag: odd})


def test_a_date_is_a_date() -> None:
    odd: Any
    for odd in ("2026-01-02", 20260102, b"", (2026, 1, 2)):
        for fmt in (CHATML, LLAMA):
            with pytest.raises(PromptError, match=r"date must be a datetime.date, not .*: give datetime.date\("):
                fmt.render([QUESTION], date=odd)
        with pytest.raises(TemplateError, match=r"date must be a datetime.date, not .*: give datetime.date\("):
            from_template(SOURCE, date=odd)


def test_other_arguments_of_a_wrong_type_are_refused_by_name() -> None:
    odd: Any
    for odd in (5, True, b"x", {"a": 1}, [1], object()):
        with pytest.raises(PromptError, match="stop must be a text or a list of texts, not "):
            asked(stop=odd)
    for odd in ("yes", 1, None):
        with pytest.raises(TemplateError, match="verify must be True or False, not "):
            from_template(SOURCE, verify=odd)
    odd = 5
    with pytest.raises(TemplateError, match="bos_token must be text, not int 5"):
        from_template(SOURCE, bos_token=odd)
    with pytest.raises(PromptError, match="stream must be a stream of completions, not int 5"):
        completions_to_chunks(odd, CHATML)


def test_a_client_of_the_other_kind_is_refused_before_anything_is_sent() -> None:
    odd: Any = ASYNC_CLIENT
    with pytest.raises(PromptError, match="an OpenAI, not AsyncOpenAI"):
        chat(odd, messages=[QUESTION], model="m", format=CHATML)
    odd = CLIENT
    with pytest.raises(PromptError, match="an AsyncOpenAI, not OpenAI"):
        asyncio.run(achat(odd, messages=[QUESTION], model="m", format=CHATML))


def test_a_choice_without_text_is_an_empty_message() -> None:
    choice = CompletionChoice.construct(index=0, text=None, finish_reason="stop", logprobs=None)
    answer = Completion.construct(id="c", choices=[choice], created=1, model="m", object="text_completion", usage=None)
    assert completion_to_chat(answer, CHATML).choices[0].message.content == ""
