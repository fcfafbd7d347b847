"""The way of one call through the turns of its model: each attempt waits for one, and gives its place back."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from random import random
from typing import TYPE_CHECKING, Any, Final, cast

import openai

from novita_openai import sdk
from novita_openai.backoff import unless_skipped
from novita_openai.client.attempts import ClientCall, Continuation
from novita_openai.client.places import Place, held_response
from novita_openai.client.sizes import about_prompt_tokens, most_answer_tokens
from novita_openai.client.turns import Caller
from novita_openai.errors import Action, failure_of

if TYPE_CHECKING:
    from novita_openai.client.pace import Pace
    from novita_openai.client.resumption import Resumption
    from novita_openai.errors import Failure

__all__ = ["PacedCall"]

TOO_FAST: Final = 429


class Turn:
    """The way of one call through the turns of its model, attempt by attempt.

    ``place``: that of the attempt that is under way; ``refusal``: the last answer that said that it came too fast.
    ``is_late``: its turn did not come in time.
    """

    refusal: BaseException | None = None
    place: Place | None = None
    is_late = False
    _refused_at: float | None = None
    _prompt_tokens = 0.0

    def __init__(self, pace: Pace, model: str, body: Mapping[str, Any]) -> None:
        self.pace, self.model, self.turns = pace, model, pace.turns(model)
        self.caller = Caller(0.0 if pace.tpm is None else self._expected(body))

    def _expected(self, body: Mapping[str, Any]) -> float:
        """Return about how many tokens prompt and answer come to."""
        self._prompt_tokens = about_prompt_tokens(body, json.dumps(body, default=str).encode())
        most = most_answer_tokens(body)
        return self._prompt_tokens + (self.turns.usual_answer if most is None else most)

    def limit(self, remaining: float) -> Caller:
        """Return the caller, who can wait while so many of the machine's seconds are left, and while it is patient."""
        clock = self.pace.clock
        patient = math.inf if self._refused_at is None else self._refused_at + self.pace.patience
        self.caller.until = min(clock.now() + remaining * clock.speed, patient)
        return self.caller

    def has(self, place: Place | None) -> bool:
        """Take a place; tell whether there is one."""
        self.place, self.is_late = place, place is None
        return place is not None

    @property
    def is_impatient(self) -> bool:
        """Tell whether the call has waited for as long as it may since it first came too fast."""
        return self._refused_at is not None and self.caller.until == self._refused_at + self.pace.patience

    def hold(self, response: Any) -> None:
        """Keep the place while a response is read."""
        if self.place is not None and not self.place.is_kept:
            held_response(response, self.place)

    def answered(self, answer: Any) -> Any:
        """Give the place back once the answer is read, and return the answer."""
        place, response = self.place, _response_of(answer)
        if place is None or place.is_kept:
            return answer
        if response is not None:
            held_response(response, place)
            return answer
        tokens = getattr(getattr(answer, "usage", None), "total_tokens", None)
        self.turns.answered(place, tokens, self._prompt_tokens)
        return answer

    def left(self, error: BaseException) -> None:
        """Give the place of a call back that is cancelled; of a failure it is decided what it means for the place."""
        if not isinstance(error, Exception):
            self.give_back()

    def refused(self, place: Place, failure: Failure, asked: float) -> None:
        """Count a refusal; ``asked``: the seconds for which the service asks to wait."""
        self.turns.refused(place, asked, random=random())  # noqa: S311 - jitter
        if self._refused_at is None:
            self._refused_at = self.pace.clock.now()
        self.refusal = failure.error.with_traceback(None)  # its frames hold this object

    def give_back(self) -> None:
        """Give the place back, where that has not happened."""
        if self.place is not None:
            self.place.give_back()
            self.place = None


def _response_of(answer: Any) -> Any:
    """Return the HTTP response of an answer that is read later, None for others."""
    if isinstance(answer, openai.BaseModel):  # which takes long to say that it has no such attribute
        return None
    response = answer.response if isinstance(answer, (openai.Stream, openai.AsyncStream)) else None
    raw = getattr(answer, "http_response", response)
    return raw if isinstance(raw, sdk.http_library().Response) else None


