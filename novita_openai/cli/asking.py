"""The commands that ask the service: ``models``, ``chat`` and ``complete``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import openai
import typer

from novita_openai.cli.failures import reported
from novita_openai.cli.options import AnswerOptions, JSONOption, PromptArgument, ServiceOptions, grouped
from novita_openai.cli.serving import local_model
from novita_openai.cli.terminal import print_table, read_text, show
from novita_openai.prices import Rates, pricing_of

if TYPE_CHECKING:
    from novita_openai.client import NovitaOpenAI


@reported()
@grouped
def models(*, service: ServiceOptions, as_json: JSONOption = False) -> None:
    """List the models: id, context size in tokens, and dollars for a million tokens in and out.

    Where tokens from the cache have a price of their own, it is shown too; and where prices depend on the length of the
    prompt, each with the tokens from which on it holds.
    """
    with _client(service) as client:
        rows = [model.model_dump() for model in client.models.list()]
    if as_json:
        show(json.dumps(rows))
    else:
        print_table([_described(row) for row in rows], "model", "context", "$ in / million", "$ out / million")


@reported()
@grouped
def chat(
    *,
    prompt: PromptArgument = None,
    system: Annotated[str | None, typer.Option(help="The system message: who the model is to be.")] = None,
    answer: AnswerOptions,
    service: ServiceOptions,
    as_json: JSONOption = False,
) -> None:
    """Send a chat message, and print the answer as it comes."""
    turns = [("system", system), ("user", read_text(prompt))]
    messages: Any = [{"role": role, "content": content} for role, content in turns if content is not None]
    with _client(service) as client:
        create = client.chat.completions.create
        _show(create(messages=messages, **_options(answer, as_json=as_json)), lambda choice: choice.delta.content)


@reported()
@grouped
def complete(
    *, prompt: PromptArgument = None, answer: AnswerOptions, service: ServiceOptions, as_json: JSONOption = False
) -> None:
    """Send a text, and print how the model goes on with it, as it comes."""
    text = read_text(prompt)
    with _client(service) as client:
        create = client.completions.create
        _show(create(prompt=text, **_options(answer, as_json=as_json)), lambda choice: choice.text)


@contextmanager
def _client(service: ServiceOptions) -> Iterator[NovitaOpenAI]:
    from novita_openai.client import create_client

    with local_model() if service.local else nullcontext() as server:
        api_key, base_url = ("local", server.base_url) if server else (None, service.base_url)
        with create_client(api_key=api_key, base_url=base_url) as client:
            yield client


def _options(answer: AnswerOptions, *, as_json: bool) -> dict[str, Any]:
    return {name: value for name, value in asdict(answer).items() if value is not None} | {"stream": not as_json}


def _show(answer: Any, text_of: Callable[[Any], str | None]) -> None:
    """Print a stream of chunks as they come, or a whole answer as JSON."""
    if isinstance(answer, openai.BaseModel):
        show(answer.model_dump_json())
        return
    for chunk in answer:
        show("".join(text_of(choice) or "" for choice in chunk.choices), end="")
    show("")


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
