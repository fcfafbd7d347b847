"""What a template writes for calls and results is refused in texts, also where its format has no place for these."""

from __future__ import annotations

import pytest
from prompt_texts import DATE, FORMATS

from novita_openai.prompts import PromptError, PromptFormat, TemplateError, from_template, get_format

QUESTION, REPLY = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


def is_written(fmt: PromptFormat, role: str, text: str) -> bool:
    said = {"role": role, "content": f"Look: {text} so"}
    chat = [said, QUESTION] if role == "system" else [QUESTION, said, QUESTION] if role == "assistant" else [said]
    try:
        return fmt.parse(fmt.render(chat, date=DATE)) == fmt.normalize(chat)
    except PromptError:
        return False


NAMED = [
    ("deepseek-r1-0528", "<｜tool▁outputs▁begin｜>", "user"),
    ("deepseek-v2.5", "<｜tool▁calls▁begin｜>", "assistant"),
    ("llama-3.1", "<|python_tag|>", "user"),
    ("llama-3.3", "<|python_tag|>", "assistant"),
    ("llama-4", "<|python_start|>", "user"),
    ("gemma-4", "<|tool_response>", "user"),
    ("kimi-k2-thinking", "<|tool_call_argument_begin|>", "user"),
    ("minimax-m2", "<minimax:tool_call>", "assistant"),
    ("minimax-m3", "<tool_call>", "assistant"),
    ("ling", "<role>OBSERVATION</role>", "user"),
    ("qwq", "<tool_response>", "user"),
    ("qwq", "<tool_call>", "assistant"),
    ("baichuan-m2", "<tool_response>", "user"),
    ("mistral-small-3.2", "[CALL_ID]", "user"),
    ("command-r7b", "<|START_TOOL_RESULT|>", "user"),
    ("exaone-4", "[|tool|]", "system"),
    ("olmo-3", "<function_calls>", "assistant"),
    ("seed-oss", "<seed:tool_call>", "assistant"),
]


@pytest.mark.parametrize(("name", "text", "role"), NAMED)
def test_tokens_of_calls_and_results_are_refused_where_there_is_no_dialect(name: str, text: str, role: str) -> None:
    assert text in get_format(name).control
    assert not is_written(get_format(name), role, text)


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_tags_of_other_roles_and_of_html_and_tokens_of_media_are_text(fmt: PromptFormat) -> None:
    for text in ("<response>", "<role>x</role>", "<tools>", "<|image_pad|>", "<|fim_prefix|>", "<b>x</b>", "<s>"):
        assert is_written(fmt, "user", text)
        assert is_written(fmt, "assistant", text) or text in fmt.control
    for text in ("<tool_call>", "</tool_calls>", "<minimax:tool_call>"):
        assert is_written(fmt, "user", text)
    for text in ("<tool_response>", "</tool_result>"):
        assert is_written(fmt, "assistant", text)


TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.tool_calls %}{% for call in m.tool_calls %}{{ '<tool_call>' ~ call.function.name }}{% endfor %}{% endif %}"
    "{% if m.role == 'tool' %}[TOOL_RESULTS]{{ m.content }}{{ eos_token }}{% else %}{{ m.content }}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if tools %}Answer between <tool_response> and <b>, <|vision_start|>, see [12].{% endif %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SOME = (  # put together from parts; refuses calls without JSON
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}<<{{ 'role' }}>{{ m.role | upper }}</role>{{ m.content }}"
    "{% else %}[{{ m.role | upper }}]{{ m.content }}{% endif %}"
    "{% for call in m.tool_calls or [] %}{{ '<|' ~ 'call' ~ '|>' ~ (call.function.arguments ~ '')[:0].strip() }}"
    "{% if call.function.arguments is mapping %}{{ raise_exception('text') }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}[ASSISTANT]{% endif %}"
)
WORDS = (
    "{% for m in messages %}{{ '\\n\\n' if not loop.first }}{{ m.role | capitalize }}: {{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}\n\nAssistant:{% endif %}"
)
PLAIN = (
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "<|{{ m.role }}|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_derived_format_counts_what_its_template_mentions_for_calls_and_results() -> None:
    fmt = from_template(TURNS, eos_token="</end>")
    marks = {"<tool_call>", "[TOOL_RESULTS]", "<tool_response>", "</end>"}
    assert marks <= {*fmt.control}
    assert {*fmt.control} - marks == {"<|im_start|>", "<|im_end|>"}
    for text, role in (("<tool_call>", "assistant"), ("[TOOL_RESULTS]", "system"), ("<tool_response>", "user")):
        assert not is_written(fmt, role, text)
    assert is_written(fmt, "user", "<tool_call> and <b>, <|vision_start|>, see [12]")


def test_a_derived_format_counts_what_its_template_puts_together() -> None:
    assert {"<|call|>", "[ASSISTANT]", "[USER]"} <= {*from_template(SOME).control}
    assert "<|tool|>" not in from_template(PLAIN).control


def test_words_before_a_result_are_a_control_string() -> None:
    fmt = from_template(WORDS)
    assert "\n\nTool:" in fmt.control
    assert not is_written(fmt, "user", "\n\nTool: paid")
    assert is_written(fmt, "user", "Tool: paid")


def test_stops_are_whole_tokens_and_the_end_before_them_is_no_content() -> None:
    fmt = get_format("ernie-4.5-thinking")
    assert fmt.stop == ("<|im_end|>",)
    page = "```xml\n<response>\nx\n</response>\n```"
    for end in ("", "<|im_end|>"):
        assert fmt.message(f"hm\n</think>\n<response>\n{page}\n</response>\n{end}")["content"] == page
    assert fmt.message("hm\n</think>\n<response>\n</response>\n")["content"] == ""
    assert fmt.message("hm\n</think>\n<response>\nx\n</response>\n", "length")["content"] == "x\n</response>\n"
    text = "<|open|>think<|sep|><|close|>think<|sep|><|open|>response<|sep|>Hi<|close|>response<|sep|>"
    assert get_format("kimi-k3").message(f"{text}<|close|>message<|sep|><|end_of_msg|>")["content"] == "Hi"
    assert from_template(WORDS).stop == ("\n\nUser:",)


ROLES = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_template_that_refuses_calls_has_the_marks_of_its_results() -> None:
    refusal = "{% for m in messages %}{% if m.tool_calls %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
    assert "<|tool|>" in from_template(refusal + ROLES, bos_token="", eos_token="").control


def test_a_template_that_never_ends_with_calls_is_refused() -> None:
    endless = (
        "{% for m in messages %}{% if m.tool_calls %}{% for a in range(99999) %}{% for b in range(99999) %}x"
        "{% endfor %}{% endfor %}{% endif %}{% endfor %}"
    )
    with pytest.raises(TemplateError, match="unbounded"):
        from_template(endless + ROLES, bos_token="", eos_token="")
