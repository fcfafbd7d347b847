"""The program ``novita-openai``, also ``python -m novita_openai``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; say what to install where its extra is missing."""
    try:
        from novita_openai import cli
    except ModuleNotFoundError as error:
        if error.name not in ("rich", "typer"):
            raise
        sys.exit(f"novita-openai: the command line needs {error.name}: pip install 'novita-openai[cli]'")
    cli.run()


if __name__ == "__main__":
    main()
