"""Files of rows through the prompt commands, in this process and in real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from novita_openai.cli import prompt_rows
from novita_openai.cli.prompt import prompt_app

STREAMS: Any = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
ROWS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "Wie geht's? 東京 \ud800"[:-1]}]},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a\n\n"}]},
    {"instruction": "Sum.", "input": "1 2", "output": "3"},
]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CALLED = [
    {"role": "user", "content": "q"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    },
    {"role": "tool", "content": "7", "tool_call_id": "call_0"},
]


def run(*arguments: str, text: str | bytes | None = None) -> tuple[int, str, str]:
    result = CliRunner(**STREAMS).invoke(prompt_app, [*arguments], input=text)
    return result.exit_code, result.stdout, result.stderr


def written(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def rows_in(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_rows_go_through_and_back(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", *ROWS[:1], "", *ROWS[1:])
    code, out, errors = run("render", "-f", "chatml", "--jsonl", f"{file}")
    assert (code, errors) == (0, "novita-openai: 3 rows\n")
    assert [row["prompt"].endswith("<|im_end|>\n") for row in rows_in(out)] == [False, True, True]
    code, back, _ = run("parse", "-f", "chatml", "--jsonl", "-", text=out)
    assert code == 0
    assert [row["messages"][-1]["content"] for row in rows_in(back)] == ["Wie geht's? 東京 ", "a\n\n", "3"]
    assert run("render", "-f", "chatml", "--jsonl", "-", text=back)[1] == out


def test_other_fields_of_a_row_are_named_or_kept(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", {"id": 7, **ROWS[0]}, ROWS[1]["conversations"])
    code, out, errors = run("render", "-f", "chatml", "--jsonl", f"{file}")
    assert (code, out) == (1, "")
    assert f"{file}, line 1: prompt: unknown fields of the row: 'id'" in errors
    code, out, _ = run("render", "-f", "chatml", "--jsonl", f"{file}", "--ignore-unknown", "--field", "text")
    assert (code, [sorted(row) for row in rows_in(out)]) == (0, [["id", "text"], ["text"]])
    back = run("parse", "-f", "chatml", "--jsonl", "-", "--field", "text", text=out)[1]
    assert rows_in(back)[0] == {"id": 7, **ROWS[0], "ending": "reply"}


def test_bad_rows_are_reported_by_line_and_end_the_output(tmp_path: Path) -> None:
    bad = {"messages": [{"role": "user", "content": 7}]}
    file = written(tmp_path / "rows.jsonl", ROWS[0], bad, ROWS[1], "{", *["[]"] * 30)
    code, out, errors = run("render", "-f", "chatml", "--jsonl", f"{file}")
    assert (code, len(rows_in(out))) == (1, 1)
    assert "line 2: format 'chatml', message 0" in errors
    assert "line 4: " in errors
    assert errors.count(", line ") == 20
    assert "32 of 34 rows are bad, and nothing after the first of them is printed" in errors


def test_bad_rows_are_set_aside_on_request(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", ROWS[0], "nonsense", ROWS[1], '"text"')
    code, out, errors = run("render", "-f", "chatml", "--jsonl", f"{file}", "--skip")
    aside = tmp_path / "rows.skipped.jsonl"
    assert (code, len(rows_in(out))) == (1, 2)
    assert f"2 of 4 rows are bad; they are set aside in {aside}" in errors
    assert aside.read_text() == 'nonsense\n"text"\n'


def test_bad_rows_of_standard_input_are_set_aside_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, errors = run("parse", "-f", "chatml", "--jsonl", "-", "--skip", text=b"\xff\n")
    assert (code, "standard input, line 1: " in errors) == (1, True)
    assert (tmp_path / "stdin.skipped.jsonl").read_bytes() == b"\xff\n"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "x"}, "in the field 'prompt' (--field); this one has 'text'"),
        ([1], "this one has a list"),
        ({"prompt": 7}, "must have a prompt as text"),
        ({"prompt": "nonsense"}, "offset 0"),
        ({"prompt": "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n", "messages": 1}, "'messages' already"),
    ],
)
def test_a_row_without_a_readable_prompt_is_bad(row: Any, words: str) -> None:
    code, out, errors = run("parse", "-f", "chatml", "--jsonl", "-", text=json.dumps(row))
    assert (code, out) == (1, "")
    assert words in errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["render", "[]", "-f", "chatml", "--jsonl", "-"], "either an argument or --jsonl"),
        (["parse", "x", "-f", "chatml", "--jsonl", "-"], "either an argument or --jsonl"),
        (["render", "-f", "chatml", "--jsonl", "-"], "holds no rows"),
        (["render", "-f", "chatml", "--jsonl", "/nowhere/at/all"], "does not exist"),
        (["render", "[]", "-f", "chatml", "--tools", "[1"], "the tools are not JSON"),
        (["render", "[]", "-f", "chatml", "--tools", "TOOLS"], "must be a JSON list"),
    ],
)
def test_a_wrong_use_ends_with_2(arguments: list[str], words: str, tmp_path: Path) -> None:
    tools = written(tmp_path / "tools.json", TOOL)
    code, out, errors = run(*(argument.replace("TOOLS", f"{tools}") for argument in arguments), text="")
    assert (code, out) == (2, "")
    assert words in " ".join(errors.replace("│", " ").split())


def test_progress_is_shown_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_rows, "SECONDS_A_LINE", 0.0)
    file = written(tmp_path / "rows.jsonl", *ROWS)
    errors = run("render", "-f", "chatml", "--jsonl", f"{file}")[2].splitlines()
    assert errors[2:] == ["novita-openai: 3 rows, 100 %", "novita-openai: 3 rows"]
    errors = run("render", "-f", "chatml", "--jsonl", "-", text=file.read_text())[2].splitlines()
    assert errors[:1] == ["novita-openai: 1 rows"]


def test_tools_and_reasoning_are_options(tmp_path: Path) -> None:
    tools = written(tmp_path / "tools.json", [TOOL])
    prompts = {
        run("render", json.dumps(CALLED), "-f", "qwen2.5", "--tools", given)[1]
        for given in (f"{tools}", json.dumps([TOOL]))
    }
    (prompt,) = prompts
    assert '"name": "f"' in prompt
    thought = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "reasoning_content": "hm"},
        {"role": "user", "content": "r"},
    ]
    assert run("render", json.dumps(thought), "-f", "qwen3")[0] == 1
    code, kept, _ = run("render", json.dumps(thought), "-f", "qwen3", "--keep-reasoning")
    assert (code, "hm" in kept) == (0, True)


def shell(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = f'set -eo pipefail; novita() {{ {sys.executable} -m novita_openai prompt "$@"; }}; {line}'
    environment = {**os.environ, **variables}
    return subprocess.run(
        ["/bin/bash", "-c", command], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )


def test_a_prompt_makes_the_round_trip_through_a_shell(tmp_path: Path) -> None:
    _, prompt, _ = run("render", json.dumps(CALLED), "-f", "qwen2.5", "--tools", json.dumps([TOOL]), "--bos")
    (tmp_path / "prompt").write_text(prompt)
    done = shell("novita parse -f qwen2.5 --json < prompt | novita render -f qwen2.5 | cmp - prompt", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_rows_make_the_round_trip_through_a_shell_in_any_locale(tmp_path: Path) -> None:
    written(tmp_path / "rows.jsonl", *ROWS)
    done = shell(
        "novita render -f chatml --jsonl rows.jsonl | tee prompts | novita parse -f chatml --jsonl -"
        " | novita render -f chatml --jsonl - > again; cmp again prompts",
        tmp_path,
        LC_ALL="C",
        PYTHONUTF8="0",
    )
    assert (done.returncode, done.stdout) == (0, "")


MEASURE = """
import resource, sys
from novita_openai.cli.prompt import prompt_app
for file in sys.argv[1:]:
    prompt_app(["render", "-f", "chatml", "--jsonl", file], standalone_mode=False)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def test_a_large_file_takes_no_more_memory_than_a_small_one(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "word " * 800}]}
    small, large = (written(tmp_path / f"{count}.jsonl", *[row] * count) for count in (10, 4_000))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, f"{small}", f"{large}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    peaks = [int(line) for line in done.stderr.splitlines() if line.isdigit()]
    assert large.stat().st_size > 16_000_000
    assert peaks[1] - peaks[0] < 4_000  # kB
