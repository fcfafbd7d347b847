"""Base URLs: what is mended, what is refused where it is written, and that no error shows what may be secret."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Any

import openai
import pytest

from novita_openai import AsyncOpenAI, OpenAI, create_async_client, create_client

PASSWORD = "hunter2PASSWORD"
ADDRESS = "https://models.example/v1"


def given(url: Any) -> str:
    return str(OpenAI(api_key="k", base_url=url).base_url)


def in_the_environment(url: str) -> str:
    before = os.environ.get("NOVITA_BASE_URL")
    os.environ["NOVITA_BASE_URL"] = url
    try:
        return str(create_client(api_key="k").base_url)
    finally:
        del os.environ["NOVITA_BASE_URL"]
        assert before is None


def assigned(url: Any) -> str:
    client = AsyncOpenAI(api_key="k")
    client.base_url = url
    return str(client.base_url)


def copied(url: Any) -> str:
    return str(create_async_client(api_key="k").with_options(base_url=url).base_url)


WAYS: list[Callable[[Any], str]] = [given, in_the_environment, assigned, copied]

MENDED = [
    f" {ADDRESS}",
    f"{ADDRESS}\r\n",
    f"\ufeff{ADDRESS}\u200b",
    f'"{ADDRESS}"',
    f"' {ADDRESS}/ '",
    f"\u201c{ADDRESS}\u201d",
    f"<{ADDRESS}>",
    f"{ADDRESS}/chat/completions",
    f'"{ADDRESS}//chat/completions/"',
    f"{ADDRESS}/completions",
    f"{ADDRESS}/embeddings",
    f"{ADDRESS}/models?",
    f"{ADDRESS}#",
]


@pytest.mark.parametrize("way", WAYS)
def test_what_stands_around_an_address_is_taken_off(way: Callable[[Any], str]) -> None:
    assert {way(url).rstrip("/") for url in MENDED} == {ADDRESS}


@pytest.mark.parametrize("url", ["http://localhost/models/v1", "https://models", "https://completions.example/v1"])
def test_an_address_is_not_taken_for_one_of_an_endpoint(url: str) -> None:
    assert given(url).rstrip("/") == url


@pytest.mark.parametrize(
    "url",
    [
        "https://http",
        "https://https/v1",
        "https://https:8443/v1",
        "https://https.example/v1",
        "https://https-proxy//v1",
        "https://proxy.example/https://models.example/v1",
    ],
)
def test_a_host_and_a_path_may_be_named_like_a_scheme(url: str) -> None:
    assert given(url).rstrip("/") == url


REFUSED = {
    "ht\ntps://models.example/v1": r"holds '\\n'",
    "https://models .example/v1": "holds ' '",
    "https://models.example/\u200bv1": "holds '\\\\u200b'",
    f'{ADDRESS}"': "holds '\"'",
    "https:\\\\models.example": "holds '\\\\\\\\'",
    "https://{host}/v1": "holds '{'",
    f"{ADDRESS}?key={PASSWORD}": "default_query=",
    f"{ADDRESS}#{PASSWORD}": "fragment",
    f"https://user:{PASSWORD}@models.example/v1": "user or a password",
    f"https://{PASSWORD}@models.example/v1": "user or a password",
    f"https://user:{PASSWORD}/x@models.example/v1": "host or port",
    f"https://user:{PASSWORD}?x@models.example/v1": "host or port",
    f"https://{ADDRESS}": "'https://https://models.example/v1' begins with http or https twice: leave one out",
    "https://https//models.example": "twice",
    "http:https://models.example": "twice",
    "HTTPS:///HTTP://models.example/v1": "twice",
    "https://https:": "twice",
    "https://http:/v1": "twice",
    f"https://https://user:{PASSWORD}@models.example/v1": "twice",
    f"https://https:{PASSWORD}@models.example/v1": "user or a password",
    f"user:{PASSWORD}@models.example": "expected something like https://api.novita.ai",
    f"ftp://user:{PASSWORD}@models.example": "expected something like https://api.novita.ai",
    f"{PASSWORD}": "expected something like https://api.novita.ai",
    f"sk_{PASSWORD}": "expected something like https://api.novita.ai",
    f"https://sk_{PASSWORD}:x/": "host or port",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("url", REFUSED)
def test_an_address_that_cannot_be_used_is_refused_where_it_is_written(url: str, way: Callable[[Any], str]) -> None:
    with pytest.raises(openai.OpenAIError, match=REFUSED[url]) as failure:
        way(url)
    assert isinstance(failure.value, ValueError)
    assert ("NOVITA_BASE_URL=" if way is in_the_environment else "base_url=") in str(failure.value)
    frames = traceback.TracebackException.from_exception(failure.value, capture_locals=True).format()
    ours = [frame for frame in frames if __file__ not in frame]
    assert PASSWORD not in str(failure.value) + "".join(ours)


@pytest.mark.parametrize("url", [b"https://models.example", 5, ("https", "models.example")])
def test_what_is_no_text_is_no_address(url: Any) -> None:
    for way in (given, assigned, copied):
        with pytest.raises(openai.OpenAIError, match=f"no text and no URL but {type(url).__name__}"):
            way(url)


def test_a_client_takes_an_empty_address_for_none_and_an_assignment_does_not() -> None:
    assert given(" '' ") == given(None)
    with pytest.raises(openai.OpenAIError, match="base_url='' is no address"):
        assigned(" ")


def test_requests_go_where_an_assignment_says() -> None:
    client = OpenAI(api_key="k", base_url="https://one.example/v1")
    client.base_url = openai.OpenAI(api_key="k", base_url="https://two.example/v2").base_url
    assert client.base_url.host == "two.example"
    assert client.copy().base_url.host == "two.example"
    with pytest.warns(UserWarning, match=r"unencrypted to three\.example") as told:
        client.base_url = "http://three.example"
    assert told[0].filename == __file__
