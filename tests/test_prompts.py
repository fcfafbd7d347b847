"""What prompt formats promise: messages in, prompts out, and errors that say what is wrong and where."""

from __future__ import annotations

import datetime as dt
import json
import pickle
import subprocess
import sys
import time
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessage
from prompt_texts import DATE

from novita_openai import prompts
from novita_openai.prompts import PromptError, PromptFormat, Thought, get_format

GUIDE = (
    "A chat between a curious user and an artificial intelligence assistant.\nYou are a cooking assistant.\n"
    "Be edgy in your cooking ideas.\nUSER: How do I make pasta?\nASSISTANT: First, boil water. Then, add pasta to the "
    "boiling water. Cook for 8-10 minutes or until al dente. Drain and serve!\nUSER: How do I make it better?"
    "\nASSISTANT:"
)
ASKED = [{"role": "user", "content": "How?"}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "So."}]


def problem(call: Any, *arguments: Any, **options: Any) -> PromptError:
    with pytest.raises(PromptError) as caught:
        call(*arguments, **options)
    return caught.value


def test_the_guides_prompt_is_a_history_and_back() -> None:
    fmt = get_format("vicuna-newline")
    history = fmt.parse(GUIDE)
    assert [message["role"] for message in history] == ["system", "user", "assistant", "user"]
    assert history[0]["content"].count("\n") == 2
    assert fmt.render(history) == fmt.render(list(history)) == GUIDE
    assert "vicuna-newline" in prompts.detect(GUIDE)


VICUNAS = {
    "vicuna-newline": "s\nUSER: u\nASSISTANT: a\nUSER: v\nASSISTANT:",
    "vicuna-v1.1": "s USER: u ASSISTANT: a</s>USER: v ASSISTANT:",
    "vicuna-docs": "s\n\nUSER: u\nASSISTANT: a</s>\nUSER: v\nASSISTANT:",
    "airoboros-v2": "s\nUSER: u\nASSISTANT: a</s>USER: v\nASSISTANT:",
    "wizardlm-2": "s USER: u ASSISTANT: a</s>\nUSER: v ASSISTANT:",
    "vicuna-orca": "SYSTEM: s\nUSER: u\nASSISTANT: a</s>\nUSER: v\nASSISTANT:",
}


@pytest.mark.parametrize("name", VICUNAS)
def test_vicuna_has_six_dialects(name: str) -> None:
    roles = ["system", "user", "assistant", "user"]
    messages = [{"role": role, "content": text} for role, text in zip(roles, "suav", strict=True)]
    assert get_format(name).render(messages) == VICUNAS[name]
    assert get_format(name).parse(VICUNAS[name]) == messages


@pytest.mark.parametrize(
    ("messages", "index", "words"),
    [
        ([], None, "no messages"),
        ("text", None, "a list"),
        ([17], 0, "a dict or an SDK object"),
        ([{"role": "critic", "content": "x"}], 0, "unknown role 'critic'"),
        ([{"role": ["user"], "content": "x"}], 0, "unknown role"),
        ([{"role": "user", "content": "x", "name": "Ann"}], 0, "'name'"),
        ([*ASKED, {"role": "assistant", "content": None}], 1, "None"),
        ([{"role": "user", "content": 5}], 0, "int"),
        ([{"role": "user", "content": b"x"}], 0, "bytes"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], 0, "'image_url'"),
        ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}], 0, "'input_audio'"),
        ([{"role": "user", "content": [{"type": "text", "text": None}]}], 0, "'text'"),
        ([{"role": "user", "content": ["x"]}], 0, "'str'"),
        ([*ASKED, {"role": "assistant", "content": "x", "reasoning_content": 5}], 1, "reasoning_content"),
        ([*ASKED, {"role": "assistant", "content": "x", "reasoning_content": "y"}], 1, "reasoning_content"),
        ([*ASKED, {"role": "assistant", "content": None, "tool_calls": [{}]}], 1, "write tool calls"),
        ([*ASKED, {"role": "tool", "content": "x", "tool_call_id": "1"}], 1, "write tool calls"),
    ],
)
def test_what_a_prompt_has_no_place_for_is_refused(messages: Any, index: int | None, words: str) -> None:
    error = problem(get_format("chatml").render, messages)
    assert (error.format, error.index) == ("chatml", index)
    assert words in str(error)
    assert "chatml" in str(error)
    assert str(problem(get_format("chatml").normalize, messages[:1] if index == 0 else [])).startswith(
        "format 'chatml'"
    )


