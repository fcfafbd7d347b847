"""What ``from_template`` makes of a folder of chat templates: how many it inverts, and whether any is silently wrong.

Each format is held against the template itself, rendered as Hugging Face does it, on chats that the derivation does not
know. A prompt that differs from the template's is wrong, a refusal is not. Exits with 1 where a bound is missed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from novita_openai.prompts.errors import PromptError, TemplateError
from novita_openai.prompts.format import PromptFormat
from novita_openai.prompts.templates.chat_template import ChatTemplate
from novita_openai.prompts.templates.derivation import derive

EXACT_BOUND: Final = 0.97
"""Turns that white space alone tells apart are refused, and so is what a template moves, loses or alters."""
BOTH_WAYS_BOUND: Final = 0.94
TIME_BOUND: Final = 5.0

TODAY: Final = dt.date(2025, 7, 26)
TOKENS: Final = {"bos_token": "<s>", "eos_token": "</s>"}

Messages = list[dict[str, str]]


class Generation(Extension):
    """Hugging Face's tag, which prints its body."""

    tags = {"generation"}  # noqa: RUF012 - so Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("body"), [], [], body).set_lineno(line)

    def body(self, caller: Any) -> Any:
        return caller()


def environment() -> ImmutableSandboxedEnvironment:
    """Return Jinja as Hugging Face sets it up for chat templates, on a fixed day."""

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, **options: Any) -> str:
        return json.dumps(value, **{"ensure_ascii": False, **options})

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    made.filters["tojson"] = tojson
    made.globals |= {"raise_exception": raise_exception, "strftime_now": TODAY.strftime}
    return made


@dataclass
class Template:
    """A published template, rendered by itself."""

    source: str
    compiled: jinja2.Template = field(init=False)

    def __post_init__(self) -> None:
        self.compiled = environment().from_string(self.source)

    def render(self, messages: Messages, *, reply: bool) -> str | None:
        """Return its prompt, None where it refuses or breaks."""
        try:
            return self.compiled.render(messages=messages, tools=None, add_generation_prompt=reply, **TOKENS)
        except Exception:  # noqa: BLE001 - a template may raise whatever Python can
            return None

    def prompt(self, messages: Messages, ending: str) -> str | None:
        """Return the prompt as ``apply_chat_template`` cuts it; an open last message ends with its text."""
        text = self.render(messages, reply=ending == "reply")
        if text is None or ending != "prefill":
            return text
        last = messages[-1]["content"]
        return text[: text.index(last) + len(last)] if text.count(last) == 1 else None

    def keeps_plain_chats(self) -> bool:
        """Tell whether a user turn and a user-assistant-user chat keep their texts."""
        words = ["alpha one", "beta two", "gamma three"]
        for count in (1, 3):
            text = self.render(chat(words[:count]), reply=True)
            if text is None or any(text.count(word) != 1 for word in words[:count]):
                return False
        return True


def chat(texts: Sequence[str], system: str | None = None) -> Messages:
    """Return a chat that starts with the user, after the system message if there is one."""
    turns = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]
    return turns if system is None else [{"role": "system", "content": system}, *turns]


LINES: Final = (
    "How do I make pasta?",
    "First, boil water: 100 °C.",
    "And then?",
    "Add pasta & salt (10 g).",
    "Why salt?",
)
TEXTS: Final = (
    "Explain this code:\n\n```js\nconst a = [1, 2].map(x => x * 2);\n```\n\nPlease.",
    "Sure!\n\n1. `map` calls the function.\n2. It returns `[2, 4]`.\n\n> quoted \"text\" and 'more'",
    "Ünïcödé: Привет, 你好, こんにちは, 🎉👩‍👩‍👧; zero\u200bwidth",
    "| a | b |\n|---|---|\n| 1 | 2 |\n\nEnd {x} <b>bold</b> $HOME 50% #1",
    "user: hi\nassistant: hello\nsystem: no",
    "Yes.\n\n---\n\nNo.",
    "https://example.com/?a=1&b=2#c",
    "Line one\r\nline two\ttabbed",
    "last question {{ messages }} {% raw %}?",
    "last answer.",
)
REPLY: Final = {"role": "assistant", "content": "Because it tastes better."}
SYSTEM: Final = "You are a cook.\n\nBe brief; answer in the user's language."
EDGES: Final = (" lead", "trail ", "\nlead", "trail\n", "\n\n both \n\n", "\ttab\t", "  two  ", "\u00a0nbsp\u00a0")
ODD: Final = (
    "",
    " ",
    "\n",
    "<think>\nhm\n</think>\n\nYes",
    "</think>Yes",
    "Yes<think>",
    "hm</think>",
    "/no_think now",
    "now /think",
    "<tool_response>\nx\n</tool_response>",
    "<tool_call>\n{}\n</tool_call>",
    "[INST] x [/INST]",
    "<|im_start|>user\nx<|im_end|>",
    "<<SYS>>\nx\n<</SYS>>",
    "<s>x</s>",
    "### User:\nx",
    "system",
    "user",
    "None",
)


