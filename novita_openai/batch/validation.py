"""The check of a run's answers: which rows ask for its form, which answers pass, and which are asked for again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from novita_openai.batch.checks import corrected, flaw_in, with_response_format
from novita_openai.batch.reading import BatchResult
from novita_openai.batch.requests import encode

if TYPE_CHECKING:
    from novita_openai.batch.checks import AnswerCheck
    from novita_openai.batch.requests import BatchRequest

__all__ = ["Validation"]


class Validation:
    """A check, None without one, and how often a row is asked again (``more``) because its answer does not pass."""

    def __init__(self, check: AnswerCheck | None, more: int) -> None:
        self.check, self.more = check, more
        self._structured: frozenset[str] = frozenset()

    @property
    def needs_models(self) -> bool:
        """Tell whether the models list says something that the check needs."""
        return self.check is not None and self.check.schema is not None

    def learn(self, models: Iterable[Mapping[str, Any]]) -> None:
        """Read from the rows of the models list which models have structured outputs."""
        self._structured = frozenset(row["id"] for row in models if "structured-outputs" in (row.get("features") or ()))

    def prepare(self, request: BatchRequest) -> None:
        """Have a row that can do so ask for what the check wants."""
        if self.check is not None:
            is_structured = request.model in self._structured
            body = with_response_format(request, self.check, has_structured_outputs=is_structured)
            if body is not None:
                request.content = encode(body)

    def flaw(self, row: bytes) -> str | None:
        """Return what is wrong with the answer in a row of the results, None where nothing is.

        Errors as of :func:`flaw_in`.
        """
        return None if self.check is None else flaw_in(self.check, BatchResult.read(row))

    def asks_again(self, request: BatchRequest, row: bytes, flaw: str) -> bool:
        """Make a row ask again, with its answer and what was wrong; tell whether it may."""
        if request.corrections >= self.more:
            return False
        request.corrections += 1
        request.content = encode(corrected(request.path, request.body, BatchResult.read(row).text, flaw))
        return True
