"""The command line in this process, which is quick; what ends a process, or needs a terminal, is elsewhere."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from novita_openai.cli import program


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    told: list[str]

    @property
    def line(self) -> str:
        """Return the one line that was told."""
        (line,) = self.told
        return line


class Shell:
    """Runs commands with an environment of their own; ``text`` is piped in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], base_url: str) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv("NOVITA_API_KEY", "sk_test")
        monkeypatch.setenv("NOVITA_BASE_URL", base_url)

    def __call__(self, *arguments: str, text: str = "", stdin: Any = None) -> Ended:
        piped = io.TextIOWrapper(io.BytesIO(text.encode())) if stdin is None else stdin
        self._monkeypatch.setattr(sys, "stdin", piped)
        self._monkeypatch.setattr(sys, "argv", ["novita-openai", *arguments])
        code = program.ended()
        printed = self._capsys.readouterr()
        told = [line.removeprefix("novita-openai: ") for line in printed.err.splitlines()]
        return Ended(code, printed.out, told)
