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
_FIRST_WORD: Final = re.compile(r"\W*\w+")
_OPEN_SENTENCE: Final = re.compile(r"[^\n.!?:;]*\w *\Z")


class Opening:
    """The beginning of a continuation, held back as long as it may not be new.

    It may be the rest of a stop string, which ends the text. And it may be the last words once more, where a server
    repeats what it was given. But texts repeat themselves too: refrains, rows of tables, a model that goes round in
    circles. Left out is therefore only what is hardly ever meant: within one sentence, its last words again, whole,
    three different ones or more, that stood nowhere before and are not said a third time. Whatever else is said twice
    stays. A text that means such a repetition, just once and without a mark between, loses it where it was cut there.
    """

    def __init__(self, said: str, stops: Iterable[str]) -> None:
        self.rests = {stop[size:] for stop in stops for size in range(1, len(stop)) if said.endswith(stop[:size])}
        self.rounds = {ending: ending + _FIRST_WORD.findall(ending)[0] for ending in _last_words(said)}
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
        if not is_last and any(_is_begun(each, self.held) for each in (*self.rests, *self.rounds.values())):
            return ""
        self.is_open = False
        return self.held[max(map(self._repeated, self.rounds), default=0) :]

    def _repeated(self, ending: str) -> int:
        """Return how many characters repeat an ending: its own, or none where it goes on as the next round would."""
        is_round = self.held.startswith(self.rounds[ending])
        return len(ending) if self.held.startswith(ending) and not is_round else 0


def _is_begun(whole: str, held: str) -> bool:
    return whole != held and whole.startswith(held)


def _last_words(said: str) -> Iterator[str]:
    """Yield the endings of a text that nobody repeats by chance."""
    sentence = _OPEN_SENTENCE.search(said, max(len(said) - _LAST_WORDS, 0))
    if sentence is None:
        return
    for found in _START.finditer(said, sentence.start()):
        for start in {found.start(), found.end()}:
            before, ending = said[max(start - _LAST_WORDS, 0) : start], said[start:]
            if _is_distinct(before, ending) and said.count(ending.strip()) == 1:
                yield ending


def _is_distinct(before: str, ending: str) -> bool:
    """Tell whether an ending is long enough, and no round of a text that goes round, which has its last word before."""
    words = _WORD.findall(ending)
    if len(ending) < _FEWEST_CHARACTERS or len({*words}) < _FEWEST_WORDS:
        return False
    return [*_WORD.findall(before)[-1:], *words].count(words[-1]) == 1


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