def test_errors_can_be_sent_between_processes() -> None:
    error = PromptError("it", format="f", index=1, marker="m", offset=2)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (str(again), vars(again)) == (str(error), vars(error))
    assert str(PromptError("it")) == "prompt: it"


def test_sdk_objects_and_parts_are_messages() -> None:
    fmt = get_format("chatml")
    reply = ChatCompletionMessage(role="assistant", content="So.", tool_calls=[])
    parts = {"role": "user", "content": [{"type": "text", "text": "Ho"}, {"type": "text", "text": "w?"}]}
    assert fmt.render([parts, reply], reply=False) == fmt.render(ANSWERED, reply=False)
    assert fmt.normalize([{"role": "developer", "content": "x"}]) == [{"role": "system", "content": "x"}]


def test_a_parsed_history_is_written_as_it_was_read() -> None:
    fmt = get_format("llama-3")
    closed = fmt.render(ANSWERED, reply=False, bos=True)
    history = fmt.parse(closed)
    assert (history.ending, history.bos, fmt.render(history)) == ("closed", True, closed)
    assert fmt.render(history, bos=False) == closed.removeprefix(fmt.bos)
    history.append({"role": "user", "content": "And?"})
    assert fmt.render(history) == fmt.bos + fmt.render([*history])
    opened = fmt.render(ANSWERED, continue_final=True)
    assert opened.endswith("So.")
    assert fmt.render(fmt.parse(opened)) == opened
    assert problem(fmt.render, ASKED, continue_final=True).index == 0
    assert prompts.History() == []


def test_an_empty_reply_is_nothing_to_continue() -> None:
    messages = [*ASKED, {"role": "assistant", "content": ""}]
    assert "nothing to continue" in str(problem(get_format("chatml").render, messages, continue_final=True))


@pytest.mark.parametrize(
    ("prompt", "words", "offset"),
    [
        ("hello", "starts with", 0),
        ("<|im_start|>user\nHow?", "the user message does not end", 21),
        ("<|im_start|>user\nHow?<|im_end|>", "does not end", 31),
    ],
)
def test_what_is_no_prompt_is_refused_with_its_place(prompt: str, words: str, offset: int) -> None:
    error = problem(get_format("chatml").parse, prompt)
    assert words in str(error)
    assert error.offset == offset


def test_a_prompt_that_is_written_otherwise_is_refused_with_its_place() -> None:
    llama, qwen, glm = (get_format(name) for name in ("llama-3", "qwen3", "glm-4"))
    prompt = llama.render(ASKED, bos=True).replace("How?", "How? ")
    assert problem(llama.parse, prompt).offset == prompt.index("How?")
    prompt = qwen.render([*ANSWERED, *ASKED]).replace("So.", "<think>\nwell\n</think>\n\nSo.")
    assert qwen.parse(prompt)[1]["reasoning_content"] == "well"
    prompt = qwen.render([*ANSWERED, *ASKED]).replace("So.", "So</think>.")
    assert problem(qwen.parse, prompt).offset == prompt.index("</think>.")
    assert problem(glm.parse, "[gMASK]<sop><|user|>\n<|assistant|>").offset == len("[gMASK]<sop><|user|>\n")
    assert problem(get_format("qwen3-vl").parse, "<|im_start|>system\nx<|im_end|>\n").offset is not None


def test_a_default_system_text_reads_back_as_none() -> None:
    fmt = get_format("qwen2.5")
    default = {"role": "system", "content": "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."}
    assert fmt.render([default, *ASKED]) == fmt.render(ASKED)
    assert fmt.normalize([default, *ASKED]) == fmt.parse(fmt.render(ASKED)) == ASKED


def test_system_text_is_folded_where_there_is_no_place_for_it() -> None:
    system = {"role": "system", "content": "Brief."}
    first, last = get_format("gemma-2"), get_format("mistral-v3")
    assert first.normalize([system, *ANSWERED, *ASKED])[0]["content"] == "Brief.\n\nHow?"
    assert last.normalize([system, *ANSWERED, *ASKED])[2]["content"] == "Brief.\n\nHow?"
    assert problem(last.render, [system, *ANSWERED], reply=False).index == 0
    assert problem(last.render, [system]).index == 0
    assert get_format("deepseek-v3").normalize([system, system, *ASKED])[0]["content"] == "Brief.\n\nBrief."
    assert "after an assistant" in str(problem(get_format("qwen3-vl").render, [*ANSWERED, system, *ASKED]))
    assert "cannot be closed" in str(problem(get_format("yi-1.5").render, ASKED, reply=False))
    assert "no reply can be asked" in str(problem(get_format("llama-2").render, ANSWERED))


