"""When to send a request again: one immutable policy, its decisions pure; tenacity asks them in turn.

What happens to a failed attempt, in this order:

1. all that is known of it becomes a :class:`novita_openai.errors.Failure`; an action without a backoff is final, and so
   is what the service forbids to repeat (``x-should-retry: false``);
2. the delay is what the service asks for (``Retry-After``), else the action's backoff; where it asks for more than
   ``retry_after_cap`` the error is final;
3. it is final when the attempts are used up, the delay would pass the deadline, what is sent cannot be rewound, or the
   budget has no token left.

1, 2 and the attempts are pure, and :meth:`RetryPolicy.tenacity` gives them to anyone; the rest of 3 is the last
``stop`` of a :class:`Call`. A final error is raised as it came, with notes: what the service said, the documented
meaning, then a line for each attempt.
"""

from __future__ import annotations

import functools
import inspect
import math
import random as random_numbers
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from novita_openai.backoff import Backoff, RetryBudget, no_wait, sleep_async, unless_skipped
from novita_openai.errors import RULES, Action, ErrorRule, Failure, failure_of
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
    ``deadline``: seconds over the whole call, waits included, up to the first event of a stream. It shortens each
    attempt's timeout and ends an async call whatever comes, a sync call once the head of an answer has come.
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
        failure = failure_of(error, self.rules)
        if self.refusal(failure) or (self.attempts is not None and attempt >= self.attempts):
            return None
        return self.delay_after(failure, attempt, random=random)

    def action(self, failure: Failure) -> Action:
        """Return what to do about a failure: what the table says, unless that may be paid twice and must not."""
        return Action.FAIL if failure.is_ambiguous and not self.retry_ambiguous else failure.action

    def refusal(self, failure: Failure) -> str:
        """Name why a failure is final whatever the attempt, "" where it is not: "error" or "retry_after"."""
        if self.action(failure) not in self.backoffs:
            return "error"
        return "retry_after" if (failure.retry_after or 0.0) > self.retry_after_cap else ""

    def delay_after(self, failure: Failure, attempt: int, *, random: float) -> float:
        """Return the seconds between an attempt that failed, and may be repeated, and the next."""
        if failure.retry_after is not None:
            return failure.retry_after
        return self.backoffs[self.action(failure)].delay(attempt, random=random)

    def tenacity(self) -> dict[str, Any]:
        """Return ``retry``, ``wait`` and ``stop`` for ``tenacity.Retrying`` or ``AsyncRetrying``.

        They are those of the clients: pure but for the jitter, and without the deadline and the budget. Without
        ``attempts`` the policy takes three. What says nothing about the service is not retried: an exception that is
        neither an error of the SDK nor in ``rules``.
        """
        return _strategies(self, self.attempts or DEFAULT_ATTEMPTS, lambda state: _failure_in(state, self.rules))

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


def _failure_in(state: tenacity.RetryCallState, rules: tuple[ErrorRule, ...]) -> Failure | None:
    """Return the failure of an attempt, None where it gave a result."""
    error = None if state.outcome is None else state.outcome.exception()
    return failure_of(error, rules) if isinstance(error, Exception) else None


def _strategies(
    policy: RetryPolicy, attempts: int, failure_in: Callable[[tenacity.RetryCallState], Failure | None]
) -> dict[str, Any]:
    def wait(state: tenacity.RetryCallState) -> float:
        failure = failure_in(state)
        random = random_numbers.random()  # noqa: S311 - jitter
        return policy.delay_after(failure, state.attempt_number, random=random) if failure else 0.0

    def retry(state: tenacity.RetryCallState) -> bool:
        failure = failure_in(state)
        return failure is not None and failure.is_known and not policy.refusal(failure)

    return {"retry": retry, "wait": wait, "stop": lambda state: state.attempt_number >= attempts}


