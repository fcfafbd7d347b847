"""The program ``novita-openai``, also ``python -m novita_openai``."""

from __future__ import annotations

import os
import signal
import sys

INTERRUPTED = 130
"""The exit code that shells count for Ctrl-C: 128 and the number of the signal."""


def main() -> None:
    """Run the command line; say what to install where its extra is missing.

    While it is imported, and once it has ended, Ctrl-C ends the process at once: imports and what Python does at its
    end would print tracebacks.
    """
    is_free = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_free:
        signal.signal(signal.SIGINT, _end)
    try:
        from novita_openai import cli
    except ModuleNotFoundError as error:
        if error.name not in ("prompt_toolkit", "rich", "typer"):
            raise
        from novita_openai.installing import how_to_install

        print(f"novita-openai: {error.name} is missing: {how_to_install('cli')}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    try:
        if is_free:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        cli.run()
    finally:
        if is_free:
            signal.signal(signal.SIGINT, _end)


def _end(_: int, __: object) -> None:
    os.write(2, b"novita-openai: interrupted\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
