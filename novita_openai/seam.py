"""Where a continuation joins the text before it: what it repeats, what ends there, what is thought. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["Opening", "Thinking"]

_LAST_WORDS: Final = 200
"""Characters: a longer repetition than that is no slip."""

_FEWEST_CHARACTERS: Final = 12
_FEWEST_WORDS: Final = 3
_WORD: Final = re.compile(r"\w+")
_START: Final = re.compile(r"\s*\b(?=\w)|\s+")


class Opening:
    """The beginning of a continuation, held back as long as it may not be new.

    It is not new where it repeats the last words of the text so far, whole, three different ones or more, that stand
    there but once: then it is left out, and a text that repeats itself by nature loses nothing. And it may be the rest
    of a stop string, which ends the text.
    """

    def __init__(self, said: str, stops: Iterable[str]) -> None:
        self.rests = {stop[size:] for stop in stops for size in range(1, len(stop)) if said.endswith(stop[:size])}
        self.repeats = {*_last_words(said)}
        self.held, self.is_open, self.is_stopped = "", True, False

    def feed(self, text: str, *, is_last: bool) -> str:
        """Return what is new and decided of the text."""
        if self.is_stopped:
            return ""
        if not self.is_open:
            return text
        self.held += text
        if any(map(self.held.startswith, self.rests)):
            self.is_stopped = True
            return ""
        if not is_last and any(_is_begun(each, self.held) for each in (*self.rests, *self.repeats)):
            return ""
        self.is_open = False
        return self.held[max((len(each) for each in self.repeats if self.held.startswith(each)), default=0) :]


def _is_begun(whole: str, held: str) -> bool:
    return whole != held and whole.startswith(held)


def _last_words(said: str) -> Iterator[str]:
    """Yield the endings of a text that nobody repeats by chance."""
    for found in _START.finditer(said, max(len(said) - _LAST_WORDS, 0)):
        for start in {found.start(), found.end()}:
            ending = said[start:]
            words = {*_WORD.findall(ending)}
            is_long = len(ending) >= _FEWEST_CHARACTERS and len(words) >= _FEWEST_WORDS
            if is_long and said.find(ending) == start:
                yield ending


class Thinking:
    """Parts a continuation into the rest of a thought and the message after it; the newlines between belong to none."""

    def __init__(self, end: str, *, is_over: bool) -> None:
        self.end, self.is_over, self.has_spoken, self.held = end, is_over, is_over, ""

    def feed(self, text: str, *, is_last: bool) -> list[tuple[str, str]]:
        """Return what is decided: pairs of the field of a chat message and its text."""
        self.held += text
        thought = "" if self.is_over else self._think(is_last=is_last)
        message = self._speak() if self.is_over else ""
        return [("reasoning_content", thought), ("content", message)]

    def _think(self, *, is_last: bool) -> str:
        thought, tag, rest = self.held.partition(self.end)
        if tag:
            self.is_over, self.held = True, rest
            return thought.rstrip("\n")
        if is_last:
            self.held = ""
            return thought
        settled = thought[: len(thought) - _begun(thought, self.end)].rstrip("\n")
        self.held = thought[len(settled) :]
        return settled

    def _speak(self) -> str:
        message, self.held = self.held, ""
        if not self.has_spoken:
            message = message.lstrip("\n")
            self.has_spoken = bool(message)
        return message


def _begun(text: str, tag: str) -> int:
    """Return how much of a tag the text ends with."""
    return next((size for size in range(len(tag) - 1, 0, -1) if text.endswith(tag[:size])), 0)
