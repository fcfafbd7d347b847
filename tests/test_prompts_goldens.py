"""Every prompt that a vendor's published template wrote: ours is the same, or the table says why it is refused.

The prompts were rendered by the templates that ``sources`` names, with the flags that Transformers sets; ``same`` names
other templates that write the same, and ``formats`` the format of those that are not named after it. What the table
calls a departure is rendered, and differs, because the published template loses or spoils what it was given.
"""

from __future__ import annotations

import datetime as dt
import json
import lzma
import tomllib
from pathlib import Path
from typing import Any

import pytest

from novita_openai.prompts import PromptError, get_format

HERE = Path(__file__).parent
GOLDENS = json.loads(lzma.decompress((HERE / "prompt_goldens.json.xz").read_bytes()))
REFUSALS = tomllib.loads((HERE / "prompt_refusals.toml").read_text(encoding="utf-8"))
CASES = {(name, case): prompt for name, case, prompt in GOLDENS["prompts"]}


def outcome(name: str, case: str) -> tuple[str, str]:
    """Return what comes of a case, and its reason or prompt."""
    given = GOLDENS["cases"][case]
    tools: Any = GOLDENS["tools"] if case.startswith("tool") else None
    if case == "enable_thinking_false" and CASES[name, case] != CASES[name, "system_user"]:
        return "refused", "render has no switch for thinking, as this template has"
    try:
        prompt = get_format(GOLDENS["formats"].get(name, name)).render(
            given["messages"],
            continue_final=given["continue_final_message"],
            reply=given["add_generation_prompt"],
            bos=True,
            date=dt.date(2026, 1, 2),
            tools=tools,
        )
    except PromptError as error:
        forged = error.marker is not None and "control string" in error.problem
        return "refused", "a message holds a control string" if forged else error.problem.partition(": ")[0]
    return "rendered", prompt


def recorded() -> dict[tuple[str, str], str]:
    """Return the reasons by format and case."""
    return {
        (name, case): reason
        for reason, cases in REFUSALS["refused"].items()
        for case, names in cases.items()
        for name in names
    }


def departures() -> set[tuple[str, str]]:
    return {
        (name, case) for cases in REFUSALS["departures"].values() for case, names in cases.items() for name in names
    }


@pytest.mark.parametrize("name", sorted(GOLDENS["sources"]))
def test_every_published_prompt_is_written_or_refused_for_a_recorded_reason(name: str) -> None:
    reasons, departed = recorded(), departures()
    for case in (case for format_name, case in CASES if format_name == name):
        kind, found = outcome(name, case)
        if (name, case) in reasons:
            assert (kind, found) == ("refused", reasons[name, case]), case
        else:
            assert (kind, found != CASES[name, case]) == ("rendered", (name, case) in departed), case


def test_the_table_of_refusals_has_no_other_rows() -> None:
    assert {*recorded(), *departures()} <= {*CASES}
    assert not {*recorded()} & departures()
    assert len(CASES) == 5024
