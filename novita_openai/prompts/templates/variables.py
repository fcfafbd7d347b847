"""What a chat template reads besides the messages: whether all of it was given, and nothing else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from jinja2 import meta, nodes

from novita_openai.prompts.errors import TemplateError
from novita_openai.prompts.given import shown

__all__ = ["SPECIAL_TOKENS", "check_date", "check_tokens", "check_variables", "names_read"]

SPECIAL_TOKENS: Final = frozenset({
    "bos_token", "cls_token", "eos_token", "mask_token", "pad_token", "sep_token", "unk_token",
})  # fmt: skip
"""The tokens that Hugging Face's tokenizers have; a template need not read all that are given."""

_RENDERED: Final = frozenset({"add_generation_prompt", "messages"})
"""What each rendering gives by itself."""


def names_read(tree: nodes.Template, names: Iterable[nodes.Name], given: Iterable[str]) -> frozenset[str]:
    """Return the variables that a template with these names reads, less those that it sets itself."""
    read, stored = set[str](), set[str]()
    for name in names:
        (read if name.ctx == "load" else stored).add(name.name)
    both = read & stored
    if not both.isdisjoint({*given, *SPECIAL_TOKENS}):  # slow, and seldom needed
        both -= meta.find_undeclared_variables(tree)
    return frozenset(read - both)


def check_tokens(read: Collection[str], given: Mapping[str, Any]) -> None:
    """Raise TemplateError for a special token that is read and was not given, and for one that is no text."""
    for name, token in given.items():
        if name.endswith("_token") and not (token is None or isinstance(token, str)):
            raise TemplateError("syntax", f"{name} must be text, not {shown(token)}: give {name}='...', or None")
    for name in sorted(read):
        if name.endswith("_token") and name not in given:
            problem = f"the template reads {name}: give {name}='...', or {name}=None where the model has none"
            raise TemplateError("token missing", problem)


def check_variables(read: Collection[str], given: Iterable[str]) -> None:
    """Raise TemplateError for a variable that the template does not read."""
    for name in given:
        if name in _RENDERED:
            raise TemplateError("variable unread", f"{name} is what each rendering gives the template: leave it out")
        if name not in read:
            near = get_close_matches(name, [*read, *SPECIAL_TOKENS], n=1)
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            raise TemplateError("variable unread", f"the template reads no variable {name!r}: {hint}")


def check_date(date: Any) -> None:
    """Raise TemplateError for what is no date."""
    if not (date is None or isinstance(date, dt.date)):
        problem = f"date must be a datetime.date, not {shown(date)}: give datetime.date(2026, 1, 31), or None"
        raise TemplateError("date", problem)