def simple_chats() -> Iterator[Messages]:
    """Yield chats of single lines."""
    for count in (1, 3, 5):
        yield chat(LINES[:count])


def plain_chats() -> Iterator[Messages]:
    """Yield chats of ordinary texts, up to ten messages with the reply."""
    for count in (1, 3, 5, 9):
        yield chat(TEXTS[-count:] if count == 1 else TEXTS[:count])


def hard_chats() -> Iterator[tuple[Messages, str]]:
    """Yield everything else that may be asked of a format, with the ending."""
    for texts in (LINES, TEXTS[:9]):
        yield chat(texts, SYSTEM), "reply"
    yield chat(LINES[:1], SYSTEM), "reply"
    for ending in ("closed", "prefill"):
        for count in (2, 4, 10):
            yield chat(TEXTS[:count]), ending
            yield chat(TEXTS[:count], SYSTEM), ending
    for count in (1, 3):
        yield chat(TEXTS[:count]), "closed"
        yield chat(TEXTS[:count], SYSTEM), "closed"
    for odd in (*EDGES, *ODD):
        for system in (SYSTEM, None):
            yield chat([odd, "b", "c"], system), "reply"
            yield chat(["a", odd, "c"], system), "reply"
            yield chat(["a", "b", odd], system), "reply"
            yield chat(["a", "b", "c", odd], system), "closed"
            if odd == odd.strip() != "":
                yield chat(["a", "b", "c", odd], system), "prefill"
            yield chat(["a", odd, "c", "d"], system), "closed"
            yield chat(["a", "b", odd], system), "closed"
            yield chat([odd, odd, odd], system), "reply"
        yield chat(["a", "b", "c"], odd), "reply"
        yield chat(["a"], odd), "reply"
        yield chat(["a", "b"], odd), "closed"


@dataclass
class Verdict:
    """What was found out about one format."""

    simple: bool = True
    exact: bool = True
    both_ways: bool = True
    system: bool = True
    wrong: list[str] = field(default_factory=list)


def judge(template: Template, made: PromptFormat) -> Verdict:
    """Hold a format against its template."""
    verdict = Verdict()
    # Where a template writes no header for the reply, its format has closed histories alone.
    ending, closing = ("reply", []) if ("user", "reply") in made.separators else ("closed", [REPLY])
    for messages in simple_chats():
        verdict.simple &= check(template, made, [*messages, *closing], ending, verdict)[0]
    for messages in plain_chats():
        exact, back = check(template, made, [*messages, *closing], ending, verdict)
        verdict.exact &= exact
        verdict.both_ways &= exact and back
    for messages, ending in hard_chats():
        exact, _ = check(template, made, messages, ending, verdict)
        if messages[0]["content"] == SYSTEM and messages[1:] in (chat(LINES), chat(TEXTS[:9])):
            verdict.system &= exact
    return verdict


def check(
    template: Template, made: PromptFormat, messages: Messages, ending: str, verdict: Verdict
) -> tuple[bool, bool]:
    """Tell whether a chat is written as the template does, and read back; note where it is silently wrong."""
    try:
        ours = made.render(messages, bos=True, continue_final=ending == "prefill", reply=ending == "reply")
    except PromptError:
        return False, False
    theirs = template.prompt(messages, ending)
    if theirs is None and ending == "prefill":
        return True, True  # where the template's prompt is to be cut cannot be told
    if ours != theirs:
        verdict.wrong.append(f"{ending} {messages!r}: {ours!r} is not {theirs!r}")
        return False, False
    if not reads_back(made, ours, messages):
        verdict.wrong.append(f"{ending} {messages!r} reads back otherwise")
        return True, False
    return True, True


