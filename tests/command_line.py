"""Commands of the program, run in this process."""

from __future__ import annotations

import inspect
from typing import Any

from typer import Typer
from typer.testing import CliRunner

# Before click 8.2 both streams were one unless asked for apart; since then they are apart, and this is no option.
APART: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


def invoke(app: Typer, *arguments: str, text: str | None = None) -> tuple[int, str, str]:
    """Return the exit code, and what went to standard output and to standard error."""
    result = CliRunner(**APART).invoke(app, [*arguments], input=text)
    return result.exit_code, result.stdout, result.stderr
