"""The commands that ask a model: ``chat`` and ``complete``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from novita_openai.cli.answers import Screen, ShownAnswer, remark, told_usage, whole_answer
from novita_openai.cli.conversation import Conversation
from novita_openai.cli.failures import FAILED, reported
from novita_openai.cli.inputs import image_part, parameters, read_question
from novita_openai.cli.options import AnswerOptions, QuestionArgument, ServiceOptions, grouped
from novita_openai.cli.schemas import AnswerSchema
from novita_openai.cli.service import asked, listed_rows, model_to_ask, open_client
from novita_openai.cli.terminal import is_terminal, show, tell

if TYPE_CHECKING:
    from novita_openai.client import NovitaOpenAI

__all__ = ["chat", "complete"]


@reported()
@grouped
def chat(
    *,
    prompt: QuestionArgument = None,
    system: Annotated[
        str | None, typer.Option("--system", "-s", metavar="TEXT", help="The system message: who the model is to be.")
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            "--attach", "-a", metavar="FILE", help="An image to send along: a file or an address; repeat it for more."
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema",
            metavar="FIELDS|FILE",
            help="What the answer must be: fields as 'name, age int', or a file with a JSON Schema; it is checked.",
        ),
    ] = None,
    answer: AnswerOptions,
    service: ServiceOptions,
) -> None:
    """Send a chat message, and print the answer as it comes; without one, at a terminal, hold a conversation.

    An answer that is cut is told on stderr; one that is filtered, empty or not what --schema says ends with 1.

    \b
    novita-openai chat "How do I make pasta?"
    git diff | novita-openai chat "Write a commit message for this diff."
    novita-openai chat -a photo.jpg -m qwen2.5-vl-72b "What is this?"
    novita-openai chat --schema 'name, born int' "Who wrote Faust?"
    """
    _refuse_two_models(answer, service)
    wanted = AnswerSchema.read(schema)
    if prompt is None and is_terminal(sys.stdin) and is_terminal(sys.stdout):
        if images or wanted is not None or answer.as_json:
            raise typer.BadParameter("give a prompt: a conversation takes no --attach, --schema and --json")
        _talk(system, answer, service)
        return
    messages = _messages(system, read_question(prompt, "\n\n"), images or [])
    body = _body(answer) | {"messages": messages}
    with open_client(service) as client:
        body["model"] = model_to_ask(client, service, answer.model)
        if wanted is not None:
            _ask_for(client, wanted, body, is_local=service.local)
        _finish(client, client.chat.completions.create, body, answer, wanted)


def _refuse_two_models(answer: AnswerOptions, service: ServiceOptions) -> None:
    if service.local and answer.model is not None:
        raise typer.BadParameter("--local asks the one model of this machine: leave out --model, or --local")


def _talk(system: str | None, answer: AnswerOptions, service: ServiceOptions) -> None:
    from novita_openai.cli.talking import talk

    body = _body(answer) | {"stream_options": {"include_usage": True}}
    with open_client(service) as client:
        talk(client, Conversation(model_to_ask(client, service, answer.model), system), body, answer)


@reported()
@grouped
def complete(*, prompt: QuestionArgument = None, answer: AnswerOptions, service: ServiceOptions) -> None:
    """Send a text, and print how the model goes on with it, as it comes.

    \b
    novita-openai complete --temperature 0 "The capital of France is"
    """
    _refuse_two_models(answer, service)
    body = _body(answer) | {"prompt": read_question(prompt, "")}
    with open_client(service) as client:
        body["model"] = model_to_ask(client, service, answer.model)
        _finish(client, client.completions.create, body, answer, None)


def _messages(system: str | None, text: str, images: list[str]) -> list[dict[str, Any]]:
    content = [*map(image_part, images), {"type": "text", "text": text}] if images else text
    first = [] if system is None else [{"role": "system", "content": system}]
    return [*first, {"role": "user", "content": content}]


def _body(answer: AnswerOptions) -> dict[str, Any]:
    """Return what a request says besides its model and its prompt."""
    more = parameters(answer.settings or ())
    if more.get("n", 1) != 1 and not answer.as_json:
        raise typer.BadParameter("--set n: several answers are printed with --json alone")
    given = {"max_tokens": answer.max_tokens, "temperature": answer.temperature, "extra_body": more or None}
    told = {"stream_options": {"include_usage": True}} if answer.usage and not answer.as_json else {}
    known = {name: value for name, value in given.items() if value is not None}
    return {"stream": not answer.as_json, **known, **told}


def _ask_for(client: NovitaOpenAI, wanted: AnswerSchema, body: dict[str, Any], *, is_local: bool) -> None:
    """Have a request ask for an answer by a schema: as a parameter where the model can do that, else in words."""
    from novita_openai.client.catalog import models_like

    rows = listed_rows(client)
    meant = models_like(body["model"], rows)
    model = meant[0] if len(meant) == 1 else body["model"]  # the service says what is wrong with it
    if is_local or _can(rows.get(model, {}), "structured-outputs"):  # llama.cpp can, though its list does not say so
        body |= {"model": model, "response_format": wanted.response_format}
    else:
        body |= {"model": model, "messages": [{"role": "system", "content": wanted.request}, *body["messages"]]}


def _can(row: Mapping[str, Any], feature: str) -> bool:
    return feature in (row.get("features") or ())


def _finish(
    client: NovitaOpenAI,
    create: Callable[..., Any],
    body: dict[str, Any],
    options: AnswerOptions,
    wanted: AnswerSchema | None,
) -> None:
    """Ask, show the answer, say what is to be said of it, and end with its exit code."""
    answer = _answer(client, create, body, options, is_checked=wanted is not None)
    flaw = None if wanted is None else wanted.flaw(answer.text)
    if wanted is not None and flaw is None and not options.as_json:
        show(answer.text.strip())
    if options.usage:
        tell(told_usage(client, body["model"], answer))
    code = _say(answer, options.max_tokens, is_chat="messages" in body)
    if flaw is not None and not code:
        tell(f"the answer does not fit --schema: {flaw}; it was: {answer.text}")
    if code or flaw is not None:
        raise typer.Exit(FAILED)


def _answer(
    client: NovitaOpenAI, create: Callable[..., Any], body: dict[str, Any], options: AnswerOptions, *, is_checked: bool
) -> ShownAnswer:
    start = time.monotonic()
    if options.as_json:
        reply = asked(client, create, body)
        show(reply.model_dump_json())
        return whole_answer(reply, time.monotonic() - start)
    screen = Screen(is_chat="messages" in body, shows_thoughts=options.reasoning, shows_text=not is_checked)
    return screen.read(asked(client, create, body))


def _say(answer: ShownAnswer, max_tokens: int | None, *, is_chat: bool) -> int:
    """Say what is to be said of an answer, and return the exit code that it means."""
    said = remark(answer, max_tokens, is_chat=is_chat)
    if said is None:
        return 0
    tell(said.words)
    return said.code
