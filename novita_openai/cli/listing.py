"""The command ``models``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from novita_openai.cli.failures import reported
from novita_openai.cli.options import JSONOption, ServiceOptions, grouped
from novita_openai.cli.service import open_client
from novita_openai.cli.terminal import print_table, show
from novita_openai.prices import pricing_of

if TYPE_CHECKING:
    from novita_openai.prices import Rates


@reported()
@grouped
def models(*, service: ServiceOptions, as_json: JSONOption = False) -> None:
    """List the models: id, context size in tokens, and dollars for a million tokens in and out.

    Where tokens from the cache have a price of their own, it is shown too; and where prices depend on the length of the
    prompt, each with the tokens from which on it holds.
    """
    with open_client(service) as client:
        rows = [model.model_dump() for model in client.models.list()]
    if as_json:
        show(json.dumps(rows))
    else:
        print_table([_described(row) for row in rows], "model", "context", "$ in / million", "$ out / million")


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
