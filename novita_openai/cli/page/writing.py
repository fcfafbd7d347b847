"""The writing of the page: what it says, in its template."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from novita_openai.cli.failures import in_the_shell
from novita_openai.cli.page.charts import charts, duration
from novita_openai.cli.page.failed import MOST_ROWS, failed_rows
from novita_openai.cli.page.timeline import Timeline
from novita_openai.cli.reports import ESTIMATE, failures
from novita_openai.cli.terminal import UNSEEN
from novita_openai.prices import counted, dollars

try:
    import jinja2
except ModuleNotFoundError as error:
    from novita_openai.installing import how_to_install

    message = f"the page of --report needs Jinja: {how_to_install('cli')}"
    raise ModuleNotFoundError(message, name=error.name) from error

if TYPE_CHECKING:
    from novita_openai.batch import BatchReport

__all__ = ["Page"]

MARK: Final = b"<!doctype html><!-- novita-openai batch -->"
"""How a page begins, so that no file of another kind is written over."""
POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'"
"""What the page may load and run: nothing, but for its own style and script."""
ENDINGS: Final = (".html", ".htm")
MOST_MODELS: Final = 50
_FOLDER: Final = Path(__file__).parent


@dataclass(slots=True)
class Page:
    """The page on one start of a job, to be written to ``path``; ``timeline`` is to follow the run.

    Raises ``ValueError`` for a path to which no page should be written, before the run begins, and ``OSError`` where
    it cannot be.
    """

    path: Path
    timeline: Timeline = field(default_factory=Timeline)
    began: datetime = field(default_factory=lambda: datetime.now().astimezone())

    def __post_init__(self) -> None:
        if self.path.suffix.lower() not in ENDINGS:
            raise ValueError(f"--report {self.path}: the page is HTML: give the name of a file that ends with .html")
        if not self.path.parent.is_dir():
            raise ValueError(f"--report {self.path}: there is no folder {self.path.parent}")
        if self.path.exists() and not self._is_page():
            raise ValueError(f"--report {self.path}: there is such a file already, which is no such page; give another")

    def _is_page(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(len(MARK)) in (MARK, b"")

    def write(self, report: BatchReport, *, requests: str, output: str, errors: str, ended: str) -> None:
        """Write the page on a report.

        ``requests`` and ``output`` name the files of the job, and ``errors`` that of the failed rows, "" where there
        is none; ``ended``: why the run ended early, "" where it did not.
        """
        from novita_openai.batch.tables.jobs import replacing

        shown = failed_rows(Path(errors)) if errors else []
        style, script = _part("page.css"), _part("page.js")
        text = _template().render(
            style=style,
            script=script,
            policy=f"{POLICY}; style-src {_hash(style)}; script-src {_hash(script)}",
            report=report,
            requests=requests,
            output=output,
            ended=ended,
            began=self.began,
            until=self.began + timedelta(seconds=report.elapsed),
            charts=charts(self.timeline.spans()),
            reasons={} if self.timeline.last is None else self.timeline.last.errors,
            failures=list(failures(report)),
            estimate=ESTIMATE,
            rows=shown,
            most_rows=MOST_ROWS,
            models=sorted(report.models.items(), key=lambda each: -each[1].rows)[:MOST_MODELS],
        )
        with replacing(self.path) as file:
            file.write(MARK + text.encode(errors="replace"))


def _template() -> jinja2.Template:
    from novita_openai.batch.explanations import explained

    environment = jinja2.Environment(
        autoescape=True, finalize=_seen, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "counted": counted,
        "dollars": dollars,
        "duration": duration,
        "explained": lambda code: in_the_shell(explained(code)),
    }
    return environment.from_string(_part("page.html"))


def _seen(value: object) -> object:
    """Return a text of others without control characters, which HTML cannot hold."""
    return value.translate(UNSEEN) if type(value) is str else value


def _part(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(part: str) -> str:
    """Return by what the policy of the page recognises a part of it, so that nothing else is ever run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"