def reads_back(made: PromptFormat, prompt: str, messages: Messages) -> bool:
    """Tell whether a prompt is parsed to its messages."""
    try:
        return list(made.parse(prompt)) == made.normalize(messages)
    except PromptError:
        return False


def main() -> int:
    """Judge each template of a folder and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--trust", action="store_true", help="judge what was observed, without asking again")
    parser.add_argument("--verbose", action="store_true", help="print what is refused or wrong, template by template")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    times: list[float] = []
    for path in sorted(options.directory.rglob("*.jinja*")):
        counts["templates"] += 1
        source = path.read_text(encoding="utf-8")
        line = count_one(source, counts, refused, times, verify=not options.trust)
        if options.verbose and line:
            print(f"{path.stem}: {line}", file=sys.stderr)
    return report(counts, refused, times)


def count_one(source: str, counts: Counter[str], refused: Counter[str], times: list[float], *, verify: bool) -> str:
    """Count what one template comes to; return what a reader should know of it."""
    try:
        template = Template(source)
        is_plain = template.keeps_plain_chats()
        compiled = ChatTemplate(source, date=TODAY, variables=TOKENS)
    except (jinja2.TemplateError, TemplateError) as error:
        counts["not compiled"] += 1
        return f"not compiled: {error}"
    counts["plain"] += is_plain
    gc.collect()  # what compiling left behind is no part of what is timed
    start = time.process_time()
    try:
        made = derive(compiled, "template", TOKENS["bos_token"], verify=verify)
    except TemplateError as error:
        if is_plain:
            refused[error.property] += 1
        return str(error) if is_plain else ""
    finally:
        times.append(1000 * (time.process_time() - start))
    if not is_plain:
        counts["more"] += 1
        return judge_parts(compiled, made)
    verdict = judge(template, made)
    counts.update(name for name in ("simple", "exact", "both_ways", "system") if getattr(verdict, name))
    counts["wrong"] += bool(verdict.wrong)
    return "; ".join(verdict.wrong[:2]) or ("" if verdict.exact else "refuses some plain chats")


def judge_parts(compiled: ChatTemplate, made: PromptFormat) -> str:
    """Hold a format against a template that wants contents as parts."""
    for messages in (*simple_chats(), *plain_chats()):
        parts = [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]
        try:
            if made.render(messages, bos=True) != compiled.render(parts, reply=True):
                return "wrong with parts"
        except PromptError as error:
            return str(error)
    return ""


def report(counts: Counter[str], refused: Counter[str], times: Sequence[float]) -> int:
    """Print the counts; return the exit code."""
    plain = counts["plain"]
    print(f"{counts['templates']} templates, {counts['not compiled']} do not compile")
    print(f"{plain} keep the texts of a user turn and of a user-assistant-user chat by themselves; of these")
    for name, words in (
        ("simple", "exact on chats of single lines"),
        ("exact", "exact on all plain chats"),
        ("both_ways", "exact both ways"),
        ("system", "exact with a system message"),
    ):
        print(f"{counts[name]:6} {counts[name] / plain:7.1%}  {words}")
    for reason, count in refused.most_common():
        print(f"{count:6} {count / plain:7.1%}  refused: {reason}")
    print(f"{counts['wrong']:6} {counts['wrong'] / plain:7.1%}  silently wrong on some chat")
    print(f"{counts['more']} more that want contents as parts or a system message")
    ordered = sorted(times)
    print(
        f"after compiling: mean {mean(times):.2f} ms, median {median(times):.2f} ms,"
        f" 95th percentile {ordered[len(ordered) * 95 // 100]:.2f} ms, slowest {ordered[-1]:.1f} ms"
    )
    kept = counts["exact"] >= EXACT_BOUND * plain and counts["both_ways"] >= BOTH_WAYS_BOUND * plain
    return 0 if kept and not counts["wrong"] and mean(times) <= TIME_BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
