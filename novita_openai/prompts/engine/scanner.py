"""Splits a prompt at its separators.

Reading goes from left to right. In the text of a role only the separators that leave this role count; the first one
found ends the text, and of several at one place the longest does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from novita_openai.prompts.engine.separators import (
    ASKED,
    END,
    FINAL,
    REASONED,
    REPLY,
    START,
    PromptEnding,
    Segment,
    Separators,
    Transition,
    can_overlap,
    ends_with,
    is_heading,
)
from novita_openai.prompts.errors import PromptError

__all__ = ["Scanner"]


class Scanner:
    """Splits prompts at the separators of one table; ``transitions`` are those of ``separators``."""

    def __init__(self, separators: Separators, transitions: Mapping[str, Sequence[Transition]]) -> None:
        self._separators, self._transitions = separators, transitions
        inner = {role: found for role, found in transitions.items() if role != START}
        self._common = _common_start({transition.separator for found in inner.values() for transition in found})
        self._rests = {
            role: [(text[len(self._common) :], following, len(text)) for text, following in found]
            for role, found in inner.items()
        }
        self._headings = frozenset(text for text in separators.values() if is_heading(text))
        pairs = (("system", "user"), ("user", "assistant"), ("assistant", "user"))
        self._turns = tuple(separators.get(pair, "") for pair in pairs)
        self._reply = separators.get(("user", REPLY), "")
        self._asked = {
            previous: text.removeprefix(separators[previous, "user"])
            for (previous, role), text in separators.items()
            if role == ASKED
        }

    def starts(self, prompt: str) -> list[Transition]:
        """Return how a prompt may start, the longest first; raise PromptError if it starts in none of the ways."""
        found = [start for start in self._transitions[START] if prompt.startswith(start.separator)]
        if not found:
            known = " or ".join(repr(_shortened(start.separator)) for start in self._transitions[START])
            raise PromptError(f"a prompt of this format starts with {known}", offset=0)
        return found

    def guess(self, prompt: str, first: Transition) -> tuple[tuple[str, ...], list[str]] | None:
        """Return the roles and texts of a prompt in which user and assistant take turns; None for others.

        This is quick. They are right if they are written as the prompt, and each control string stands there where the
        format wrote it.
        """
        opened, asked, answered = self._turns
        system: list[str] = []
        begin = len(first.separator)
        if first.role == "system" and opened:
            text, _, _ = prompt[begin:].partition(opened)
            system, begin = [text], begin + len(text) + len(opened)
        if not (asked and answered and first.role in ("system", "user") and prompt.endswith(self._reply, begin)):
            return None
        texts = prompt[begin : len(prompt) - len(self._reply)].replace(answered, asked).split(asked)
        roles = (*("system",) * len(system), *("user", "assistant") * (len(texts) // 2), "user")
        return (roles, system + texts) if len(texts) % 2 else None

    def read(self, prompt: str, first: Transition) -> tuple[list[Segment], str]:
        """Return the segments and ending of a prompt that starts with ``first``; raise PromptError if it is cut off.

        The segments are right if the text is a prompt of the format. To find out, write them again and compare.
        """
        read = self._read_at_common_starts if self._common else self._read_by_search
        segments, ending = read(prompt, first)
        if self._asked and ending == PromptEnding.REPLY and segments[-1][0] == "user":
            self._take_asked(prompt, segments)
        return segments, ending

    def _take_asked(self, prompt: str, segments: list[Segment]) -> None:
        """Remove the end of the longer header from the text of the user's message that asks for the reply."""
        text = segments[-1][1]
        more = self._asked.get(segments[-2][0] if len(segments) > 1 else START, "")
        if not text.startswith(more):
            problem = f"the message that asks for the reply starts with {_shortened(more)!r}"
            raise PromptError(problem, offset=len(prompt) - len(self._separators["user", REPLY]) - len(text))
        segments[-1] = ("user", text[len(more) :])

    def _read_at_common_starts(self, prompt: str, first: Transition) -> tuple[list[Segment], str]:
        """Read a prompt whose separators all start alike: one split finds the places where they may stand."""
        segments: list[Segment] = []
        previous, role, before, begin = START, first.role, 0, len(first.separator)
        rests, common = self._rests, len(self._common)
        pieces = prompt.split(self._common)
        place = len(pieces[0])
        for piece in pieces[1:]:
            if place >= begin:
                for rest, following, size in rests[role]:
                    if piece.startswith(rest):
                        segments.append((role, prompt[begin:place]))
                        previous, role, before, begin = role, following, place, place + size
                        break
            place += common + len(piece)
        return self._finish(prompt, segments, (previous, role), before, begin)

    def _read_by_search(self, prompt: str, first: Transition) -> tuple[list[Segment], str]:
        """Read a prompt by a search for each separator; each search goes on where the last one for it ended."""
        segments: list[Segment] = []
        found: dict[str, int] = {}  # where each separator stands next
        previous, role, before, begin, nowhere = START, first.role, 0, len(first.separator), len(prompt) + 1
        while True:
            best, nearest = None, nowhere
            for transition in self._transitions[role]:
                place = found.get(transition[0], -1)
                if place < begin:
                    place = self._find(transition[0], prompt, begin)
                    found[transition[0]] = place = nowhere if place < 0 else place
                if place < nearest:
                    best, nearest = transition, place
            if best is None:
                return self._finish(prompt, segments, (previous, role), before, begin)
            segments.append((role, prompt[begin:nearest]))
            previous, role, before, begin = role, best[1], nearest, nearest + len(best[0])

    def _find(self, separator: str, prompt: str, begin: int) -> int:
        """Return where a separator stands next, -1 if nowhere; a heading is not one in a longer run of its mark."""
        place = prompt.find(separator, begin)
        if separator in self._headings:
            while place > 0 and prompt[place - 1] == separator[0]:
                place = prompt.find(separator, place + 1)
        return place

    def _finish(
        self, prompt: str, segments: list[Segment], pair: tuple[str, str], before: int, begin: int
    ) -> tuple[list[Segment], str]:
        """Read what follows the last separator, which stands from ``before`` to ``begin`` and between these roles."""
        previous, role = pair
        for key, ending in ((REPLY, PromptEnding.REPLY), (END, PromptEnding.CLOSED)):
            if segments and prompt[before:] == self._separators.get((previous, key)):
                return segments, ending
        reply, end = (self._separators.get((role, key)) for key in (REPLY, END))
        if reply and begin <= len(prompt) - len(reply) and ends_with(prompt, reply):
            return [*segments, (role, prompt[begin : -len(reply)])], PromptEnding.REPLY
        header = self._separators.get((role, FINAL), "")
        place = self._find(header, prompt, begin) if header else -1
        if place >= 0:
            segments = [*segments, (role, prompt[begin:place])]
            return self._finish(prompt, segments, (role, "assistant"), place, place + len(header))
        is_closed = end is not None and prompt.endswith(end, begin)
        if not (is_closed or role in ("assistant", REASONED)):
            raise PromptError(f"the {role} message does not end", offset=len(prompt))
        if role == "assistant" and (previous, FINAL) in self._separators:
            begin = self._after_final_header(prompt, previous, before)
        text = prompt[begin : len(prompt) - (len(end or "") if is_closed else 0)]
        return [*segments, (role, text)], PromptEnding.CLOSED if is_closed else PromptEnding.PREFILL

    def _after_final_header(self, prompt: str, previous: str, before: int) -> int:
        """Return where the text of the last reply starts, which has another header than the others."""
        header = self._separators[previous, FINAL]
        if not prompt.startswith(header, before):
            raise PromptError(f"the last reply starts with {_shortened(header)!r}", offset=before)
        return before + len(header)


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 20]}...{text[-15:]}"


def _common_start(separators: Iterable[str]) -> str:
    """Return what all separators start with, if it is rare in text and stands nowhere else in them; otherwise "".

    It is "" also where a separator ends with the beginning of the common start: with the text after it, such an end
    could look like the start of another separator.
    """
    known = [*separators]
    first, last = min(known, default=""), max(known, default="")
    size = next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    start = first[:size]
    beginnings = tuple(start[:length] for length in range(1, size))
    is_alone = all(text.count(start) == 1 and not text.endswith(beginnings) for text in known)
    return start if is_alone and any(char in start for char in "<[]") and not can_overlap(start) else ""
