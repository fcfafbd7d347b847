"""What the project promises of itself: the order of its modules, their size, what stands at its top."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from inspect import ismodule
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "novita_openai"

Rows = dict[str, "Rows | None"]


def modules(names: str) -> Rows:
    return dict.fromkeys(names.split())


# What a room holds, in reading order: a module imports only from rows above it. A package's own face, its
# __init__, comes after all that is in it.
HOUSE: Rows = {
    "sdk": modules("answering library exceptions pickling replies direct"),
    **modules("error_replies errors backoff installing logs retry"),
    "pacing": modules("limits refusals concurrency rate law"),
    "prices": None,
    "prompts": {
        "errors": None,
        "given": None,
        "messages": None,
        "rows": None,
        "tokens": None,
        "tool_calls": modules(
            "calls declarations typescript arguments dialect tagged hermes deepseek llama mistral mistral_tekken"
            " minimax kimi gemma cohere harmony granite smollm olmo families"
        ),
        "engine": modules(
            "separators scanner trimming table dates losses reasoning description control folding blanking forgeries"
            " codec conversion"
        ),
        "format": None,
        "templates": modules(
            "meter literals variables sandbox chat_template derived draft probe marks verification model_folder"
            " derivation"
        ),
        "format_files": None,
        "catalog": None,
        "over_completions": modules("requests responses deltas chunks chats checking"),
    },
    "client": modules(
        "sizes places turns lending pace options connections addresses secrets settings catalog json_schemas"
        " translation status_errors tool_fragments events first_bytes hosted draining bodies"
        " error_bodies answers seam resumption streams attempts paced clients diagnosis"
    ),
    "batch": {
        **modules(
            "locks jsonl disk states usage extras endpoints requests rows files examples reading checks excesses"
            " spending unnamed reopened chunks worklist pending tidying fitness report notebooks shutdown options"
            " senders direct long_answers transport validation probes session values verdicts room lanes backlog"
            " collector cursors standing waking outcomes engine interrupts rechecks dedupe"
        ),
        "hosted": modules(
            "parts drafts ledger decisions options service answers ending submitting collecting fleet running opening"
        ),
        **modules("job estimates streaming telling"),
        "tables": modules(
            "options cells columns rows delimited json_lines parquet formats template recipe source matching answers"
            " jobs frames"
        ),
        **modules("runs statuses explanations"),
        "frames": None,
    },
    "emulator": modules(
        "replies faults models settings requests limits samples answers embeddings accounts clock wire storage batches"
        " hosted server"
    ),
    "local": modules("settings weights model server"),
    "testing": None,
    "types": None,
    "__pyinstaller": modules("hook-novita_openai"),
    "cli": {
        **modules(
            "terminal failures notices options inputs schemas serving service answers conversation talking asking"
            " listing doctor helping progress jobs tables reports closing"
        ),
        "page": modules("timeline charts failed writing"),
        **modules("batch prompt_options prompt_rows prompt program"),
    },
    "__main__": None,
}
CORRIDOR = {"sdk", "error_replies", "errors", "backoff", "installing", "logs", "retry", "pacing", "prices"}
# What of the other rooms a room may use.
MAY_IMPORT = {
    "prompts": {"installing"},
    "client": CORRIDOR | {"prompts"},
    "batch": CORRIDOR | {"prompts", "client"},
    "emulator": {"errors", "error_replies", "installing"},
    "local": {"installing"},
    "testing": {"retry", "emulator"},
    "cli": CORRIDOR | {"prompts", "client", "batch", "emulator", "local"},
    "__main__": {"cli", "installing"},
}
MOST_ON_THE_CORRIDOR = 10
# What each may import besides the standard library and the core packages.
EXTRAS = {
    "__pyinstaller.hook-novita_openai": {"PyInstaller"},
    "cli.asking": {"typer"},
    "cli.inputs": {"typer"},
    "cli.schemas": {"typer"},
    "cli.batch": {"typer"},
    "cli.doctor": {"typer"},
    "cli.failures": {"typer"},
    "cli.helping": {"typer"},
    "cli.listing": {"typer"},
    "cli.jobs": {"typer"},
    "cli.options": {"typer"},
    "cli.program": {"typer"},
    "cli.progress": {"rich"},
    "cli.closing": {"rich"},
    "cli.page.writing": {"jinja2"},
    "cli.prompt": {"typer"},
    "cli.prompt_options": {"typer"},
    "cli.prompt_rows": {"typer"},
    "cli.serving": {"typer"},
    "cli.tables": {"typer"},
    "cli.talking": {"prompt_toolkit"},
    "batch.direct": {"aiohttp", "multidict", "yarl"},
    "backoff": {"anyio"},  # which openai requires
    "client.turns": {"anyio"},  # which openai requires
    "emulator.embeddings": {"pydantic"},
    "client.bodies": {"anyio"},  # which openai requires
    "client.error_bodies": {"anyio"},  # which openai requires
    "client.draining": {"anyio"},  # which openai requires
    "client.streams": {"anyio"},  # which openai requires
    "emulator.requests": {"pydantic"},
    "emulator.settings": {"pydantic"},
    "emulator.wire": {"aiohttp"},
    "local.server": {"aiohttp", "xllamacpp"},
    "prompts.templates.chat_template": {"jinja2"},
    "prompts.templates.sandbox": {"jinja2"},
    "prompts.templates.literals": {"jinja2"},
    "prompts.templates.variables": {"jinja2"},
    "testing": {"pytest"},
}
CORE = {"openai", "structlog", "tenacity"}


def in_order(rows: Rows, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of a room's modules, and then the room's own."""
    for name, inside in rows.items():
        if inside is not None:
            yield from in_order(inside, f"{prefix}{name}.")
        yield prefix + name


