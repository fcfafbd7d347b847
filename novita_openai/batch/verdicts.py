"""What a failed request means for its row, its model and the whole batch: one pure decision.

In this order:

1. The batch stops where every other request would fail alike: where the service says so (a rule with ``stops_batch``),
   where the host cannot be reached and nothing has come from it yet, and where ``IN_A_ROW`` different rows have met a
   status that says so without a word (a 401, or a page under 403), with no answer between.
2. Where the service asks to wait longer than the policy's ``retry_after_cap``, the model is put off: its rows stay
   unfinished, and those of other models go on.
3. What sending again cannot help has failed for good; so have all rows of a model where the service's word (403, 404)
   is about the model, or where ``ALIKE`` of its rows were refused alike and none was answered.
4. A request that came too fast (``Action.WAIT``) is put back, and uses up no attempt, as the service did not take it.
5. What the policy retries is sent again after its delay, and so is a row that has met a status as in 1, which may be
   the row's own fault, such as a text that a firewall refuses: ``FEWEST_TRIES`` times. An answer that holds nothing is
   charged, and asked for ``CHARGED_TRIES`` times.

A row has failed for good once it has used up its attempts, or its seconds. A failure counts against its row where the
fault may be the row's: another row was answered since this one was last heard of, or fewer than ``FEW`` rows are left,
or it has failed ``OFTEN`` times while others were answered, or it was charged. Else nobody gets through, which is an
outage: it uses up neither attempts nor seconds. Where only the network or something in front of the service has spoken,
the models list is asked: if that answers, the failure counts too.

The policy's ``budget`` is not asked: where many requests fail, the whole model is sent to more slowly instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from novita_openai.batch.shutdown import GO_ON, SET_KEY
from novita_openai.error_replies import NO_WORD, NOT_JSON
from novita_openai.errors import BAD_CERTIFICATE, Action, ErrorRule

if TYPE_CHECKING:
    from novita_openai.errors import Failure
    from novita_openai.retry import RetryPolicy

__all__ = [
    "IN_A_ROW",
    "Again",
    "Fail",
    "PutOff",
    "RowHistory",
    "Stop",
    "Surroundings",
    "Verdict",
    "Wait",
    "decide",
    "is_in_doubt",
    "way_after",
]

FREE_REFUSALS: Final = 3
"""Refusals of a row for which the model's pace is to blame; what is refused more often may be too large to pass."""
FEW: Final = 3
"""With fewer rows left than this, every failure counts against its row, as no other may ever be answered."""
OFTEN: Final = 3
"""A row that has failed so often while others were answered fails by its own fault, whatever comes after."""
IN_A_ROW: Final = 3
FEWEST_TRIES: Final = 3
CHARGED_TRIES: Final = 2
ALIKE: Final = 100

