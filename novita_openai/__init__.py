"""The official ``openai`` SDK, ready for Novita AI: ``from novita_openai import OpenAI``.

Names are resolved when they are first used, so that importing one costs no more than it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from novita_openai import batch, emulator, local, prompts, retry
    from novita_openai.batch import BatchReport, BatchStopped
    from novita_openai.client import (
        AsyncNovitaOpenAI,
        AsyncOpenAI,
        MissingAPIKeyError,
        NovitaOpenAI,
        OpenAI,
        create_async_client,
        create_client,
    )
    from novita_openai.errors import RULES, Action, ErrorRule, classify
    from novita_openai.prompts import PromptError, PromptFormat
    from novita_openai.retry import Backoff, RetryBudget, RetryPolicy

__version__ = "0.1.0"

__all__ = [
    "RULES",
    "Action",
    "AsyncNovitaOpenAI",
    "AsyncOpenAI",
    "Backoff",
    "BatchReport",
    "BatchStopped",
    "ErrorRule",
    "MissingAPIKeyError",
    "NovitaOpenAI",
    "OpenAI",
    "PromptError",
    "PromptFormat",
    "RetryBudget",
    "RetryPolicy",
    "__version__",
    "batch",
    "classify",
    "create_async_client",
    "create_client",
    "emulator",
    "local",
    "prompts",
    "retry",
]

_MODULES = {
    "batch": ("BatchReport", "BatchStopped"),
    "client": (
        "AsyncNovitaOpenAI",
        "AsyncOpenAI",
        "MissingAPIKeyError",
        "NovitaOpenAI",
        "OpenAI",
        "create_async_client",
        "create_client",
    ),
    "errors": ("RULES", "Action", "ErrorRule", "classify"),
    "prompts": ("PromptError", "PromptFormat"),
    "retry": ("Backoff", "RetryBudget", "RetryPolicy"),
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = next((module for module, names in _MODULES.items() if name in names), None)
        value = (
            import_module(f"{__name__}.{name}") if home is None else getattr(import_module(f"{__name__}.{home}"), name)
        )
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
