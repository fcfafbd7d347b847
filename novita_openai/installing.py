"""How an extra of this package is installed, in the words of error messages."""

from __future__ import annotations

import shlex
from pathlib import Path

__all__ = ["how_to_install"]


def how_to_install(extra: str, root: Path = Path(__file__).parent.parent) -> str:
    """Return the command that installs an extra: of the clone where this is one, else of the published package."""
    if (root / "pyproject.toml").is_file():
        return f"pip install -e {shlex.quote(f'{root}[{extra}]')}"
    return f"pip install 'novita-openai[{extra}]'"
