"""What OpenAI accepts in a chat request and the service refuses, as the service takes it: pure.

Source: https://novita.ai/docs/api-reference/model-apis-llm-create-chat-completion
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import openai

__all__ = ["translated"]

Body = Mapping[str, Any]

_NOTHING: Final[Body] = {}


def translated(body: Body, extra: Body = _NOTHING) -> tuple[Body, Body]:
    """Return the body of a chat request, and what ``extra_body`` adds to it, as the service takes them.

    ``max_completion_tokens`` becomes ``max_tokens`` (the smaller where both are given), the role ``developer`` becomes
    ``system``. Where nothing is to be changed, the same objects are returned, else changed copies.
    """
    if not extra and "max_completion_tokens" not in body and not _has_developers(body.get("messages")):
        return body, extra  # quick, as it is asked of every chat
    asked = {name: value for name, value in {**body, **extra}.items() if not _is_omitted(value)} if extra else body
    changed = {**_limit(asked), **_messages(asked)}
    if not changed:
        return body, extra
    replaced = {*changed, "max_completion_tokens"}
    return {**_without(replaced, body), **changed}, _without(replaced, extra)


def _limit(asked: Body) -> Body:
    """Return the limit of tokens under the name that the service takes, where the request has another."""
    if "max_completion_tokens" not in asked:
        return _NOTHING
    limits = [asked[name] for name in ("max_completion_tokens", "max_tokens") if asked.get(name) is not None]
    are_numbers = all(isinstance(limit, int | float) for limit in limits)
    return {"max_tokens": min(limits, default=None) if are_numbers else limits[0]}


def _messages(asked: Body) -> Body:
    """Return the messages with the roles that the service takes, where one has another."""
    messages: Any = asked.get("messages")
    if not _has_developers(messages):
        return _NOTHING
    return {"messages": [{**each, "role": "system"} if _is_developers(each) else each for each in messages]}


def _has_developers(messages: Any) -> bool:
    if isinstance(messages, (list, tuple)):
        for message in messages:
            if _is_developers(message):
                return True
    return False


def _is_developers(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "developer"


def _is_omitted(value: object) -> bool:
    """Tell whether the SDK leaves out a field that ``extra_body`` names."""
    return isinstance(value, openai.Omit)


def _without(names: set[str], body: Body) -> Body:
    return {name: value for name, value in body.items() if name not in names}
