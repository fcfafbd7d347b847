"""The program in a terminal of its own: keys in, what is drawn out."""

from __future__ import annotations

import codecs
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from select import select
from typing import Self

SECONDS = 60.0
_STYLES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[=>])|\r")


class Terminal:
    """A process in a terminal so many columns wide; ``drawn`` is all that came there."""

    def __init__(self, *arguments: str, columns: int = 80, variables: dict[str, str]) -> None:
        self.main, other = pty.openpty()
        termios.tcsetwinsize(self.main, (30, columns))
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("NOVITA_", "OPENAI_"))}
        plain |= {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "novita_openai", *arguments],
            stdin=other,
            stdout=other,
            stderr=other,
            env=plain | variables,
            start_new_session=True,
            close_fds=True,
        )
        os.close(other)
        self.drawn, self._seen = "", 0
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.main)

    @property
    def text(self) -> str:
        """Return what was drawn, without styles and moves."""
        return _STYLES.sub("", self.drawn)

    def type(self, keys: str) -> None:
        os.write(self.main, keys.encode())

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def until(self, text: str) -> None:
        """Read until a text has been drawn after that of the last call."""
        end = time.monotonic() + SECONDS
        while text not in self.text[self._seen :]:
            assert time.monotonic() < end, f"{text!r} did not come, but {self.text!r}"
            assert self._read(), f"it ended before {text!r} came, having drawn {self.text!r}"
        self._seen = self.text.index(text, self._seen) + len(text)

    def end(self) -> int:
        """Read to the end, and return the exit code."""
        while self._read():
            pass
        return self.process.wait(SECONDS)

    def _read(self) -> bool:
        """Read what there is; tell whether there may be more."""
        with suppress(OSError):  # the terminal is gone with the process
            if not select([self.main], [], [], SECONDS)[0]:
                return False
            piece = os.read(self.main, 65_536)
            self.drawn += self._decode(piece)
            return bool(piece)
        return False
