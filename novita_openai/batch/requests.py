"""The rows of a batch's input: in OpenAI's Batch format, as bodies of requests alone, or as lines of text.

The service's own documentation writes rows without ``method`` and ``url``; then the body says where it goes:
https://novita.ai/docs/guides/llm-batch-api.

Each row is read and checked twice, before the first request is sent and when its turn comes, so that a file may be
larger than the memory.
"""

from __future__ import annotations

import errno
import gzip
import json
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final, Self, cast

from novita_openai.batch.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, ENVELOPE, bare, wrapped
from novita_openai.batch.extras import as_sent, headers_of, read_metadata
from novita_openai.batch.jsonl import copy_lines, decode, placed_lines
from novita_openai.batch.usage import Spent
from novita_openai.client.sizes import most_answer_tokens, prompt_tokens_of, prompts_in

__all__ = ["BatchInputError", "BatchRequest", "Entry", "Reader", "Source"]

SHOWN_ERRORS: Final = 100
LONGEST_ROW: Final = 64_000_000
"""Bytes of a row, above which it is not read."""


class BatchInputError(ValueError):
    """The input cannot be run, or not with these results; ``errors`` holds a line for each reason."""

    def __init__(self, errors: list[str]) -> None:
        more = len(errors) - SHOWN_ERRORS
        shown = [*errors[:SHOWN_ERRORS], *([f"and {more} more"] if more > 0 else [])]
        super().__init__("\n".join(shown))
        self.errors = errors


@dataclass(slots=True, eq=False)
class BatchRequest:
    """One row of the input, and what has happened to it.

    ``path``: below the base URL. ``content``: the body to send in bytes, all that is kept of it. ``digest``: of the
    path and of the body as the row has it. ``prompt_tokens``: about how many it has; ``most_prompt_tokens``: the most
    that it can have; ``prompts``: how many there are. ``max_tokens``: the most that all choices of the answer may have,
    None where the request sets no limit. ``metadata``: the JSON of the row that comes back in its result, b"" without
    any. ``headers``: those of its request besides the client's. ``streams``: its answer comes as a stream, as the row
    asks for it, or as it takes too long for a gateway. ``corrections``: how often it was asked again because its answer
    did not pass the check. ``spent``: what was spent for it, in earlier runs too.

    How it fared in this run: ``attempts``, how often it failed, but for coming too fast, and ``counted``, how many of
    these count against it; ``refusals``, how often it came too fast; ``witnessed``, how many failures and refusals came
    while other rows were answered; ``started``, when its time began, in the event loop's time, None before it was sent;
    ``seen``, how many answers there were when it was last heard of, in all and of its model.
    """

    custom_id: str
    path: str
    model: str
    content: bytes
    digest: str
    prompt_tokens: int = 0
    most_prompt_tokens: int = 0
    prompts: int = 1
    max_tokens: int | None = 0
    metadata: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    streams: bool = False
    corrections: int = 0
    spent: Spent = field(default_factory=Spent)
    attempts: int = 0
    counted: int = 0
    refusals: int = 0
    witnessed: int = 0
    started: float | None = None
    seen: tuple[int, int] = (0, 0)

    @property
    def body(self) -> dict[str, Any]:
        """Return the body, decoded anew."""
        return cast("dict[str, Any]", decode(self.content.decode()))


