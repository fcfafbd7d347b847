"""The named formats, the models that use them, and which formats a prompt could be of.

The formats are data, in ``formats/*.toml``, each beside its source, to be held beside the vendor's template:

- ``system``, ``user``, ``assistant``, ``tool``: the text before and after a message;
- ``start``: what every prompt starts with; ``bos``: the text of the token that begins a sequence, which stands apart;
- ``reply``: what asks for the assistant's reply, where it is not the text before an assistant's message;
- ``default_system``: the system text that the published template writes where there is none;
- ``alternate``: after a system message at the start, user and assistant take turns, or the format has no such order;
- ``pairs``: separators that are not the text after one message and before the next; false where there is none;
- ``think``: how reasoning is written (``reasoning.Thought``); the rest are the fields of ``description.Description``;
- ``models``: ids of the service's models; ``like``: the format that this one follows but for what it says itself.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, Final

from novita_openai.prompts.engine.reasoning import Thought
from novita_openai.prompts.engine.separators import END, REASONED, REPLY, START
from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.format import PromptFormat

__all__ = ["detect", "format_for_model", "format_names", "get_format", "reads"]

_ROLES: Final = ("system", "user", "assistant", REASONED, "tool", "calls", "declared")
_ALTERNATING: Final = frozenset({
    (START, "system"), (START, "user"), ("system", "user"), ("user", "assistant"), ("user", REASONED),
    ("assistant", "user"), (REASONED, "user"), ("user", REPLY), ("user", END), ("assistant", END), (REASONED, END),
})  # fmt: skip
_TOOL_PAIRS: Final = frozenset({
    ("user", "calls"), ("tool", "calls"), ("calls", "tool"), ("calls", END), ("assistant", "tool"), (REASONED, "tool"),
    ("tool", "tool"), ("tool", "assistant"), ("tool", REASONED), ("tool", "user"), ("tool", REPLY), ("tool", END),
    (START, "declared"), ("system", "declared"), ("assistant", "declared"), ("declared", "user"),
})  # fmt: skip
_SUFFIX: Final = re.compile(r"(?:-(?:fp8|fp16|bf16|int8|int4|awq|turbo)|/community)$")
_PASSED: Final = ("bos", "system_in", "may_be_empty", "tools", "date", "source")


def format_names() -> tuple[str, ...]:
    """Return the names of the formats, sorted."""
    return tuple(sorted(_entries()))


@cache
def get_format(name: str) -> PromptFormat:
    """Return a format by its name; raise PromptError with the near names for one that is unknown."""
    if name not in _entries():
        raise PromptError(f"unknown format {name!r}; {_near(name, _entries())}")
    return _make(name, _entries()[name])


def format_for_model(model: str) -> PromptFormat:
    """Return the format of a model of the service, by its id.

    Case, providers in front of the model's own name and the suffixes of precision and speed do not matter. Raise
    PromptError with the near ids for a model that is unknown, or of which the ids do not tell one format.
    """
    name = _own_name(model)
    formats = _models().get(name, set())
    exact = {found for known, found in _ids() if known.lower() == model.lower()}
    formats = exact or formats
    if len(formats) == 1:
        return get_format(*formats)
    if formats:
        raise PromptError(f"the model {model!r} is ambiguous: {' or '.join(sorted(formats))}; name the format")
    near = _near(model, {known.lower(): found for known, found in _ids()})
    raise PromptError(f"no format is known for the model {model!r}: name the format; {near}")


def detect(prompt: str) -> tuple[str, ...]:
    """Return the names of the formats under which a prompt parses, sorted."""
    return tuple(name for name in format_names() if reads(get_format(name), prompt))


def reads(fmt: PromptFormat, prompt: str) -> bool:
    """Tell whether a prompt is one of a format."""
    try:
        fmt.parse(prompt)
    except PromptError:
        return False
    return True


@cache
def _models() -> dict[str, set[str]]:
    """Return the formats by models' own names."""
    models: dict[str, set[str]] = {}
    for known, found in _ids():
        models.setdefault(_own_name(known), set()).add(found)
    return models


