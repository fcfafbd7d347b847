"""When to send a request again: one immutable policy, its decisions pure, carried out by tenacity.

What happens to a failed attempt, in this order:

1. its error is classified (:func:`novita_openai.classify`); an action without a backoff is final, and so is what the
   service forbids to repeat (``x-should-retry: false``);
2. the delay is what the service asks for (``Retry-After``), else the action's backoff; where it asks for more than
   ``retry_after_cap`` the error is final;
3. it is final when the attempts are used up, the delay would pass the deadline, or the budget has no token left.

A final error is raised as it came, with notes: the documented meaning, then a line for each attempt.
"""

from __future__ import annotations

import functools
import inspect
import math
import random as random_numbers
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

import openai

from novita_openai.backoff import Backoff, RetryBudget, no_wait, unless_skipped
from novita_openai.errors import (
    RULES,
    UNKNOWN,
    Action,
    ErrorRule,
    classify,
    header_of,
    is_ambiguous,
    reason_of,
    retry_after,
    status_of,
)
from novita_openai.logs import warn

if TYPE_CHECKING:
    import tenacity

__all__ = ["Backoff", "RetryBudget", "RetryPolicy", "no_wait"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

DEFAULT_ATTEMPTS: Final = 3
"""Attempts of a call that names no number: what the SDK's default of two retries comes to."""


def _default_backoffs() -> dict[Action, Backoff]:
    return {Action.WAIT: Backoff(2.0, 60.0), Action.RETRY: Backoff(1.0, 30.0)}


@dataclass(frozen=True)
class RetryPolicy:
    """How a client answers errors; give it as ``policy=`` to a client, a factory or ``with_options``.

    ``attempts``: requests a call may cost in all; None: one more than the client's ``max_retries``. A ``max_retries``
    that is given to a client, a copy or a call wins over it.
    ``backoffs``: the delays for each action; an action without one is not retried.
    ``rules``: the error table; rows of your own go before ``*RULES``.
    ``deadline``: seconds over the whole call, waits included. It shortens each attempt's timeout. That
    limits how long the server may send nothing, not the whole answer, so a slow answer can still take longer.
    ``retry_after_cap``: seconds; when the service asks for a longer wait, the call fails at once and says so.
    ``budget``: see :class:`RetryBudget`; None: no limit. A new policy starts with a full budget of its own;
    ``dataclasses.replace(client.policy, deadline=60)`` keeps the client's.
    ``retry_ambiguous``: whether to repeat what may have been answered (and charged) already: timeouts and
    disconnects after sending.
    """

    attempts: int | None = None
    _: KW_ONLY
    backoffs: Mapping[Action, Backoff] = field(default_factory=_default_backoffs)
    rules: tuple[ErrorRule, ...] = RULES
    deadline: float | None = None
    retry_after_cap: float = 120.0
    budget: RetryBudget | None = field(default_factory=RetryBudget)
    retry_ambiguous: bool = True

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
            raise ValueError(f"attempts={self.attempts}: a call takes at least one")
        if self.deadline is not None and not self.deadline > 0:
            raise ValueError(f"deadline={self.deadline}: seconds, above 0")
        if not self.retry_after_cap >= 0:
            raise ValueError(f"retry_after_cap={self.retry_after_cap}: seconds, at least 0")
        if Action.FAIL in self.backoffs:
            raise ValueError("backoffs: Action.FAIL is never retried; give the error a rule of its own instead")

    @classmethod
    def batch(cls) -> RetryPolicy:
        """Return a patient policy for work that nobody waits for: 8 attempts, long waits, no budget."""
        backoffs = {Action.WAIT: Backoff(5.0, 120.0), Action.RETRY: Backoff(2.0, 120.0)}
        return cls(attempts=8, backoffs=backoffs, retry_after_cap=600.0, budget=None)

    @classmethod
    def off(cls) -> RetryPolicy:
        """Return a policy that never sends anything twice."""
        return cls(attempts=1)

    def delay(self, error: BaseException, attempt: int, *, random: float = 0.5) -> float | None:
        """Return the seconds to wait before sending again, None to give up.

        Pure. ``attempt`` counts from 1; ``random`` in [0, 1) chooses within a backoff's jitter; 0.5 adds no jitter.
        """
        backoff = self.backoffs.get(self.action(error))
        if backoff is None or (self.attempts is not None and attempt >= self.attempts):
            return None
        asked = retry_after(error)
        if asked is None:
            return backoff.delay(attempt, random=random)
        return asked if asked <= self.retry_after_cap else None

    def action(self, error: BaseException) -> Action:
        """Return what to do about an error, by the table.

        The header ``x-should-retry`` overrules it with ``false``; ``true`` counts where no row of the table fits.
        """
        rule, should_retry = classify(error, self.rules), header_of(error, "x-should-retry")
        if should_retry == "false" or (is_ambiguous(error) and not self.retry_ambiguous):
            return Action.FAIL
        return Action.RETRY if should_retry == "true" and rule is UNKNOWN else rule.action

    def wraps(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Make any function, sync or async, retry by this policy (three attempts where the policy names no number).

        For requests sent by other means than our clients, which retry by themselves.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function!r} is a generator: what it has yielded cannot be taken back")

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def retried_async(*args: _P.args, **kwargs: _P.kwargs) -> Any:
                return await Call(self).run_async(lambda _: cast("Any", function(*args, **kwargs)))

            return cast("Callable[_P, _R]", retried_async)

        @functools.wraps(function)
        def retried(*args: _P.args, **kwargs: _P.kwargs) -> Any:
            call = Call(self)
            result = call.run(lambda _: function(*args, **kwargs))
            if not inspect.isawaitable(result):
                return result
            # The SDK's async methods look like plain functions; only what they return shows that they are async.
            return call.run_async(lambda made: cast("Any", function(*args, **kwargs)) if made else result)

        return cast("Callable[_P, _R]", retried)


class _Failed:
    """The result of an attempt that ended in an error."""


_FAILED: Final = _Failed()


class Call:
    """One call: sends the first attempt, and hands over to tenacity only when that has failed.

    ``run`` and ``run_async`` take a function that sends; they give it the number of attempts made before. The methods
    below them are for subclasses that know more of what is sent.
    """

    error: Exception
    upcoming: float = 0.0

    def __init__(self, policy: RetryPolicy) -> None:
        self.policy, self.started = policy, time.monotonic()
        self.history: list[str] = []
        if policy.budget is not None:
            policy.budget.deposit()

    def run(self, send: Callable[[int], _R]) -> _R:
        """Send until an answer comes or the policy gives up."""
        try:
            return send(0)
        except Exception as error:  # noqa: BLE001 - raised at the end, unless an answer comes
            self.error = error
        import tenacity

        def resend() -> _R | _Failed:
            try:
                return send(len(self.history)) if self.history else _FAILED
            except Exception as error:  # noqa: BLE001 - the same
                self.error = error
                return _FAILED

        return self._conclude(tenacity.Retrying(**self._controls())(resend))

    async def run_async(self, send: Callable[[int], Awaitable[_R]]) -> _R:
        """Send until an answer comes or the policy gives up."""
        try:
            return await send(0)
        except Exception as error:  # noqa: BLE001 - raised at the end, unless an answer comes
            self.error = error
        import tenacity

        async def resend() -> _R | _Failed:
            try:
                return await send(len(self.history)) if self.history else _FAILED
            except Exception as error:  # noqa: BLE001 - the same
                self.error = error
                return _FAILED

        return self._conclude(await tenacity.AsyncRetrying(**self._controls())(resend))

    @property
    def attempts(self) -> int:
        """Return the number of attempts that the call may take in all."""
        return self.policy.attempts or DEFAULT_ATTEMPTS

    def rewind(self) -> bool:
        """Make ready to send the same again; return False where that cannot be done."""
        return True

    def withdraw(self) -> bool:
        """Take a token from the budget; return False where none is left."""
        return self.policy.budget is None or self.policy.budget.withdraw()

    def hints(self) -> list[str]:
        """Return further notes for the final error."""
        return []

    def details(self) -> dict[str, object]:
        """Return further keys for the log: the name of the model."""
        return {"model": None}

    def remaining(self) -> float:
        """Return the seconds left until the deadline, infinity without one."""
        return (self.policy.deadline or math.inf) - (time.monotonic() - self.started)

    def _conclude(self, answer: _R | _Failed) -> _R:
        """Return the answer, or raise the last error; drop all references to it here, as they would form a cycle."""
        if not isinstance(answer, _Failed):
            return answer
        error = self.error
        del self.error
        try:
            raise error
        finally:
            del error

    def _controls(self) -> dict[str, Any]:
        """Return tenacity's arguments; it asks the retry predicate first, then for the wait, then whether to stop.

        A failed attempt returns ``_FAILED`` to tenacity: its own errors would keep all that was sent in memory.
        """
        return {
            "retry": self._is_retryable,
            "wait": lambda _: unless_skipped(self.upcoming),
            "stop": lambda _: self._is_spent(),
            "before_sleep": lambda _: self._log("retry.scheduled", wait=round(self.upcoming, 3)),
            "retry_error_callback": lambda _: _FAILED,
        }

    def _is_retryable(self, state: tenacity.RetryCallState) -> bool:
        outcome = state.outcome
        if outcome is None or outcome.failed or outcome.result() is not _FAILED or not self._is_ours():
            return False  # an answer, an interrupt, a cancelled task, an error that says nothing about the service
        self.history.append(f"attempt {len(self.history) + 1} of {self.attempts}: {_summary(self.error)}")
        delay = self.policy.delay(self.error, len(self.history), random=random_numbers.random())  # noqa: S311 - jitter
        if delay is None:
            self._give_up(self._refusal())
            return False
        self.upcoming = delay
        return True

    def _is_ours(self) -> bool:
        """Tell whether the error comes from the service or stands in the table; any other is raised as it came."""
        return isinstance(self.error, openai.APIError) or classify(self.error, self.policy.rules) is not UNKNOWN

    def _is_spent(self) -> bool:
        """Tell whether a retryable error is final all the same; the budget is asked last, as that costs a token."""
        if len(self.history) >= self.attempts:
            why = "attempts"
        elif self.upcoming >= self.remaining():
            why = "deadline"
        elif not self.rewind():
            why = "upload"
        elif not self.withdraw():
            why = "budget"
        else:
            self.history[-1] += f"; waited {self.upcoming:.2f} s"
            return False
        self._give_up(why)
        return True

    def _refusal(self) -> str:
        """Name what made the policy refuse a delay."""
        if self.policy.action(self.error) not in self.policy.backoffs:
            return "error"
        asked = retry_after(self.error)
        return "retry_after" if asked is not None and asked > self.policy.retry_after_cap else "attempts"

    def _give_up(self, why: str) -> None:
        asked = retry_after(self.error) if why == "retry_after" else None
        if len(self.history) > 1:  # else nothing was sent again, and the error itself says all there is to say
            self._log("retry.gave_up", wait=asked, stopped_by=why)
        reason = _WHY_NOT_AGAIN.get(why, "").format(policy=self.policy, asked=asked)
        meaning = classify(self.error, self.policy.rules).meaning
        # Notes by a client that this call wraps, or from an earlier raise of the same error.
        known = getattr(self.error, "__notes__", ())
        for note in (meaning, *self.hints(), reason, *self.history):
            if note and note not in known:
                self.error.add_note(note)

    def _log(self, event: str, **keys: object) -> None:
        warn(
            event,
            attempt=len(self.history),
            attempts=self.attempts,
            status=status_of(self.error),
            reason=reason_of(self.error),
            request_id=header_of(self.error, "x-request-id"),
            **self.details(),
            **keys,
        )


_WHY_NOT_AGAIN: Final = {
    "deadline": "Not sent again: the next attempt would start after the deadline of {policy.deadline:g} s.",
    "upload": "Not sent again: the upload cannot be rewound to its start.",
    "budget": "Not sent again: so many calls fail that the retry budget is used up ({policy.budget!r}).",
    "retry_after": "Not sent again: the service asks to wait {asked:g} s, above retry_after_cap "
    "({policy.retry_after_cap:g} s).",
}


def _summary(error: Exception) -> str:
    status = status_of(error)
    return reason_of(error) if status is None else f"{status} {reason_of(error)}"
