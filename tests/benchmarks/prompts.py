"""What rendering and parsing cost against compiled Jinja and a hand-written join. Exits with 1 where a bound is missed.

All are timed in one run, in turns, on a 10-message history of 200 characters each; the figures are medians, and the
ratio that counts is the median over the rounds. Jinja is set up as Transformers does it, and compiled once. With a
folder of published chat templates, each format is also timed against the template that its source names.
"""

from __future__ import annotations

import argparse
import gc
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

from jinja2.sandbox import ImmutableSandboxedEnvironment

from novita_openai.prompts import PromptError, PromptFormat, format_names, get_format

from .report import Comparison, table
from .templates import TODAY, Template

JINJA_BOUND: Final = 0.5
RENDER_BOUND: Final = 6  # formats with up to 8 control strings
PARSE_BOUND: Final = 15
IMPORT_BOUND: Final = 60  # ms more than bare Python

CHATML: Final = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
ROLES: Final = ["system", *["user", "assistant"] * 4, "user"]
MESSAGES: Final[list[dict[str, Any]]] = [{"role": role, "content": ("a word. " * 25)[:200]} for role in ROLES]


def joined(messages: list[dict[str, Any]]) -> str:
    """Return the prompt as a program of one format writes it."""
    turns = [f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages]
    return "".join(turns) + "<|im_start|>assistant\n"


def compare(cases: tuple[str, str], calls: tuple[Callable[[], object], ...], bound: float, options: Any) -> Comparison:
    """Time ours and theirs in turns, part by part, so that the noise of the machine meets both."""
    part = max(options.calls // 20, 1)
    rounds = []
    for _ in range(options.rounds):
        times = [tuple(microseconds(call, part) for call in calls) for _ in range(20)]
        rounds.append((median(ours for ours, _ in times), median(theirs for _, theirs in times)))
    return Comparison(*cases, "us", rounds, bound)


def microseconds(call: Callable[[], object], calls: int) -> float:
    """Return what a call takes, of so many."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return 1e6 * (time.perf_counter() - start) / calls


def published(folder: Path, options: Any) -> Iterator[Comparison]:
    """Yield the comparison of each format with the published template that its source names, where both write alike."""
    for name in format_names():
        fmt = get_format(name)
        path = folder / "".join(re.findall(r", (\S+\.jinja)", fmt.source)[:1])
        if path.is_file():
            yield from against_template(fmt, Template(path.read_text(encoding="utf-8")), options)


def against_template(fmt: PromptFormat, template: Template, options: Any) -> Iterator[Comparison]:
    """Yield the comparison of a format with a template, if both write the same prompt of this day, but for the BOS."""
    day = TODAY if fmt.date else None

    def ours(messages: list[dict[str, Any]] = MESSAGES) -> str:
        return fmt.render(messages, date=day)

    def theirs(messages: list[dict[str, Any]] = MESSAGES) -> str | None:
        return template.render(messages, reply=True)

    try:
        is_same = theirs() in (ours(), fmt.bos + ours())
    except PromptError:
        return
    if is_same:
        yield compare((f"render {fmt.name}", "compiled Jinja"), (ours, theirs), JINJA_BOUND, options)


def import_cost(rounds: int) -> float:
    """Return the milliseconds that importing the package takes, more than a bare interpreter, as the median."""

    def milliseconds(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return 1000 * (time.perf_counter() - start)

    milliseconds("import novita_openai.prompts")
    return median(milliseconds("import novita_openai.prompts") - milliseconds("pass") for _ in range(rounds))


def main() -> int:
    """Run everything, print the table, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--calls", type=int, default=5000, help="of each in a round (default: %(default)s)")
    parser.add_argument("--templates", type=Path, metavar="FOLDER", help="published templates (*.jinja)")
    options = parser.parse_args()
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(CHATML)
    fmt = get_format("chatml")
    prompt = joined(MESSAGES)
    assert fmt.render(MESSAGES) == prompt == template.render(messages=MESSAGES, add_generation_prompt=True)
    assert fmt.parse(prompt) == MESSAGES

    def render() -> str:
        return fmt.render(MESSAGES)

    def jinja() -> str:
        return template.render(messages=MESSAGES, add_generation_prompt=True)

    def join() -> str:
        return joined(MESSAGES)

    gc.disable()
    comparisons = [
        compare(("render with guard", "compiled Jinja"), (render, jinja), JINJA_BOUND, options),
        compare(("render with guard", "hand-written join"), (render, join), RENDER_BOUND, options),
        compare(("parse and check", "hand-written join"), (lambda: fmt.parse(prompt), join), PARSE_BOUND, options),
    ]
    comparisons += [] if options.templates is None else published(options.templates, options)
    print(table(comparisons))
    cost = import_cost(options.rounds)
    print(f"import novita_openai.prompts: {cost:.1f} ms more than bare Python (bound: {IMPORT_BOUND} ms)")
    return 0 if all(comparison.is_kept for comparison in comparisons) and cost < IMPORT_BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
