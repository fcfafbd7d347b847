"""Every example and every block of code of the README and the guides runs, over the real local model."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from novita_openai import local
from novita_openai.emulator import Emulator

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = ["guide_chat.py", "guide_completion.py"]
TESTS = sorted(path.name for path in (ROOT / "examples").glob("test_*.py"))
OTHERS = sorted({path.name for path in (ROOT / "examples").glob("*.py")} - {*GUIDE, *TESTS})
URL, KEY = "https://api.novita.ai/v3/openai", "<YOUR Novita AI API Key>"


NOTEBOOK = """
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(PATH, 4)
NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
for cell in notebook.cells:
    for output in cell.get("outputs", ()):
        print(output.get("text") or output["data"]["text/plain"])
"""


def run(code: str, model: local.LocalModel) -> str:
    """Return what a program prints to stdout."""
    return outputs(code, model)[0]


def outputs(code: str, model: local.LocalModel, folder: Path = ROOT) -> tuple[str, str]:
    result = subprocess.run(
        [sys.executable, "-"],
        input=code,
        cwd=folder,
        env=surroundings(model),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr


def surroundings(model: local.LocalModel) -> dict[str, str]:
    """Return the variables of this process, with a model in place of the service."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NOVITA_", "OPENAI_"))}
    return environment | {"NOVITA_API_KEY": "local", "NOVITA_BASE_URL": model.base_url}


