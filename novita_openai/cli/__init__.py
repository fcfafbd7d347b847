"""The command line: arguments in, results to stdout, all else to stderr, an exit code out."""

from novita_openai.cli.program import app, run

__all__ = ["app", "run"]
