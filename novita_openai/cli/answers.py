"""An answer at a terminal: its text on stdout as it comes, thoughts on stderr, and what is to be said of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from novita_openai.cli.failures import FAILED
from novita_openai.cli.service import pricing_for
from novita_openai.cli.terminal import is_terminal, printable, show, styled, whisper
from novita_openai.prices import dollars, reported_tokens

if TYPE_CHECKING:
    from novita_openai.client import NovitaOpenAI
    from novita_openai.prices import Pricing, Tokens

__all__ = ["Remark", "Screen", "ShownAnswer", "remark", "tokens_of", "told_usage", "whole_answer"]

DIM: Final = "2"


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """What came of a request. ``first`` and ``seconds``: until its first token, and in all."""

    text: str = ""
    thoughts: str = ""
    finish_reason: str | None = None
    calls_tools: bool = False
    usage: Any = None
    first: float | None = None
    seconds: float = 0.0


class Remark(NamedTuple):
    """What is to be said of an answer, and the exit code that it means."""

    words: str
    code: int


def remark(answer: ShownAnswer, max_tokens: int | None, *, is_chat: bool = True) -> Remark | None:
    """Return what a person must know of an answer that is cut, filtered or empty; None where it is whole."""
    if answer.finish_reason == "content_filter":
        return Remark("the answer was filtered: put the request otherwise, or ask another model (-m)", FAILED)
    if answer.finish_reason == "length":
        limit = _MORE if max_tokens is None else f"it reached --max-tokens {max_tokens}: give more, or leave it out"
        if answer.text.strip():
            return Remark(f"the answer is cut: {limit}", 0)
        return Remark(f"there is no answer, as the model's thoughts used up its tokens: {limit}", FAILED)
    if answer.text.strip():
        return None
    if answer.calls_tools:
        return Remark("the answer is a call of tools: --json prints it", FAILED)
    return Remark(f"the answer is empty: {_OTHERWISE if is_chat else _ENDING}", FAILED)


_MORE: Final = "it reached the limit of its model; ask for more, such as --max-tokens 8192"
_OTHERWISE: Final = "ask again or otherwise, or ask another model (-m)"
_ENDING: Final = "to this model the prompt is complete; end it where the text must go on, or ask another model (-m)"


class Screen:
    """Shows a stream of chunks as it comes, and keeps what there is to say of it."""

    def __init__(self, *, is_chat: bool, shows_thoughts: bool, shows_text: bool = True) -> None:
        self._is_chat = is_chat
        self._shows_thoughts, self._shows_text = shows_thoughts, shows_text
        self._start = time.monotonic()
        self._first: float | None = None
        self._texts, self._thoughts = list[str](), list[str]()
        self._finish_reason: str | None = None
        self._usage: Any = None
        self._calls_tools = self._has_word = False

    def read(self, chunks: Iterator[Any]) -> ShownAnswer:
        """Show chunks to their end; where they end too early, what is shown ends with its line all the same."""
        try:
            for chunk in chunks:
                self._usage = getattr(chunk, "usage", None) or self._usage
                for choice in chunk.choices:
                    self._show(choice)
        finally:
            self._end_line()
        return self.answer

    @property
    def answer(self) -> ShownAnswer:
        """Return what has come so far."""
        seconds = time.monotonic() - self._start
        text, thoughts = "".join(self._texts), "".join(self._thoughts)
        return ShownAnswer(text, thoughts, self._finish_reason, self._calls_tools, self._usage, self._first, seconds)

    def _show(self, choice: Any) -> None:
        said = choice.delta if self._is_chat else choice
        thought, text = _thought(said), _text(said)
        if self._first is None and (thought or text):
            self._first = time.monotonic() - self._start
        if thought:
            self._show_thought(thought)
        if text:
            self._show_text(text)
        self._calls_tools |= bool(getattr(said, "tool_calls", None))
        self._finish_reason = choice.finish_reason or self._finish_reason

    def _show_thought(self, thought: str) -> None:
        self._thoughts.append(thought)
        if self._shows_thoughts:
            whisper(styled(printable(thought, sys.stderr), DIM, sys.stderr))

    def _show_text(self, text: str) -> None:
        if not self._texts:
            self._end_thoughts()
        self._texts.append(text)
        if self._shows_text:
            show(printable(self._shown(text), sys.stdout), end="")

    def _shown(self, text: str) -> str:
        """Return a part of the answer as it is shown: to a person, a chat's begins with its first word."""
        shown = text.lstrip() if self._is_chat and not self._has_word and is_terminal(sys.stdout) else text
        self._has_word |= bool(shown)
        return shown

    def _end_thoughts(self) -> None:
        if self._thoughts and self._shows_thoughts:
            whisper("\n" if self._thoughts[-1].endswith("\n") else "\n\n")

    def _end_line(self) -> None:
        if not self._texts:
            self._end_thoughts()
        elif self._shows_text and not self._texts[-1].endswith("\n"):
            show("")


def whole_answer(reply: Any, seconds: float) -> ShownAnswer:
    """Return the first choice of a reply that is no stream."""
    choice = next(iter(reply.choices), None)
    said = getattr(choice, "message", None) or choice
    text, thoughts, calls = _text(said), _thought(said), bool(getattr(said, "tool_calls", None))
    return ShownAnswer(text, thoughts, getattr(choice, "finish_reason", None), calls, reply.usage, None, seconds)


def _text(said: Any) -> str:
    return getattr(said, "content", None) or getattr(said, "text", None) or ""


def _thought(said: Any) -> str:
    """Return a part of the model's thoughts, which the SDK has no field for."""
    thought = getattr(said, "reasoning_content", None) or getattr(said, "reasoning", None)
    return thought if isinstance(thought, str) else ""


def tokens_of(answer: ShownAnswer) -> Tokens | None:
    """Return the tokens that an answer tells, None where it tells none."""
    return reported_tokens(None if answer.usage is None else answer.usage.model_dump())


def told_usage(client: NovitaOpenAI, model: str, answer: ShownAnswer) -> str:
    """Return tokens, dollars and seconds of an answer, as far as they are known."""
    tokens = tokens_of(answer)
    return _usage_line(answer, tokens, None if tokens is None else pricing_for(client, model))


def _usage_line(answer: ShownAnswer, tokens: Tokens | None, pricing: Pricing | None) -> str:
    parts = ["tokens are not told"] if tokens is None else [f"{tokens.prompt} tokens in{_cached(tokens)}"]
    if tokens is not None:
        parts += [f"{tokens.answer} out{_reasoning(answer.usage)}"]
        parts += ["price unknown" if pricing is None else dollars(pricing.cost(tokens))]
    parts += [] if answer.first is None else [f"first token after {answer.first:.2f} s"]
    return ", ".join([*parts, f"{answer.seconds:.2f} s in all"])


def _cached(tokens: Tokens) -> str:
    return f" ({tokens.cached} cached)" if tokens.cached else ""


def _reasoning(usage: Any) -> str:
    details = usage.model_dump().get("completion_tokens_details") if hasattr(usage, "model_dump") else None
    count = details.get("reasoning_tokens") if isinstance(details, Mapping) else None
    return f" ({count} of them thoughts)" if count else ""
