"""What one call sends, attempt by attempt: makes the options of each, rewinds uploads, and checks the answer."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from urllib.parse import urlsplit

import openai

from novita_openai import sdk
from novita_openai.client.bodies import Limits
from novita_openai.client.events import choices_asked_for
from novita_openai.client.hosted import creates, hosted_url, is_hosted_path
from novita_openai.client.options import counted_by
from novita_openai.client.translation import translated
from novita_openai.errors import CONNECTION_ERROR, TIMEOUT
from novita_openai.retry import Call

if TYPE_CHECKING:
    from novita_openai.client.pace import Pace
    from novita_openai.client.resumption import Resumption
    from novita_openai.retry import RetryPolicy

__all__ = ["CallingClient", "ClientCall", "Continuation", "Streams"]

_CHAT: Final = "chat/completions"


class CallingClient(Protocol):
    """What a request needs to know of its client."""

    policy: RetryPolicy
    resume_streams: bool
    translate: bool
    paced_by: Pace | None
    max_answer_bytes: float
    max_retries: int
    process_id: int
    timeout: Any

    @property
    def base_url(self) -> Any:
        """The address, as a URL object of the SDK's HTTP library."""
        ...


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams of the sync or of the async client: the class that checks them, what bounds others, the SDK's."""

    guarded: Any
    bounded: Callable[[Any, Limits], Any]
    sdk: type


class ClientCall(Call):
    """What one call of ``request()`` sends, attempt by attempt, and what it makes of the answer; it does no I/O.

    Most calls need one attempt, so what only a failed one needs is worked out after the failure.
    """

    is_guarded = is_started = is_resumed = False
    reading: Any = None
    files: _Files | None = None
    part_of: Resumption | None = None

    def __init__(  # noqa: PLR0913, PLR0917 - the arguments of the SDK's request(), and two
        self,
        client: CallingClient,
        cast_to: Any,
        options: Any,
        is_stream: bool,  # noqa: FBT001 - as the SDK gives it
        stream_cls: Any,
        streams: Streams,
        resume: Callable[[Continuation, Exception], Any],
    ) -> None:
        policy = counted_by(options.max_retries, client.policy)
        if is_hosted_path(options.url):
            policy = replace(policy, retry_ambiguous=False) if creates(options.method, options.url) else policy
            options = _at(options, hosted_url(options.url, client.base_url))
        super().__init__(policy)
        options = _translated(options) if client.translate and options.url.endswith(_CHAT) else options
        self.client, self.options, self.streams, self.resume = client, options, streams, resume
        self.cast_to, self.is_stream, self.stream_cls = cast_to, is_stream, stream_cls
        if is_stream and sdk.is_text_stream(stream_cls, streams.sdk, options.url):
            self.is_guarded, self.is_resumed = True, client.resume_streams
            self.is_started = sdk.raw_response_header() not in (options.headers or {})
        if contents := _contents(options):
            self.files = _Files(contents)

    def options_for(self, made: int) -> Any:
        """Return the options of the attempt after ``made`` others: a copy, as the SDK writes into what it is given."""
        options = copy.copy(self.options)
        options.max_retries = 0
        if self.is_stream:
            sdk.with_parser(options, self.guard)
        if made:
            options.headers = {sdk.RETRY_COUNT: str(made), **(options.headers or {})}
        if "://" in options.url and _is_elsewhere(options.url, self.client):
            options.headers = {"Authorization": openai.Omit(), **(options.headers or {})}
        if self.policy.deadline is not None:
            own = not isinstance(options.timeout, openai.NotGiven)
            options.timeout = _shrink(options.timeout if own else self.client.timeout, self.remaining())
        return options

    @property
    def ends(self) -> float:
        """Return when the call ends, by ``time.monotonic()``; infinity where it has no deadline."""
        return self.started + (self.policy.deadline or math.inf)

    def guard(self, stream: Any) -> Any:
        """Return a stream that the SDK has built, each event bounded; that of a text is guarded too."""
        limits = Limits(self.client.max_answer_bytes, self.ends)
        if not self.is_guarded or not sdk.is_text(stream):
            return self.streams.bounded(stream, limits)
        resumption = self._resumption()
        resume = None if resumption is None else partial(self._resume, resumption)
        guarded = self.streams.guarded(stream, self._asked, limits, resumption, self.part_of, resume)
        if self.is_started:
            self.reading = guarded
        return guarded

    def _resume(self, resumption: Resumption, failure: Exception) -> Any:
        """Send the request that resumes a stream after what has broken it."""
        return self.resume(self._continuation(resumption), failure)

    def _continuation(self, resumption: Resumption) -> Continuation:
        return Continuation(self, resumption)

    def _asked(self) -> int:
        return choices_asked_for({**(sdk.body_of(self.options) or {}), **sdk.extra_body_of(self.options)})

    def _resumption(self) -> Resumption | None:
        """Return how the stream goes on where it breaks, None where it does not."""
        if not self.is_resumed:
            return None
        from novita_openai.client.resumption import resumption_of  # late: most clients resume nothing

        return resumption_of(self.options.url, sdk.body_of(self.options), sdk.extra_body_of(self.options))

    @property
    def attempts(self) -> int:
        """Return the policy's number of attempts, else one more than the SDK's ``max_retries``."""
        return self.policy.attempts or 1 + sdk.retries_of(self.options, self.client)

    def rewind(self) -> bool:
        """Rewind uploads to where they stood; return False where that cannot be done."""
        return self.files is None or self.files.rewind()

    def details(self) -> dict[str, object]:
        """Name the model."""
        return {"model": _field(sdk.body_of(self.options), "model")}

    def hints(self) -> list[str]:
        """Return what to do about connections of another event loop or process, and about what the service may refuse.

        Parameters and roles that OpenAI accepts and the service may refuse are sent only where the client does not
        translate them.
        """
        if self.remaining() <= 0 and self.failure.reason == TIMEOUT:
            return [f"The call was ended at its deadline of {self.policy.deadline:g} s."]
        if sdk.is_of_another_loop(self.failure.error):
            return [_OTHER_LOOP]
        if self.client.process_id != os.getpid() and self.failure.reason in (CONNECTION_ERROR, TIMEOUT):
            return [_OTHER_PROCESS]
        if self.failure.status not in (400, 422):
            return []
        body = sdk.body_of(self.options)
        messages = _field(body, "messages")
        roles = [_field(message, "role") for message in messages] if isinstance(messages, list) else []
        return [hint for used, hint in _UNSUPPORTED.items() if used in roles or _field(body, used) is not None]


