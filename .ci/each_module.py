"""Check that a run of tests has reached every module: python .ci/each_module.py coverage.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path

LEAST = 75
"""Percent of the lines and branches of each module."""

files = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["files"]
reached = {name: file["summary"]["percent_covered"] for name, file in files.items()}
missed = [f"{name}: {percent:.0f} %" for name, percent in sorted(reached.items()) if percent < LEAST]
if missed:
    sys.exit(f"less than {LEAST} % are reached of\n" + "\n".join(missed))
print(f"at least {min(reached.values()):.0f} % of each of {len(reached)} modules are reached")
