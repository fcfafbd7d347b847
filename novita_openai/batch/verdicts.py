"""What a failed request means for its row, its model and the whole batch: one pure decision.

In this order:

1. a rule with ``stops_batch`` stops all: every other request would fail alike;
2. so does a wish to wait (``Retry-After``) that is longer than the policy's ``retry_after_cap``;
3. too fast (``Action.WAIT``) puts the row back, and uses up no attempt: the service did not take it;
4. what the policy retries is sent again after its delay, up to its attempts and its deadline;
5. all else is final for the row; a word under 403 or 404 that speaks of the model is final for all its rows.

The policy's ``budget`` is not asked: where calls fail in numbers the pace of the whole model falls instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from novita_openai.errors import NO_WORD, NOT_JSON, Action, ErrorRule, classify, reason_of, retry_after, status_of

if TYPE_CHECKING:
    from novita_openai.retry import RetryPolicy

__all__ = ["Again", "Fail", "Stop", "Verdict", "Wait", "decide", "explain"]


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the batch; the row stays unfinished."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Put the row back: too fast. ``asked``: the seconds that the service asks to wait, None where it names none."""

    asked: float | None


@dataclass(frozen=True, slots=True)
class Again:
    """Send the row again after so many seconds; ``asked`` as for :class:`Wait`."""

    delay: float
    asked: float | None


@dataclass(frozen=True, slots=True)
class Fail:
    """The row failed for good; ``of_model``: and so will every other of its model."""

    of_model: bool


Verdict = Stop | Wait | Again | Fail

_MODEL_STATUSES: Final = (403, 404)


def decide(error: Exception, policy: RetryPolicy, attempt: int, age: float, *, random: float = 0.5) -> Verdict:
    """Return what to do about an error of the given attempt (from 1) of a row first sent ``age`` seconds ago."""
    rule, action, asked = classify(error, policy.rules), policy.action(error), retry_after(error)
    if rule.stops_batch:
        return Stop(explain(error, rule))
    if action not in policy.backoffs:
        return Fail(of_model=_is_of_model(rule))
    if asked is not None and asked > policy.retry_after_cap:
        return Stop(f"the service asks to wait {asked:g} s, above retry_after_cap ({policy.retry_after_cap:g} s)")
    if action is Action.WAIT:
        return Wait(asked)
    delay = policy.delay(error, attempt, random=random)
    if delay is None or (policy.deadline is not None and age + delay >= policy.deadline):
        return Fail(of_model=False)
    return Again(delay, asked)


def _is_of_model(rule: ErrorRule) -> bool:
    return rule.status in _MODEL_STATUSES and rule.reason not in (None, NO_WORD, NOT_JSON)


def explain(error: Exception, rule: ErrorRule) -> str:
    """Return an error's status, word and meaning, on one line."""
    status = status_of(error)
    return f"{'' if status is None else f'{status} '}{reason_of(error)}: {rule.meaning}"