class Call:
    """One call: its first attempt is sent bare; after a failure tenacity decides by the policy.

    ``run`` and ``run_async`` take a function that sends; they give it the number of attempts made before. The methods
    below them are for subclasses that know more of what is sent.
    """

    failure: Failure
    """The failure that is being decided on; kept no longer, as an error that it holds would never be freed."""

    def __init__(self, policy: RetryPolicy) -> None:
        self.policy, self.started = policy, time.monotonic()
        self.history: list[str] = []
        if policy.budget is not None:
            policy.budget.deposit()

    def run(self, send: Callable[[int], _R]) -> _R:
        """Send until an answer comes or the error is final."""
        while True:
            try:
                return send(len(self.history))
            except Exception as error:
                wait = self.wait_after(error)
                if wait is None:
                    raise
            time.sleep(wait)

    async def run_async(self, send: Callable[[int], Awaitable[_R]]) -> _R:
        """Send until an answer comes or the error is final."""
        while True:
            try:
                return await send(len(self.history))
            except Exception as error:
                wait = self.wait_after(error)
                if wait is None:
                    raise
            await sleep_async(wait)

    def wait_after(self, error: Exception) -> float | None:
        """Return the seconds to wait after a failed attempt; None where its error is final, with notes that say why."""
        self.failure = failure_of(error, self.policy.rules)
        try:
            if self.failure.is_known:
                return self._decided()
            _add_notes(error, self.hints())  # an error that says nothing about the service is raised as it came
            return None
        finally:
            del self.failure

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

    def _decided(self) -> float | None:
        self.history.append(f"attempt {len(self.history) + 1} of {self.attempts}: {self.failure.summary}")
        refusal = self.policy.refusal(self.failure)
        wait, why = (None, refusal) if refusal else self._ask_tenacity()
        if wait is None:
            self._give_up(why)
            return None
        self._log("retry.scheduled", wait=round(wait, 3))
        self.history[-1] += f"; waited {wait:.2f} s"
        return unless_skipped(wait)

    def _ask_tenacity(self) -> tuple[float | None, str]:
        """Return the seconds to wait, or None and what stops the call; only the last question acts."""
        import tenacity

        pure, why = _strategies(self.policy, self.attempts, lambda _: self.failure), "attempts"

        def stop(state: tenacity.RetryCallState) -> bool:
            nonlocal why
            if not pure["stop"](state):
                why = self._spent(state.upcoming_sleep)
            return bool(why)

        retrying = tenacity.Retrying(**{**pure, "stop": stop, "retry_error_callback": lambda _: None})
        retrying.begin()
        state = tenacity.RetryCallState(retrying, None, (), {})
        state.attempt_number = len(self.history)
        state.set_exception((type(self.failure.error), self.failure.error, None))
        wait: Any = retrying.iter(state)
        state.outcome = None
        return wait, why

    def _spent(self, upcoming: float) -> str:
        """Name what ends the call though the failure may be repeated, "" for nothing; take a token last."""
        if upcoming >= self.remaining():
            return "deadline"
        if not self.rewind():
            return "upload"
        is_put_off = self.failure.rule.action is Action.WAIT
        return "" if is_put_off or self.withdraw() else "budget"

    def _give_up(self, why: str) -> None:
        failure = self.failure
        asked = failure.retry_after if why == "retry_after" else None
        if len(self.history) > 1:  # else nothing was sent again, and the error itself says all there is to say
            self._log("retry.gave_up", wait=asked, stopped_by=why)
        reason = _WHY_NOT_AGAIN.get(why, "").format(policy=self.policy, asked=asked)
        said = "" if failure.said in str(failure.error) else f"The service says: {failure.said}"
        _add_notes(failure.error, [said, failure.meaning, *self.hints(), reason, *self.history])

    def _log(self, event: str, **keys: object) -> None:
        warn(
            event,
            attempt=len(self.history),
            attempts=self.attempts,
            status=self.failure.status,
            reason=self.failure.reason,
            request_id=self.failure.request_id,
            **self.details(),
            **keys,
        )


def _add_notes(error: BaseException, notes: Sequence[str]) -> None:
    """Add what an error does not say yet: a client that this call wraps, or an earlier raise, may have said it."""
    known = getattr(error, "__notes__", ())
    for note in notes:
        if note and note not in known:
            error.add_note(note)


_WHY_NOT_AGAIN: Final = {
    "deadline": "Not sent again: the next attempt would start after the deadline of {policy.deadline:g} s.",
    "upload": "Not sent again: the upload cannot be rewound to its start.",
    "budget": "Not sent again: so many calls fail that the retry budget is used up ({policy.budget!r}); "
    "RetryPolicy(budget=None) has no limit.",
    "retry_after": "Not sent again: the service asks to wait {asked:g} s, above retry_after_cap "
    "({policy.retry_after_cap:g} s).",
}
