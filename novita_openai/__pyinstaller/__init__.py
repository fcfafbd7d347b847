"""Tells PyInstaller, by the entry point ``pyinstaller40``, where its hook for this package is."""

from __future__ import annotations

from pathlib import Path

__all__ = ["hook_dirs"]


def hook_dirs() -> list[str]:
    """Return the folder of the hook, ``hook-novita_openai.py``."""
    return [str(Path(__file__).parent)]