def example(name: str) -> str:
    return (ROOT / "examples" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("stream", ["True", "False"])
@pytest.mark.parametrize("name", GUIDE)
def test_the_guides_program_runs_with_only_its_import_changed(
    name: str, stream: str, local_model: local.LocalModel
) -> None:
    code = example(name)
    assert code.count(f'"{URL}"') == code.count(f'"{KEY}"') == code.count("import") - code.count("the import") == 1
    code = code.replace(URL, local_model.base_url).replace(KEY, "local")
    code = code.replace("stream = True", f"stream = {stream}").replace("max_tokens = 512", "max_tokens = 24")
    # The most likely text, so that the test is the same every time.
    code = code.replace("max_tokens=max_tokens", "max_tokens=max_tokens, temperature=0")
    assert len(run(code, local_model).split()) > 1


@pytest.mark.parametrize("name", OTHERS)
def test_an_example_runs_and_prints(name: str, local_model: local.LocalModel) -> None:
    assert run(example(name), local_model).strip()


@pytest.mark.parametrize("name", TESTS)
def test_an_example_of_tests_passes(name: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"examples/{name}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_broken_stream_example_goes_on(local_model: local.LocalModel) -> None:
    printed = run(example("broken_stream.py"), local_model)
    assert "First, boil water. Then, add the pasta.  (2 requests)" in printed
    assert "APIConnectionError: " in printed
    assert "Gone on with: " in printed


def test_the_batch_example_goes_on(local_model: local.LocalModel) -> None:
    lines = run(example("batch_job.py"), local_model).splitlines()
    assert lines[0].startswith("3 of 3 rows, ")
    assert json.loads(lines[1])["response"]["status_code"] == 200
    assert lines[2] == "4 of 4 rows, 3 of them from before, 1 sent"


def test_the_guide_to_batches_has_the_table_that_its_program_works_out(local_model: local.LocalModel) -> None:
    table = run(example("batch_costs.py"), local_model)
    assert table in example("guides/batch.md")
    for line in table.splitlines()[2:]:
        assert len(line.split("|")) == len(table.splitlines()[0].split("|"))


def test_the_hosted_batch_example_submits_and_collects(local_model: local.LocalModel) -> None:
    lines = run(example("hosted_batch.py"), local_model).splitlines()
    assert lines[1].startswith("submitted: 3 rows are at the service")
    assert lines[2].startswith("3 of 3 rows, about $")
    assert json.loads(lines[3])["spent"]["estimate"]


def test_the_table_example_asks_only_what_is_new(local_model: local.LocalModel) -> None:
    printed = run(example("table.py"), local_model)
    assert printed.startswith("2 of 3 rows, {'empty': 1}\n")
    assert "c,4,,,,empty,,\n" in printed
    assert printed.endswith("3 of 3 rows, 1 sent\n")


def test_the_checked_example_has_a_column_for_each_field(local_model: local.LocalModel) -> None:
    printed = run(example("checked.py"), local_model)
    assert "answer.mood" in printed
    assert "validation_failed" not in printed


def test_the_notebook_runs(local_model: local.LocalModel, tmp_path: Path) -> None:
    notebook = ROOT / "examples/table.ipynb"
    printed, _ = outputs(NOTEBOOK.replace("PATH", repr(str(notebook))), local_model, tmp_path)
    assert "2 requests: one for the list of models, one for the row" in printed
    assert "answer.mood" in printed
    assert {path.name for path in tmp_path.iterdir()} >= {"summaries.jsonl", "opinions.jsonl"}


def test_the_guide_to_tables_runs(tmp_path: Path) -> None:
    guide = (ROOT / "examples/guides/tables.md").read_text(encoding="utf-8")
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", guide, re.DOTALL))
    code = "\n".join(re.findall(r"```python\n(.*?)```", guide, re.DOTALL))
    shell = shell.replace("pip install", ": pip install").replace(
        "novita-openai batch", '"$PYTHON" -m novita_openai batch'
    )
    environment = os.environ | {"NOVITA_API_KEY": "sk_test", "PYTHON": sys.executable}
    with Emulator() as server:
        environment["NOVITA_BASE_URL"] = server.base_url
        for command, given in ((["bash", "-e"], shell), ([sys.executable, "-W", "error", "-"], code)):
            result = subprocess.run(
                command, input=given, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert result.returncode == 0, result.stderr
    names = {"answers.csv", "answers.results.jsonl", "answers.errors.jsonl", "opinions.csv", "summaries.jsonl"}
    assert {path.name for path in tmp_path.iterdir()} >= names


def test_the_resumed_stream_example_goes_on_twice(local_model: local.LocalModel) -> None:
    printed, told = outputs(example("resumed_stream.py"), local_model)
    assert told.count("stream.resumed") == printed.count(" and| serve| it| hot|.|") == 2
    assert "stream.resumed" not in printed
    assert "asked again: USER: How do I make pasta?" in printed
    assert "asked again: /completions {" in printed


def test_the_errors_example_shows_notes(local_model: local.LocalModel) -> None:
    printed = run(example("errors.py"), local_model)
    assert "AuthenticationError, to FAIL: The API key" in printed
    assert "attempt 3 of 3: connection_error" in printed


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_readmes_python_runs(code: str, local_model: local.LocalModel) -> None:
    run(
        code.replace("    messages=[", "    max_tokens=24,\n    messages=[").replace(URL, local_model.base_url),
        local_model,
    )


def test_the_readmes_first_command_prints_what_stands_beside_it() -> None:
    command, answer = re.findall(r"(?m)^pip install .*? && novita-openai (chat .*?) +# (.+)$", README)[0]
    program = [sys.executable, "-m", "novita_openai", *shlex.split(command)]
    for _ in range(2):
        result = subprocess.run(program, capture_output=True, text=True, timeout=300, check=True)
        assert (result.stdout.split(), result.stderr) == ([answer], "")


def test_the_readmes_curl_is_answered(local_model: local.LocalModel) -> None:
    block = next(block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "curl" in block)
    command = block[block.index("curl") :]
    command = command.replace(URL, local_model.base_url).replace('"model"', '"max_tokens": 8, "model"')
    environment = os.environ | {"NOVITA_API_KEY": "local"}
    result = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert '"finish_reason"' in result.stdout


def blocks(kind: str) -> list[Any]:
    """Return the blocks of code of a kind in the guides, each as a case of a test with its place.

    The guide to tables is run as a whole.
    """
    guides = [*sorted((ROOT / "examples" / "guides").glob("[!t]*.md")), ROOT / "examples" / "guides" / "testing.md"]
    found = [
        (f"{path.stem}-{number}", code)
        for path in guides
        for number, code in enumerate(re.findall(rf"```{kind}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL))
    ]
    return [pytest.param(code, id=place) for place, code in found]


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_of_a_guide_runs(code: str, local_model: local.LocalModel, tmp_path: Path) -> None:
    if "\ndef test_" not in code:
        run(code, local_model)
        return
    (tmp_path / "test_guide.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_guide.py"]
    result = subprocess.run(
        command, cwd=tmp_path, env=surroundings(local_model), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


ROW = {"url": "/v1/completions", "body": {"model": "meta-llama/llama-3.1-8b-instruct", "prompt": "Hi", "max_tokens": 4}}


@pytest.mark.parametrize("code", blocks("sh"))
def test_the_commands_of_a_guide_succeed(code: str, local_model: local.LocalModel, tmp_path: Path) -> None:
    """Batches run against an emulator, which has the service's own Batch API; else a model answers."""
    program = tmp_path / "novita-openai"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m novita_openai "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW | {"custom_id": "1"}) + "\n", encoding="utf-8")
    environment = surroundings(local_model)
    environment |= {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    code = re.sub(r"(?m) *#.*exit code (\d).*$", r" || test $? -eq \1", code)
    with Emulator(batch_seconds=0.1) as server:
        environment |= {"NOVITA_BASE_URL": server.base_url} if "novita-openai batch" in code else {}
        shell = ["sh", "-e", "-c", code]
        result = subprocess.run(
            shell, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    assert (result.returncode, bool(result.stdout)) == (0, True), result.stderr
