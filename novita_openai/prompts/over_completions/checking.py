"""Finds the format in which a live server writes chats, by its counts of tokens for chats and for rendered prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.catalog import as_format, format_for_model, format_names, get_format
from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.given import check_text
from novita_openai.prompts.over_completions.requests import check_client

if TYPE_CHECKING:
    from openai import OpenAI

    from novita_openai.prompts.format import PromptFormat

__all__ = ["RIGHT", "Check", "check"]

_HISTORIES: Final[Sequence[Sequence[Mapping[str, str]]]] = (
    ({"role": "user", "content": "Hi"},),
    (
        {"role": "user", "content": "Name a colour."},
        {"role": "assistant", "content": "Red."},
        {"role": "user", "content": "Another?"},
    ),
    ({"role": "system", "content": "You cook."}, {"role": "user", "content": "Hi"}),
)
"""Histories whose lengths in tokens differ between formats with other separators or other places for system text."""

RIGHT: Final = "right format"
DOUBLE_BOS: Final = "double BOS"
MISSING_BOS: Final = "missing BOS"
ANOTHER: Final = "another format"

_VERDICTS: Final[Mapping[int | None, str]] = {0: RIGHT, 1: DOUBLE_BOS, -1: MISSING_BOS}
"""Keyed by how many more tokens the server counts for a rendered prompt than for its chat, the same for all chats."""


@dataclass(frozen=True, slots=True)
class Check:
    """The ``verdict`` on a ``format``, and the names of all ``formats`` that fit the server's counts, but for the BOS.

    ``counts`` are the tokens of each history, as a chat and as the format's prompt; None for one that was refused.
    """

    model: str
    format: str | None
    verdict: str
    formats: tuple[str, ...]
    counts: tuple[tuple[int | None, int | None], ...]


def check(client: OpenAI, model: str, *, format: PromptFormat | str | None = None) -> Check:
    """Compare the tokens that a server counts for chats with those that it counts for their rendered prompts.

    ``format`` is the one to judge; None takes the model's. The verdict is "right format", "double BOS" (each prompt has
    one token more than its chat), "missing BOS" (one less: render with ``bos=True``) or "another format"; then every
    other format is tried. Each request asks for one token: 6 requests where the format is right, up to 100 where not.
    """
    check_client(client)
    check_text(model, "model", "give the id of a model")
    counts = _Counts(client, model)
    fmt = _judged(format, model)
    verdict = ANOTHER if fmt is None else _VERDICTS.get(counts.difference(fmt), ANOTHER)
    known = [get_format(name) for name in format_names()]
    tried = known if verdict == ANOTHER else [other for other in known if fmt and _is_alike(other, fmt)]
    fits = tuple(other.name for other in tried if counts.difference(other) in _VERDICTS)
    prompts = [None if fmt is None else counts.of_prompt(fmt, place) for place in range(len(_HISTORIES))]
    pairs = tuple(zip(counts.chats, prompts, strict=True))
    return Check(model, None if fmt is None else fmt.name, verdict, fits, pairs)


def _judged(given: PromptFormat | str | None, model: str) -> PromptFormat | None:
    """Return the format to judge; None if none was given and none is known for the model."""
    if given is not None:
        return as_format(given)
    try:
        return format_for_model(model)
    except PromptError:
        return None


def _is_alike(fmt: PromptFormat, other: PromptFormat) -> bool:
    """Tell whether two formats write all histories alike."""
    return [*_prompts(fmt)] == [*_prompts(other)]


def _prompts(fmt: PromptFormat) -> Iterator[str | None]:
    """Yield the prompt of each history; None for one that the format refuses."""
    for history in _HISTORIES:
        try:
            yield fmt.render(history)
        except PromptError:
            yield None


class _Counts:
    """The tokens that a server counts; it is asked once about each prompt."""

    def __init__(self, client: OpenAI, model: str) -> None:
        self._client, self._model = client, model
        self._known: dict[str, int] = {}
        self.chats = [self._of_chat(history) for history in _HISTORIES]

    def _of_chat(self, history: Iterable[Any]) -> int | None:
        """Return the tokens of a history as a chat; None if the server refuses it."""
        from openai import BadRequestError

        try:
            answer = self._client.chat.completions.create(model=self._model, messages=[*history], max_tokens=1)
        except BadRequestError:  # such as for a system message, which some models' templates refuse
            return None
        return _prompt_tokens(answer)

    def of_prompt(self, fmt: PromptFormat, place: int) -> int | None:
        """Return the tokens of a history's prompt; None if the format or the server refuses the history."""
        prompt = [*_prompts(fmt)][place]
        if prompt is None or self.chats[place] is None:
            return None
        if prompt not in self._known:
            answer = self._client.completions.create(model=self._model, prompt=prompt, max_tokens=1)
            self._known[prompt] = _prompt_tokens(answer)
        return self._known[prompt]

    def difference(self, fmt: PromptFormat) -> int | None:
        """Return by how many tokens prompts are longer than chats; None if this varies, or is too much."""
        differences: set[int] = set()
        for place, chat in enumerate(self.chats):
            if chat is None:
                continue
            prompt = self.of_prompt(fmt, place)
            if prompt is None:
                return None
            differences.add(prompt - chat)
            if len(differences) > 1 or prompt - chat not in _VERDICTS:
                return None
        return next(iter(differences), None)


def _prompt_tokens(answer: Any) -> int:
    if answer.usage is None:
        raise PromptError("the server reports no usage, so that nothing can be compared")
    tokens: int = answer.usage.prompt_tokens
    return tokens
