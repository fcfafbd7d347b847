"""How prompts end: nothing that is said is lost there, and nothing is read that was not said; headings stand alone."""

from __future__ import annotations

from typing import Any

import pytest
from prompt_texts import DATE, FORMATS

from novita_openai.prompts import PromptError, PromptFormat, get_format
from novita_openai.prompts.engine.control import stops_of

EACH = pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


CALLS = [{"id": "call00001", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
CHATS = [
    [user(""), said("")],
    [user("q"), said(" ")],
    [user("q"), said("a"), said("")],
    [user("q"), said("a"), user(""), said("\n")],
    [{"role": "system", "content": ""}, said("x")],
    [{"role": "system", "content": ""}, said("")],
    [{"role": "system", "content": " "}, said(""), user("q"), said("a")],
    [user("q"), said("", reasoning_content="hm")],
    [user("q"), said(None, tool_calls=CALLS)],
    [user("q"), said(None, tool_calls=CALLS), {"role": "tool", "tool_call_id": "call00001", "content": ""}, said(" ")],
]
OPTIONS: list[dict[str, Any]] = [{}, {"reply": False}, {"continue_final": True}]


@EACH
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_empty_messages_and_open_thoughts_read_back_or_are_refused(fmt: PromptFormat, options: dict[str, Any]) -> None:
    for chat in CHATS:
        try:
            prompt = fmt.render(chat, date=DATE, **options)
        except PromptError:
            continue
        history = fmt.parse(prompt)
        assert history == fmt.normalize(chat)
        assert len(history) == len(chat) or fmt.joins
        assert fmt.render(history) == prompt


@EACH
def test_a_log_of_an_empty_reply_is_written_as_it_was_read_or_refused(fmt: PromptFormat) -> None:
    asked = [fmt.render([user("q")], date=DATE), fmt.render([user("q"), said("a"), user("r")], date=DATE)]
    asked += [
        fmt.render([user("q"), said("a")], date=DATE, reply=False) + fmt.separators.get(("assistant", "reply"), "")
    ]
    for prompt in asked:
        for reply in ("", " ", "\n", fmt.separators["user", "reply"], "a" + fmt.separators.get(("user", "reply"), "")):
            for end in ("", *fmt.stop):
                try:
                    history = fmt.parse(prompt + reply + end)
                except PromptError:
                    continue
                assert fmt.render(history) == prompt + reply + end


def test_a_heading_is_one_only_where_the_run_of_its_mark_starts() -> None:
    fmt = get_format("solar")
    chat = [user("a\n#### User:\nb"), said("#### User:\nb\n#### Assistant:\n"), user("c")]
    assert fmt.parse(fmt.render(chat)) == chat
    assert fmt.parse(fmt.render(chat[:2], reply=False)) == chat[:2]
    for text in ("x### User:\ny", "### User:\ny", "I like C#", "C#\n\n### User:\nC#"):
        with pytest.raises(PromptError, match="a control string") as caught:
            fmt.render([user("q"), said(text), user("c")])
        assert caught.value.index == 1
    assert fmt.parse(fmt.render([user("I like C#"), said("x"), user("C#")])) == [
        user("I like C#"),
        said("x"),
        user("C#"),
    ]
    coder = get_format("deepseek-coder")
    chat = [user("#### Instruction:\nx"), said("#### Response:\nC#"), user("c")]
    assert coder.parse(coder.render(chat)) == chat
    with pytest.raises(PromptError, match="a control string"):
        coder.render([{"role": "system", "content": "C#"}, user("q")])
    own = PromptFormat(
        name="own",
        separators={
            ("start", "user"): "",
            ("user", "assistant"): "\n",
            ("user", "reply"): "\n",
            ("assistant", "user"): "##U:",
        },
    )
    assert own.parse("a\n###U:b##U:c\n") == [user("a"), said("###U:b"), user("c")]


def test_an_empty_system_message_before_a_reply_is_refused() -> None:
    for name in ("deepseek-v2.5", "deepseek-v3", "deepseek-r1", "llama-3.1", "llama-3.3", "nemotron-3"):
        with pytest.raises(PromptError, match="nothing of this message is in the prompt") as caught:
            get_format(name).render([{"role": "system", "content": ""}, said("x"), user("q")])
        assert caught.value.index == 0


def test_a_line_of_words_is_a_stop_string_with_all_the_line_breaks_before_it() -> None:
    separators = {
        ("start", "user"): "User: ",
        ("user", "assistant"): "\n\nAssistant: ",
        ("user", "reply"): "\n\nAssistant:",
        ("assistant", "user"): "\n\nUser: ",
        ("assistant", "end"): "\n\n",
    }
    assert stops_of(separators) == ("\n\nUser:",)
    assert stops_of({**separators, ("assistant", "user"): "\n\n<|u|>\n"}) == ("<|u|>",)
    fmt = PromptFormat(name="own", separators=separators, stop=stops_of(separators))
    assert fmt.message("Hi\n\nUser: q")["content"] == "Hi"
    assert fmt.message("A list:\nUser: x")["content"] == "A list:\nUser: x"
