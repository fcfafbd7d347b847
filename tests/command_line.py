"""Commands of the program, run in this process."""

from __future__ import annotations

import io
import sys
from unittest.mock import patch

import pytest
from typer import Typer


def invoke(app: Typer, *arguments: str, text: str | None = None) -> tuple[int, str, str]:
    """Return the exit code, and what went to standard output and to standard error."""
    given, out, told = io.TextIOWrapper(io.BytesIO((text or "").encode())), io.StringIO(), io.StringIO()
    streams = patch.multiple(sys, stdin=given, stdout=out, stderr=told)
    with streams, pytest.raises(SystemExit) as ended:
        app([*arguments])
    code = ended.value.code
    return code if isinstance(code, int) else 0, out.getvalue(), told.getvalue()