def turn_of(pace: Pace, body: object, extra: Mapping[str, Any]) -> Turn | None:
    """Return the turns that a request has to wait for: those of the model that its body names, None without one."""
    if not isinstance(body, (dict, Mapping)):
        return None
    merged = {**body, **extra} if extra else body
    model = merged.get("model")
    return Turn(pace, model, merged) if isinstance(model, str) else None


class PacedCall(ClientCall):
    """A call that waits for the turns of the model that its body names.

    A request that came too fast (429) uses up no attempt: it waits for a further turn, while its pace is patient.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        pace: Any = self.client.paced_by
        self.turn = turn_of(pace, sdk.body_of(self.options), sdk.extra_body_of(self.options))

    def run(self, send: Callable[[int], Any]) -> Any:
        """Do the same, each attempt in its turn."""
        return super().run(send if self.turn is None else partial(_in_turn, self, self.turn, send))

    async def run_async(self, send: Callable[[int], Awaitable[Any]]) -> Any:
        """Do the same for the async client."""
        return await super().run_async(send if self.turn is None else partial(_in_turn_async, self, self.turn, send))

    def guard(self, stream: Any) -> Any:
        """Do the same, and keep the place while a stream is read."""
        if self.turn is not None:
            self.turn.hold(stream.response)
        return super().guard(stream)

    def _continuation(self, resumption: Resumption) -> Continuation:
        return PacedContinuation(self, resumption)

    def wait_after(self, error: Exception) -> float | None:
        """Do the same for a call that waits for its turns; its place is given back."""
        if self.turn is None:
            return super().wait_after(error)
        try:
            return None if self.turn.is_late else super().wait_after(error)
        finally:
            self.turn.give_back()

    def _decided(self) -> float | None:
        turn = self.turn
        is_too_fast = turn is not None and turn.place is not None and self._waits_for_a_turn(turn, turn.place)
        return 0.0 if is_too_fast else super()._decided()

    def _waits_for_a_turn(self, turn: Turn, place: Place) -> bool:
        """Tell the turns of a failure; return whether the call came too fast, and only waits for another turn."""
        failure, action = self.failure, self.policy.action(self.failure)
        asked = unless_skipped(failure.retry_after or 0.0)
        if failure.status == TOO_FAST and action is Action.WAIT:
            turn.refused(place, failure, asked)
            return action in self.policy.backoffs and self.rewind()
        if action is Action.RETRY:
            turn.turns.failed(place, asked)
        return False

    def too_late(self) -> BaseException:
        """Return the error of a call whose turn does not come in time: the last refusal, else a timeout."""
        turn = cast("Turn", self.turn)
        error, turn.refusal = turn.refusal, None
        if error is None:
            error = openai.APITimeoutError(request=sdk.bare_request(self.client))
            error.add_note(_NO_TURN.format(model=turn.model, deadline=self.policy.deadline or math.inf))
            return error
        why = "patience" if turn.is_impatient else "deadline"
        self.failure = failure_of(error, self.policy.rules)
        try:
            if why == "patience":
                error.add_note(_NO_PATIENCE.format(patience=turn.pace.patience))
            self._give_up(why)
        finally:
            del self.failure
        return error


_NO_TURN: Final = "Not sent: by the pace of {model} its turn does not come before the deadline of {deadline:g} s."
_NO_PATIENCE: Final = "Not sent again: no further turn comes within the patience of its pace ({patience:g} s)."


class PacedContinuation(PacedCall, Continuation):
    """A request that resumes a stream, and waits for its turn."""


def _in_turn(call: PacedCall, turn: Turn, attempt: Callable[[int], Any], made: int) -> Any:
    caller = turn.limit(call.remaining())
    if not turn.has(turn.turns.take_now(caller) or turn.turns.take(caller)):
        raise call.too_late()
    try:
        return turn.answered(attempt(made))
    except BaseException as error:
        turn.left(error)
        raise


async def _in_turn_async(call: PacedCall, turn: Turn, attempt: Callable[[int], Awaitable[Any]], made: int) -> Any:
    caller = turn.limit(call.remaining())
    if not turn.has(turn.turns.take_now(caller) or await turn.turns.take_async(caller)):
        raise call.too_late()
    try:
        return turn.answered(await attempt(made))
    except BaseException as error:
        turn.left(error)
        raise
