"""The options that say which prompt format is meant: a name, a model, or a chat template."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from novita_openai.prompts import PromptFormat

__all__ = ["FormatOption", "FormatOptions", "TemplateOptions", "ToolsOption", "chosen_format", "read_tools"]

FormatOption = Annotated[
    str | None,
    typer.Option("--format", "-f", metavar="NAME", help="The name of the prompt format; 'prompt formats' lists them."),
]
ToolsOption = Annotated[
    str | None,
    typer.Option(
        "--tools",
        metavar="JSON|FILE",
        help="Declarations of tools as in a chat request: a JSON list, or a file that holds it.",
    ),
]
_NO_VARIABLES: Final = frozenset({"date", "name", "path", "source", "template", "verify"})
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
            metavar="FILE|FOLDER",
            help="A file with a chat template, or the folder of a model, in place of a format's name.",
        ),
    ] = None
    variables: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A variable of the template, such as eos_token=</s> or enable_thinking=false; repeat it for more.",
        ),
    ] = None
    date: Annotated[
        dt.datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
            help="The date of today, for formats and templates that write it.",
        ),
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
        str | None,
        typer.Option("--model", "-m", metavar="MODEL", help="The id of a model, in place of its format's name."),
    ] = None


def chosen_format(choice: FormatOptions, template: TemplateOptions) -> PromptFormat:
    """Return the one format that is meant."""
    if [choice.name, choice.model, template.template].count(None) != 2:  # noqa: PLR2004 - two of three
        raise typer.BadParameter("give one of --format, --model and --template")
    if template.template is not None:
        return template.derived(template.template)
    from novita_openai.prompts import format_for_model, get_format

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


def read_tools(given: str | None) -> Any:
    """Return declarations of tools, given as JSON or as the path of a file that holds it; None where none are given."""
    if given is None:
        return None
    try:
        text = given if given.lstrip().startswith("[") else Path(given).read_text(encoding="utf-8")
        tools = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"the tools are not JSON: {error}") from error
    if not isinstance(tools, list):
        raise typer.BadParameter("the tools must be a JSON list of declarations, as in a chat request")
    return tools
