"""The program: its commands, and its start."""

from __future__ import annotations

import typer

from novita_openai.cli.asking import chat, complete, models
from novita_openai.cli.batch import run_batch
from novita_openai.cli.prompt import prompt_app
from novita_openai.cli.serving import emulate, serve
from novita_openai.cli.terminal import prepare

app = typer.Typer(
    help="Talk to open models on Novita AI, or to a small one on this machine. The key comes from NOVITA_API_KEY.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (models, chat, complete):
    app.command()(_command)
app.command("batch")(run_batch)
app.add_typer(prompt_app, name="prompt")
for _command in (serve, emulate):
    app.command()(_command)


def run() -> None:
    """Run the program."""
    prepare()
    app(prog_name="novita-openai")
