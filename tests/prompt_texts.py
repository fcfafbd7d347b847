"""Histories for the tests of prompt formats, with texts built of what could forge turns."""

from __future__ import annotations

import datetime as dt
from typing import Any

from hypothesis import strategies as st

from novita_openai.prompts import PromptFormat, format_names, get_format

DATE = dt.date(2026, 1, 2)
FORMATS = [get_format(name) for name in format_names()]


def fragments(fmt: PromptFormat) -> list[str]:
    """What the separators of a format are made of, whole and cut."""
    separators = sorted({text for text in fmt.separators.values() if text})
    cut = [
        part for text in separators for part in (text[1:], text[:-1], text[: len(text) // 2], text[len(text) // 2 :])
    ]
    thought = [] if fmt.thought is None else [fmt.thought.open, fmt.thought.close, fmt.thought.absent]
    return [*separators, *cut, *fmt.stop, *fmt.control, *thought, fmt.bos, "{date}", "26 Jul 2024"]


def texts(fmt: PromptFormat) -> st.SearchStrategy[str]:
    pieces = st.one_of(
        st.sampled_from(fragments(fmt)), st.sampled_from(["", " ", "\n", "\n\n", "a", "USER: ", "é", "\0"])
    )
    return st.lists(pieces, max_size=3).map("".join)


def histories(
    fmt: PromptFormat, content: st.SearchStrategy[str] | None = None
) -> st.SearchStrategy[list[dict[str, Any]]]:
    content = content if content is not None else texts(fmt)
    message = st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "user", "assistant", "system"]), "content": content}
    )
    some = st.lists(message, min_size=1, max_size=4)
    chat = st.tuples(st.booleans(), st.lists(content, min_size=2, max_size=6)).map(lambda drawn: in_turn(*drawn))
    return st.one_of(chat, chat, some)


def in_turn(has_system: bool, contents: list[str]) -> list[dict[str, Any]]:
    roles = [*(["system"] if has_system else []), *["user", "assistant"] * len(contents)]
    return [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]
