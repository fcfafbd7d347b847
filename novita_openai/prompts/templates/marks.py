"""What a chat template writes for calls and results, where the format made of it has no place for these.

The tokens and tags are those of the strings in its source, and those that it writes around a call and its result: it
may put them together of parts. A result that begins with words of its own, on a line of its own, has these as a mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.errors import TemplateError
from novita_openai.prompts.tokens import marks_in

if TYPE_CHECKING:
    from novita_openai.prompts.templates.probe import Probe

__all__ = ["marks_of"]

_CALL: Final = "QzcallxW"
_RESULT: Final = "QzresultxW"
_QUESTION: Final = "Qz?"
_WORDS: Final = re.compile(r"\n+[^\w\s<>|\[\]{}\"'?]* ?[^\W\d_][\w ]*:\s*\Z|\n+#+ [^\W\d_][\w ]*:?\s*\Z")
"""Words and a colon, or a heading, on a line of their own."""

_ARGUMENTS: Final[tuple[Any, ...]] = ({"a": "b"}, '{"a": "b"}')
"""The arguments of a call, as an object and as its JSON: templates want the one or the other."""


def marks_of(probe: Probe) -> tuple[str, ...]:
    """Return the marks of a template."""
    written = [*_written(probe)]
    texts = [*probe.template.literals.all, *written]
    words = (_words_before(text) for text in written)
    return tuple(dict.fromkeys((*marks_in(texts), *filter(None, words))))


def _written(probe: Probe) -> Iterator[str]:
    """Yield what the template writes for calls and results, in the forms that it takes."""
    for arguments in _ARGUMENTS:
        function = {"name": _CALL, "arguments": arguments}
        calls = [{"id": "call00001", "type": "function", "function": function}]
        result = {"tool_call_id": "call00001", "name": _CALL}
        text = _rendered(probe, {"tool_calls": calls}, result)
        if text is not None:
            yield text
            return
    text = _rendered(probe, {}, {})
    if text is not None:
        yield text


def _rendered(probe: Probe, call: Mapping[str, Any], result: Mapping[str, Any]) -> str | None:
    """Return what the template writes for a chat with a call and its result; None if it refuses it."""
    asked, said, found = (probe.message(*turn) for turn in (("user", _QUESTION), ("assistant", ""), ("tool", _RESULT)))
    try:
        return probe.template.render([asked, {**said, **call}, {**found, **result}], reply=False)
    except TemplateError as error:
        if error.property == "unbounded":
            raise
        return None


def _words_before(text: str) -> str:
    """Return the words on the line right before a result, with what is before the line; "" if there are none."""
    found = _WORDS.search(text.partition(_RESULT)[0]) if _RESULT in text else None
    return "" if found is None else found.group().rstrip()
