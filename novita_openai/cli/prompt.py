"""The commands of prompt formats: which there are, render, parse, detect, check."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from novita_openai.cli.terminal import FAILED, print_table, read_text, reported, show, tell
from novita_openai.prompts import PromptError, TemplateError
from novita_openai.prompts.catalog import detect, format_for_model, format_names, get_format, reads
from novita_openai.prompts.over_completions.checking import RIGHT

if TYPE_CHECKING:
    from novita_openai.prompts import PromptFormat

prompt_app = typer.Typer(help="Turn chat messages into a completion model's prompt, and back.", no_args_is_help=True)

Name = Annotated[str | None, typer.Option("--format", "-f", help="The format's name; see 'prompt formats'.")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="A model's id, in place of a format's name.")]
Template = Annotated[
    Path | None,
    typer.Option(
        "--template",
        "-t",
        exists=True,
        help="A chat template's file, or a model's folder, in place of a format's name.",
    ),
]
Variables = Annotated[
    list[str] | None,
    typer.Option("--set", help="What the template reads, as eos_token=</s> or enable_thinking=false; may be repeated."),
]
Date = Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Today, where a format prints it.")]
Text = Annotated[str | None, typer.Argument(help="The prompt; standard input where it is missing or '-'.")]
_NO_VARIABLES: Final = frozenset({"date", "name", "path", "source"})
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
    template: Template = None,
    variables: Variables = None,
    continue_final: Annotated[bool, typer.Option("--continue-final", help="Leave the last message open.")] = False,
    reply: Annotated[bool, typer.Option(help="Ask for the assistant's reply, or close the history.")] = True,
    bos: Annotated[bool, typer.Option("--bos", help="Write the BOS text, which servers add themselves.")] = False,
    date: Date = None,
) -> None:
    """Print the prompt of chat messages, a JSON list, without a newline at its end."""
    with _refused():
        fmt = _format(name, model, template, _variables(variables, date))
        day = date.date() if date else None
        given = _messages(read_text(messages))
        show(fmt.render(given, continue_final=continue_final, reply=reply, bos=bos, date=day), end="")


@prompt_app.command()
def parse(
    prompt: Text = None,
    *,
    name: Name = None,
    model: Model = None,
    template: Template = None,
    variables: Variables = None,
    date: Date = None,
) -> None:
    """Print the messages of a prompt as JSON."""
    with _refused():
        fmt = _format(name, model, template, _variables(variables, date))
        show(json.dumps(fmt.parse(read_text(prompt)), ensure_ascii=False, indent=2))


@prompt_app.command(name="detect")
def detect_formats(
    prompt: Text = None, *, template: Template = None, variables: Variables = None, date: Date = None
) -> None:
    """Print the names of the formats under which a prompt parses, a template's among them where one is given."""
    text = read_text(prompt)
    with _refused():
        own = [] if template is None else [_derived(template, _variables(variables, date))]
    names = [*detect(text), *(fmt.name for fmt in own if reads(fmt, text))]
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
    from novita_openai.prompts.over_completions.checking import check

    with reported(), _refused(), create_client(base_url=base_url) as client:
        found = check(client, model, format=name)
    if as_json:
        show(json.dumps(asdict(found)))
    else:
        show("\t".join((found.verdict, *found.formats)))
    if found.verdict != RIGHT:
        raise typer.Exit(FAILED)


def _format(name: str | None, model: str | None, template: Path | None, variables: Mapping[str, Any]) -> PromptFormat:
    if [name, model, template].count(None) != 2:  # noqa: PLR2004 - two of three
        raise typer.BadParameter("give one of --format, --model and --template")
    if template is not None:
        return _derived(template, variables)
    return get_format(name) if name is not None else format_for_model(model or "")


def _derived(path: Path, variables: Mapping[str, Any]) -> PromptFormat:
    """Return the format of a chat template's file, or of a model's folder."""
    from novita_openai.prompts import from_pretrained_config, from_template

    try:
        if path.is_dir():
            return from_pretrained_config(path, **variables)
        return from_template(path.read_text(encoding="utf-8"), name=path.stem, **variables)
    except UnicodeError as error:
        raise typer.BadParameter(f"{path} is not UTF-8") from error


def _variables(given: Iterable[str] | None, date: dt.datetime | None) -> dict[str, Any]:
    """Return what a template is to read; a token is text, anything else JSON where it can be."""
    variables: dict[str, Any] = {"date": date.date() if date else None}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier() or key in _NO_VARIABLES:
            raise typer.BadParameter(f"{text!r} does not say what a template reads: give name=value")
        variables[key] = value if key.endswith("_token") else _json_or_text(value)
    return variables


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


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
    except (PromptError, TemplateError, ModuleNotFoundError) as error:
        tell(str(error))
        raise typer.Exit(FAILED) from error
