"""SIGINT, SIGTERM and SIGHUP as requests to come to an end, while a job runs in the main thread."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["Interrupts"]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """The signals that come to one job: whether one ``came``, and what to call for each (``on_signal``)."""

    def __init__(self) -> None:
        self.came = False
        self.on_signal: Callable[[], object] | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Receive signals while inside, and restore the previous handlers afterwards.

        Many jobs may be inside at once, and each receives every signal. Python handles signals in the main thread
        alone, so that a job in another thread receives none.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        if not _watching:
            for number in filter(_is_wanted, SIGNALS):
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
                _previous.clear()

    async def wait_for(self, waiting: Awaitable[None]) -> None:
        """Wait for something to end, or for a signal, which cancels it."""
        task = asyncio.ensure_future(waiting)
        self.on_signal = task.cancel
        try:
            await asyncio.wait([task])
        finally:
            self.on_signal = None
            task.cancel()
        if not task.cancelled():
            task.result()

    def receive(self) -> None:
        """Take note of a signal, and pass it on."""
        self.came = True
        if self.on_signal is not None:
            self.on_signal()


# Of the main thread's event loop, which many jobs may share.
_watching: list[Interrupts] = []
_previous: dict[signal.Signals, Any] = {}


def _is_wanted(number: signal.Signals) -> bool:
    """Tell whether a signal is to be received: not SIGHUP where nohup has it ignored, to outlive the terminal."""
    return number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN


def _tell_all() -> None:
    for interrupts in tuple(_watching):
        interrupts.receive()
