"""What the events of a text stream say, and whether they add up to a whole answer; pure, on plain dicts.

An answer is whole when every choice seen has a finish reason that is an end; then nothing but an error object can spoil
it. Fields are read as loosely as the SDK reads them, and repaired where that is unambiguous, so that what loops over
the chunks and the SDK's ``.stream()`` find what the types promise. What fails is told apart by three exceptions:

- :class:`BrokenStream`: something passing (a cut, a page, broken JSON), which may go well when it is sent again;
- :class:`ErrorEvent`: an error object;
- :class:`UnreadableEvent`: JSON that no reader can use, and that would come again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, NoReturn

from novita_openai.client.tool_fragments import ToolFragments

__all__ = [
    "BrokenStream",
    "ErrorEvent",
    "EventReader",
    "Progress",
    "UnreadableEvent",
    "choices_asked_for",
    "is_end",
    "is_error",
    "is_failure",
    "names_error",
]

_FAILURES: Final = ("error", "abort", "insufficient_system_resource")


def is_failure(reason: object) -> bool:
    """Tell whether a finish reason says that the service gave up: what has come is not the whole answer."""
    return isinstance(reason, str) and reason in _FAILURES


def is_end(reason: object) -> bool:
    """Tell whether a finish reason is the end of a whole answer."""
    return bool(reason) and not is_failure(reason)


class BrokenStream(Exception):  # noqa: N818 - each says what came instead of an answer
    """The stream is no whole answer, for a passing reason."""


class ErrorEvent(Exception):  # noqa: N818
    """The service sent an error object, which is ``body``."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        super().__init__(body)
        self.body = body


class UnreadableEvent(Exception):  # noqa: N818
    """A JSON event has a form that no reader can use."""

    def __init__(self, number: int, field: str, value: object) -> None:
        super().__init__(number, field, value)
        self.number, self.field, self.value = number, field, value

    def __str__(self) -> str:
        place = f"`{self.field}`" if self.field else "the whole of it"
        return f"Event {self.number} of the stream cannot be read: {place} is {json.dumps(self.value)[:80]}."


