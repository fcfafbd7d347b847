"""The named formats: by name, by the models that use them, and by the prompts that they can read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.format_files import entries, format_of

if TYPE_CHECKING:
    from novita_openai.prompts.format import PromptFormat

__all__ = ["as_format", "choose_format", "detect", "format_for_model", "format_names", "get_format", "reads"]

_SUFFIX: Final = re.compile(r"(?:-(?:fp8|fp16|bf16|int8|int4|awq|turbo)|/community)$")
"""The ends of model ids that name a precision or a speed, not another model."""


def format_names() -> tuple[str, ...]:
    """Return the names of the formats, sorted."""
    return tuple(sorted(entries()))


@cache
def get_format(name: str) -> PromptFormat:
    """Return a format by its name; raise PromptError with the near names for one that is unknown."""
    if name not in entries():
        raise PromptError(f"unknown format {name!r}; {_near(name, entries())}")
    return format_of(name, entries()[name])


def as_format(given: PromptFormat | str) -> PromptFormat:
    """Return a format that was given as itself or by its name."""
    return get_format(given) if isinstance(given, str) else given


def choose_format(given: PromptFormat | str | None, model: str) -> PromptFormat:
    """Return a format that was given as itself or by its name, or else the model's."""
    return format_for_model(model) if given is None else as_format(given)


def format_for_model(model: str) -> PromptFormat:
    """Return the format of a model of the service, by its id.

    Case, the providers before the model's own name, and suffixes of precision and speed do not matter. Raise
    PromptError with the near ids for a model that is unknown, or that has several formats under such ids.
    """
    exact = {found for known, found in _ids() if known.lower() == model.lower()}
    formats = exact or _models().get(_own_name(model), set())
    if len(formats) == 1:
        return get_format(*formats)
    if formats:
        raise PromptError(f"the model {model!r} is ambiguous: {' or '.join(sorted(formats))}; name the format")
    near = _near(model, (known.lower() for known, _ in _ids()))
    raise PromptError(f"no format is known for the model {model!r}: name the format; {near}")


def detect(prompt: str) -> tuple[str, ...]:
    """Return the names of the formats under which a prompt parses, sorted."""
    return tuple(name for name in format_names() if reads(get_format(name), prompt))


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


def _own_name(model: str) -> str:
    """Return a model's name in lower case, without providers, precision and speed."""
    name = model.lower()
    while (shorter := _SUFFIX.sub("", name)) != name:
        name = shorter
    return name.rpartition("/")[2]


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name.lower(), [*dict.fromkeys(known)], n=5, cutoff=0.5)
    return f"near names: {', '.join(near)}" if near else "format_names() lists them"
