"""The command line: arguments in, results to stdout, all else to stderr, an exit code out."""

from novita_openai.cli.commands import app, run

__all__ = ["app", "run"]
