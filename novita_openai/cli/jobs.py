"""The options of the command ``batch`` that say how its job is run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    from novita_openai.batch import RunOptions

__all__ = ["ChangedOption", "JobOptions"]


def _refuse(given: bool) -> None:  # noqa: FBT001 - typer gives the value alone
    if given:
        raise typer.BadParameter(
            "it is --raw now, which sends each line to completions as it is; a line of a .txt file is a user's message"
        )


def _read_schema(path: Path) -> dict[str, Any]:
    """Return the JSON Schema in a file."""
    try:
        schema: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise typer.BadParameter(f"--schema {path}: this is not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise typer.BadParameter(f"--schema {path}: a JSON Schema is an object, not {type(schema).__name__}")
    return cast("dict[str, Any]", schema)


ChangedOption = Annotated[bool, typer.Option("--prompts", hidden=True, callback=_refuse)]
"""An option of version 0.1.0 that has another name now."""


@dataclass(frozen=True, slots=True)
class JobOptions:
    """The :class:`~novita_openai.batch.RunOptions`, under their names, that a shell can give."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="MODEL", help="The model for lines of text, and for rows that name none."
        ),
    ] = None
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Take each line of the input as a prompt, and send it to completions as it is."),
    ] = False
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Take each line of the input as a user's message, and write it as a prompt in this format; "
            "'prompt formats' lists them.",
        ),
    ] = None
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", metavar="N", min=1, help="The longest answer to a line of text, in tokens.")
    ] = 512
    concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Have at most so many requests under way.", show_default="found by trying"
        ),
    ] = None
    rpm: Annotated[
        float | None, typer.Option(metavar="N", min=0.001, help="Send at most so many requests a minute to each model.")
    ] = None
    tpm: Annotated[
        float | None, typer.Option(metavar="N", min=0.001, help="Send at most so many tokens a minute to each model.")
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=0.001, help="Wait so many seconds for an attempt.", show_default="10 minutes"
        ),
    ] = None
    attempts: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Send a row at most so often before it has failed.", show_default="8"),
    ] = None
    row_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.001,
            help="Give each row so many seconds from its first request on.",
            show_default="1800",
        ),
    ] = None
    max_wait: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Do not wait longer than so many seconds if the service asks.",
            show_default="600",
        ),
    ] = None
    drain: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Give requests under way so many seconds to end after a signal.",
            show_default="8",
        ),
    ] = None
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Send the rows again that failed in an earlier run.")
    ] = False
    max_errors: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Stop when more rows than this have failed.")
    ] = None
    max_cost: Annotated[
        float | None,
        typer.Option(
            metavar="DOLLARS", min=0, help="Stop before all starts of the job cost more than so many dollars."
        ),
    ] = None
    schema: Annotated[
        Path | None,
        typer.Option(
            "--schema",
            metavar="FILE",
            help="A file with a JSON Schema that each answer must fit; a row whose answer does not is asked again, "
            "with what was wrong.",
        ),
    ] = None
    validate_attempts: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Ask at most so often again for an answer that fits.", show_default="2"),
    ] = None
    dedupe: Annotated[
        bool, typer.Option("--dedupe", help="Send equal rows once, but for those that ask for samples.")
    ] = False
    via: Annotated[
        str,
        typer.Option(
            metavar="WAY",
            help="'batch-api': have the service's own fleet run the rows, within 48 hours and for half the price, "
            "where their model offers that.",
        ),
    ] = "online"
    detach: Annotated[
        bool,
        typer.Option("--detach", help="With --via batch-api: submit the rows and do not wait; a later start collects."),
    ] = False
    cancel: Annotated[
        bool,
        typer.Option("--cancel", help="Cancel the batches at the service and collect what is there; send nothing."),
    ] = False
    create_again: Annotated[
        bool,
        typer.Option(
            "--create-again",
            help="With --via batch-api: submit rows anew of which nobody knows whether the service has them.",
        ),
    ] = False
    keep_files: Annotated[bool, typer.Option("--keep-files", help="Leave the files of batches at the service.")] = False
    poll: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.001,
            help="Seconds before the first look at a batch; they grow to 60.",
            show_default="5",
        ),
    ] = None
    ordered: Annotated[
        bool, typer.Option("--ordered", help="When the job is complete, sort the results as the input is.")
    ] = False

    def run_options(self, base_url: str | None) -> RunOptions:
        """Return the options, with a client of the address where one is given."""
        from novita_openai.client import AsyncNovitaOpenAI
        from novita_openai.retry import RetryPolicy

        given = asdict(self)
        schema = given.pop("schema")
        options = cast("RunOptions", given)
        if schema is not None:
            options["validate"] = _read_schema(schema)
        if base_url is not None:
            options["client"] = AsyncNovitaOpenAI(base_url=base_url, policy=RetryPolicy.batch())
        return options
