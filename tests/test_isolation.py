"""No OPENAI_* variable changes what a server receives, from clients, copies and copies of copies."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Driver
from server import Request, Server

VARIABLES = {
    "OPENAI_API_KEY": "sk_LEAK",
    "OPENAI_ADMIN_KEY": "sk_LEAK-admin",
    "OPENAI_ORG_ID": "LEAK-org",
    "OPENAI_PROJECT_ID": "LEAK-project",
    "OPENAI_WEBHOOK_SECRET": "LEAK-webhook",
    "OPENAI_BASE_URL": "http://127.0.0.1:1/LEAK",
    "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer sk_LEAK-header\nX-Leak: LEAK",
    "OPENAI_LOG": "info",
    "OPENAI_API_TYPE": "azure",
    "OPENAI_API_VERSION": "LEAK",
}
# What differs from one request to the next, whatever the variables say.
PASSING = {"host", "content-length"}


def received(server: Server, driver: Driver) -> list[Any]:
    """Return what a server sees of a round of calls through a client, a copy, and a copy of the copy."""
    server.requests.clear()
    copy = driver.client.with_options(timeout=30)
    for client in (driver.client, copy, copy.with_options(max_retries=1).copy(default_headers={"x-mine": "1"})):
        each = driver.of(client)
        each.chat()
        each.complete()
        each.call(lambda client: client.models.list())
        each.call(lambda client: client.post("/files", body={"a": 1}, cast_to=object))
        if hasattr(client, "admin"):  # since SDK 2.0; without an admin key of ours there is nothing to send
            with pytest.raises(TypeError, match="admin_api_key"):
                each.call(lambda client: client.admin.organization.users.retrieve("u"))
    return [_seen(request) for request in server.requests]


def _seen(request: Request) -> Any:
    headers = {name: value for name, value in request.headers.items() if name not in PASSING}
    return request.method, request.path, headers, request.body


@pytest.fixture
def with_every_variable(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def set_all() -> None:
        for name, value in VARIABLES.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.mark.parametrize("from_environment", [False, True])
def test_a_server_receives_the_same_with_every_variable_set_as_with_none(
    from_environment: bool,
    connect: Callable[..., Driver],
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    with_every_variable: Callable[[], None],
) -> None:
    options: dict[str, Any] = {}
    if from_environment:
        monkeypatch.setenv("NOVITA_API_KEY", "sk_test")
        monkeypatch.setenv("NOVITA_BASE_URL", server.base_url)
        options = {"api_key": None, "base_url": None}
    plain = received(server, connect(**options))
    with_every_variable()
    assert received(server, connect(**options)) == plain
    assert "LEAK" not in str(plain)
    assert {seen[2]["authorization"] for seen in plain} == {"Bearer sk_test"}


def test_explicit_arguments_are_sent_and_survive_copies(
    connect: Callable[..., Driver], server: Server, with_every_variable: Callable[[], None]
) -> None:
    with_every_variable()
    driver = connect(organization="mine", default_headers={"X-Leak": "mine"})
    for client in (driver.client, driver.client.copy().with_options()):
        driver.of(client).chat()
        headers = server.requests[-1].headers
        assert (headers["openai-organization"], headers["x-leak"]) == ("mine", "mine")
        assert "openai-project" not in headers


def test_the_environments_key_of_openai_is_no_key(with_every_variable: Callable[[], None]) -> None:
    from novita_openai import AsyncOpenAI, MissingAPIKeyError, OpenAI

    with_every_variable()
    for kind in (OpenAI, AsyncOpenAI):
        with pytest.raises(MissingAPIKeyError, match="OPENAI_API_KEY, which is set, is never used") as failure:
            kind()
        assert os.environ["OPENAI_API_KEY"] not in str(failure.value)


def test_no_attribute_of_a_client_holds_a_leaked_value(
    connect: Callable[..., Driver], with_every_variable: Callable[[], None]
) -> None:
    with_every_variable()
    for client in (connect().client, connect().client.with_options().copy()):
        leaked = {name for name, value in vars(client).items() if "LEAK" in str(value)}
        assert leaked <= {"_ambient_authorizations"}
