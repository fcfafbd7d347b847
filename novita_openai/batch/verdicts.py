"""What a failed request means for its row, its model and the whole batch: one pure decision.

In this order:

1. a rule with ``stops_batch`` stops the batch, as every other request would fail alike;
2. so does a ``Retry-After`` that is longer than the policy's ``retry_after_cap``;
3. a request that came too fast (``Action.WAIT``) is put back, and uses up no attempt, as the service did not take it;
4. what the policy retries is sent again after its delay, up to its attempts and its deadline;
5. any other failure is final for the row, and where the service's word (403, 404) is about the model, for all its rows.

The policy's ``budget`` is not asked: where many requests fail, the whole model is sent to more slowly instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from novita_openai.error_replies import NO_WORD, NOT_JSON
from novita_openai.errors import Action, ErrorRule

if TYPE_CHECKING:
    from novita_openai.errors import Failure
    from novita_openai.retry import RetryPolicy

__all__ = ["Again", "Fail", "RowHistory", "Stop", "Verdict", "Wait", "decide"]

FREE_REFUSALS: Final = 3
"""Refusals of a row for which the model's pace is to blame; what is refused more often may be too large to pass."""

_MODEL_STATUSES: Final = (403, 404)
_STATUSES_OF_SETTINGS: Final = (401, 404)


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the batch, for a reason that is shown to the user; the row stays unfinished.

    ``needs_change``: it would stop again until somebody has changed the key or the address.
    """

    reason: str
    needs_change: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Put the row back, as it came too fast.

    ``asked``: the seconds for which the service asks to wait, None where it names none. ``pause``: the seconds by which
    a row that is refused again and again lets the others of its model go first.
    """

    asked: float | None
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Again:
    """Send the row again after ``delay`` seconds; ``asked`` as for :class:`Wait`."""

    delay: float
    asked: float | None


@dataclass(frozen=True, slots=True)
class Fail:
    """Give the row up, and where the failure is ``of_model`` every other row of its model too."""

    of_model: bool


Verdict = Stop | Wait | Again | Fail


@dataclass(frozen=True, slots=True)
class RowHistory:
    """What happened to a row before the failure that is decided on.

    ``attempts``: how many it has used up; ``refusals``: how often it came too fast; ``age``: the seconds since it was
    first sent.
    """

    attempts: int = 0
    refusals: int = 0
    age: float = 0.0


def decide(failure: Failure, policy: RetryPolicy, history: RowHistory, *, random: float = 0.5) -> Verdict:
    """Return what to do about the failure of a row; ``random`` in [0, 1) places a delay in its jitter."""
    asked, refusal = failure.retry_after, policy.refusal(failure)
    if failure.rule.stops_batch:
        return Stop(f"{failure.summary}: {failure.meaning}", needs_change=failure.rule.status in _STATUSES_OF_SETTINGS)
    if refusal == "error":
        return Fail(of_model=_is_of_model(failure.rule))
    if refusal:
        return Stop(f"the service asks to wait {asked:g} s, above retry_after_cap ({policy.retry_after_cap:g} s)")
    if policy.action(failure) is Action.WAIT:
        return Wait(asked, _pause(policy, history.refusals + 1))
    delay = policy.delay_after(failure, history.attempts + 1, random=random)
    is_spent = policy.attempts is not None and history.attempts + 1 >= policy.attempts
    if is_spent or (policy.deadline is not None and history.age + delay >= policy.deadline):
        return Fail(of_model=False)
    return Again(delay, asked)


def _is_of_model(rule: ErrorRule) -> bool:
    return rule.status in _MODEL_STATUSES and rule.reason not in (None, NO_WORD, NOT_JSON)


def _pause(policy: RetryPolicy, refusal: int) -> float:
    times = refusal - FREE_REFUSALS
    return policy.backoffs[Action.WAIT].delay(times) if times > 0 else 0.0
