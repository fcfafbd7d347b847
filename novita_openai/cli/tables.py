"""The options of the command ``batch`` that a table has besides those of every job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import typer

from novita_openai.cli.inputs import parameters

if TYPE_CHECKING:
    from novita_openai.batch import RunOptions, TableOptions

__all__ = ["AskOptions"]


@dataclass(frozen=True, slots=True)
class AskOptions:
    """What is asked about each row of a table."""

    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="TEXT",
            help="For a table (.csv, .tsv, .parquet, .jsonl with plain fields): what is asked about each row; {column} "
            "stands for a cell, {{ for a brace. The output is the table with a column of answers.",
        ),
    ] = None
    system: Annotated[
        str | None,
        typer.Option("--system", metavar="TEXT", help="For a table: the system message; {column} stands for a cell."),
    ] = None
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="For a table: any parameter of the requests, such as temperature=0; repeat it for more.",
        ),
    ] = None
    id: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="COLUMN", help="For a table: the column that names the rows in the file of results."
        ),
    ] = None
    image: Annotated[
        str | None,
        typer.Option(
            "--image", metavar="COLUMN", help="For a table: the column of images, addresses or files beside the table."
        ),
    ] = None

    def with_options(self, options: RunOptions) -> TableOptions:
        """Return the options of a job with these."""
        own = {
            "prompt": self.prompt,
            "system": self.system,
            "parameters": parameters(self.settings) if self.settings else None,
            "id": self.id,
            "image": self.image,
        }
        given = {name: value for name, value in own.items() if value is not None}
        return cast("TableOptions", {**options, **given})
