"""Reads the files that describe the named formats.

Each table of ``formats/*.toml`` is a format, to be compared with the vendor's template that its ``source`` names:

- ``system``, ``user``, ``assistant``, ``tool``: the texts before and after a message of the role;
- ``calls``, ``declared``: the same for tool calls and declarations, where they are turns of their own; ``declared_in``
  is where declarations stand: ``"turn"`` before all other messages, ``"start"`` even before the text of ``start``,
  ``"system"`` at the end of the system message, after ``declared_glue``, ``"head"`` at its start, ``""`` before the
  last user's message;
- ``start``: what every prompt starts with; ``bos``: the text of the token that begins a sequence, which stands apart;
- ``reply``: what asks for the assistant's reply, where it is not the text before an assistant's message;
- ``default_system``: the system text that the published template writes where there is no system message;
- ``alternate``: true where user and assistant must take turns, after at most one system message;
- ``pairs``: separators that are not the text after one message and the text before the next, keyed by
  ``"previous next"``; false where the format has no such order;
- ``think``: how reasoning is written, as the fields of ``Thought``;
- ``lost``: the texts, by role, that the published template takes out of messages, or by which it writes them otherwise;
- ``marks``: the tokens and tags that the published template writes for calls and results for which there is no dialect;
- ``ends``: the tokens that end generation by the publisher's configuration, beside the stop strings;
- ``models``: the ids of the service's models that use the format;
- ``names``: the usual names of other models that use it, in lower case; ``{size}`` stands for a number of parameters;
- ``like``: the format whose values hold for this one too, unless it has its own.

The other keys are fields of ``Description``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from novita_openai.prompts.engine.losses import Losses
from novita_openai.prompts.engine.reasoning import Thought
from novita_openai.prompts.engine.separators import END, REASONED, REPLY, START
from novita_openai.prompts.format import PromptFormat

__all__ = ["entries", "format_of"]

Entry = Mapping[str, Any]
Pair = tuple[str, str]

_ROLES: Final = ("system", "user", "assistant", REASONED, "tool", "calls", "declared")
_ALTERNATING: Final = frozenset({
    (START, "system"), (START, "user"), ("system", "user"), ("user", "assistant"), ("user", REASONED),
    ("assistant", "user"), (REASONED, "user"), ("user", REPLY), ("user", END), ("assistant", END), (REASONED, END),
})  # fmt: skip
"""The orders of a format in which user and assistant take turns."""

_TOOL_PAIRS: Final = frozenset({
    ("user", "calls"), ("tool", "calls"), ("calls", "tool"), ("calls", END), ("assistant", "tool"), (REASONED, "tool"),
    ("tool", "tool"), ("tool", "assistant"), ("tool", REASONED), ("tool", "user"), ("tool", REPLY), ("tool", END),
    (START, "declared"), ("system", "declared"), ("assistant", "declared"), ("declared", "user"),
})  # fmt: skip
"""The orders in which calls, results and declarations stand."""

_UNSEEN: Final = frozenset({("system", END), ("user", "system"), (REASONED, "system")})
"""No published template was seen to close a history with a system message, or to write one after these."""

_FIELDS: Final = ("bos", "system_in", "tools", "date", "source")
"""The keys that are fields of ``Description`` as they stand."""


@cache
def entries() -> dict[str, dict[str, Any]]:
    """Return what the files say of each format, by its name, with the values that it has from others."""
    raw: dict[str, dict[str, Any]] = {}
    for path in files("novita_openai.prompts").joinpath("formats").iterdir():
        raw |= tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _completed(raw, name) for name in raw}


def _completed(raw: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    entry = raw[name]
    if "like" not in entry:
        return entry
    other = _completed(raw, entry["like"])
    return {**other, "models": [], "names": [], **entry, "pairs": other.get("pairs", {}) | entry.get("pairs", {})}


def format_of(name: str, entry: Entry) -> PromptFormat:
    """Return the format that an entry describes."""
    thought = Thought(**entry["think"]) if "think" in entry else None
    return PromptFormat(
        name=name,
        separators=_separators(entry, thought),
        trim={_pair(key) if " " in key else key: side for key, side in entry.get("trim", {}).items()},
        joins={_pair(key): text for key, text in entry.get("joins", {}).items()},
        never_empty=tuple(entry.get("never_empty", ())),
        losses=_losses(entry),
        thought=thought,
        stop=tuple(entry["stop"]),
        ends=tuple(entry.get("ends", ())),
        marks=tuple(entry.get("marks", ())),
        **{field: entry[field] for field in _FIELDS if field in entry},
    )


def _losses(entry: Entry) -> Losses | None:
    lost = {role: tuple(texts) for role, texts in entry.get("lost", {}).items()}
    return Losses(markers=lost) if lost else None


def _pair(key: str) -> Pair:
    previous, role = key.split()
    return previous, role


def _separators(entry: Entry, thought: Thought | None) -> dict[Pair, str]:
    """Return the separators of an entry: those made from the texts around its roles, and those that it spells out."""
    regular = _regular_separators(entry, thought)
    absent = _absent(entry, regular)
    own = _own_separators(entry, has_thought=thought is not None)
    declared = _declared_separators(entry, regular)
    separators = {pair: text for pair, text in regular.items() if pair not in absent} | declared | own
    return {pair: text for pair, text in separators.items() if text is not False}


def _regular_separators(entry: Entry, thought: Thought | None) -> dict[Pair, Any]:
    """Return what stands between any two roles: the text after the one and the text before the other."""
    turns = {role: tuple(entry[role]) for role in _ROLES if entry.get(role)}
    header, after = turns["assistant"]
    if thought is not None:
        turns["assistant"] = header + thought.absent, after
        turns[REASONED] = header + thought.open, after
    reply = entry.get("reply", header)
    separators = {(START, role): _start(entry, role) + before for role, (before, _) in turns.items()}
    for previous, (_, after) in turns.items():
        separators |= {(previous, role): after + before for role, (before, _) in turns.items()}
        separators |= {(previous, REPLY): after + reply, (previous, END): after}
    return separators


def _declared_separators(entry: Entry, regular: Mapping[Pair, Any]) -> dict[Pair, Any]:
    """Return what stands around declarations that come before all other messages, or share the system message."""
    place = entry.get("declared_in") if entry.get("declared") else None
    if not place:
        return {}
    before, after = entry["declared"]
    default, glue = entry.get("default_system", ""), entry.get("declared_glue", "\n\n")
    opened, closed = entry["system"] if place not in ("turn", "start") else ("", "")
    separators: dict[Pair, Any] = dict.fromkeys((pair for pair in regular if "declared" in pair), False)
    separators[START, "declared"] = (entry.get("start", "") if place != "start" else "") + opened + before
    for role in ("user", "assistant", REASONED):
        if (START, role) in regular:
            separators["declared", role] = after + closed + regular[START, role].removeprefix(_start(entry, role))
    if place == "head":
        separators["declared", "system"] = after + glue
    elif place in ("turn", "start"):
        start = len(entry.get("start", "")) if place == "turn" else 0
        roles = {role for previous, role in regular if previous == START} & {"system", "user", "assistant", REASONED}
        separators |= {("declared", role): after + regular[START, role][start:] for role in roles}
    else:
        separators["system", "declared"] = glue + before
        lead = entry.get("declared_default", default + glue if default else "")
        separators[START, "declared"] = entry.get("start", "") + opened + lead + before
    return separators


def _start(entry: Entry, role: str) -> str:
    """Return what a prompt that begins with a message of this role starts with, before the text before the message."""
    start: str = entry.get("start", "")
    if role == "system" or "default_system" not in entry:
        return start
    before, after = entry["system"]
    return f"{start}{before}{entry['default_system']}{after}"


def _absent(entry: Entry, pairs: Mapping[Pair, Any]) -> set[Pair]:
    """Return the pairs of roles that the format does not have, or joins into one message."""
    joined = {_pair(key) for key in entry.get("joins", {})}
    absent = {*_UNSEEN, *joined} | {pair for pair in pairs if {*pair} & {"tool", "calls", "declared"}} - _TOOL_PAIRS
    return absent | ({*pairs} - _ALTERNATING - _TOOL_PAIRS if entry.get("alternate") else set())


def _own_separators(entry: Entry, *, has_thought: bool) -> dict[Pair, Any]:
    """Return the separators that an entry spells out; they hold for messages with reasoning too."""
    own = {_pair(key): text for key, text in entry.get("pairs", {}).items()}
    if not has_thought:
        return own
    own = {(REASONED, role): text for (previous, role), text in own.items() if previous == "assistant"} | own
    return {
        (previous, REASONED): text for (previous, role), text in own.items() if role == "assistant" and not text
    } | own
