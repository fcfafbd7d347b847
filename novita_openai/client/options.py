"""What the constructors, factories and copies of the clients take, listed once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, cast

import openai

from novita_openai import sdk
from novita_openai.retry import RetryPolicy

if TYPE_CHECKING:
    from novita_openai.client.pace import Pace

__all__ = ["AsyncKey", "ClientOptions", "CopyOptions", "Key", "OwnOptions", "counted_by", "pace_of", "take_own"]

Key = str | Callable[[], str]
AsyncKey = Key | Callable[[], Awaitable[str]]


class OwnOptions(TypedDict, total=False):
    """What these clients take besides the SDK's own arguments; the docstring of the clients explains them."""

    policy: RetryPolicy | None
    resume_streams: bool | None
    translate: bool | None
    pace: Pace | bool | None
    max_answer_bytes: float | None


class _SharedOptions(OwnOptions, total=False):
    organization: str | None
    project: str | None
    webhook_secret: str | None
    timeout: float | openai.Timeout | openai.NotGiven | None
    default_headers: Mapping[str, str] | None
    default_query: Mapping[str, object] | None
    # The types of these differ between releases of the SDK, or are not the SDK's.
    websocket_base_url: Any
    http_client: Any
    admin_api_key: Any
    workload_identity: Any
    provider: Any
    data_residency: Any


class ClientOptions(sdk.PrivateClientOptions, _SharedOptions, total=False):
    """All arguments except key and address. The SDK's own mean what they do there; older releases refuse newer ones."""

    max_retries: int


class CopyOptions(sdk.PrivateCopyOptions, _SharedOptions, total=False):
    """All arguments of ``copy`` and ``with_options`` except the key."""

    base_url: Any
    max_retries: int | openai.NotGiven
    set_default_headers: Mapping[str, str] | None
    set_default_query: Mapping[str, object] | None


def take_own(options: Any) -> OwnOptions:
    """Remove our own options from the arguments and return them; one that is None counts as not given."""
    taken = {name: options.pop(name, None) for name in OwnOptions.__annotations__}
    policy = taken["policy"]
    if not isinstance(policy, RetryPolicy | None):
        raise TypeError(f"policy={policy!r}: give a RetryPolicy, such as RetryPolicy.batch()")
    return cast("OwnOptions", {name: value for name, value in taken.items() if value is not None})


def pace_of(given: object, kept: Pace | None = None, spare: Pace | None = None) -> Pace | None:
    """Return the pace that ``pace=`` asks for: a Pace, True for the one there is or ``spare``, False for none."""
    if given is None or given is False:
        return kept if given is None else None
    from novita_openai.client.pace import Pace  # late: most clients have none

    if isinstance(given, Pace):
        return given
    if given is not True:
        raise TypeError(f"pace={given!r}: give True, False, or a Pace, as in Pace(rpm=30)")
    return kept or spare or Pace()


def counted_by(max_retries: object, policy: RetryPolicy) -> RetryPolicy:
    """Return a policy without attempts of its own where ``max_retries`` is given, so that this sets their number."""
    is_given = not isinstance(max_retries, openai.NotGiven)
    return replace(policy, attempts=None) if is_given and policy.attempts is not None else policy
