"""Ordinary text is no alarm: code of three languages, pages, Markdown, logs of chats and texts about other prompts."""

from __future__ import annotations

import sysconfig
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
from prompt_texts import DATE, FORMATS
from thoroughness import examples

from novita_openai.prompts import PromptError, PromptFormat

COUNT = examples(60)
"""How many texts of a kind."""

SCRIPT = "function f(a, b) { return a < b && b <= c[%d] ? `<li>${a}</li>` : x => x | %d; } // </script> [1] <T>() {}\n"
LOG = (
    "[12:%02d] <ann> USER %d: did you restart?\n[12:%02d] <bob> the assistant: says no [INFO] <none>\nQ: why? A: so.\n"
)
PAPER = (
    "We compare %d templates. One opens turns with <|other_start|>, another with [USER] and [/USER]; a third writes\n"
    "'Human:' and 'AI:' (see [%d]). Reasoning stands between <reasoning_> tags, tools in <functions_>.\n"
)


def files(folder: str | Path, pattern: str) -> list[str]:
    """A piece from the middle of each of so many files."""
    found = sorted(Path(folder).rglob(pattern), key=lambda path: path.name)
    texts = (path.read_text(encoding="utf-8", errors="ignore") for path in found)
    return [text[len(text) // 3 :][:2000] for text in islice((text for text in texts if text.strip()), COUNT)]


@cache
def ordinary() -> tuple[str, ...]:
    here = Path(__file__).parents[1]
    library = sysconfig.get_path("stdlib")
    made = [form % (n, n) for n in range(COUNT) for form in (SCRIPT, PAPER)] + [LOG % (n, n, n) for n in range(COUNT)]
    pages = [
        f"<html><body><h1>{n}</h1><del>old</del><b>bold</b><a href='x'>[{n}]</a></body></html>" for n in range(COUNT)
    ]
    code = files(f"{library}/json", "*.py") + files(f"{library}/email", "*.py") + files(f"{library}/logging", "*.py")
    # The guide to prompts is left out, as it shows how a turn of Llama 3 would be forged.
    headers = files(sysconfig.get_path("include"), "*.h")
    return (*made, *pages, *code, *headers, *files(here / "examples", "[!p]*.md"), *files(here / ".github", "*.md"))


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_ordinary_texts_are_written_in_the_messages_of_every_role(fmt: PromptFormat) -> None:
    refused = []
    for text in ordinary():
        chat = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
        try:
            assert fmt.parse(fmt.render([*chat, chat[0]], date=DATE)) == fmt.normalize([*chat, chat[0]])
        except PromptError as refusal:
            refused.append((text, refusal))
    assert len(ordinary()) > 4 * COUNT
    assert len(refused) <= len(ordinary()) / 1000, refused[:3]
