"""How many tokens a request can come to, by its body alone: about, and at most.

A token is at least one byte of text, and usually about four. Images, sounds and videos are not counted by the bytes in
which they are sent, but as the most tokens that a model makes of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from novita_openai.prices import whole_number

__all__ = [
    "about_prompt_tokens",
    "choices_of",
    "longest_answer",
    "most_answer_tokens",
    "prompt_tokens_of",
    "prompts_in",
]

BYTES_A_TOKEN: Final = 4
MEDIA: Final = {"image_url": 16_384, "video_url": 131_072, "input_audio": 131_072}
"""The most tokens of one part of a message.

Of an image: what Qwen2.5-VL makes of its largest one (``max_pixels`` 12,845,056, a token for 28 x 28 of them), and no
other model of the service more. Of a video or a sound: the longest context of the models that take them.
"""
_MARKS: Final = re.compile("|".join(f'"{kind}"' for kind in MEDIA).encode())


def about_prompt_tokens(body: Mapping[str, Any], content: bytes) -> int:
    """Return about how many tokens a body has, of which ``content`` are the bytes."""
    return prompt_tokens_of(body, content)[0]


def prompt_tokens_of(body: Mapping[str, Any], content: bytes) -> tuple[int, int]:
    """Return about how many tokens a body has, of which ``content`` are the bytes, and the most that it can have."""
    size, media = _measured(body, content)
    return size // BYTES_A_TOKEN + media, size + media


def prompts_in(body: Mapping[str, Any]) -> int:
    """Return how many prompts a body holds: more than one only where ``prompt`` is a list of texts or of tokens."""
    prompt = body.get("prompt")
    return len(prompt) if isinstance(prompt, list) and prompt and isinstance(prompt[0], (str, list)) else 1


def most_answer_tokens(body: Mapping[str, Any]) -> int | None:
    """Return the most tokens that all choices of an answer can have together, None where the body does not say it."""
    longest = longest_answer(body)
    return None if longest is None else longest * choices_of(body)


def longest_answer(body: Mapping[str, Any]) -> int | None:
    """Return the most tokens that a choice of an answer can have, None where the body does not say it."""
    limits = [limit for name in _LIMITS if name in body and (limit := whole_number(body[name])) is not None]
    return min(limits, default=None)


def choices_of(body: Mapping[str, Any]) -> int:
    """Return how many choices the service makes for a body, whether or not it sends them all."""
    choices = [count for name in _CHOICES if name in body and (count := whole_number(body[name]))]
    return max(choices, default=1) * prompts_in(body)


_LIMITS: Final = ("max_tokens", "max_completion_tokens")
_CHOICES: Final = ("n", "best_of")


def _measured(body: Mapping[str, Any], content: bytes) -> tuple[int, int]:
    """Return the bytes of a body without its media, and the most tokens of these."""
    if not _MARKS.search(content):
        return len(content), 0
    media = [*_media(body)]
    return len(content) - sum(size for size, _ in media), sum(tokens for _, tokens in media)


def _media(body: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield the bytes and the most tokens of each image, sound and video in the messages."""
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        parts = message.get("content") if isinstance(message, dict) else None
        for part in parts if isinstance(parts, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            if kind in MEDIA:
                yield _longest_text(part.get(kind)), MEDIA[kind]


def _longest_text(value: object) -> int:
    """Return the length of the longest text in a part: its address, or its data."""
    texts = value.values() if isinstance(value, dict) else (value,)
    return max((len(text) for text in texts if isinstance(text, str)), default=0)