def test_white_space_at_the_end_of_an_open_reply_is_kept_or_refused() -> None:
    messages = [*ASKED, {"role": "assistant", "content": "So "}]
    assert get_format("chatml").render(messages, continue_final=True).endswith("\nSo ")
    for name in ("llama-2", "llama-3.1", "gemma-3", "qwen3.5", "seed-oss"):
        error = problem(get_format(name).render, messages, continue_final=True)
        assert (error.index, "white space" in str(error)) == (1, True)


def test_dates_are_arguments() -> None:
    for name in ("llama-3.2", "granite-3.3", "gpt-oss"):
        fmt = get_format(name)
        assert "date=" in str(problem(fmt.render, ASKED))
        assert fmt.parse(fmt.render(ASKED, date=DATE)).date == DATE
    assert "02 Jan 2026" in get_format("llama-3.2").render(ASKED, date=DATE)
    granite = get_format("granite-3.3")
    assert "January 02, 2026" in granite.render(ASKED, date=DATE)
    own = granite.render([{"role": "system", "content": "x"}, *ASKED])
    assert granite.parse(own).date is None
    llama = get_format("llama-3.2")
    assert problem(llama.parse, llama.render(ASKED, date=DATE).replace("02 Jan", "31 Feb")).offset == 0
    gpt = get_format("gpt-oss")
    days = [dt.date(2026, 1, 1) + dt.timedelta(days=number) for number in range(40)]
    assert [gpt.parse(gpt.render(ASKED, date=day)).date for day in days] == days


def test_thoughts_are_kept_where_the_published_template_keeps_them() -> None:
    thought = [*ASKED, {"role": "assistant", "content": "So.", "reasoning_content": "Well"}]
    kept, dropped = get_format("qwen3"), get_format("deepseek-r1")
    prompt = kept.render(thought, reply=False)
    assert prompt.endswith("<think>\nWell\n</think>\n\nSo.<|im_end|>\n")
    assert kept.parse(prompt) == thought
    assert problem(kept.render, [*thought, *ASKED]).index == 1
    assert problem(dropped.render, thought, reply=False).index == 1
    for fmt in (kept, dropped):
        prompt = fmt.render([*thought, *ASKED], keep_reasoning=True)
        assert fmt.render(fmt.parse(prompt)) == prompt
    spoilt = [*ASKED, {"role": "assistant", "content": "\nSo.", "reasoning_content": "Well"}]
    assert problem(kept.render, spoilt, reply=False).marker == "\n"
    open_thought = kept.render(
        [*ASKED, {"role": "assistant", "content": "", "reasoning_content": "We"}], continue_final=True
    )
    assert open_thought.endswith("<think>\nWe")
    assert kept.render(kept.parse(open_thought)) == open_thought
    assert problem(kept.parse, f"{open_thought}<|im_end|>\n").format == "qwen3"
    assert problem(kept.render, [*ASKED, {"role": "assistant", "content": "a</think>b"}, *ASKED]).marker == "</think>"
    assert problem(kept.parse, prompt.replace("Well", "\nWell")).format == "qwen3"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("vicuna-newline", " So.\nUSER: x", {"content": "So."}),
        ("glm-4", "\nSo.", {"content": "So."}),
        ("glm-4.5", "\n<think></think>\nSo.", {"content": "So."}),
        ("glm-4.7", "Well</think>So.", {"reasoning_content": "Well", "content": "So."}),
        ("qwen3", "<think>\nWell\n</think>\n\nSo.<|im_end|>", {"reasoning_content": "Well", "content": "So."}),
        ("qwen3", "So.", {"content": "So."}),
        ("qwen3-thinking-2507", "Well", {"reasoning_content": "Well", "content": ""}),
        ("deepseek-r1", "Well</think>So.", {"reasoning_content": "Well", "content": "So."}),
        ("deepseek-v3.1", "So.", {"content": "So."}),
        (
            "gpt-oss",
            "<|channel|>analysis<|message|>Well<|end|><|start|>assistant<|channel|>final<|message|>So.<|return|>",
            {"reasoning_content": "Well", "content": "So."},
        ),
    ],
)
def test_a_completion_is_a_message(name: str, text: str, message: dict[str, str]) -> None:
    assert get_format(name).message(text, "stop") == {"role": "assistant", **message}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"stop": ("a", "b", "c", "d", "e")}, "stop strings"),
        ({"system_in": "middle"}, "system_in"),
        ({"separators": {("user", "assistant"): ""}}, "tells the two messages apart"),
        ({"separators": {("start", "user"): "<s>x"}, "bos": "<s>"}, "BOS"),
        ({"separators": {("start", "user"): "U: ", ("start", "asked"): "Q: "}}, "must start with"),
        ({"separators": {("start", "asked"): "Q: "}}, "must start with"),
    ],
)
def test_a_wrong_description_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PromptFormat(**{"name": "f", "separators": {("start", "user"): "U: "}, **fields})


