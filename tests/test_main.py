"""How the program begins and ends: Ctrl-C while it is imported and at its end is one line, and no handler is taken."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from novita_openai import __main__
from novita_openai.installing import how_to_install

ROOT = Path(__file__).parent.parent


def test_ctrl_c_outside_of_a_command_is_one_line_and_130(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    __main__._end(signal.SIGINT, None)
    assert (codes, capfd.readouterr().err) == ([__main__.INTERRUPTED], "novita-openai: interrupted\n")


@pytest.mark.parametrize("given", [signal.SIG_IGN, signal.default_int_handler])
def test_only_python_s_own_handler_is_replaced(monkeypatch: pytest.MonkeyPatch, capsys: Any, given: Any) -> None:
    monkeypatch.setattr("sys.argv", ["novita-openai", "--version"])
    before = signal.signal(signal.SIGINT, given)
    try:
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        assert ended.value.code == 0
        assert signal.getsignal(signal.SIGINT) is (given if given is signal.SIG_IGN else __main__._end)
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().out.startswith("novita-openai ")


def test_an_extra_is_installed_as_the_package_itself_was(tmp_path: Path) -> None:
    assert how_to_install("cli", tmp_path) == "pip install 'novita-openai[cli]'"
    clone = tmp_path / "a clone"
    clone.mkdir()
    (clone / "pyproject.toml").touch()
    assert how_to_install("cli", clone) == f"pip install -e '{clone}[cli]'"
    assert how_to_install("cli") == f"pip install -e '{ROOT}[cli]'"
