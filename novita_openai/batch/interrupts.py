"""SIGINT and SIGTERM as requests to come to an end, while a job runs in the main thread."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["Interrupts"]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Counts the signals that came, and passes them on to ``then`` once that is set."""

    def __init__(self) -> None:
        self.count = 0
        self.then: Callable[[], object] | None = None

    def __bool__(self) -> bool:
        return self.count > 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take the signals while inside, in the main thread alone, as do others; leave the handlers as they were."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        if not _watching:
            for number in SIGNALS:
                _previous[number] = signal.getsignal(number)
                loop.add_signal_handler(number, _tell_all)
        _watching.append(self)
        try:
            yield
        finally:
            _watching.remove(self)
            if not _watching:
                for number, handler in _previous.items():
                    loop.remove_signal_handler(number)
                    signal.signal(number, handler)

    async def end(self, waiting: Awaitable[None]) -> None:
        """Wait for something, until a signal comes."""
        task = asyncio.ensure_future(waiting)
        self.then = task.cancel
        try:
            await asyncio.wait([task])
        finally:
            self.then = None
            task.cancel()
        if not task.cancelled():
            task.result()

    def came(self) -> None:
        """Count a signal, and pass it on."""
        self.count += 1
        if self.then is not None:
            self.then()


# Of the main thread's event loop, which many jobs may share.
_watching: list[Interrupts] = []
_previous: dict[signal.Signals, Any] = {}


def _tell_all() -> None:
    for interrupts in tuple(_watching):
        interrupts.came()
