"""How often Python looks for objects that refer to each other, while a batch runs.

The rows in flight are many objects that all go again by themselves. Where they live long enough to be taken for old
ones, Python looks at all old objects of the program, again and again: a sixth of the time of a fast run.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

__all__ = ["seldom_collected"]

RARER: Final = 10
"""How many times more seldom the old objects are looked at."""
_LOCK: Final = Lock()
_running: list[tuple[int, int, int]] = []
"""What held before, once for each run at this time."""


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Look more seldom at the old objects for the time of a ``with``, also of several at once.

    At the end of the last of them, what held before the first one holds again, unless the program has set another
    threshold meanwhile.
    """
    with _LOCK:
        before = _running[0] if _running else gc.get_threshold()
        _running.append(before)
        changed = (*before[:2], before[2] * RARER)
        if len(_running) == 1:
            gc.set_threshold(*changed)
    try:
        yield
    finally:
        with _LOCK:
            _running.pop()
            if not _running and gc.get_threshold() == changed:
                gc.set_threshold(*before)
