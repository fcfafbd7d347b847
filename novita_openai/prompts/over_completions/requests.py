"""A chat request as a completion request: its messages become the prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.catalog import choose_format
from novita_openai.prompts.engine.description import MOST_STOPS
from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.given import check_text, shown

if TYPE_CHECKING:
    from novita_openai.prompts.format import PromptFormat

__all__ = ["chat_to_completion", "check_client"]

_RENDERED: Final = frozenset({"continue_final", "reply", "bos", "date", "keep_reasoning", "tools"})
"""Arguments of ``PromptFormat.render``."""

_PASSED: Final = frozenset({
    "best_of", "extra_body", "extra_headers", "extra_query", "frequency_penalty", "logit_bias", "max_tokens", "n",
    "presence_penalty", "seed", "stream", "stream_options", "temperature", "timeout", "top_p", "user",
})  # fmt: skip
"""Parameters that mean the same for a chat and for a completion."""

_CONVERTED: Final = frozenset({"stop", "max_completion_tokens", "logprobs", "top_logprobs"})
"""Parameters that a completion has in another form."""

_DEFAULTS: Final[Mapping[str, Any]] = {
    "response_format": {"type": "text"},
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "modalities": ["text"],
    "store": False,
}
"""Parameters that a completion does not have, and the values of them that ask for nothing special."""


def chat_to_completion(
    *,
    messages: Iterable[Any],
    model: str,
    format: PromptFormat | str | None = None,
    **params: Any,
) -> dict[str, Any]:
    """Return the arguments for ``client.completions.create`` that ask what a chat request asks.

    ``format`` is a format or its name; None takes the model's. The arguments of ``render`` are taken too. The format's
    stop strings are added to those of ``stop``, up to 4 in all, the one that ends a turn first. Raise PromptError for
    parameters that a completion does not have.
    """
    check_text(model, "model", "give the id of a model")
    fmt = choose_format(format, model)
    params = {name: value for name, value in params.items() if value is not None}
    unknown = sorted(name for name, value in params.items() if not _is_known(name, value))
    if unknown:
        problem = f"the completions endpoint takes no {' and no '.join(map(repr, unknown))}: leave it out"
        raise PromptError(problem, format=fmt.name)
    prompt = fmt.render(messages, **{name: value for name, value in params.items() if name in _RENDERED})
    arguments = {name: value for name, value in params.items() if name in _PASSED}
    if "max_completion_tokens" in params:
        arguments["max_tokens"] = params["max_completion_tokens"]
    if params.get("logprobs"):
        arguments["logprobs"] = params.get("top_logprobs", 0)
    stop = _stop_strings(fmt, params.get("stop")) or None
    return {"model": model, "prompt": prompt, "stop": stop, **arguments}


def _is_known(name: str, value: Any) -> bool:
    return name in _RENDERED | _PASSED | _CONVERTED or (name in _DEFAULTS and value == _DEFAULTS[name])


def _stop_strings(fmt: PromptFormat, stop: str | Sequence[str] | None) -> list[str]:
    """Return the stop strings that were asked for and the format's, the one that ends a turn first."""
    asked = [stop] if isinstance(stop, str) else stop or []
    if not (isinstance(asked, (list, tuple)) and all(isinstance(text, str) for text in asked)):
        raise PromptError(f"stop must be a text or a list of texts, not {shown(stop)}: give ['...']", format=fmt.name)
    needed = [*fmt.stop[:1], *(text for text in asked if text not in fmt.stop[:1])]
    if len(needed) > MOST_STOPS:
        own = f" and {fmt.stop[0]!r}, which ends a turn," if fmt.stop else ""
        problem = f"{len(asked)} stop strings{own} are more than {MOST_STOPS}"
        raise PromptError(f"{problem}: give fewer", format=fmt.name)
    return [*needed, *(text for text in fmt.stop if text not in needed)][:MOST_STOPS]


def check_client(client: Any, *, is_async: bool = False) -> None:
    """Raise PromptError for what is no client, or one of the other kind."""
    from openai import AsyncOpenAI, OpenAI

    wanted, other = ("AsyncOpenAI", OpenAI) if is_async else ("OpenAI", AsyncOpenAI)
    if isinstance(client, other) or not hasattr(client, "completions"):
        maker = "create_async_client()" if is_async else "create_client()"
        raise PromptError(f"client must be an {wanted}, not {shown(client)}: {maker} makes one")