_MODEL_STATUSES: Final = (403, 404)
_KEY_REFUSED: Final = 401


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the batch, for a reason that is shown to the user; the row stays unfinished.

    ``needs_change``: it would stop again until somebody has changed the key or the certificates. ``way``: how to go on.
    """

    reason: str
    needs_change: bool = False
    way: str = GO_ON


@dataclass(frozen=True, slots=True)
class PutOff:
    """Send no more to the row's model in this run: the service asks to wait for so many seconds."""

    asked: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Put the row back, as it came too fast.

    ``asked``: the seconds for which the service asks to wait, None where it names none. ``pause``: the seconds by which
    a row that is refused again and again lets the others of its model go first. ``counts``: the row's time goes on.
    """

    asked: float | None
    pause: float = 0.0
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Again:
    """Send the row again after ``delay`` seconds; ``asked`` as for :class:`Wait`.

    ``counts``: it has used up an attempt, and its time goes on.
    """

    delay: float
    asked: float | None
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Fail:
    """Give the row up, and where the failure is ``of_model`` every other row of its model too.

    ``is_late``: its time was up.
    """

    of_model: bool = False
    is_late: bool = False


Verdict = Stop | PutOff | Wait | Again | Fail


@dataclass(frozen=True, slots=True)
class RowHistory:
    """What happened to a row before the failure that is decided on.

    ``attempts``: how many it has used up; ``failures``: how often it failed, but for coming too fast; ``refusals``: how
    often it came too fast; ``witnessed``: how often it failed or was refused while other rows were answered; ``age``:
    the seconds since it was first sent, those of an outage not counted.
    """

    attempts: int = 0
    failures: int = 0
    refusals: int = 0
    witnessed: int = 0
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """How the batch stands when a row fails.

    ``is_witnessed``: another row (of a refused row: of its model) was answered since it was last heard of this one;
    ``are_few``: fewer than ``FEW`` rows are left; ``was_charged``: the service has answered, and been paid, though
    nothing was in the answer; ``is_serving``: the models list answers; ``is_reached``: something
    has come from the host before. ``in_a_row``: how many different rows, this one included, have met the same rule with
    no answer between. ``alike``: how many rows of the model, this one included, were refused with the same status and
    word while none of it was answered.
    """

    is_witnessed: bool = True
    are_few: bool = False
    was_charged: bool = False
    is_serving: bool = False
    is_reached: bool = True
    in_a_row: int = 1
    alike: int = 1


USUAL: Final = Surroundings()


def decide(
    failure: Failure,
    policy: RetryPolicy,
    row: RowHistory,
    around: Surroundings = USUAL,
    *,
    random: float = 0.5,
) -> Verdict:
    """Return what to do about the failure of a row.

    The policy's ``deadline`` is the time that a row has; ``random`` in [0, 1) places a delay in its jitter.
    """
    stop, refusal = _stop(failure, around), policy.refusal(failure)
    if stop is not None:
        return stop
    if refusal == "retry_after":
        return PutOff(failure.retry_after or 0.0)
    if refusal and not failure.rule.stops_batch:
        return Fail(of_model=_is_of_model(failure.rule) or (failure.status is not None and around.alike >= ALIKE))
    verdict = _put_back(failure, policy, row, counts=_counts(failure, row, around), random=random)
    if not verdict.counts:
        return verdict
    delay = verdict.delay if isinstance(verdict, Again) else max(verdict.asked or 0.0, verdict.pause)
    if row.age + delay >= (policy.deadline or math.inf):
        return Fail(is_late=True)
    is_spent = isinstance(verdict, Again) and row.attempts + 1 >= _tries(policy, around, is_refused=bool(refusal))
    return Fail() if is_spent else verdict


def is_in_doubt(failure: Failure, row: RowHistory, around: Surroundings) -> bool:
    """Tell whether it depends on the models list if a failure counts against its row."""
    return _can_be_asked(failure) and not _counts(failure, row, around)


def _tries(policy: RetryPolicy, around: Surroundings, *, is_refused: bool) -> float:
    most = CHARGED_TRIES if around.was_charged else FEWEST_TRIES if is_refused else math.inf
    return min(policy.attempts or math.inf, most)


def _stop(failure: Failure, around: Surroundings) -> Stop | None:
    """Return the end of the batch, None where the failure concerns one row or one model."""
    rule = failure.rule
    if failure.is_unreachable and not around.is_reached:
        return Stop(_told(failure), needs_change=failure.reason == BAD_CERTIFICATE)
    if rule.stops_batch and (_is_by_word(rule) or around.in_a_row >= IN_A_ROW):
        return Stop(_told(failure), needs_change=rule.status == _KEY_REFUSED, way=way_after(failure))
    return None


def way_after(failure: Failure) -> str:
    """Return how to go on after a failure that has stopped a batch."""
    return SET_KEY if failure.rule.status == _KEY_REFUSED else GO_ON


def _told(failure: Failure) -> str:
    return f"{failure.summary}: {failure.meaning}"


def _is_by_word(rule: ErrorRule) -> bool:
    """Tell whether a rule is found by a word of the service, and not by the status alone."""
    return rule.reason not in (None, NO_WORD, NOT_JSON)


def _is_of_model(rule: ErrorRule) -> bool:
    return rule.status in _MODEL_STATUSES and _is_by_word(rule)


def _counts(failure: Failure, row: RowHistory, around: Surroundings) -> bool:
    if around.is_witnessed or around.are_few or around.was_charged or row.witnessed >= OFTEN:
        return True
    return around.is_serving and _can_be_asked(failure)


def _can_be_asked(failure: Failure) -> bool:
    """Tell whether the models list says if there is an outage: it is given without credit, and needs no firewall."""
    return not (failure.has_word or failure.rule.stops_batch)


def _put_back(failure: Failure, policy: RetryPolicy, row: RowHistory, *, counts: bool, random: float) -> Wait | Again:
    """Return when the row is sent again, if it is."""
    if policy.action(failure) is Action.WAIT:
        return Wait(failure.retry_after, _pause(policy, row.refusals + 1), counts)
    if policy.refusal(failure):
        backoff = policy.backoffs.get(Action.RETRY)
        return Again(0.0 if backoff is None else backoff.delay(row.failures + 1, random=random), None, counts)
    return Again(policy.delay_after(failure, row.failures + 1, random=random), failure.retry_after, counts)


def _pause(policy: RetryPolicy, refusal: int) -> float:
    times = refusal - FREE_REFUSALS
    return policy.backoffs[Action.WAIT].delay(times) if times > 0 else 0.0
