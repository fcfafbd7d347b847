"""A conversation: what has been said so far, and the commands that change or show it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from novita_openai.cli.service import found_model, pricing_for
from novita_openai.cli.terminal import note, show, styled
from novita_openai.prices import dollars

if TYPE_CHECKING:
    from typing import TextIO

    from novita_openai.client import NovitaOpenAI
    from novita_openai.prices import Tokens

__all__ = ["COMMANDS", "Conversation", "Turns", "obey", "painted"]


@dataclass(slots=True)
class Conversation:
    """Turns of a user and a model. ``spent``: the tokens of each answer by model; ``saved``: what /save wrote last."""

    model: str
    system: str | None = None
    turns: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    spent: dict[str, list[Tokens]] = field(default_factory=dict[str, "list[Tokens]"])
    saved: Path | None = None

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Return all that the model is to read."""
        first = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*first, *self.turns]

    def add(self, question: str, answer: str) -> None:
        """Keep a question and its answer."""
        self.turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    def spend(self, tokens: Tokens | None) -> None:
        """Count the tokens of an answer, where it told them."""
        if tokens is not None:
            self.spent.setdefault(self.model, []).append(tokens)


Turns = Sequence[Mapping[str, Any]]

COMMANDS: Final = {
    "/model": "NAME: ask this model from now on; without a name, say which is asked",
    "/system": "TEXT: say who the model is to be; without a text, say what was said",
    "/undo": "forget the last question and its answer",
    "/prompt": "FORMAT: show what has been said as a prompt of that format; without a name, of the model's own",
    "/cost": "say the tokens and dollars so far",
    "/save": "FILE: write what has been said to a file, as JSON",
    "/help": "list these commands",
    "/quit": "leave; Ctrl-D does too",
}


def obey(line: str, conversation: Conversation, client: NovitaOpenAI) -> None:
    """Do what a command says, but for /quit."""
    name, _, rest = line.partition(" ")
    doing = _DOING.get(name)
    if doing is None:
        note(f"there is no command {name}: /help lists them; a message that begins so goes after a space")
    else:
        doing(conversation, client, rest.strip())


def _set_model(conversation: Conversation, client: NovitaOpenAI, name: str) -> None:
    if name:
        conversation.model = found_model(client, name)
    note(f"asking {conversation.model}")


def _set_system(conversation: Conversation, _: NovitaOpenAI, text: str) -> None:
    conversation.system = text or conversation.system
    note("no system message" if conversation.system is None else f"the system message: {conversation.system}")


def _undo(conversation: Conversation, _: NovitaOpenAI, __: str) -> None:
    if not conversation.turns:
        note("nothing has been said yet")
        return
    question = conversation.turns[-2]["content"]
    del conversation.turns[-2:]
    note(f"forgotten: {_shortened(question)}")


def _shortened(text: str, longest: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def _show_prompt(conversation: Conversation, _: NovitaOpenAI, name: str) -> None:
    import sys

    from novita_openai.prompts import format_for_model, get_format

    if not conversation.turns:
        note("nothing has been said yet")
        return
    fmt = get_format(name) if name else format_for_model(conversation.model)
    text = fmt.render(conversation.messages, reply=False)
    show("".join(painted(text, fmt.normalize(conversation.messages), sys.stdout)))
    note(f"format {fmt.name}, {len(text)} characters")


def painted(text: str, messages: Turns, stream: TextIO) -> Iterator[str]:
    """Yield a prompt in pieces: what the format writes dimmed, each message in the colour of its role."""
    place = 0
    for message in messages:
        content = message.get("content")
        start = text.find(content, place) if isinstance(content, str) and content else -1
        if isinstance(content, str) and start >= 0:
            yield styled(text[place:start], "2", stream)
            yield styled(content, _COLOURS.get(message["role"], "0"), stream)
            place = start + len(content)
    yield styled(text[place:], "2", stream)


_COLOURS: Final = {"system": "33", "user": "36", "assistant": "32"}
"""Yellow, cyan, green."""


def _tell_cost(conversation: Conversation, client: NovitaOpenAI, _: str) -> None:
    for model, spent in conversation.spent.items():
        pricing = pricing_for(client, model)
        price = "price unknown" if pricing is None else dollars(sum(map(pricing.cost, spent)))
        prompts, answers = (sum(counts) for counts in zip(*(tokens[:2] for tokens in spent), strict=True))
        note(f"{model}: {prompts} tokens in, {answers} out, {price}")
    if not conversation.spent:
        note("nothing has been spent yet")


def _save(conversation: Conversation, _: NovitaOpenAI, name: str) -> None:
    path = Path(name).expanduser() if name else conversation.saved
    if path is None:
        note("/save FILE: name the file")
        return
    if path.exists() and path != conversation.saved:
        note(f"{path} is there already: name another file")
        return
    said = {"model": conversation.model, "messages": conversation.messages}
    path.write_text(json.dumps(said, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    conversation.saved = path
    note(f"written to {path}")


def _help(_: Conversation, __: NovitaOpenAI, ___: str) -> None:
    for name, meaning in COMMANDS.items():
        note(f"{name} {meaning}" if meaning.partition(":")[0].isupper() else f"{name}: {meaning}")
    note("Enter sends; Alt-Enter begins a new line; the arrow up brings back what you sent; Ctrl-C stops an answer")


_DOING: Final = {
    "/model": _set_model,
    "/system": _set_system,
    "/undo": _undo,
    "/prompt": _show_prompt,
    "/cost": _tell_cost,
    "/save": _save,
    "/help": _help,
}
