"""What is asked about each row of a table: a chat, written from its cells."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from novita_openai.batch.requests import BatchInputError
from novita_openai.batch.tables.cells import is_empty, text_of
from novita_openai.batch.tables.template import Template, place_of_column

__all__ = ["Recipe"]

RESERVED: Final = ("messages", "prompt", "input", "stream", "stream_options", "model")
"""Fields of a body that ``parameters`` cannot set."""
_URLS: Final = ("http://", "https://", "data:")
_IMAGES: Final = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
"""How the files begin of the kinds of images that models take."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Makes the body of a request from the cells of a row.

    ``fields``: what every body holds besides its messages. ``image``: the number of the column of images, which are
    read from ``folder`` where they are files. ``id``: the number of the column that names the rows. ``used``: the
    columns of which no cell may be empty.
    """

    fields: Mapping[str, Any]
    prompt: Template
    system: Template | None
    image: int | None
    id: int | None
    folder: Path
    used: tuple[int, ...]

    @classmethod
    def of(cls, options: Mapping[str, Any], columns: Sequence[str], folder: Path) -> Recipe:
        """Return what options ask for; raise :class:`BatchInputError` where they cannot be followed."""
        prompt = Template.read("prompt", _prompt(options), columns)
        system = Template.read("system", options["system"], columns) if options.get("system") else None
        image, name = (_place(what, options.get(what), columns) for what in ("image", "id"))
        of_system = system.columns if system is not None else frozenset[int]()
        used = prompt.columns | of_system | (frozenset() if image is None else {image})
        if not used:
            names = ", ".join(f"{{{column}}}" for column in columns[:3])
            told = "it names no column, so that all rows would ask the same; write"
            raise BatchInputError([f"prompt={options['prompt']!r}: {told} {names}"])
        return cls(_fields(options), prompt, system, image, name, folder, tuple(sorted(used)))

    def body(self, values: Sequence[Any]) -> dict[str, Any] | None:
        """Return the body for a row, None where a cell that it needs is empty; raise ``ValueError`` for a bad cell."""
        cells = [""] * len(values)
        for place in self.used:
            cells[place] = text_of(values[place])
            if is_empty(cells[place]):
                return None
        text = self.prompt.render(cells)
        content = text if self.image is None else [{"type": "text", "text": text}, self._image(cells[self.image])]
        system = [] if self.system is None else [{"role": "system", "content": self.system.render(cells)}]
        return {**self.fields, "messages": [*system, {"role": "user", "content": content}]}

    def _image(self, cell: str) -> dict[str, Any]:
        url = cell.strip()
        return {"type": "image_url", "image_url": {"url": url if url.startswith(_URLS) else self._data(url)}}

    def _data(self, name: str) -> str:
        """Return the image in a file as a URL that holds it."""
        path = self.folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ValueError(f"image {name!r}: {error.strerror}: {path}") from None
        kind = next((kind for start, kind in _IMAGES.items() if content.startswith(start)), None)
        if kind is None:
            raise ValueError(f"image {name!r}: not an image that models take: PNG, JPEG, GIF or WebP")
        return f"data:image/{kind};base64,{b64encode(content).decode()}"


def _prompt(options: Mapping[str, Any]) -> str:
    prompt: str | None = options.get("prompt")
    if not prompt:
        raise BatchInputError(
            ["a table needs a prompt, which says what is asked about each row: prompt='Summarize: {column}'"]
        )
    return prompt


def _place(what: str, name: str | None, columns: Sequence[str]) -> int | None:
    return None if name is None else place_of_column(f"{what}={name!r}", name, columns)


def _fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every body holds besides its messages."""
    parameters = dict(options.get("parameters") or {})
    reserved = [name for name in RESERVED if name in parameters]
    if reserved:
        raise BatchInputError(
            [f"{', '.join(reserved)} cannot be set in parameters=: prompt=, system= and model= say it"]
        )
    model, max_tokens = options.get("model"), options.get("max_tokens")
    if model is None:
        raise BatchInputError(["no model for the rows: name one with model="])
    longest = {} if max_tokens is None else {"max_tokens": max_tokens}
    return {"model": model, **longest, **parameters}
