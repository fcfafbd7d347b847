"""A conversation at a terminal: lines are read by prompt_toolkit, with editing and a history that is kept nowhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from novita_openai.cli.answers import Screen, remark, tokens_of, told_usage
from novita_openai.cli.conversation import COMMANDS, Conversation, obey
from novita_openai.cli.failures import told
from novita_openai.cli.service import asked
from novita_openai.cli.terminal import note

if TYPE_CHECKING:
    from novita_openai.cli.options import AnswerOptions
    from novita_openai.client import NovitaOpenAI

__all__ = ["talk"]


def talk(client: NovitaOpenAI, conversation: Conversation, body: dict[str, Any], options: AnswerOptions) -> None:
    """Read lines and answer them, until Ctrl-D or /quit."""
    note(f"asking {conversation.model}; /help lists the commands, Ctrl-D leaves")
    read = _reader()
    for line in iter(partial(_line, read), None):
        if line.startswith("/"):
            _try(partial(obey, line, conversation, client))
        elif line.strip():
            _try(partial(_answer, client, conversation, body, options, line.strip()))


def _reader() -> Callable[[], str]:
    """Return what reads a message: Enter sends it, Alt-Enter and pasted newlines stay in it."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def _(event: Any) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    session: PromptSession[str] = PromptSession(
        history=InMemoryHistory(),
        multiline=True,
        key_bindings=keys,
        completer=WordCompleter([*COMMANDS], sentence=True),
        complete_while_typing=False,
        prompt_continuation="  ",
    )
    return lambda: session.prompt("> ")


def _line(read: Callable[[], str]) -> str | None:
    """Return the next message or command, None at the end; Ctrl-C begins it anew."""
    while True:
        try:
            line = read()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return None
        return None if line.strip() in ("/quit", "/exit") else line


def _try(act: Callable[[], None]) -> None:
    """Do something; where it fails or is interrupted, say so and go on."""
    try:
        act()
    except KeyboardInterrupt:
        note("stopped")
    except Exception as error:  # noqa: BLE001 - what nobody expects is raised again
        note(told(error))


def _answer(
    client: NovitaOpenAI, conversation: Conversation, body: dict[str, Any], options: AnswerOptions, question: str
) -> None:
    """Ask, show the answer, and keep both; of an answer that is stopped, what had come."""
    messages = [*conversation.messages, {"role": "user", "content": question}]
    request = body | {"model": conversation.model, "messages": messages}
    screen = Screen(is_chat=True, shows_thoughts=options.reasoning)
    try:
        screen.read(asked(client, client.chat.completions.create, request))
    finally:
        answer, conversation.model = screen.answer, request["model"]
        if answer.text.strip():
            conversation.add(question, answer.text)
        conversation.spend(tokens_of(answer))
    said = remark(answer, options.max_tokens)
    if said is not None:
        note(said.words)
    if options.usage:
        note(told_usage(client, conversation.model, answer))