@dataclass(slots=True)
class Entry:
    """What a line says, checked; ``body`` as it stands there."""

    custom_id: str
    path: str
    model: str
    body: dict[str, Any]
    sent: dict[str, Any]
    metadata: bytes
    headers: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Return the digest of the path and the body."""
        return _digest(self.path, encode(self.body))

    def request(self) -> BatchRequest:
        """Return the request; raise ``ValueError`` where its body cannot be sent."""
        content = encode(self.body)
        digest, sent = _digest(self.path, content), self.sent
        if sent is not self.body:
            content = encode(sent)
        about, most = prompt_tokens_of(sent, content)
        return BatchRequest(
            self.custom_id,
            self.path,
            self.model,
            content,
            digest,
            prompt_tokens=about,
            most_prompt_tokens=most,
            prompts=prompts_in(sent),
            max_tokens=most_answer_tokens(sent) if self.path in (CHAT, COMPLETIONS) else 0,
            metadata=self.metadata,
            headers=self.headers,
            streams=bool(self.body.get("stream")) and self.path != EMBEDDINGS,
        )


def _digest(path: str, content: bytes) -> str:
    return blake2b(f"{path}\n".encode() + content, digest_size=16).hexdigest()


class Reader:
    """Turns lines into requests.

    ``model``: for bodies that name none. ``texts``: returns the body for a line of text; None: the lines are JSON.
    ``needs_text``: the text of each answer is checked, so that embeddings are refused.
    """

    def __init__(
        self,
        model: str | None = None,
        texts: Callable[[str], dict[str, Any]] | None = None,
        *,
        needs_text: bool = False,
    ) -> None:
        self.model, self.texts, self._needs_text = model, texts, needs_text

    def line(self, number: int, line: bytes) -> BatchRequest:
        """Return the request of a line; raise ``ValueError``, with the reason, where it is not one."""
        return self._entry(number, line).request()

    def entry(self, number: int, line: bytes) -> Entry:
        """Return what a line says; raise ``ValueError`` where it is not a request.

        This is quicker than :meth:`line`, as the body is not written again, unless it may hold what cannot be sent.
        """
        entry = self._entry(number, line)
        if _MAY_BE_UNSENDABLE.search(line):
            encode(entry.body)
        return entry

    def _entry(self, number: int, line: bytes) -> Entry:
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8: byte {error.start}") from None
        if number == 1:
            text = text.removeprefix("\ufeff")
        if self.texts is not None:
            return self._checked(number, self.texts(text))
        try:
            row = decode(text)
        except ValueError as error:
            raise ValueError(f"bad JSON: {error}") from None
        return self._checked(number, row)

    def row(self, number: int, row: object) -> BatchRequest:
        """Return the request of a decoded row; raise ``ValueError``, with the reason, where it is not one."""
        return self._checked(number, row).request()

    def _checked(self, number: int, row: object) -> Entry:
        if not isinstance(row, dict):
            raise ValueError(f"a row must be a JSON object, not {type(row).__name__}")  # noqa: TRY004 - bad input is one error
        fields = cast("dict[str, Any]", row)
        is_wrapped = not ENVELOPE.isdisjoint(fields)
        path, body = wrapped(fields) if is_wrapped else bare(fields)
        given = fields.get("custom_id")
        custom_id = f"line-{number}" if given is None else given  # tables write null where there is none
        if not isinstance(custom_id, str) or not custom_id:
            raise ValueError(f"custom_id must be a text that is not empty, not {custom_id!r}")
        if self.model is not None and body.get("model") is None:
            body = {**body, "model": self.model}
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise ValueError(f"no model in the body of {custom_id!r}: name one there, or with model= for all such rows")
        if self._needs_text and path == EMBEDDINGS:
            raise ValueError("embeddings have no text that validate= could check: give a function, or another job")
        metadata, headers = read_metadata(fields.get("metadata")), headers_of(fields, body)
        return Entry(custom_id, path, model, body, as_sent(body), metadata, headers)


_MAY_BE_UNSENDABLE: Final = re.compile(rb"\\u[dD][89a-fA-F]|\d[eE]\+?\d{3}|\d{309}")
"""Half a character, or a number too large, stands only in lines that hold one of these."""
_dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode(body: Mapping[str, Any]) -> bytes:
    """Return a body in the bytes that are sent; raise ``ValueError`` where no request can carry it."""
    try:
        return _dump(body).encode()
    except UnicodeEncodeError:
        raise ValueError("the body holds half a character (a lone surrogate), which no request can carry") from None
    except ValueError:
        raise ValueError("the body holds a number too large for JSON") from None


class Source:
    """A file of rows that can be read more than once; ``-`` is standard input, and ``.gz`` files are gzip.

    What the system lets us read only once, standard input or a pipe, is copied into a temporary file. Raises
    ``OSError`` where it cannot be read.
    """

    def __init__(self, path: str | Path, stdin: BinaryIO | None = None) -> None:
        self.path = Path(path)
        self.is_stdin = str(path) == "-"
        self._spool: BinaryIO | None = None
        self._file: BinaryIO | None = None
        if self.is_stdin:
            if stdin is None and sys.stdin is None:
                raise OSError(errno.EBADF, "it is closed", "standard input")
            self._spool = _spooled(stdin or sys.stdin.buffer, str(self))
        elif not self.path.is_file():
            with self.path.open("rb") as file:
                self._spool = _spooled(file, str(self))

    def __str__(self) -> str:
        return "standard input" if self.is_stdin else str(self.path)

    def is_file(self, path: Path) -> bool:
        """Tell whether a path is the file that is read."""
        return not self.is_stdin and path.exists() and self.path.exists() and path.samefile(self.path)

    @property
    def is_text(self) -> bool:
        """Tell whether the file is named ``.txt`` or ``.txt.gz``, so that each line is a prompt."""
        return ".txt" in (self.path.suffix, Path(self.path.stem).suffix if self.path.suffix == ".gz" else "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield numbered lines; errors as of :meth:`placed_lines`."""
        return ((number, line) for number, _, line in self.placed_lines())

    def placed_lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield lines, each with its number and where it begins.

        Raises :class:`BatchInputError` where a ``.gz`` file is not gzip, or is damaged.
        """
        with self.opened() as file:
            try:
                yield from placed_lines(file, LONGEST_ROW)
            except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
                raise BatchInputError([f"{self}: {error}"]) from error

    @property
    def is_compressed(self) -> bool:
        """Tell whether the file is gzip."""
        return self._spool is None and self.path.suffix == ".gz"

    @property
    def is_sequential(self) -> bool:
        """Tell whether lines can be read in their order alone."""
        return self.is_compressed

    def line_at(self, start: int) -> bytes:
        """Return the line that begins at a position."""
        if self._spool is None and self._file is None:
            self._file = self.path.open("rb")
        file = cast("BinaryIO", self._spool or self._file)
        file.seek(start)
        return file.readline(LONGEST_ROW).strip()

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open what is read, from its beginning, for the time of a ``with``."""
        if self._spool is not None:
            self._spool.seek(0)
            yield self._spool
        elif self.is_compressed:
            with gzip.open(self.path) as file:
                yield cast("BinaryIO", file)
        else:
            with self.path.open("rb") as file:
                yield file

    def close(self) -> None:
        """Close what is open, and delete the temporary file, if there is one."""
        for file in (self._spool, self._file):
            if file is not None:
                file.close()


def text_body(format_name: str | None, options: Mapping[str, Any], *, is_raw: bool) -> Callable[[str], dict[str, Any]]:
    """Return a function from a line of text to the body of its request, which has ``options`` besides.

    A line is a user's message: of a chat, or with the name of a prompt format, rendered in that. A raw line is a prompt
    itself.
    """
    if is_raw:
        return lambda line: {**options, "prompt": line}
    if format_name is None:
        return lambda line: {**options, "messages": [{"role": "user", "content": line}]}
    from novita_openai.prompts import chat_to_completion, get_format

    get_format(format_name)  # an unknown name is refused here, not for each line
    if "model" not in options:
        raise BatchInputError(["no model for the prompts: name one with model="])

    def body(line: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": line}]
        return dict(chat_to_completion(messages=messages, format=format_name, **options))

    return body


def _spooled(file: BinaryIO, name: str) -> BinaryIO:
    spool = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - closed by its source
    try:
        copy_lines(file, spool, LONGEST_ROW)
    except ValueError as error:
        spool.close()
        raise BatchInputError([f"{name}: {error}"]) from None
    return spool