ORDER = list(in_order(HOUSE))


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name: path for path in PACKAGE.rglob("*.py") if (name := dotted(path))}
MODULES = sorted(FILES)


def imports_of(module: str) -> set[str]:
    """Return what a module imports, ours by the module or package that is named in the statement."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{module}: imports are absolute"
            for name in node.names:
                full = f"{node.module}.{name.name}"
                found.add(full if full.removeprefix("novita_openai.") in FILES else node.module)
    return found


def ours_in(module: str) -> set[str]:
    prefix = "novita_openai."
    return {name.removeprefix(prefix) for name in imports_of(module) if name.startswith(prefix)}


def test_every_module_has_its_row() -> None:
    assert sorted(ORDER) == MODULES


def test_few_modules_stand_outside_of_a_room() -> None:
    assert len([*PACKAGE.glob("*.py")]) <= MOST_ON_THE_CORRIDOR


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_rows_above_it(module: str) -> None:
    assert ours_in(module) <= set(ORDER[: ORDER.index(module)])


@pytest.mark.parametrize("module", MODULES)
def test_a_room_uses_only_the_rooms_that_it_may(module: str) -> None:
    room = module.partition(".")[0]
    rooms = {name.partition(".")[0] for name in ours_in(module)} - {room}
    assert rooms <= MAY_IMPORT.get(room, CORRIDOR)


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_named_like_what_its_package_offers(module: str) -> None:
    package, _, name = module.rpartition(".")
    face = importlib.import_module(f"novita_openai.{package}".rstrip("."))
    offered = getattr(face, "__all__", ())
    assert name not in offered or ismodule(getattr(face, name)), f"importing {module} would hide {package}.{name}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_needs_no_package_beyond_the_core_and_its_extra(module: str) -> None:
    packages = {name.partition(".")[0] for name in imports_of(module)} - set(sys.stdlib_module_names)
    assert packages - {"novita_openai"} <= CORE | EXTRAS.get(module, set())


def test_the_guide_for_contributors_names_files_that_exist() -> None:
    guide = (ROOT / ".github/CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./]+(?:\.py|/))`", guide))
    assert len(named) > 20
    assert {name for name in named if not ((PACKAGE / name).exists() or (ROOT / name).exists())} == set()
    for room in HOUSE:
        assert room in guide, room


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


# What an import of the client loads, in reading order: only what a plain call or stream needs. Pace, resumption, prices
# and all that a failure needs come later.
OF_THE_CLIENT = {
    "sdk": modules("answering exceptions library replies pickling"),
    **modules("error_replies errors backoff logs retry"),
    "client": modules(
        "options connections addresses secrets settings translation status_errors tool_fragments events first_bytes"
        " hosted draining bodies error_bodies answers streams attempts clients"
    ),
}


@pytest.mark.slow
def test_an_import_of_the_client_loads_what_a_plain_call_needs() -> None:
    code = (
        "import sys, openai; before = {*sys.modules}; from novita_openai import OpenAI; print(*{*sys.modules} - before)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {*result.stdout.split()} <= {"novita_openai", *(f"novita_openai.{row}" for row in in_order(OF_THE_CLIENT))}


def test_the_programs_entry_points_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for target in project["scripts"].values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_pyinstaller_is_told_where_the_hook_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, function = project["entry-points"]["pyinstaller40"]["hook-dirs"].partition(":")
    (folder,) = getattr(importlib.import_module(module), function)()
    assert [path.name for path in Path(folder).glob("hook-*.py")] == ["hook-novita_openai.py"]
