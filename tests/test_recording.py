"""The recording of the README: its program runs, and what it shows is what happens."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
LINES = ("$ novita-openai batch reviews.jsonl -o answers.jsonl", "Killed", "1,000 of 1,000 rows", "1000 answers.jsonl")


def words(picture: Path) -> str:
    """Return what stands in a picture at its end."""
    space = "{http://www.w3.org/2000/svg}"
    last = [each for each in ET.parse(picture).iter(f"{space}g") if each.get("visibility") == "visible"]  # noqa: S314 - our own
    return "\n".join(" ".join(filter(None, (text.text for text in each.iter(f"{space}text")))) for each in last)


def test_a_batch_that_is_killed_and_started_again_is_recorded(tmp_path: Path) -> None:
    picture = tmp_path / "recording.svg"
    command = [sys.executable, ".ci/recording.py", str(picture)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    shown = words(picture)
    assert [line for line in LINES if line not in shown] == []
    assert "done by earlier starts" in shown
    assert shown.count("novita-openai batch") == 2


def test_the_recording_of_the_readme_is_such_a_one() -> None:
    shown = words(ROOT / ".github/recording.svg")
    assert [line for line in LINES if line not in shown] == []
    assert "(.github/recording.svg)" in (ROOT / "README.md").read_text(encoding="utf-8")
