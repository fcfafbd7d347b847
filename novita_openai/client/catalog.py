"""Which models of a list a name means, which names are near it, and what a model can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

__all__ = ["UnknownModelError", "abilities", "find_model", "models_like", "near_names"]

MOST_NEAR: Final = 5
SHORTEST_PART: Final = 3
"""Characters of a part of an id that can mean it."""

_WAYS: Final[tuple[Callable[[str, str], bool], ...]] = (
    lambda name, model: name == model,
    lambda name, model: name == model.rpartition("/")[2],
    lambda name, model: len(name) >= SHORTEST_PART and name in model,
)
"""How a name, in lower case, may mean a model; the first way that any model fits decides."""


class UnknownModelError(ValueError):
    """A name means no model of the list, or several of them. ``near``: the ids that may be meant."""

    def __init__(self, message: str, near: tuple[str, ...]) -> None:
        super().__init__(message)
        self.near = near


def find_model(name: str, known: Iterable[str]) -> str:
    """Return the one id that a name means, such as ``llama-3.1-8b``; else raise :class:`UnknownModelError`."""
    ids = [*known]
    found = models_like(name, ids)
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownModelError(f"{name!r} fits several models: {', '.join(found)}", found)
    near = near_names(name, ids)
    hint = f"; near names: {', '.join(near)}" if near else "; `client.models.list()` lists them"
    raise UnknownModelError(f"there is no model {name!r}{hint}", near)


def models_like(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the ids that a name means: that id itself, else those that end with it, else those that hold it."""
    ids, wanted = [*known], name.lower()
    found = ([each for each in ids if fits(wanted, each.lower())] for fits in _WAYS)
    return tuple(next((each for each in found if each), []))


def near_names(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the names that are most like one, the nearest first; case does not matter.

    A name is held against whole ids and against what follows their last slash.
    """
    own = {each.lower(): each for each in known}
    ends = {each.rpartition("/")[2]: each for each in own}
    wanted = name.lower()
    whole = get_close_matches(wanted, own, n=MOST_NEAR, cutoff=0.5)
    parts = [] if whole else get_close_matches(wanted, ends, n=MOST_NEAR, cutoff=0.5)
    return tuple(own[each] for each in [*whole, *(ends[part] for part in parts)])


def abilities(row: Mapping[str, Any]) -> frozenset[str]:
    """Return what a model can do, by its row of the models list: features and endpoints, and shorter words for some.

    ``vision`` takes images, ``tools`` calls functions; other words are the list's own, such as ``structured-outputs``,
    ``reasoning``, ``batch-api``. A missing word is no proof that the model cannot do it.
    """
    said = {*_words(row, "features"), *_words(row, "endpoints")}
    shorter = {
        "vision": "image" in _words(row, "input_modalities"),
        "tools": "function-calling" in said,
        "chat": "chat/completions" in said,
        "embeddings": str(row.get("model_type")).startswith("embedding"),
    }
    return frozenset(said | {word for word, is_said in shorter.items() if is_said})


def _words(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    words = row.get(name)
    return tuple(map(str, words)) if isinstance(words, (list, tuple)) else ()