def test_an_own_format_may_end_a_history_with_another_header() -> None:
    fmt = PromptFormat(
        name="own",
        separators={
            ("start", "user"): "U: ",
            ("user", "assistant"): "\nA: ",
            ("user", "final"): "\nA: <last>",
            ("assistant", "user"): "\nU: ",
            ("assistant", "end"): "\n.",
            ("user", "reply"): "\nA:",
        },
    )
    closed = fmt.render(ANSWERED, reply=False)
    assert closed == "U: How?\nA: <last>So.\n."
    assert fmt.render(fmt.parse(closed)) == closed
    assert "starts with" in str(problem(fmt.parse, "U: How?\nA: So.\n."))
    assert {fmt: 1}[fmt] == 1
    assert "no assistant" not in str(problem(fmt.render, [*ANSWERED, ANSWERED[1]]))


def test_an_own_format_may_go_on_with_the_header_before_the_question() -> None:
    separators = {
        ("start", "user"): "U: ",
        ("start", "asked"): "U: Think! ",
        ("start", "system"): "S: ",
        ("system", "user"): "\nU: ",
        ("system", "asked"): "\nU: Think! ",
        ("user", "assistant"): "\nA: ",
        ("assistant", "user"): "\nU: ",
        ("assistant", "asked"): "\nU: Think! ",
        ("assistant", "end"): "\n.",
        ("user", "reply"): "\nA:",
    }
    fmt = PromptFormat(name="own", separators=separators)
    for messages in (ASKED, [*ANSWERED, *ASKED], [{"role": "system", "content": "s"}, *ANSWERED, *ASKED]):
        prompt = fmt.render(messages)
        assert prompt.count("Think! ") == 1
        assert prompt.endswith(f"U: Think! {ASKED[0]['content']}\nA:")
        assert fmt.parse(prompt) == messages
    assert fmt.render(ANSWERED, reply=False) == "U: How?\nA: So.\n."
    found = problem(fmt.parse, "U: How?\nA: So.\nU: How?\nA:")
    assert "starts with 'Think! '" in str(found)
    assert found.offset == 18


def test_a_default_system_text_is_dropped_only_where_it_is_written_before_every_question() -> None:
    separators = {
        ("start", "user"): "<s>Be kind.</s><u>",
        ("start", "asked"): "<s>Be kind.</s><u>Think! ",
        ("start", "system"): "<s>",
        ("system", "user"): "</s><u>",
        ("system", "asked"): "</s><u>Think! ",
        ("user", "reply"): "</u>",
    }
    kind = [{"role": "system", "content": "Be kind."}, *ASKED]
    assert PromptFormat(name="own", separators=separators).normalize(kind) == ASKED
    fmt = PromptFormat(name="own", separators={**separators, ("start", "asked"): "<s>Be kind.</s><u>Hm. "})
    assert fmt.parse(fmt.render(kind)) == fmt.normalize(kind) == kind


def test_a_reply_that_must_think_has_to_have_a_place() -> None:
    separators = {("start", "user"): "U: ", ("user", "assistant"): "\nA: ", ("assistant", "end"): "\n."}
    fmt = PromptFormat(name="own", separators=separators, thought=Thought("<t>", "</t>", kept="last", always="last"))
    assert "cannot stand" in str(problem(fmt.parse, "U: How?\nA: So.\n."))
    assert problem(fmt.render, ANSWERED, reply=False).index == 1


