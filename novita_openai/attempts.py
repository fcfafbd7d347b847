"""What one call sends, attempt by attempt: the options of each, the upload rewound, the answer looked at."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import openai

from novita_openai.answers import answer_problem, is_guardable
from novita_openai.errors import status_of
from novita_openai.retry import Call, RetryPolicy

__all__ = ["Request"]

# The SDK marks calls of with_raw_response by this request header.
_RAW_RESPONSE: Final = "X-Stainless-Raw-Response"
_RETRY_COUNT: Final = "x-stainless-retry-count"


class Client(Protocol):
    """What a request needs to know of its client."""

    policy: RetryPolicy
    max_retries: int
    timeout: Any

    @property
    def base_url(self) -> Any:
        """The address, as a URL object of the SDK's HTTP library."""
        ...


class Request:
    """What one call of ``request()`` sends, attempt by attempt, and what it makes of the answer; it does no I/O."""

    def __init__(self, client: Client, cast_to: Any, options: Any, *, stream: bool, guard: Any) -> None:
        mode = options.headers.get(_RAW_RESPONSE) if options.headers else None
        guarded = not stream and is_guardable(cast_to)
        self.client, self.options, self.kind = client, options, cast_to
        self.is_parsed = guarded and mode is None
        self.is_raw = guarded and mode == "true"
        # The SDK returns the response itself where a response type is asked for; with_raw_response has its own type.
        self.cast_to = guard[cast_to] if guarded and not self.is_raw else cast_to
        self.call = Call(
            client.policy,
            client.policy.attempts or 1 + options.get_max_retries(client.max_retries),
            repeatable=_rewinder(options),
            hints=lambda error: _hints(error, options.json_data),
            model=_field(options.json_data, "model"),
        )

    def options_for(self, made: int) -> Any:
        """Return the options of the attempt after ``made`` others: a copy, as the SDK writes into what it is given."""
        options = copy.copy(self.options)
        options.max_retries = 0
        if made:
            options.headers = {_RETRY_COUNT: str(made), **(options.headers or {})}
        if _is_elsewhere(options.url, self.client):
            options.headers = {"Authorization": openai.Omit(), **(options.headers or {})}
        if (remaining := self.call.remaining()) is not None:
            own = not isinstance(options.timeout, openai.NotGiven)
            options.timeout = _shrink(options.timeout if own else self.client.timeout, max(remaining, 0.001))
        return options

    def raw(self, answer: Any, made: int) -> Any:
        """Return a raw response or a stream with the number of retries on it; raise where a raw body is no answer."""
        if self.is_raw and (problem := answer_problem(answer.http_response, self.kind)):
            raise problem
        if hasattr(answer, "retries_taken"):
            answer.retries_taken = made
        return answer


def _field(body: object, name: str) -> Any:
    return body.get(name) if isinstance(body, Mapping) else None


def _is_elsewhere(url: str, client: Client) -> bool:
    """Tell whether a request leaves the base URL's origin, so that the key must stay behind."""
    if "://" not in url:
        return False
    target, base = urlsplit(url), client.base_url
    return (target.scheme, target.netloc) != (base.scheme, base.netloc.decode())


def _shrink(timeout: Any, remaining: float) -> openai.Timeout:
    """Return a timeout none of whose parts is longer than the seconds that remain."""
    parts = timeout.as_dict() if isinstance(timeout, openai.Timeout) else dict.fromkeys(_TIMEOUTS, timeout)
    return openai.Timeout(**{name: min(parts[name] or remaining, remaining) for name in _TIMEOUTS})


_TIMEOUTS: Final = ("connect", "read", "write", "pool")


def _rewinder(options: Any) -> Callable[[], bool]:
    """Note where the upload's files stand; return a function that takes them back there and says whether it could."""
    files = [content for content in _uploads(options) if not isinstance(content, _REPEATABLE)]
    if not all(_is_seekable(file) for file in files):
        return lambda: False
    places = [(file, file.tell()) for file in files]

    def rewind() -> bool:
        for file, place in places:
            file.seek(place)
        return True

    return rewind


_REPEATABLE: Final = (bytes, str, list, tuple)


def _uploads(options: Any) -> Iterator[Any]:
    files = options.files or ()
    for _, file in files.items() if isinstance(files, Mapping) else files:
        yield file[1] if isinstance(file, tuple) else file
    content = getattr(options, "content", None)  # since SDK 2.0
    if content is not None:
        yield content


def _is_seekable(file: Any) -> bool:
    return hasattr(file, "seekable") and file.seekable()


def _hints(error: Exception, body: object) -> list[str]:
    """Return what to write instead of what OpenAI accepts and the service refuses."""
    if status_of(error) not in (400, 422):
        return []
    roles = {_field(message, "role") for message in _field(body, "messages") or ()}
    return [hint for used, hint in _UNSUPPORTED.items() if used in roles or _field(body, used) is not None]


# https://novita.ai/docs/api-reference/model-apis-llm-create-chat-completion
_UNSUPPORTED: Final = {
    "max_completion_tokens": "Novita may refuse `max_completion_tokens`: use `max_tokens`.",
    "developer": "Novita may refuse the role `developer`: use `system`.",
}
