"""The commands of prompt formats: list them, render, parse, detect, check."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import typer

from novita_openai.cli.failures import FAILED, reported
from novita_openai.cli.inputs import read_text
from novita_openai.cli.options import BaseURLOption, JSONOption, PromptArgument, grouped
from novita_openai.cli.prompt_options import (
    FormatOption,
    FormatOptions,
    TemplateOptions,
    ToolsOption,
    chosen_format,
    read_tools,
)
from novita_openai.cli.prompt_rows import RowOptions, convert_rows, parsed_row, rendered_row
from novita_openai.cli.service import asked
from novita_openai.cli.terminal import print_table, show, tell

prompt_app = typer.Typer(rich_markup_mode=None)


@prompt_app.callback(invoke_without_command=True)
def start(context: typer.Context) -> None:
    """Write chat messages as the prompt of a completion model, and read such a prompt back."""
    if context.invoked_subcommand is None:
        show(context.get_help())


@prompt_app.command(short_help="List the formats.")
@reported()
def formats(*, as_json: JSONOption = False) -> None:
    """List the formats: name, stop strings, and the source that each was taken from."""
    from novita_openai.prompts import format_names, get_format

    found = [get_format(name) for name in format_names()]
    if as_json:
        show(json.dumps([{"name": fmt.name, "bos": fmt.bos, "stop": fmt.stop, "source": fmt.source} for fmt in found]))
        return
    rows = [(fmt.name, " ".join(map(repr, fmt.stop)), fmt.source) for fmt in found]
    print_table(rows, "format", "stop", "source")


@prompt_app.command(short_help="Write messages as a prompt.")
@reported()
@grouped
def render(
    *,
    messages: Annotated[
        str | None,
        typer.Argument(
            metavar="MESSAGES",
            help="The messages, as a JSON list or an object that 'parse --json' printed. "
            "Where they are missing or '-', standard input is read.",
        ),
    ] = None,
    choice: FormatOptions,
    template: TemplateOptions,
    rows: RowOptions,
    continue_final: Annotated[
        bool, typer.Option("--continue-final", help="Leave the last message open, for the model to go on with it.")
    ] = False,
    reply: Annotated[
        bool | None,
        typer.Option(
            "--reply/--no-reply",
            help="End with what asks for the assistant's reply, or without it.",
            show_default="as parsed, rows that end with a reply without it, else with it",
        ),
    ] = None,
    bos: Annotated[
        bool, typer.Option("--bos", help="Begin with the text of the BOS token; servers add that token themselves.")
    ] = False,
    tools: ToolsOption = None,
    keep_reasoning: Annotated[
        bool, typer.Option("--keep-reasoning", help="Write reasoning that the published template would leave out.")
    ] = False,
    ignore_unknown: Annotated[
        bool,
        typer.Option(
            "--ignore-unknown", help="Leave out of prompts what rows and messages hold besides; rows keep their fields."
        ),
    ] = False,
) -> None:
    """Print chat messages as a prompt, without a newline at its end; with --jsonl, each row of a file.

    Rows are OpenAI's {"messages"}, ShareGPT's {"conversations"} and Alpaca's {"instruction", "input", "output"}.
    """
    fmt = chosen_format(choice, template)
    write = partial(
        fmt.render,
        continue_final=continue_final or None,
        reply=reply,
        bos=bos or None,
        tools=read_tools(tools),
        date=template.day,
        keep_reasoning=keep_reasoning or None,
    )
    if rows.jsonl is not None:
        _refuse_both(messages)
        convert_rows(rows, partial(rendered_row, write, rows.field, ignore_unknown=ignore_unknown))
        return
    from novita_openai.prompts import messages_from

    given = _messages(read_text(messages))
    history = given if isinstance(given, list) else messages_from(given, ignore_unknown=ignore_unknown)
    show(write(history), end="")


@prompt_app.command(short_help="Read the messages in a prompt.")
@reported()
@grouped
def parse(
    *,
    prompt: PromptArgument = None,
    choice: FormatOptions,
    template: TemplateOptions,
    rows: RowOptions,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON from which 'render' writes the same prompt again.")
    ] = False,
) -> None:
    """Print the chat messages of a prompt, as a JSON list; with --jsonl, those of each row of a file, as rows."""
    fmt = chosen_format(choice, template)
    if rows.jsonl is not None:
        _refuse_both(prompt)
        convert_rows(rows, partial(parsed_row, fmt.parse, rows.field))
        return
    from novita_openai.prompts.rows import row_of

    history = fmt.parse(read_text(prompt))
    show(json.dumps(row_of(history)) if as_json else json.dumps(history, ensure_ascii=False, indent=2))


@prompt_app.command(name="detect", short_help="Tell which formats can read a prompt.")
@reported()
@grouped
def detect_formats(*, prompt: PromptArgument = None, template: TemplateOptions) -> None:
    """Print the names of the formats that can read a prompt, and that of a template where it can."""
    from novita_openai.prompts.catalog import detect, reads

    text = read_text(prompt)
    own = [] if template.template is None else [template.derived(template.template)]
    names = [*detect(text), *(fmt.name for fmt in own if reads(fmt, text))]
    if not names:
        tell("no format reads this prompt")
        raise typer.Exit(FAILED)
    show("\n".join(names))


@prompt_app.command(name="check", short_help="Ask the service which formats fit a model.")
@reported()
def check_format(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's id, or a part that only one id has.")],
    *,
    name: FormatOption = None,
    base_url: BaseURLOption = None,
    as_json: JSONOption = False,
) -> None:
    """Ask the service for answers of one token, and print which formats fit the model by the tokens it counts."""
    from novita_openai.client import create_client
    from novita_openai.prompts import check
    from novita_openai.prompts.over_completions.checking import RIGHT

    with create_client(base_url=base_url) as client:
        found = asked(client, partial(check, client, format=name), {"model": model})
    show(json.dumps(asdict(found)) if as_json else "\t".join((found.verdict, *found.formats)))
    if found.verdict != RIGHT:
        raise typer.Exit(FAILED)


def _refuse_both(argument: str | None) -> None:
    if argument is not None:
        raise typer.BadParameter("give either an argument or --jsonl")


def _messages(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"the messages are not JSON: {error}") from error
