"""The options that several commands have, each written once, and how a command takes many options as one argument."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Final, get_type_hints

import typer

DEFAULT_MODEL: Final = "meta-llama/llama-3.1-8b-instruct"
"""The model of the service's own example."""

PromptArgument = Annotated[
    str | None, typer.Argument(metavar="PROMPT", help="The prompt. Where it is missing or '-', standard input is read.")
]
QuestionArgument = Annotated[
    str | None, typer.Argument(metavar="PROMPT", help="The prompt; text that is piped in goes before it.")
]
BaseURLOption = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="The address of the service.",
        show_default="NOVITA_BASE_URL, else Novita's own",
    ),
]
JSONOption = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON, for programs.")]


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Which service is asked."""

    local: Annotated[
        bool,
        typer.Option("--local", help="Ask a small model that runs on this machine for this command; needs no key."),
    ] = False
    base_url: BaseURLOption = None

    def __post_init__(self) -> None:
        if self.local and self.base_url is not None:
            raise typer.BadParameter("--local and --base-url name two services: leave one out")


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """What every request for an answer says besides its prompt, and how the answer is shown."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="The model's id, or a part that only one id has; the command 'models' lists them.",
            show_default=DEFAULT_MODEL,
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", metavar="N", min=1, help="The longest answer, in tokens.", show_default="the model's own"
        ),
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            metavar="T",
            min=0,
            max=2,
            help="0 for the most predictable answer, up to 2 for more variety.",
        ),
    ] = None
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any parameter of the request, such as top_p=0.9; repeat it for more."
        ),
    ] = None
    usage: Annotated[
        bool, typer.Option("--usage", help="Tell the tokens, the dollars and the seconds of the answer, on stderr.")
    ] = False
    reasoning: Annotated[
        bool, typer.Option("--reasoning/--no-reasoning", help="Show the model's thoughts, on stderr.")
    ] = True
    as_json: JSONOption = False


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let typer see the fields of each dataclass among a command's arguments as options of the command."""
    hints = get_type_hints(command)
    groups = {name: hint for name, hint in hints.items() if _is_group(hint)}

    @wraps(command)
    def flat(**given: Any) -> None:
        for name, group in groups.items():
            names = given.keys() & {field.name for field in fields(group)}
            given[name] = group(**{each: given.pop(each) for each in names})
        command(**given)

    vars(flat)["__signature__"] = Signature([*_parameters(command)])
    return flat


def _parameters(function: Callable[..., Any]) -> Iterator[Parameter]:
    """Yield the arguments of a function, in place of a dataclass those of its constructor."""
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in signature(function).parameters.items():
        if _is_group(hints[name]):
            yield from _parameters(hints[name])
        else:
            yield parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[name])


def _is_group(hint: Any) -> bool:
    return isinstance(hint, type) and is_dataclass(hint)