def _ids() -> Iterator[tuple[str, str]]:
    return ((model, name) for name, entry in _entries().items() for model in entry.get("models", ()))


def _own_name(model: str) -> str:
    """Return a model's name without its providers, case, precision and speed."""
    name = model.lower()
    while (shorter := _SUFFIX.sub("", name)) != name:
        name = shorter
    return name.rpartition("/")[2]


@cache
def _entries() -> dict[str, dict[str, Any]]:
    """Return what the files say of each format, with what it takes from others filled in."""
    raw: dict[str, dict[str, Any]] = {}
    for path in files("novita_openai.prompts").joinpath("formats").iterdir():
        raw |= tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _followed(raw, name) for name in raw}


def _followed(raw: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    entry = raw[name]
    if "like" not in entry:
        return entry
    followed = _followed(raw, entry["like"])
    return {**followed, "models": [], **entry, "pairs": followed.get("pairs", {}) | entry.get("pairs", {})}


def _make(name: str, entry: Mapping[str, Any]) -> PromptFormat:
    thought = Thought(**entry["think"]) if "think" in entry else None
    return PromptFormat(
        name=name,
        separators=_separators(entry, thought),
        trim={_key(key): side for key, side in entry.get("trim", {}).items()},
        joins={_pair(key): text for key, text in entry.get("joins", {}).items()},
        forbidden=tuple(entry.get("forbidden", ())),
        thought=thought,
        stop=tuple(entry["stop"]),
        **{field: entry[field] for field in _PASSED if field in entry},
    )


def _separators(entry: Mapping[str, Any], thought: Thought | None) -> dict[tuple[str, str], str]:
    """Return the table of separators that the texts before and after messages make."""
    turns = {role: tuple(entry[role]) for role in _ROLES if entry.get(role)}
    header, after = turns["assistant"]
    if thought is not None:
        turns["assistant"] = header + thought.absent, after
        turns[REASONED] = header + thought.open, after
    reply = entry.get("reply", header)
    table: dict[tuple[str, str], Any] = {}
    for previous, (_, after) in turns.items():
        table |= {(previous, role): after + before for role, (before, _) in turns.items()}
        table |= {(previous, REPLY): after + reply, (previous, END): after}
    table |= {(START, role): _start(entry, role) + before for role, (before, _) in turns.items()}
    # No published template was seen to close a history with a system message, or to take one after the user's.
    absent = {("system", END), ("user", "system"), (REASONED, "system")}
    absent |= {_pair(key) for key in entry.get("joins", {})}  # what is joined is not told apart
    absent |= {pair for pair in table if {*pair} & {"tool", "calls", "declared"}} - _TOOL_PAIRS
    if entry.get("alternate"):
        absent |= {*table} - _ALTERNATING - _TOOL_PAIRS
    table = {pair: text for pair, text in table.items() if pair not in absent}
    own = {_pair(key): text for key, text in entry.get("pairs", {}).items()}
    if thought is not None:  # a message with a thought ends as one without
        own = {(REASONED, role): text for (previous, role), text in own.items() if previous == "assistant"} | own
        own = {
            (previous, REASONED): text for (previous, role), text in own.items() if role == "assistant" and not text
        } | own
    return {pair: text for pair, text in (table | own).items() if text is not False}


def _start(entry: Mapping[str, Any], role: str) -> str:
    """Return what stands before the first message of a role, but for what stands before each."""
    start: str = entry.get("start", "")
    if role == "system" or "default_system" not in entry:
        return start
    before, after = entry["system"]
    return f"{start}{before}{entry['default_system']}{after}"


def _pair(key: str) -> tuple[str, str]:
    previous, role = key.split()
    return previous, role


def _key(key: str) -> str | tuple[str, str]:
    return _pair(key) if " " in key else key


def _near(name: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(name.lower(), known, n=5, cutoff=0.5)
    return f"near names: {', '.join(near)}" if near else "format_names() lists them"
