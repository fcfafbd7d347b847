"""The command ``models``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from novita_openai.cli.failures import FAILED, reported
from novita_openai.cli.options import JSONOption, ServiceOptions, grouped
from novita_openai.cli.service import open_client
from novita_openai.cli.terminal import print_table, show, tell
from novita_openai.prices import pricing_of

if TYPE_CHECKING:
    from novita_openai.prices import Rates

Row = Mapping[str, Any]


class Order(Enum):
    """How the models may be sorted."""

    price = "price"
    context = "context"


@reported()
@grouped
def models(
    *,
    search: Annotated[
        list[str] | None, typer.Argument(metavar="WORD", help="Words that the id or the title must have.")
    ] = None,
    sort: Annotated[
        Order | None,
        typer.Option(metavar="price|context", help="The cheapest or the longest context first.", show_default=False),
    ] = None,
    can: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            help="Only models that can all of it: vision, tools, reasoning, structured-outputs, batch-api ...",
        ),
    ] = None,
    service: ServiceOptions,
    as_json: JSONOption = False,
) -> None:
    """List the models: id, context size in tokens, and dollars for a million tokens in and out.

    Where tokens from the cache have a price of their own, it is shown too; and where prices depend on the length of the
    prompt, each with the tokens from which on it holds.

    --json prints the rows of the service: price_per_m stands for whole numbers of 0.0001 dollars for a million tokens,
    sizes are in tokens. What a list does not say that a model can, it may be able to do all the same.
    """
    with open_client(service) as client:
        rows = [model.model_dump() for model in client.models.list()]
    found = _sorted(_found(rows, search or [], _words(can)), sort)
    if as_json:
        show(json.dumps(found))
    elif found or not (search or can):
        print_table([_described(row) for row in found], "model", "context", "$/M in", "$/M out")
    if rows and not found:
        tell(_nothing(rows, search or [], _words(can)))
        raise typer.Exit(FAILED)


def _words(given: str | None) -> list[str]:
    return [word.strip().lower() for word in (given or "").split(",") if word.strip()]


def _found(rows: list[dict[str, Any]], words: list[str], can: list[str]) -> list[dict[str, Any]]:
    """Return the rows of models that have all words, and that can all of it."""
    from novita_openai.client.catalog import abilities

    named = [
        row for row in rows if all(word.lower() in f"{row.get('id')} {row.get('title')}".lower() for word in words)
    ]
    return [row for row in named if abilities(row).issuperset(can)]


def _nothing(rows: list[dict[str, Any]], words: list[str], can: list[str]) -> str:
    """Say why no model was found: a word that no model has, else the words together."""
    from novita_openai.client.catalog import abilities, near_names

    known = frozenset[str]().union(*map(abilities, rows))
    if odd := [word for word in can if word not in known]:
        return f"no model says that it can {odd[0]!r}; they say: {', '.join(sorted(known))}"
    near = near_names(" ".join(words), [str(row.get("id")) for row in rows]) if not can else ()
    hint = f"near names: {', '.join(near)}" if near else "'novita-openai models' lists them all"
    return f"no model fits; {hint}"


def _sorted(rows: list[dict[str, Any]], order: Order | None) -> list[dict[str, Any]]:
    return rows if order is None else sorted(rows, key=_KEYS[order])


def _cost(row: Row) -> float:
    """Return dollars for a million tokens in and out, of short prompts; without prices more than any."""
    pricing = pricing_of(row)
    return inf if pricing is None else pricing.bands[0][1].prompt + pricing.bands[0][1].answer


_KEYS: Final[Mapping[Order, Callable[[Row], float]]] = {
    Order.price: _cost,
    Order.context: lambda row: -(row.get("context_size") or 0),
}


def _described(row: dict[str, Any]) -> tuple[str, ...]:
    pricing = pricing_of(row)
    bands = () if pricing is None else pricing.bands
    prompt = ", ".join(_price(rates.prompt, least) + _cached(rates) for least, rates in bands)
    answer = ", ".join(_price(rates.answer, least) for least, rates in bands)
    return (str(row.get("id")), str(row.get("context_size") or ""), prompt, answer)


def _price(price: float, least: int) -> str:
    """Return a price, and from how many tokens of a prompt on it holds."""
    return f"{price:g} from {least}" if least > 1 else f"{price:g}"


def _cached(rates: Rates) -> str:
    return "" if rates.cache_read == rates.prompt else f" (cached {rates.cache_read:g})"
