"""Errors in other processes: they arrive with all that they say, and without the key."""

# ruff: noqa: S301 - what is unpickled was pickled here
from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import openai
import pytest
from conftest import Driver
from openai.types.chat import ChatCompletion
from server import Reply, Server, chunk, error, stream

import novita_openai
from novita_openai import NovitaOpenAI, partial_text, sdk
from novita_openai.errors import UnreadableEventError, classify

KEY = "sk_SECRET-KEY"
COMPLETION: Any = ChatCompletion.model_construct(id="x", choices=[], usage=None)


def build_error(kind: Any) -> Any:
    """Build an error of a class of the SDK as the SDK does."""
    library = sdk.http_library()
    request = library.Request("POST", "https://a.example/v1", headers={"Authorization": KEY, "x-mine": "1"}, json={})
    response = library.Response(429, headers={"x-request-id": "r-1"}, json={"code": 429}, request=request)
    if issubclass(kind, openai.APIStatusError):
        named = {} if kind.__name__ == "OAuthError" else {"message": "m"}
        return kind(**named, response=response, body={"code": 429})
    if issubclass(kind, openai.APIResponseValidationError):
        return kind(response, {"code": 429}, message="m")
    if issubclass(kind, openai.APIConnectionError):
        return kind(request=request)
    if kind is openai.APIError:
        return kind("m", request, body={"code": 429})
    return kind(completion=COMPLETION) if kind is openai.LengthFinishReasonError else kind("m")


KINDS = [
    openai.OpenAIError,
    openai.APIError,
    openai.APIStatusError,
    openai.APIConnectionError,
    openai.APITimeoutError,
    openai.APIResponseValidationError,
    openai.BadRequestError,
    openai.AuthenticationError,
    openai.PermissionDeniedError,
    openai.NotFoundError,
    openai.ConflictError,
    openai.UnprocessableEntityError,
    openai.RateLimitError,
    openai.InternalServerError,
    openai.LengthFinishReasonError,
    UnreadableEventError,
    novita_openai.MissingAPIKeyError,
]
KINDS += [getattr(openai, name) for name in ("OAuthError", "SubjectTokenProviderError") if hasattr(openai, name)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_the_same_after_pickling_and_copying_but_for_the_key(kind: Any) -> None:
    failure = build_error(kind)
    failure.add_note("a note")
    failure.partial_text = "Boil"
    pickled = pickle.dumps(failure)
    assert KEY.encode() not in pickled
    for found in (pickle.loads(pickled), copy.copy(failure), copy.deepcopy(failure)):
        assert type(found) is kind
        assert (str(found), found.args, found.__notes__) == (str(failure), failure.args, ["a note"])
        assert partial_text(found) == "Boil"
        assert vars(found).keys() == vars(failure).keys()
        assert getattr(found, "body", None) == getattr(failure, "body", None)
        assert classify(found) == classify(failure)
        if hasattr(failure, "request"):
            assert found.request.url == failure.request.url
            assert (found.request.headers["x-mine"], "authorization" in found.request.headers) == ("1", False)
        if isinstance(failure, openai.APIStatusError):
            assert (found.status_code, found.request_id) == (429, "r-1")
            assert found.response.json() == {"code": 429}
    assert not hasattr(failure, "request") or failure.request.headers["authorization"] == KEY


def test_what_the_client_raises_passes_whole(driver: Driver, server: Server) -> None:
    server.always = error(429, "RATE_LIMIT_EXCEEDED", x_request_id="r-1", retry_after="7")
    with pytest.raises(openai.RateLimitError) as failure:
        driver.chat()
    found = pickle.loads(pickle.dumps(failure.value))
    assert found.__notes__ == failure.value.__notes__
    assert (found.request_id, found.response.headers["retry-after"]) == ("r-1", "7")
    assert b"sk_test" not in pickle.dumps(failure.value)


def test_an_error_of_a_stream_keeps_the_text_so_far(driver: Driver, server: Server) -> None:
    server.script.append(stream(chunk("Boil"), {"error": {"message": "no more", "code": 500}}))
    with pytest.raises(openai.InternalServerError) as failure:
        driver.collect(lambda client: client.chat.completions.create(model="m", messages=[], stream=True))
    assert partial_text(pickle.loads(pickle.dumps(failure.value))) == "Boil"


def test_requests_before_a_redirect_leave_their_keys_behind(driver: Driver, server: Server) -> None:
    server.script += [Reply(307, headers={"location": server.base_url + "/elsewhere"}), error(400, "BAD")]
    with pytest.raises(openai.BadRequestError) as failure:
        driver.call(lambda client: client.get("/start", cast_to=object))
    pickled = pickle.dumps(failure.value)
    assert b"sk_test" not in pickled
    assert len(pickle.loads(pickled).response.history) == 1


def ask(base_url: str) -> None:
    """Call in a process of a pool."""
    NovitaOpenAI(api_key=KEY, base_url=base_url, max_retries=0).models.list()


@pytest.mark.slow
def test_an_error_in_a_pool_of_processes_is_raised_here(server: Server) -> None:
    server.always = error(401, "INVALID_API_KEY")
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool, pytest.raises(openai.AuthenticationError) as pooled:
        pool.apply_async(ask, (server.base_url,)).get(timeout=60)
    with ProcessPoolExecutor(1, mp_context=spawn) as executor, pytest.raises(openai.AuthenticationError) as future:
        executor.submit(ask, server.base_url).result(timeout=60)
    for failure in (pooled.value, future.value):
        assert "The API key is invalid." in failure.__notes__[0]
        assert KEY not in "".join(map(str, (failure.__cause__, failure.__notes__, failure)))
