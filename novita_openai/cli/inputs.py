"""What a request is made of at a shell: text that is piped in or given, images, parameters."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from threading import Timer
from typing import Any, Final

import typer

from novita_openai.cli.terminal import is_terminal, tell

__all__ = ["image_part", "parameters", "read_question", "read_text"]

PATIENCE: Final = 3.0
"""Seconds after which a command says that it waits for standard input."""
HAVE_OPTIONS: Final = {"model": "--model", "messages": "the prompt", "prompt": "the prompt", "stream": "--json"}
"""Parameters of a request that --set does not set, and what does."""
_IMAGES: Final = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
"""How the files begin of the kinds of images that models take."""


def read_text(argument: str | None) -> str:
    """Return the argument, or standard input where it is missing or ``-``; refuse what is empty or not UTF-8."""
    return _checked(_piped() if argument in (None, "-") else argument)


def read_question(argument: str | None, between: str) -> str:
    """Return what is piped in and the argument as one text, with ``between`` between them."""
    if argument in (None, "-"):
        return read_text(argument)
    piped = "" if is_terminal(sys.stdin) else _piped()
    return _checked(between.join([piped.rstrip("\r\n") if between else piped, argument or ""]) if piped else argument)


def _checked(text: str | None) -> str:
    if text is None or not text.strip():
        raise typer.BadParameter("the prompt is empty")
    try:
        text.encode()
    except UnicodeError as error:
        raise typer.BadParameter("the prompt is not UTF-8") from error
    return text


def _piped() -> str:
    """Return standard input; say so where nothing comes out of it for long."""
    if sys.stdin is None or is_terminal(sys.stdin):
        raise typer.BadParameter("no prompt: give it as an argument or on standard input")
    waiting = Timer(PATIENCE, tell, ["reading standard input until it ends (leave it out with </dev/null)"])
    waiting.daemon = True
    waiting.start()
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeError as error:
        raise typer.BadParameter("what is piped in is not UTF-8") from error
    finally:
        waiting.cancel()


def image_part(source: str) -> dict[str, Any]:
    """Return an image as a part of a message: a file's bytes, or the address of one on the web."""
    url = source if source.startswith(("https://", "http://", "data:")) else _data_url(Path(source))
    return {"type": "image_url", "image_url": {"url": url}}


def _data_url(path: Path) -> str:
    content = path.read_bytes()
    kind = next((kind for start, kind in _IMAGES.items() if content.startswith(start)), None)
    if kind is None:
        raise typer.BadParameter(f"{path} is not an image that models take: PNG, JPEG, GIF or WebP")
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def parameters(given: Iterable[str]) -> dict[str, Any]:
    """Return parameters of a request from ``name=value``: a value is JSON where it can be, else text."""
    return dict(_parameter(text) for text in given)


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"--set {text}: give name=value, such as --set top_p=0.9")
    if name in HAVE_OPTIONS:
        raise typer.BadParameter(f"--set {name}=...: {HAVE_OPTIONS[name]} says that")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