_OTHER_LOOP: Final = (
    "This client has connections of another event loop, in which it was used before: "
    "make a client inside of each asyncio.run(), or call asyncio.run() once for all."
)
_OTHER_PROCESS: Final = (
    "This client was made in another process, with which it would share connections: "
    "make a client in each process, after the fork."
)


class Continuation(ClientCall):
    """The request that resumes a stream; what broke the stream counts as its first attempt (:meth:`wait_after`).

    It takes no token from the retry budget, as the service does no work twice for it; sending it again takes one.
    """

    def __init__(self, request: ClientCall, resumption: Resumption) -> None:
        options = sdk.with_body(request.options, resumption.path, resumption.body)
        headers = options.headers or {}
        options.headers = {name: value for name, value in headers.items() if name != sdk.raw_response_header()}
        kind, chunk = request.cast_to, request.stream_cls.__args__[0]
        if resumption.path != request.options.url:
            kind = chunk = openai.types.Completion
        stream_cls, is_stream = cast("Any", request.streams.sdk)[chunk], True
        super().__init__(request.client, kind, options, is_stream, stream_cls, request.streams, request.resume)
        self.is_resumed, self.tokens, self.part_of = False, resumption.tokens, resumption

    @property
    def attempts(self) -> int:
        """Return the number of attempts, of which the broken stream is one; ``max_retries=0`` is no word on it."""
        return super().attempts if self.policy.attempts is not None else max(super().attempts, 2)

    def withdraw(self) -> bool:
        """Take a token from the budget, except for the first request."""
        return len(self.history) == 1 or super().withdraw()

    def details(self) -> dict[str, object]:
        """Name the model and the tokens so far."""
        return {**super().details(), "tokens": self.tokens}

    def _log(self, event: str, **keys: object) -> None:
        is_first = event == "retry.scheduled" and len(self.history) == 1
        super()._log("stream.resumed" if is_first else event, **keys)


# https://novita.ai/docs/api-reference/model-apis-llm-create-chat-completion
_UNSUPPORTED: Final = {
    "max_completion_tokens": "Novita may refuse `max_completion_tokens`: use `max_tokens`.",
    "developer": "Novita may refuse the role `developer`: use `system`.",
}


class _Files:
    """The files of an upload and where they stand before the first attempt reads them."""

    def __init__(self, contents: list[Any]) -> None:
        files = [content for content in contents if not isinstance(content, _REPEATABLE)]
        self.can_rewind = all(hasattr(file, "seekable") and file.seekable() for file in files)
        self.places = [(file, file.tell()) for file in files] if self.can_rewind else []

    def rewind(self) -> bool:
        for file, place in self.places:
            file.seek(place)
        return self.can_rewind


# Contents that need no rewinding.
_REPEATABLE: Final = (bytes, str, list, tuple)


def _contents(options: Any) -> list[Any]:
    """Return what an upload consists of: the files of a form, or the raw content (since SDK 2.0)."""
    raw = sdk.raw_content_of(options)
    if options.files is None:
        return [] if raw is None else [raw]
    parts = options.files.items() if isinstance(options.files, Mapping) else options.files
    return [part[1] if isinstance(part, tuple) else part for _, part in parts]


def _at(options: Any, url: str) -> Any:
    """Return the options for an address: a changed copy, or the same object."""
    if url is options.url:
        return options
    options = copy.copy(options)
    options.url = url
    return options


def _translated(options: Any) -> Any:
    """Return the options of a chat request as the service takes it: changed copies, or the same object."""
    body, extra = sdk.body_of(options), sdk.extra_body_of(options)
    if not isinstance(body, (dict, Mapping)):
        return options
    taken, more = translated(body, extra)
    return options if taken is body else sdk.with_body(options, options.url, taken, more)


def _field(body: object, name: str) -> Any:
    return body.get(name) if isinstance(body, Mapping) else None


def _is_elsewhere(url: str, client: CallingClient) -> bool:
    """Tell whether a request goes to another origin than the base URL, so that the key must not be sent."""
    target, base = urlsplit(url), client.base_url
    return (target.scheme, target.netloc) != (base.scheme, base.netloc.decode())


def _shrink(timeout: Any, remaining: float) -> openai.Timeout:
    """Return a timeout with no part longer than the seconds that remain until a call ends."""
    remaining = max(remaining, 0.001)
    if hasattr(timeout, "as_dict"):  # the timeout object of whichever HTTP library
        parts = timeout.as_dict()
    else:
        parts = dict(zip(_TIMEOUTS, timeout if isinstance(timeout, tuple) else (timeout,) * 4, strict=False))
    return openai.Timeout(**{name: min(parts.get(name) or remaining, remaining) for name in _TIMEOUTS})


_TIMEOUTS: Final = ("connect", "read", "write", "pool")
