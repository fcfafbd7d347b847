"""The results of a batch, as a program reads them: from both files, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from novita_openai.batch.files import errors_path
from novita_openai.batch.jsonl import decode
from novita_openai.batch.requests import BatchInputError

__all__ = ["BatchResult", "results"]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of one row: an answer, or why there is none. ``row``: all of it, as it stands in its file."""

    row: Mapping[str, Any]

    @classmethod
    def read(cls, line: bytes) -> Self:
        """Return the result in a line; raise ``ValueError`` where it holds none."""
        row = decode(line.decode())
        if not isinstance(row, dict) or not isinstance(cast("dict[str, Any]", row).get("custom_id"), str):
            raise ValueError("this is not a row of a batch's results")  # noqa: TRY004 - bad input is one error
        return cls(cast("dict[str, Any]", row))

    @property
    def custom_id(self) -> str:
        """Return the id of the row in the input."""
        return str(self.row["custom_id"])

    @property
    def body(self) -> Mapping[str, Any] | None:
        """Return what the service answered, None where no answer came or it is no JSON object."""
        return _object(_object(self.row.get("response")).get("body")) or None

    @property
    def error(self) -> Mapping[str, Any] | None:
        """Return why the row has failed (``code``, ``message``, ``attempts``), None for an answer."""
        return _object(self.row.get("error")) or None

    @property
    def texts(self) -> list[str | None]:
        """Return the text of each choice, by its index; None for one that has none, such as a tool call."""
        return [_text(choice) for choice in self._choices()]

    @property
    def text(self) -> str | None:
        """Return the text of the first choice, None where there is none."""
        return next(iter(self.texts), None)

    @property
    def finish_reason(self) -> str | None:
        """Return why the first choice has ended."""
        return next((choice.get("finish_reason") for choice in self._choices()), None)

    @property
    def usage(self) -> Mapping[str, Any] | None:
        """Return the tokens of the answer, as the service counts them."""
        return _object(_object(self.body).get("usage")) or None

    @property
    def cost(self) -> float | None:
        """Return the dollars that were spent for the row, None where that is not known."""
        dollars = _object(self.row.get("spent")).get("dollars")
        return float(dollars) if isinstance(dollars, (int, float)) else None

    @property
    def metadata(self) -> Any:
        """Return the ``metadata`` of the row in the input, None without any."""
        return self.row.get("metadata")

    @property
    def parsed(self) -> Any:
        """Return what the text holds as JSON, None where it is no JSON."""
        try:
            return None if self.text is None else decode(self.text)
        except ValueError:
            return None

    def _choices(self) -> list[Mapping[str, Any]]:
        choices = _object(self.body).get("choices")
        found = [_object(choice) for choice in choices] if isinstance(choices, list) else []
        return sorted(found, key=_place)


def results(path: str | Path) -> Iterator[BatchResult]:
    """Yield the results of a batch: the answers of ``NAME.jsonl``, then the failed rows of ``NAME.errors.jsonl``.

    Each row of the input comes once, in the order of the files. They may be written meanwhile: a last line that is not
    whole yet is left out. Raises :class:`BatchInputError` at a line that is no result, ``OSError`` where the answers
    cannot be read; a second file that is missing is taken for an empty one.
    """
    answers, failures = Path(path), errors_path(Path(path))
    failed = {custom_id for custom_id, _ in _rows(failures)} if failures.exists() else set[str]()
    for custom_id, result in _rows(answers):
        failed.discard(custom_id)
        yield result
    for custom_id, result in _rows(failures) if failed else ():
        if custom_id in failed:
            failed.discard(custom_id)
            yield result


def _rows(path: Path) -> Iterator[tuple[str, BatchResult]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip() or not line.endswith(b"\n"):
                continue
            try:
                result = BatchResult.read(line)
            except ValueError as error:
                raise BatchInputError([f"{path}, line {number}: {error}"]) from None
            yield result.custom_id, result


def _object(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _place(choice: Mapping[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def _text(choice: Mapping[str, Any]) -> str | None:
    text = _object(choice.get("message")).get("content") if "message" in choice else choice.get("text")
    return text if isinstance(text, str) else None
