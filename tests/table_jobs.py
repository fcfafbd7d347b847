"""What the tests of tables share: a table in a folder, a service that shouts, and what stands in the output."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from batch_jobs import MODEL, Job

from novita_openai import batch
from novita_openai.emulator import Emulator

PROMPT = "Shout: {text}"


def shout(body: dict[str, Any]) -> str:
    """Answer with what was asked, in capitals."""
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[0]["text"]
    return text.removeprefix("Shout: ").upper()


class Tables:
    """Jobs over the tables of a folder; ``asked`` holds the bodies of all requests."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self.folder, self._emulator = folder, emulator
        self.asked: list[dict[str, Any]] = []
        emulator.script.extend([self._answer] * 1_000)

    def _answer(self, body: dict[str, Any]) -> str:
        self.asked.append(body)
        return shout(body)

    @property
    def prompts(self) -> list[str]:
        """Return what was asked, in order of the alphabet."""
        return sorted(body["messages"][-1]["content"] for body in self.asked)

    def write(self, content: str | bytes, name: str = "reviews.csv") -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run(
        self, content: str | bytes | None = None, output: str = "answers.csv", name: str = "reviews.csv", **options: Any
    ) -> batch.BatchReport:
        path = self.folder / name if content is None else self.write(content, name)
        client = Job(self.folder, self._emulator.base_url).client()
        defaults: dict[str, Any] = {"client": client, "model": MODEL, "prompt": PROMPT}
        return batch.run(path, self.folder / output, **(defaults | options))

    def text(self, name: str = "answers.csv") -> str:
        return (self.folder / name).read_bytes().decode()

    def rows(self, name: str = "answers.csv", **options: Any) -> list[dict[str, str]]:
        with (self.folder / name).open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file, strict=True, **options))

    def column(self, column: str = "answer", name: str = "answers.csv") -> list[str]:
        return [row[column] for row in self.rows(name)]
