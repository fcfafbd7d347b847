"""What the project promises of itself: the order of its modules, their size, what stands at its top."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "novita_openai"

# A module imports only from rows above it.
LAYERS = [
    "prompts.separators",
    "prompts.cores",
    "prompts.table",
    "prompts.messages",
    "prompts.losses",
    "prompts.calls",
    "prompts.dates",
    "prompts.reasoning",
    "prompts.description",
    "prompts.folding",
    "prompts.dialect",
    "prompts.tools",
    "prompts.conversion",
    "prompts.format",
    "prompts.meter",
    "prompts.suspects",
    "prompts.sandbox",
    "prompts.jinja",
    "prompts.draft",
    "prompts.probe",
    "prompts.proof",
    "prompts.template",
    "prompts.catalog",
    "prompts.deltas",
    "prompts.completions",
    "prompts.asking",
    "prompts.checking",
    "errors",
    "jsonl",
    "backoff",
    "retry",
    "settings",
    "answers",
    "seam",
    "resumption",
    "streams",
    "attempts",
    "client",
    "pacing",
    "batch_requests",
    "batch_files",
    "batch_plan",
    "batch_report",
    "batch_rows",
    "batch_verdicts",
    "batch_lanes",
    "batch_transport",
    "batch_session",
    "batch_engine",
    "interrupts",
    "batch_job",
    "batch_estimate",
    "batch_stream",
    "batch",
    "emulated_faults",
    "emulated_requests",
    "emulated_settings",
    "emulated_limits",
    "emulated_samples",
    "emulated_answers",
    "emulated_wire",
    "emulator",
    "local",
    "testing",
    "terminal",
    "cli_batch",
    "cli_prompt",
    "cli",
    "__main__",
]
TEMPLATES = ("prompts.jinja", "prompts.sandbox", "prompts.suspects")
# What each may import besides the standard library and the core packages.
EXTRAS = {
    "cli": {"rich", "typer"},
    "cli_batch": {"rich", "typer"},
    "cli_prompt": {"typer"},
    "emulated_requests": {"pydantic"},
    "emulated_wire": {"aiohttp"},
    "local": {"xllamacpp"},
    "terminal": {"rich", "typer"},
    "testing": {"pytest"},
    **{name: {"jinja2"} for name in TEMPLATES},
}
CORE = {"openai", "structlog", "tenacity"}

MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.stem != "__init__"
)


def imports_of(module: str) -> set[str]:
    tree = ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            package = (PACKAGE.parent / node.module.replace(".", "/")).is_dir()
            found |= {f"{node.module}.{name.name}" for name in node.names} if package else {node.module}
    return found


def test_every_module_has_its_row() -> None:
    assert sorted(LAYERS) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_rows_above_it(module: str) -> None:
    ours = {name.removeprefix("novita_openai.") for name in imports_of(module) if name.startswith("novita_openai")}
    assert ours <= set(LAYERS[: LAYERS.index(module)])


@pytest.mark.parametrize("module", MODULES)
def test_a_module_needs_no_package_beyond_the_core_and_its_extra(module: str) -> None:
    packages = {name.partition(".")[0] for name in imports_of(module)} - set(sys.stdlib_module_names)
    assert packages - {"novita_openai"} <= CORE | EXTRAS.get(module, set())


def test_the_core_dependencies_are_three() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {dependency.partition(">")[0] for dependency in project["dependencies"]}
    assert names == CORE
    assert "openai>=1.109.1,<4" in project["dependencies"]


def test_files_stay_readable() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert path.read_text(encoding="utf-8").count("\n") <= 350, path
    for path in (ROOT / "examples").glob("*.py"):
        assert path.read_text(encoding="utf-8").count("\n") <= 40, path
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("\n") <= 150


def test_a_program_without_errors_imports_neither_tenacity_nor_structlog() -> None:
    code = "import sys; from novita_openai import OpenAI; print(*{'tenacity', 'structlog', 'typer'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_the_programs_entry_points_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for target in project["scripts"].values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
