"""A completion as a chat completion: the text of each choice becomes a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from novita_openai.prompts.catalog import as_format
from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.given import shown

if TYPE_CHECKING:
    from openai.types import Completion
    from openai.types.chat import ChatCompletion

    from novita_openai.prompts.format import PromptFormat

__all__ = ["chat_logprobs", "check_completion", "common_fields", "completion_to_chat", "dumped", "finish_reason_of"]


def completion_to_chat(completion: Completion, fmt: PromptFormat | str) -> ChatCompletion:
    """Return a completion of a rendered prompt as a chat completion; each choice's message is ``fmt.message``."""
    from openai.types.chat import ChatCompletion

    fmt = as_format(fmt)
    check_completion(completion)
    choices = [_choice(choice, fmt) for choice in completion.choices]
    fields = {"object": "chat.completion", "choices": choices, "usage": dumped(completion.usage)}
    return ChatCompletion.construct(**common_fields(completion), **fields)


def check_completion(completion: Any) -> None:
    """Raise PromptError for what has no list of choices, as a completion has it."""
    if not isinstance(getattr(completion, "choices", None), list):
        problem = f"a completion must be what client.completions.create returns, not {shown(completion)}"
        raise PromptError(f"{problem}: give that, or one of its stream")


def _choice(choice: Any, fmt: PromptFormat) -> dict[str, Any]:
    message = fmt.message(choice.text or "", choice.finish_reason)
    reason = finish_reason_of(choice.finish_reason, has_calls="tool_calls" in message)
    return {"index": choice.index, "message": message, "finish_reason": reason, "logprobs": chat_logprobs(choice)}


def finish_reason_of(reason: str | None, *, has_calls: bool) -> str | None:
    """Return the finish_reason of a chat for that of a completion."""
    return "tool_calls" if has_calls and reason == "stop" else reason


def common_fields(completion: Any) -> dict[str, Any]:
    """Return the fields that a completion and a chat completion share."""
    fields = {name: getattr(completion, name, None) for name in ("id", "created", "model", "system_fingerprint")}
    return {name: value for name, value in fields.items() if value is not None}


def dumped(value: Any) -> Any:
    """Return an SDK object as a dict; None stays None."""
    return value if value is None else value.model_dump()


def chat_logprobs(choice: Any) -> dict[str, Any] | None:
    """Return a completion's logprobs in the shape that chat has; None if it has none."""
    given = choice.logprobs
    if given is None or not given.tokens:
        return None
    tops = given.top_logprobs or [None] * len(given.tokens)
    rows = zip(given.tokens, given.token_logprobs or (), tops, strict=False)
    return {
        "content": [_token(token, logprob) | {"top_logprobs": _top_tokens(top)} for token, logprob, top in rows],
        "refusal": None,
    }


def _top_tokens(top: Mapping[str, float] | None) -> list[dict[str, Any]]:
    return [_token(token, logprob) for token, logprob in (top or {}).items()]


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": [*token.encode()]}