def test_blank_separators_take_the_longer_way() -> None:
    separators = {
        ("start", "user"): "",
        ("user", "assistant"): "\n\n",
        ("assistant", "user"): "\n\n",
        ("user", "reply"): "\n\n",
    }
    fmt = PromptFormat(name="blank", separators=separators)
    assert fmt.render(ASKED) == "How?\n\n"
    assert fmt.parse(fmt.render([*ANSWERED, *ASKED])) == [*ANSWERED, *ASKED]
    assert problem(fmt.render, [{"role": "user", "content": "a\n\nb"}]).marker == "\n\n"


def test_layouts_and_days_are_bounded() -> None:
    fmt = get_format("chatml")
    for count in range(1, 600):
        turns = [{"role": "user" if count >> bit & 1 else "assistant", "content": "x"} for bit in range(10)]
        fmt.parse(fmt.render(turns))
    many = [*ANSWERED] * 50
    assert fmt.parse(fmt.render(many)) == many


@pytest.mark.parametrize("name", ["chatml", "llama-3", "vicuna-newline", "mistral-v1", "qwen3", "gemma-4"])
def test_ten_megabytes_of_near_markers_are_read_in_time(name: str) -> None:
    """Eight times as long a text takes about eight times as long, where a slow search would take sixty-four times."""
    fmt = get_format(name)
    separator = fmt.separators[("user", "assistant")]
    seconds = []
    for size in (1_250_000, 10_000_000):
        prompt = fmt.separators[("start", "user")] + (separator[:-1] + "x") * (size // len(separator))
        start = time.process_time()
        assert problem(fmt.parse, prompt).offset == len(prompt)
        seconds.append(time.process_time() - start)
    assert seconds[1] < 24 * seconds[0]


def test_the_package_resolves_its_names_when_they_are_used() -> None:
    code = (
        "import sys; before = set(sys.modules); import novita_openai.prompts as p; "
        "print(*{'openai', 'tomllib', 'jinja2'} & (set(sys.modules) - before)); p.format_names(); "
        "print('openai' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False"]
    assert {"render", "parse"} <= {*dir(prompts.PromptFormat)}
    assert {*prompts.__all__} <= {*dir(prompts)}
    with pytest.raises(AttributeError):
        _ = prompts.nothing  # type: ignore[attr-defined]


def test_histories_are_json() -> None:
    assert json.loads(json.dumps(get_format("chatml").parse(get_format("chatml").render(ASKED)))) == ASKED


@pytest.mark.parametrize(
    ("name", "role"),
    [("glm-4.5", "assistant"), ("seed-oss", "assistant"), ("gpt-oss", "system"), ("minimax-m2", "system")],
)
def test_an_empty_message_that_the_template_drops_is_refused(name: str, role: str) -> None:
    fmt = get_format(name)
    chat = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    chat = chat[:1] if role == "system" else chat
    others = [{"role": "system", "content": "@"}, *chat] if role == "system" else chat
    empty = [message if message["role"] != role else message | {"content": ""} for message in others]
    with pytest.raises(PromptError, match="drops empty messages"):
        fmt.render([*empty, {"role": "user", "content": "three"}], date=DATE)
    written = fmt.render([*others, {"role": "user", "content": "three"}], date=DATE)
    with pytest.raises(PromptError, match="drops empty messages"):
        fmt.parse(written.replace("two" if role == "assistant" else "@", ""))


def test_an_empty_thought_stands_where_the_template_writes_one() -> None:
    chat = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    closed = {name: get_format(name).render(chat, reply=False) for name in ("qwen3", "qwen3.5", "glm-5", "glm-5.1")}
    two = [*chat, chat[1]]
    assert closed["qwen3"].count("<think>") == get_format("qwen3").render(two, reply=False).count("<think>") == 1
    assert closed["qwen3.5"].count("<think>") == 1
    assert get_format("qwen3.5").render(two, reply=False).count("<think>\n\n</think>\n\n") == 2
    assert closed["glm-5"].endswith("<|assistant|></think>two")
    assert closed["glm-5.1"].endswith("<|assistant|><think></think>two")
    for name, prompt in closed.items():
        assert get_format(name).parse(prompt) == chat
