r"""Tokens and tags: the parts of a text that are no plain words, and the roles in whose messages they are read.

A *token* has bars or brackets, such as ``<|im_end|>``; a *tag* is a word between angle brackets, such as ``<think>``.
Tags that are named for a thought or a call are read in the assistant's messages; those named for a result are read in
results, and in the user's messages, in which most families write results.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["is_beginning", "is_special", "marks_in", "named_roles", "tokens_in"]

_TOKEN: Final = re.compile(
    r"<(\w+)>\w+</\1>|\]<\]\w+\[>\[|</?｜\w+｜(?=\w)|<[|｜][^<>|｜\n]*[|｜]>|<+[^<>\s]+>+|\[[^\[\]\s]+\]|\]~\w+\]|\[\w+~\["
)
"""A role between two tags of words, or angle or square brackets around a name.

DeepSeek's ``<｜DSML｜`` begins tags with any name. Those with brackets turned around are MiniMax's.
"""

_SPECIAL: Final = re.compile(r"[|｜\[\]]|>\w+</")
"""What tags of words, which ordinary text holds, do not have."""

_ELEMENT: Final = re.compile(r"<(\w+)>\w+</\1>")
_MARK: Final = re.compile(r"</?[|｜].+>|<.+[|｜]>|\[/?[A-Z_]+\]|\[[|].+[|]\]|\]~\w+\]|\[\w+~\[")
"""The forms of tokens, beyond doubt; prose and code have other brackets."""

_BEGINNING: Final = re.compile(r"^<s>$|bos|begin|text|document|mask|sop", re.IGNORECASE)
"""The names of tokens that begin a sequence, where they stand at its start."""

_UNCOUNTED: Final = re.compile(
    r"image|img|cite|vision|video|audio|media|sound|patch|mime|file|object_ref|box_|tts|pad\b|pad[_▁|]|unk|mask|sop\b|\bbos\b"
    r"|bos_token|(?:begin|start)[_▁]?of[_▁]?(?:text|sentence|document|sequence|conversation)|[{}\"]",
    re.IGNORECASE,
)
"""The names of tokens of media and of the start of a sequence, and tokens that a template fills in."""

_THOUGHT: Final = re.compile(r"</?[\w:]*(?:think|thought|reason)(?:ing)?(?::\w+)?>", re.IGNORECASE)
_CALL: Final = re.compile(r"</?[\w:]*(?:tool|function)_?calls?(?::\w+)?>", re.IGNORECASE)
_RESULT: Final = re.compile(
    r"</?[\w:]*(?:(?:tool|function)_?(?:response|result|output)s?|observation)(?::\w+)?>", re.IGNORECASE
)
"""How tags of thoughts, of calls and of results are named."""


def tokens_in(text: str) -> list[str]:
    """Return the tokens and tags that stand in a text."""
    return [found.group() for found in _TOKEN.finditer(text)]


def is_special(token: str) -> bool:
    """Tell whether this is a token, which is read in every role, not a tag of words."""
    return _SPECIAL.search(token) is not None


def is_beginning(token: str) -> bool:
    """Tell whether a token at the start of a prompt is one that begins a sequence."""
    return _BEGINNING.search(token) is not None


def named_roles(tag: str) -> frozenset[str] | None:
    """Return the roles in which a tag is read that is named for a thought, a call or a result; None for others."""
    if _THOUGHT.fullmatch(tag) or _CALL.fullmatch(tag):
        return frozenset({"assistant"})
    return frozenset({"user", "tool"}) if _RESULT.fullmatch(tag) else None


def marks_in(texts: Iterable[str]) -> tuple[str, ...]:
    """Return what of the texts of a template marks turns, calls and results.

    Left out are tokens of media and of the start of a sequence, and tags with other names: of HTML, of examples. Tags
    of thoughts are, too: a template that reads none writes them as the text that they are.
    """
    return tuple(dict.fromkeys(token for text in texts for token in tokens_in(text) if _is_mark(token)))


def _is_mark(token: str) -> bool:
    is_token = _MARK.fullmatch(token) or (_ELEMENT.fullmatch(token) and token.startswith("<role>"))
    return bool((is_token and not _UNCOUNTED.search(token)) or _CALL.fullmatch(token) or _RESULT.fullmatch(token))
