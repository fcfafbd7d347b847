"""Chat histories as the prompts of completion models, and back, exactly.

The law: whatever a format renders, it parses back to the same messages, as its ``normalize`` returns them; everything
else is refused. In a prompt, nothing tells a control token from the same characters in a message. So a message that
would read as other turns is refused, never escaped; a server's chat endpoint can take it.

- ``messages``, ``errors``: what goes in and comes out, and what is raised;
- ``rows``: the messages of rows of data sets;
- ``format``: ``PromptFormat``, which renders and parses, by the ``engine`` and the dialects in ``tool_calls``;
- ``templates``: formats derived from chat templates;
- ``catalog``: the named formats, which ``format_files`` reads from ``formats/*.toml``;
- ``over_completions``: chats over the completions endpoint.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from novita_openai.prompts.catalog import detect, format_for_model, format_names, get_format
    from novita_openai.prompts.engine.reasoning import Thought
    from novita_openai.prompts.errors import PromptError, TemplateError
    from novita_openai.prompts.format import PromptFormat
    from novita_openai.prompts.messages import History
    from novita_openai.prompts.over_completions.chats import AsyncChatStream, ChatStream, achat, chat
    from novita_openai.prompts.over_completions.checking import Check, check
    from novita_openai.prompts.over_completions.chunks import completions_to_chunks
    from novita_openai.prompts.over_completions.requests import chat_to_completion
    from novita_openai.prompts.over_completions.responses import completion_to_chat
    from novita_openai.prompts.rows import messages_from
    from novita_openai.prompts.templates.derivation import from_pretrained_config, from_template

__all__ = [
    "AsyncChatStream",
    "ChatStream",
    "Check",
    "History",
    "PromptError",
    "PromptFormat",
    "TemplateError",
    "Thought",
    "achat",
    "chat",
    "chat_to_completion",
    "check",
    "completion_to_chat",
    "completions_to_chunks",
    "detect",
    "format_for_model",
    "format_names",
    "from_pretrained_config",
    "from_template",
    "get_format",
    "messages_from",
]

_MODULES = {
    "catalog": ("detect", "format_for_model", "format_names", "get_format"),
    "engine.reasoning": ("Thought",),
    "errors": ("PromptError", "TemplateError"),
    "format": ("PromptFormat",),
    "messages": ("History",),
    "over_completions.chats": ("AsyncChatStream", "ChatStream", "achat", "chat"),
    "over_completions.checking": ("Check", "check"),
    "over_completions.chunks": ("completions_to_chunks",),
    "over_completions.requests": ("chat_to_completion",),
    "over_completions.responses": ("completion_to_chat",),
    "rows": ("messages_from",),
    "templates.derivation": ("from_pretrained_config", "from_template"),
}
"""The public names by the modules that have them; a module is imported when one of its names is used first."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        home = next((module for module, names in _MODULES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
