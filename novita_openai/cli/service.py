"""The service that a command asks: its client, its models by short names, what a request costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from novita_openai.cli.options import DEFAULT_MODEL
from novita_openai.cli.serving import local_model
from novita_openai.cli.terminal import tell

if TYPE_CHECKING:
    from novita_openai.cli.options import ServiceOptions
    from novita_openai.client import NovitaOpenAI
    from novita_openai.prices import Pricing

__all__ = ["asked", "found_model", "listed_rows", "model_to_ask", "open_client", "pricing_for"]

NOT_FOUND: Final = "MODEL_NOT_FOUND"
_T = TypeVar("_T")


def model_to_ask(client: NovitaOpenAI, service: ServiceOptions, given: str | None) -> str:
    """Return the model that is given, else the only one of this machine or the default of the service."""
    if given is None and service.local:
        return next(iter(client.models.list())).id
    return given or DEFAULT_MODEL


@contextmanager
def open_client(service: ServiceOptions) -> Iterator[NovitaOpenAI]:
    """Give a client of the service that the options name, and run a local model where they ask for that."""
    import openai

    from novita_openai.client import create_client

    if not service.local:
        with create_client(base_url=service.base_url) as client:
            yield client
        return
    http = openai.DefaultHttpxClient(trust_env=False)  # a proxy cannot reach a server on this machine
    with local_model() as server, create_client(api_key="local", base_url=server.base_url, http_client=http) as client:
        yield client


def asked(client: NovitaOpenAI, create: Callable[..., _T], body: dict[str, Any]) -> _T:
    """Send a request; where the service has no model of its name, take the one that it is short for, and say so.

    Sets ``model`` in the body to that. Raises :class:`~novita_openai.client.catalog.UnknownModelError` with the near
    names where it is short for none or several.
    """
    import openai

    from novita_openai.errors import classify

    try:
        return create(**body)
    except openai.NotFoundError as error:
        if classify(error).reason != NOT_FOUND:
            raise
        body["model"] = _meant(client, body["model"], error)
    tell(f"asking {body['model']}")
    return create(**body)


def _meant(client: NovitaOpenAI, name: str, refusal: Exception) -> str:
    """Return the model that a refused name is short for; raise the refusal where the list does not say."""
    import openai

    from novita_openai.client.catalog import find_model

    try:
        rows = listed_rows(client)
    except openai.OpenAIError:
        raise refusal from None
    if name in rows:
        raise refusal
    return find_model(name, rows)


def found_model(client: NovitaOpenAI, name: str) -> str:
    """Return the one model of the service that a name means."""
    from novita_openai.client.catalog import find_model

    return find_model(name, listed_rows(client))


def listed_rows(client: NovitaOpenAI) -> dict[str, dict[str, Any]]:
    """Return the rows of the models list by id."""
    return {model.id: model.model_dump() for model in client.models.list()}


def pricing_for(client: NovitaOpenAI, model: str) -> Pricing | None:
    """Return the prices of a model, None where the service does not tell them."""
    import openai

    from novita_openai.prices import pricing_of

    try:
        return pricing_of(listed_rows(client).get(model, {}))
    except openai.OpenAIError:
        return None
