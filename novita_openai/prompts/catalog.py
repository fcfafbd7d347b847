"""The named formats: by name, by the models that use them, and by the prompts that they can read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.engine.separators import PromptEnding
from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.format import PromptFormat
from novita_openai.prompts.format_files import entries, format_of
from novita_openai.prompts.given import check_text

if TYPE_CHECKING:
    from novita_openai.prompts.messages import History

__all__ = ["as_format", "choose_format", "detect", "format_for_model", "format_names", "get_format", "reads"]

_SUFFIX: Final = re.compile(
    r"(?:-(?:fp8|fp16|bf16|int8|int4|awq|turbo|gptq|gguf|nvfp4|mxfp4|mlx|[48]bit|unsloth|bnb)|/community|:free)$"
)
"""The ends of model ids that name a precision, a file format or a speed, not another model."""

_SIZE: Final = r"e?\d+(?:\.\d+)?[bm](?:-a\d+(?:\.\d+)?b)?"
"""A number of parameters in a model's name, and of those that are active: ``8b``, ``270m``, ``30b-a3b``."""


def format_names() -> tuple[str, ...]:
    """Return the names of the formats, sorted."""
    return tuple(sorted(entries()))


def get_format(name: str) -> PromptFormat:
    """Return a format by its name; raise PromptError with the near names for one that is unknown."""
    check_text(name, "the name of a format", "format_names() lists them")
    return _format(name)


@cache
def _format(name: str) -> PromptFormat:
    if name not in entries():
        raise PromptError(f"unknown format {name!r}; {_near(name, entries())}")
    return format_of(name, entries()[name])


def as_format(given: PromptFormat | str) -> PromptFormat:
    """Return a format that was given as itself or by its name."""
    if isinstance(given, PromptFormat):
        return given
    check_text(given, "a format, where it is no PromptFormat,", "give its name; format_names() lists them")
    return get_format(given)


def choose_format(given: PromptFormat | str | None, model: str) -> PromptFormat:
    """Return a format that was given as itself or by its name, or else the model's."""
    return format_for_model(model) if given is None else as_format(given)


def format_for_model(model: str) -> PromptFormat:
    """Return the format of a model, by the service's id or the name that it has elsewhere.

    Case, the providers before the model's own name, and suffixes of precision and speed do not matter. Raise
    PromptError with the near names for a model that is unknown, or that has several formats under such names.
    """
    check_text(model, "the id of a model", "give it as the service lists it")
    exact = {found for known, found in _ids() if known.lower() == model.lower()}
    formats = exact or _models().get(_own_name(model)) or _named(_own_name(model))
    if len(formats) == 1:
        return get_format(*formats)
    if formats:
        raise PromptError(f"the model {model!r} is ambiguous: {' or '.join(sorted(formats))}; name the format")
    near = _near(model, [*(known.lower() for known, _ in _ids()), *_own_names()])
    raise PromptError(f"no format is known for the model {model!r}: name the format; {near}")


def detect(prompt: str) -> tuple[str, ...]:
    """Return the names of the formats under which a prompt parses, the likeliest first.

    A format that reads a question for the reply at the end is likelier than one that does not. Of the others, that one
    is the likeliest which writes most of the prompt itself, so that least of it is content of messages; and of several
    such, the one that most formats are variants of.
    """
    check_text(prompt, "a prompt", "give it alone, decoded")
    histories = {name: history for name in format_names() if (history := _parsed(name, prompt)) is not None}
    return tuple(sorted(histories, key=lambda name: (*_unexplained(histories[name]), -_variants()[name], name)))


def _parsed(name: str, prompt: str) -> History | None:
    try:
        return get_format(name).parse(prompt)
    except PromptError:
        return None


def _unexplained(history: History) -> tuple[bool, int]:
    """Return whether a prompt asks for no reply, and how many of its characters the format does not write itself."""
    calls = (call["function"]["arguments"] for message in history for call in message.get("tool_calls", ()))
    texts = (message.get(key) or "" for message in history for key in ("content", "reasoning_content"))
    return history.ending != PromptEnding.REPLY, sum(map(len, (*texts, *calls, history.after)))


@cache
def _variants() -> Counter[str]:
    """Return how many formats are described as like each format."""
    return Counter(entry["like"] for entry in entries().values() if "like" in entry)


def reads(fmt: PromptFormat, prompt: str) -> bool:
    """Tell whether a prompt parses under a format."""
    try:
        fmt.parse(prompt)
    except PromptError:
        return False
    return True


@cache
def _models() -> dict[str, set[str]]:
    """Return the names of formats by models' own names."""
    models: dict[str, set[str]] = {}
    for model, found in _ids():
        models.setdefault(_own_name(model), set()).add(found)
    return models


def _ids() -> Iterator[tuple[str, str]]:
    """Yield the ids of models, each with the name of its format."""
    return ((model, name) for name, entry in entries().items() for model in entry.get("models", ()))


@cache
def _own_names() -> tuple[str, ...]:
    """Return the usual names of models that are written out, without a size to be filled in."""
    return tuple(name for entry in entries().values() for name in entry.get("names", ()) if "{" not in name)


def _named(own_name: str) -> set[str]:
    """Return the names of the formats that models of this name use; a name that is written out goes first."""
    named = [(name, found) for found, entry in entries().items() for name in entry.get("names", ())]
    written_out = {found for name, found in named if name == own_name}
    return written_out or {found for name, found in named if _fits(name, own_name)}


@cache
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(re.escape("{size}"), _SIZE))


def _fits(name: str, own_name: str) -> bool:
    return _pattern(name).fullmatch(own_name) is not None


def _own_name(model: str) -> str:
    """Return a model's name in lower case, without providers, precision and speed."""
    name = model.lower()
    while (shorter := _SUFFIX.sub("", name)) != name:
        name = shorter
    return name.rpartition("/")[2]


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name.lower(), [*dict.fromkeys(known)], n=5, cutoff=0.5)
    return f"near names: {', '.join(near)}" if near else "format_names() lists them"
