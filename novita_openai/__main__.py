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
        print(f"novita-openai: {error.name} is missing: pip install 'novita-openai[cli]'", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    cli.run()


if __name__ == "__main__":
    main()
