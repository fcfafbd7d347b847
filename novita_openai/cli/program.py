"""The program: its commands, its start, and its end."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Final

import typer
from typer.main import get_command

from novita_openai.cli.asking import chat, complete
from novita_openai.cli.batch import run_batch
from novita_openai.cli.doctor import doctor
from novita_openai.cli.failures import INTERRUPTED, UsageProblem, was_interrupted_early
from novita_openai.cli.helping import fit, help_width
from novita_openai.cli.listing import models
from novita_openai.cli.notices import watch_log
from novita_openai.cli.prompt import prompt_app
from novita_openai.cli.serving import emulate, serve
from novita_openai.cli.terminal import prepare, show, tell

PROGRAM: Final = "novita-openai"

app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # which would eat brackets, and costs each start a second library
    pretty_exceptions_enable=False,
)


def _show_version(given: bool) -> None:  # noqa: FBT001 - typer gives the value alone
    if given:
        from importlib.metadata import version

        from novita_openai import __version__

        show(f"{PROGRAM} {__version__} (openai {version('openai')})")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    *,
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Talk to open models on Novita AI, or to a small one on this machine.

    The key comes from NOVITA_API_KEY: https://novita.ai/settings/key-management
    """
    if context.invoked_subcommand is None:
        show(context.get_help())


app.command(short_help="Ask a model, or talk with it.")(chat)
app.command(short_help="Have a model go on with a text.")(complete)
app.command(short_help="List models, and what they cost.")(models)
app.command("batch", short_help="Send a file of requests.")(run_batch)
app.add_typer(prompt_app, name="prompt", short_help="Write and read prompts of completion models.")
app.command(short_help="Serve a small model on this machine.")(serve)
app.command(short_help="Emulate the service on this machine.")(emulate)
app.command(short_help="Say what works, and what does not.")(doctor)


def run() -> None:
    """Run the program, and exit."""
    prepare()
    watch_log()
    sys.exit(ended())


def ended() -> int:
    """Run a command as the arguments of the process say, and return its exit code."""
    try:
        command, width = get_command(app), help_width()
        fit(command, width)
        code = command(prog_name=PROGRAM, standalone_mode=False, terminal_width=width) or 0
        if was_interrupted_early(code):
            raise KeyboardInterrupt  # noqa: TRY301 - which typer had turned into a code
        return code  # noqa: TRY300 - the same
    except (KeyboardInterrupt, typer.Abort):
        tell("interrupted")
        return INTERRUPTED
    except UsageProblem as problem:
        tell(_in_one_line(problem))
        return int(problem.exit_code)


def _in_one_line(problem: Any) -> str:
    """Return what is wrong with the options, and where to find them."""
    words = " ".join(problem.format_message().split())
    for typers, ours in _TYPERS_WORDS.items():
        words = words.replace(typers, ours)
    if "unexpected extra argument" in words:
        words += "; a text of several words goes into quotes"
    path = problem.ctx.command_path if getattr(problem, "ctx", None) else PROGRAM
    return f"{words} ({path} --help)"


_TYPERS_WORDS: Final = {
    "Invalid value: ": "",
    "Value error, ": "",
    "Input should be": "it must be",
    ", unable to parse string as an integer": "",
    ", unable to parse string as a number": "",
    "(Possible options: ": "(did you mean ",
}
"""What typer says of a wrong option, as it checks them by pydantic, and in its place to a person."""
