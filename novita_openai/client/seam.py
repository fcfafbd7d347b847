"""Where a continuation joins the text before it: a stop string that lies across the seam, and thoughts. Pure."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Opening", "Thinking"]


class Opening:
    """The beginning of a continuation, held back while it may be the rest of a stop string, which ends the text.

    Everything else is given out as it comes, repetitions too: the server is sent the prompt and the text so far, so
    that it has no reason to say the last words again unless the text itself does.
    """

    def __init__(self, said: str, stops: Iterable[str]) -> None:
        self.rests = {stop[size:] for stop in stops for size in range(1, len(stop)) if said.endswith(stop[:size])}
        self.held, self.is_stopped = "", False

    def feed(self, text: str, *, is_last: bool) -> str:
        """Return what of the text so far belongs to the answer and was not returned before."""
        if self.is_stopped:
            return ""
        held, self.held = self.held + text, ""
        if any(map(held.startswith, self.rests)):
            self.is_stopped = True
            return ""
        if not is_last and any(rest.startswith(held) for rest in self.rests):
            self.held = held
            return ""
        self.rests.clear()  # only the beginning can be the rest of a stop string
        return held


class Thinking:
    """Splits a continuation into the rest of a thought and the message after it; newlines between them are left out."""

    def __init__(self, end: str, *, is_over: bool) -> None:
        self.end, self.is_over, self.has_spoken, self.held = end, is_over, is_over, ""

    def feed(self, text: str, *, is_last: bool) -> list[tuple[str, str]]:
        """Return what is decided so far, as pairs: a field of a chat message, and the text to add to it."""
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
    """Return how many of a tag's first characters the text ends with; 0 for none, and never the whole tag."""
    return next((size for size in range(len(tag) - 1, 0, -1) if text.endswith(tag[:size])), 0)
