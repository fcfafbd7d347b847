"""The commands of prompt formats: which there are, render, parse, detect, check."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from novita_openai.prompts.catalog import detect, format_for_model, format_names, get_format
from novita_openai.prompts.checking import RIGHT
from novita_openai.prompts.messages import PromptError
from novita_openai.terminal import FAILED, print_table, read_text, reported, show, tell

if TYPE_CHECKING:
    from novita_openai.prompts.format import PromptFormat

prompt_app = typer.Typer(help="Turn chat messages into a completion model's prompt, and back.", no_args_is_help=True)

Name = Annotated[str | None, typer.Option("--format", "-f", help="The format's name; see 'prompt formats'.")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="A model's id, in place of a format's name.")]
Text = Annotated[str | None, typer.Argument(help="The prompt; standard input where it is missing or '-'.")]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@prompt_app.command()
def formats(*, as_json: AsJSON = False) -> None:
    """List the formats: name, stop strings, where it was taken from."""
    found = [get_format(name) for name in format_names()]
    if as_json:
        show(json.dumps([{"name": fmt.name, "bos": fmt.bos, "stop": fmt.stop, "source": fmt.source} for fmt in found]))
    else:
        print_table(
            [(fmt.name, " ".join(map(repr, fmt.stop)), fmt.source) for fmt in found], "format", "stop", "source"
        )


@prompt_app.command()
def render(
    messages: Annotated[str | None, typer.Argument(help="JSON messages; standard input where missing or '-'.")] = None,
    *,
    name: Name = None,
    model: Model = None,
    continue_final: Annotated[bool, typer.Option("--continue-final", help="Leave the last message open.")] = False,
    reply: Annotated[bool, typer.Option(help="Ask for the assistant's reply, or close the history.")] = True,
    bos: Annotated[bool, typer.Option("--bos", help="Write the BOS text, which servers add themselves.")] = False,
    date: Annotated[
        dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Today, where a format prints it.")
    ] = None,
) -> None:
    """Print the prompt of chat messages, a JSON list, without a newline at its end."""
    with _refused():
        fmt = _format(name, model)
        day = date.date() if date else None
        given = _messages(read_text(messages))
        show(fmt.render(given, continue_final=continue_final, reply=reply, bos=bos, date=day), end="")


@prompt_app.command()
def parse(prompt: Text = None, *, name: Name = None, model: Model = None) -> None:
    """Print the messages of a prompt as JSON."""
    with _refused():
        show(json.dumps(_format(name, model).parse(read_text(prompt)), ensure_ascii=False, indent=2))


@prompt_app.command(name="detect")
def detect_formats(prompt: Text = None) -> None:
    """Print the names of the formats under which a prompt parses."""
    names = detect(read_text(prompt))
    if not names:
        tell("no format reads this prompt")
        raise typer.Exit(FAILED)
    show("\n".join(names))


@prompt_app.command(name="check")
def check_format(
    model: Annotated[str, typer.Argument(help="A model's id.")],
    *,
    name: Name = None,
    base_url: Annotated[str | None, typer.Option("--base-url", help="The address [default: Novita's].")] = None,
    as_json: AsJSON = False,
) -> None:
    """Compare a live server's token counts of chats and of prompts, and print which formats fit."""
    from novita_openai.client import create_client
    from novita_openai.prompts.checking import check

    with reported(), _refused(), create_client(base_url=base_url) as client:
        found = check(client, model, format=name)
    if as_json:
        show(json.dumps(asdict(found)))
    else:
        show("\t".join((found.verdict, *found.formats)))
    if found.verdict != RIGHT:
        raise typer.Exit(FAILED)


def _format(name: str | None, model: str | None) -> PromptFormat:
    if name is not None and model is None:
        return get_format(name)
    if model is not None and name is None:
        return format_for_model(model)
    raise typer.BadParameter("give either --format or --model")


def _messages(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"the messages are not JSON: {error}") from error


@contextmanager
def _refused() -> Iterator[None]:
    """Turn a refusal into one line on stderr and an exit code."""
    try:
        yield
    except PromptError as error:
        tell(str(error))
        raise typer.Exit(FAILED) from error
