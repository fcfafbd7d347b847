"""Record a batch that is killed and started again: ``python .ci/recording.py .github/recording.svg``.

The real command runs in a terminal of its own against the emulator, is killed (SIGKILL) with a third of its rows
answered, and is started again. What the terminal showed becomes a picture that moves, without a script in it.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory
from typing import Final

from rich.color import ColorType
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from novita_openai.emulator import Emulator

ROWS: Final = 1_000
COLUMNS: Final = 72
MODEL: Final = "meta-llama/llama-3.1-8b-instruct"
COMMAND: Final = "novita-openai batch reviews.jsonl -o answers.jsonl"
PROMPT: Final = "\x1b[32m$\x1b[0m "
STILL: Final = 4.0
"""Seconds for which the end stays in sight."""
SECONDS: Final = 60.0
"""After which something has gone wrong."""
FEWEST: Final = 0.2
"""Seconds between two pictures."""
WIDTH: Final = 8.4
HEIGHT: Final = 19.0
MARGIN: Final = 22.0


class Screen:
    """Lines as a terminal shows them that is asked for no more than rich asks: erase a line, go up, go back."""

    def __init__(self) -> None:
        self.lines, self._row, self._is_back = [""], 0, False

    def feed(self, text: str) -> None:
        """Show a text."""
        for part in re.split(r"(\r|\n|\x1b\[\d*[AK]|\x1b\[\?25[hl])", text):
            if part == "\r":
                self._is_back = True
            elif part == "\n":
                self._row += 1
                self.lines += [""] * (self._row == len(self.lines))
            elif part.endswith("A") and part.startswith("\x1b"):
                self._row -= 1
            elif part.endswith("K") and part.startswith("\x1b"):
                self.lines[self._row] = ""
            elif part and not part.startswith("\x1b[?"):
                self.lines[self._row] = part if self._is_back else self.lines[self._row] + part
                self._is_back = False


@dataclass(frozen=True)
class Shown:
    """A line that stood in a row of the screen from one time to another, in seconds."""

    row: int
    line: str
    start: float
    end: float


class Recorder:
    """Runs commands in a terminal, and keeps what it shows and when."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self._folder, self._variables = folder, variables
        self._screen, self._began = Screen(), time.monotonic()
        self._pictures: list[tuple[float, list[str]]] = []

    def type(self, text: str) -> None:
        """Show a command as it is typed."""
        self._show(PROMPT)
        for piece in re.findall(r"\S+ ?", text):
            time.sleep(FEWEST)
            self._show(piece)
        time.sleep(2 * FEWEST)
        self._show("\r\n")

    def run(self, *command: str, is_over: Callable[[], bool] = lambda: False) -> None:
        """Run a command, and kill it once it ``is_over``."""
        main, other = pty.openpty()
        termios.tcsetwinsize(main, (30, COLUMNS))
        environment = os.environ | self._variables | {"TERM": "xterm-256color"}
        process = subprocess.Popen(  # noqa: S603 - the commands of this file
            command, cwd=self._folder, env=environment, stdin=other, stdout=other, stderr=other, start_new_session=True
        )
        os.close(other)
        while self._read(main):
            if is_over():
                process.send_signal(signal.SIGKILL)
        os.close(main)
        if process.wait(SECONDS) == -signal.SIGKILL:
            self._show("\r\nKilled\r\n")

    def shown(self) -> Iterator[Shown]:
        """Yield each line for as long as it stood where it was."""
        end = self._pictures[-1][0] + STILL
        for row in range(len(self._pictures[-1][1])):
            begun, line = 0.0, ""
            for seconds, lines in [*self._pictures, (end, [])]:
                new = lines[row] if row < len(lines) else ""
                if new != line or seconds == end:
                    if line:
                        yield Shown(row, line, begun, seconds)
                    begun, line = seconds, new

    def _read(self, main: int) -> bool:
        """Show what has come; tell whether more may come."""
        try:
            if not select([main], [], [], SECONDS)[0]:
                raise SystemExit(f"no more came within {SECONDS:g} s, after {self._screen.lines[-1]!r}")
            self._show(os.read(main, 65_536).decode(errors="replace"))
        except OSError:  # the terminal is gone with the process
            return False
        return True

    def _show(self, text: str) -> None:
        self._screen.feed(text)
        now, lines = time.monotonic() - self._began, list(self._screen.lines)
        if self._pictures and now - self._pictures[-1][0] < FEWEST:
            self._pictures[-1] = self._pictures[-1][0], lines
        else:
            self._pictures.append((now, lines))


def drawn(lines: list[Shown]) -> str:
    """Return the picture: each line visible in its time, and where pictures do not move, those of the end."""
    end = max(line.end for line in lines)
    width, height = COLUMNS * WIDTH + 2 * MARGIN, (1 + max(line.row for line in lines)) * HEIGHT + 2 * MARGIN
    parts = "\n".join(_line(line, end) for line in lines)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img">
<title>A batch is killed and started again: it goes on, and each row has one result</title>
<rect width="100%" height="100%" rx="10" fill="#16181d"/>
<g font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" fill="#d8dae0">
{parts}
</g>
</svg>
"""


def _line(line: Shown, end: float) -> str:
    times = f"0;{line.start / end:.4f};{line.end / end:.4f}"
    last = "visible" if line.end == end else "hidden"
    values = "hidden;visible;" + last
    move = f'<animate attributeName="visibility" calcMode="discrete" dur="{end:.1f}s" repeatCount="indefinite"'
    return f'<g visibility="{last}">{move} values="{values}" keyTimes="{times}"/>{_words(line)}</g>'


def _words(line: Shown) -> str:
    """Return the words of a line, each where its column is."""
    console, column, parts = Console(width=COLUMNS), 0, ""
    for words, style, _ in Text.from_ansi(line.line).render(console):
        if shown := words.strip():
            x, y = MARGIN + (column + words.index(shown)) * WIDTH, MARGIN + (line.row + 0.8) * HEIGHT
            length = f'textLength="{len(shown) * WIDTH:.1f}" lengthAdjust="spacingAndGlyphs"'
            colour = style.color if style is not None and style.color is not None else None
            fill = f' fill="{colour.get_truecolor(MONOKAI).hex}"' if colour and colour.type != ColorType.DEFAULT else ""
            dim = ' opacity=".6"' if style is not None and style.dim else ""
            parts += f'<text x="{x:.1f}" y="{y:.1f}" {length}{fill}{dim}>{escape(shown)}</text>'
        column += len(words)
    return parts


def main(target: Path) -> None:
    """Record, and write the picture."""
    with TemporaryDirectory() as name, Emulator(latency=(0.3, 0.5)) as server:
        folder = Path(name)
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Summarize: good pasta"}], "max_tokens": 20}
        rows = (json.dumps({"custom_id": f"review-{number}", "body": body}) for number in range(ROWS))
        (folder / "reviews.jsonl").write_text("".join(f"{row}\n" for row in rows))
        recorder = Recorder(folder, {"NOVITA_API_KEY": "sk_emulator", "NOVITA_BASE_URL": server.base_url})
        batch = sys.executable, "-m", "novita_openai", *COMMAND.split()[1:]
        recorder.type(COMMAND)
        recorder.run(*batch, is_over=lambda: len(server.requests) > ROWS / 3)
        recorder.type(COMMAND)
        recorder.run(*batch)
        recorder.type("wc -l answers.jsonl")
        recorder.run("wc", "-l", "answers.jsonl")
        target.write_text(drawn(list(recorder.shown())), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
