"""The command ``doctor``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from novita_openai.cli.failures import FAILED, in_the_shell, reported
from novita_openai.cli.options import DEFAULT_MODEL, BaseURLOption, JSONOption
from novita_openai.cli.terminal import show, show_lines, styled

if TYPE_CHECKING:
    from novita_openai.client.diagnosis import Finding

_MARKS: Final = {True: ("ok", "32"), False: ("!!", "31"), None: ("  ", "0")}


@reported()
def doctor(
    *,
    model: Annotated[str, typer.Option("--model", "-m", metavar="MODEL", help="The model to ask.")] = DEFAULT_MODEL,
    base_url: BaseURLOption = None,
    as_json: JSONOption = False,
) -> None:
    """Say what works: key, address, route, balance, the first token of an answer. One screen to paste, without secrets.

    Asks for an answer of one token. Ends with 1 where something does not work.
    """
    from novita_openai.client.diagnosis import diagnose

    found: list[Finding] = []
    for finding in diagnose(model, base_url=base_url):
        found.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        show(json.dumps([asdict(finding) for finding in found]))
    if any(finding.is_good is False for finding in found):
        raise typer.Exit(FAILED)


def _show(finding: Finding) -> None:
    mark, style = _MARKS[finding.is_good]
    show(styled(mark, style, sys.stdout), end=" ")
    show_lines(f"{finding.name}: {in_the_shell(' '.join(finding.said.split()))}", indent="   ", column=3)
