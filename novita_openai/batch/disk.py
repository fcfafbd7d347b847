"""Whether the disk of the results has room, asked before anything is sent that has to be paid for."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from novita_openai.batch.jsonl import write_whole

__all__ = ["free_some", "is_full", "require_room"]

ROOM: Final = 1024 * 1024
"""Bytes that must fit beside the results before the first request."""

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: OSError) -> bool:
    """Tell whether an error says that the disk is full, or that a quota is used up."""
    return error.errno in _NO_ROOM


def free_some(path: Path) -> str:
    """Say what to do where a file could not be written as the disk is full."""
    folder = path.absolute().parent if path.exists() else "the disk of the results"
    return f"free some space on {folder}, then start the same again"


def require_room(path: Path) -> None:
    """Write ``ROOM`` bytes to a temporary file beside another; raise the ``OSError`` of a full disk, with that name.

    Other errors say nothing about the room, such as those of a folder that takes no new files.
    """
    try:
        with TemporaryFile(dir=path.resolve().parent, buffering=0) as file:
            write_whole(file.fileno(), bytes(ROOM))
            os.fsync(file.fileno())
    except OSError as error:
        if is_full(error):
            error.filename = str(path)
            raise
