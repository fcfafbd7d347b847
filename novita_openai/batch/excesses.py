"""Rows that ask for more tokens than their model has, by the service's models list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from novita_openai.client.sizes import longest_answer
from novita_openai.prices import counted, whole_number

if TYPE_CHECKING:
    from novita_openai.batch.requests import BatchRequest

__all__ = ["Excesses", "limit_in"]


def limit_in(row: Mapping[str, Any] | None, name: str) -> int | None:
    """Return a number of tokens in a row of the models list, None where it does not say it, or says 0."""
    return whole_number(row.get(name)) or None if row is not None else None


@dataclass(slots=True)
class _Excess:
    """How many rows of a model are above a ``limit``, how far the highest goes, and the custom_id of the first."""

    limit: int
    example: str
    rows: int = 0
    most: int = 0


class Excesses:
    """Counts the rows that are above a limit of their model; ``rows``: those of the models list, by id."""

    def __init__(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        self._rows = rows
        self._found: dict[tuple[str, str], _Excess] = {}

    def add(self, request: BatchRequest) -> None:
        """Look at a row."""
        row = self._rows.get(request.model)
        context, longest = limit_in(row, "context_size"), limit_in(row, "max_output_tokens")
        prompt, answer = request.prompt_tokens // request.prompts, request.max_tokens or 0
        if prompt + answer <= min(context or prompt + answer, longest or prompt + answer):
            return  # so that the bodies of few rows are decoded
        answer = longest_answer(request.body) or 0
        self._count(request, "max_tokens", answer, longest)
        self._count(request, "context", prompt + answer, context)

    def _count(self, request: BatchRequest, kind: str, tokens: int, limit: int | None) -> None:
        if limit is None or tokens <= limit:
            return
        excess = self._found.setdefault((request.model, kind), _Excess(limit, request.custom_id))
        excess.rows += 1
        excess.most = max(excess.most, tokens)

    def lines(self) -> Iterator[str]:
        """Yield a line for each model and limit."""
        for (model, kind), found in self._found.items():
            what, then = _WORDS[kind]
            told = what.format(limit=f"{found.limit:,}", most=f"{found.most:,}")
            yield f"{model}: {counted(found.rows, 'row', 'have')} {told}, such as {found.example}: {then}"


_WORDS: Final = {
    "max_tokens": (
        "a max_tokens above the model's longest answer of {limit} tokens, up to {most}",
        "the service refuses that",
    ),
    "context": (
        "more tokens than the model's context of {limit}, prompt and max_tokens together, up to about {most}",
        "the answer is shorter than asked for, or the service refuses the row",
    ),
}
"""What is said of an excess, and what comes of it: INVALID_REQUEST_BODY, or an answer that ends at the context."""