class Progress:
    """What the choices of a stream have shown so far."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.has_ended: dict[int, bool] = {}
        self.failure: str | None = None

    def see(self, index: int, text: str | None, reason: object) -> None:
        """Note what an event adds to a choice."""
        if text and not index:
            self.texts.append(text)
        if not reason:
            self.has_ended.setdefault(index, False)
        elif is_failure(reason):
            self.has_ended.setdefault(index, False)
            self.failure = str(reason)
        else:
            self.has_ended[index] = True

    @property
    def text(self) -> str:
        """Return the text of the first choice."""
        return "".join(self.texts)

    @property
    def is_whole(self) -> bool:
        """Tell whether every choice seen has ended."""
        return bool(self.has_ended) and all(self.has_ended.values())

    def end(self) -> None:
        """Raise where the end of the events is not the end of the answer."""
        if not self.has_ended:
            raise BrokenStream("it ended before the answer began")
        if not self.is_whole:
            how = "without a finish_reason" if self.failure is None else f"with finish_reason {self.failure!r}"
            raise BrokenStream(f"it ended {how}")


_LAST: Final = ("[DONE]", '"[DONE]"')


class EventReader:
    """Reads the events of one stream, one after the other; ``asked`` returns the number of choices asked for."""

    is_done = False
    number = 0

    def __init__(self, *, is_chat: bool, asked: Callable[[], int]) -> None:
        self.text_of = self._text_of_chat if is_chat else self._text_of_completion
        self.asked = asked
        self.progress = Progress()
        self.fragments: dict[int, ToolFragments] = {}

    def read(self, name: str | None, data: str) -> dict[str, Any] | None:
        """Return an event's object, repaired; None where it has no content. ``is_done`` says that it was the last."""
        data = data.strip()
        if (name or not data.startswith("{")) and self._says_nothing(name, data):
            return None
        self.number += 1
        event = json.loads(data)
        choices = event.get("choices") if isinstance(event, dict) else None
        if not choices or not isinstance(choices, list) or event.get("error"):
            choices = self._unusual_choices(name, event)
            if choices is None:
                return None
        for place, choice in enumerate(choices):
            self._see(choice, place, choices)
        return event  # type: ignore[no-any-return]

    def _says_nothing(self, name: str | None, data: str) -> bool:
        """Tell whether an event is the mark of the end, or one without content, on which the SDK would fail."""
        self.is_done = data.startswith(_LAST)
        return self.is_done or not data or (name == "ping" and '"choices"' not in data)

    def _unusual_choices(self, name: str | None, event: Any) -> list[Any] | None:
        """Return the choices of an event that may have none, or an error beside them; None where it has no content."""
        if not event or isinstance(event, (bool, int, float)):
            return None
        if not isinstance(event, dict):
            self._refuse("", event)
        choices = event.get("choices")
        if is_error(event) or (name == "error" and not choices):
            raise ErrorEvent(event)
        if name == "done" and not choices and not event.get("usage"):
            self.is_done = True
            return None
        if choices is not None and not isinstance(choices, list):
            self._refuse("choices", choices)
        event["error"], event["choices"] = None, choices or []  # the SDK takes each error for one
        return event["choices"]  # type: ignore[no-any-return]

    def can_ignore(self, error: Exception) -> bool:
        """Tell whether what failed comes after a whole answer."""
        return self.progress.is_whole and not isinstance(error, ErrorEvent)

    def _see(self, choice: Any, place: int, choices: list[Any]) -> None:
        if not isinstance(choice, dict):
            self._refuse(f"choices[{place}]", choice)
        index, reason = choice.get("index"), choice.get("finish_reason")
        if type(index) is not int or index:
            index = choice["index"] = self._index(choice, place, len(choices))
        text = self.text_of(choice, place, index)
        if reason:
            if isinstance(reason, dict) and isinstance(reason.get("type"), str):
                reason = choice["finish_reason"] = reason["type"]
            if is_failure(reason) and not text and not (choice.get("delta") or {}).get("tool_calls"):
                raise BrokenStream(f"the service ended it with finish_reason {reason!r}")
        self.progress.see(index, text, reason)

    @cached_property
    def _is_one_asked(self) -> bool:
        return self.asked() == 1

    def _index(self, choice: Mapping[str, Any], place: int, count: int) -> int:
        """Return the index of a choice, which some servers leave out, and some count up with the tokens.

        What still says something after the end of the only choice asked for is another choice.
        """
        index = choice.get("index")
        if isinstance(index, str) and index.isdecimal():
            index = int(index)
        if index is not None and type(index) is not int:
            self._refuse(f"choices[{place}].index", index)
        if count == 1 and self._is_one_asked and not (self.progress.has_ended.get(0) and _says_something(choice)):
            return 0
        return place if index is None else int(index)

    def _text_of_completion(self, choice: dict[str, Any], place: int, _: int) -> str:
        text = choice.get("text")
        if text is None and choice.get("delta") is None:
            text = choice["text"] = ""
        elif isinstance(text, list):
            text = choice["text"] = self._joined(choice, text, f"choices[{place}].text")
        elif not isinstance(text, str):
            self._refuse(f"choices[{place}].text", text)
        return text

    def _text_of_chat(self, choice: dict[str, Any], place: int, index: int) -> str | None:
        delta = choice.get("delta")
        if delta is None:
            text = choice.get("text")
            delta = choice["delta"] = {"content": text} if isinstance(text, str) and text else {}
        elif not isinstance(delta, dict):
            self._refuse(f"choices[{place}].delta", delta)
        content = delta.get("content")
        if content is not None and not isinstance(content, str):
            content = delta["content"] = self._joined(delta, content, f"choices[{place}].delta.content")
        if calls := delta.get("tool_calls"):
            fragments = self.fragments.setdefault(index, ToolFragments())
            if problem := fragments.mend(calls):
                self._refuse(f"choices[{place}].delta.tool_calls{problem[0]}", problem[1])
        return content

    def _joined(self, holder: dict[str, Any], parts: Any, field: str) -> str:
        """Return the text of a content in parts; what the model thinks goes where servers put it otherwise."""
        if isinstance(parts, dict):
            parts = [parts]
        if not isinstance(parts, list) or not all(isinstance(part, (str, dict)) for part in parts):
            self._refuse(field, parts)
        thoughts = "".join(_text_in(part.get("thinking")) for part in parts if isinstance(part, dict))
        if thoughts:
            holder["reasoning_content"] = _text_in(holder.get("reasoning_content")) + thoughts
        return _text_in(parts)

    def _refuse(self, field: str, value: object) -> NoReturn:
        raise UnreadableEvent(self.number, field, value)


def _says_something(choice: Mapping[str, Any]) -> bool:
    delta = choice.get("delta")
    return bool(choice.get("text") or (isinstance(delta, dict) and (delta.get("content") or delta.get("tool_calls"))))


def _text_in(content: Any) -> str:
    """Return the text of a content, which may be in parts."""
    if isinstance(content, list):
        return "".join(map(_text_in, content))
    if isinstance(content, dict):
        content = content.get("text")
    return content if isinstance(content, str) else ""


def names_error(error: Any) -> bool:
    """Tell whether the field ``error`` names one: some servers always send it, empty or with a code for success."""
    if isinstance(error, dict):
        return error.get("code") not in _NO_ERRORS[1:] and any(error.values())
    return bool(error)


def is_error(event: Mapping[str, Any]) -> bool:
    """Tell whether an event is an error object: it may stand beside choices only as ``error``."""
    if names_error(event.get("error")):
        return True
    if event.get("choices") or ("choices" in event and event.get("usage")):
        return False
    has_code = event.get("message") is not None and event.get("code") not in _NO_ERRORS
    return has_code or bool(event.get("detail")) or isinstance(event.get("reason"), str)


_NO_ERRORS: Final = (None, 0, 200, "0", "200")
"""Values of ``code`` that say that all is well."""


def choices_asked_for(body: Mapping[str, Any]) -> int:
    """Return how many choices a request asks for: ``n`` for each of its prompts."""
    n, prompt = body.get("n"), body.get("prompt")
    prompts = len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
    return (int(float(f"{n}")) if f"{n}".partition(".")[0].isdecimal() else 1) * prompts
