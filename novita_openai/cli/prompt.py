"""The commands of prompt formats: list them, render, parse, detect, check."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from novita_openai.cli.failures import FAILED, reported
from novita_openai.cli.options import BaseURLOption, JSONOption, PromptArgument, grouped
from novita_openai.cli.terminal import print_table, read_text, show, tell
from novita_openai.prompts.catalog import detect, format_for_model, format_names, get_format, reads
from novita_openai.prompts.over_completions.checking import RIGHT

if TYPE_CHECKING:
    from novita_openai.prompts import PromptFormat

prompt_app = typer.Typer(
    help="Write chat messages as the prompt of a completion model, and read such a prompt back.", no_args_is_help=True
)

FormatOption = Annotated[
    str | None, typer.Option("--format", "-f", help="The name of the prompt format; 'prompt formats' lists them.")
]
_NO_VARIABLES: Final = frozenset({"date", "name", "path", "source"})
"""Arguments of a derivation that are no variables of a template."""


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    """A model's own chat template, and what it reads besides the messages."""

    template: Annotated[
        Path | None,
        typer.Option(
            "--template",
            "-t",
            exists=True,
            help="A file with a chat template, or the folder of a model, in place of a format's name.",
        ),
    ] = None
    variables: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A variable of the template, such as eos_token=</s> or enable_thinking=false; repeat it for more.",
        ),
    ] = None
    date: Annotated[
        dt.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="The date of today, for formats and templates that write it."),
    ] = None

    @property
    def day(self) -> dt.date | None:
        """Return the date that was given."""
        return self.date.date() if self.date else None

    def derived(self, path: Path) -> PromptFormat:
        """Return the format of the chat template in a file or in a model's folder."""
        from novita_openai.prompts import from_pretrained_config, from_template

        variables = _variables(self.variables or ())
        try:
            if path.is_dir():
                return from_pretrained_config(path, date=self.day, **variables)
            return from_template(path.read_text(encoding="utf-8"), name=path.stem, date=self.day, **variables)
        except UnicodeError as error:
            raise typer.BadParameter(f"{path} is not UTF-8") from error


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """Which of the named formats is meant."""

    name: FormatOption = None
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The id of a model, in place of its format's name.")
    ] = None


@prompt_app.command()
@reported()
def formats(*, as_json: JSONOption = False) -> None:
    """List the formats: name, stop strings, and the source that each was taken from."""
    found = [get_format(name) for name in format_names()]
    if as_json:
        show(json.dumps([{"name": fmt.name, "bos": fmt.bos, "stop": fmt.stop, "source": fmt.source} for fmt in found]))
        return
    rows = [(fmt.name, " ".join(map(repr, fmt.stop)), fmt.source) for fmt in found]
    print_table(rows, "format", "stop", "source")


@prompt_app.command()
@reported()
@grouped
def render(
    *,
    messages: Annotated[
        str | None,
        typer.Argument(help="The messages, as a JSON list. Where they are missing or '-', standard input is read."),
    ] = None,
    choice: FormatOptions,
    template: TemplateOptions,
    continue_final: Annotated[
        bool, typer.Option("--continue-final", help="Leave the last message open, for the model to go on with it.")
    ] = False,
    reply: Annotated[
        bool, typer.Option("--reply/--no-reply", help="End with what asks for the assistant's reply, or without it.")
    ] = True,
    bos: Annotated[
        bool, typer.Option("--bos", help="Begin with the text of the BOS token; servers add that token themselves.")
    ] = False,
) -> None:
    """Print chat messages as a prompt, without a newline at its end."""
    fmt = _format(choice, template)
    given = _messages(read_text(messages))
    show(fmt.render(given, continue_final=continue_final, reply=reply, bos=bos, date=template.day), end="")


@prompt_app.command()
@reported()
@grouped
def parse(*, prompt: PromptArgument = None, choice: FormatOptions, template: TemplateOptions) -> None:
    """Print the chat messages of a prompt, as a JSON list."""
    fmt = _format(choice, template)
    show(json.dumps(fmt.parse(read_text(prompt)), ensure_ascii=False, indent=2))


@prompt_app.command(name="detect")
@reported()
@grouped
def detect_formats(*, prompt: PromptArgument = None, template: TemplateOptions) -> None:
    """Print the names of the formats that can read a prompt, and that of a template where it can."""
    text = read_text(prompt)
    own = [] if template.template is None else [template.derived(template.template)]
    names = [*detect(text), *(fmt.name for fmt in own if reads(fmt, text))]
    if not names:
        tell("no format reads this prompt")
        raise typer.Exit(FAILED)
    show("\n".join(names))


@prompt_app.command(name="check")
@reported()
def check_format(
    model: Annotated[str, typer.Argument(help="The id of a model.")],
    *,
    name: FormatOption = None,
    base_url: BaseURLOption = None,
    as_json: JSONOption = False,
) -> None:
    """Ask the service for answers of one token, and print which formats fit the model by the tokens it counts."""
    from novita_openai.client import create_client
    from novita_openai.prompts import check

    with create_client(base_url=base_url) as client:
        found = check(client, model, format=name)
    show(json.dumps(asdict(found)) if as_json else "\t".join((found.verdict, *found.formats)))
    if found.verdict != RIGHT:
        raise typer.Exit(FAILED)


def _format(choice: FormatOptions, template: TemplateOptions) -> PromptFormat:
    if [choice.name, choice.model, template.template].count(None) != 2:  # noqa: PLR2004 - two of three
        raise typer.BadParameter("give one of --format, --model and --template")
    if template.template is not None:
        return template.derived(template.template)
    return get_format(choice.name) if choice.name is not None else format_for_model(choice.model or "")


def _variables(given: Iterable[str]) -> dict[str, Any]:
    """Return the variables of a template: a token is text, anything else JSON where it can be, else text."""
    variables: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier() or key in _NO_VARIABLES:
            raise typer.BadParameter(f"{text!r} sets no variable of a template: give --set name=value")
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
