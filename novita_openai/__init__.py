"""The official ``openai`` SDK, ready for Novita AI: ``from novita_openai import OpenAI``.

Every public name of ``openai`` is here too, and is the SDK's own object, but for the clients. Names are resolved when
they are first used, so that importing one costs no more than it needs.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from novita_openai.client import AsyncClient, AsyncOpenAI, Client, OpenAI

    # isort: split
    # Of two imports of a name, mypy takes the first and pyright the last: so the clients are named around the SDK's.
    from openai import *  # noqa: F403  # pyright: ignore[reportWildcardImportFromLibrary]
    from openai import VERSION as VERSION
    from openai import APIResponse as APIResponse
    from openai import AssistantEventHandler as AssistantEventHandler
    from openai import AsyncAPIResponse as AsyncAPIResponse
    from openai import AsyncAssistantEventHandler as AsyncAssistantEventHandler
    from openai import HttpxBinaryResponseContent as HttpxBinaryResponseContent
    from openai import pydantic_function_tool as pydantic_function_tool
    from openai import resources as resources
    from openai import types as types

    # isort: split
    from novita_openai import batch, emulator, local, prompts, retry
    from novita_openai.batch import BatchReport, BatchStopped
    from novita_openai.client import (
        AsyncClient,  # noqa: F811
        AsyncNovitaOpenAI,
        AsyncOpenAI,  # noqa: F811
        Client,  # noqa: F811
        MissingAPIKeyError,
        NovitaOpenAI,
        OpenAI,  # noqa: F811
        Pace,
        create_async_client,
        create_client,
    )
    from novita_openai.errors import RULES, Action, ErrorRule, classify, partial_text
    from novita_openai.prompts import PromptError, PromptFormat
    from novita_openai.retry import Backoff, RetryBudget, RetryPolicy

__version__ = "0.1.0"

__all__ = [
    "RULES",
    "Action",
    "AsyncClient",
    "AsyncNovitaOpenAI",
    "AsyncOpenAI",
    "Backoff",
    "BatchReport",
    "BatchStopped",
    "Client",
    "ErrorRule",
    "MissingAPIKeyError",
    "NovitaOpenAI",
    "OpenAI",
    "Pace",
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
    "partial_text",
    "prompts",
    "retry",
]

_MODULES: Final = {
    "batch": ("BatchReport", "BatchStopped"),
    "client": (
        "AsyncClient",
        "AsyncNovitaOpenAI",
        "AsyncOpenAI",
        "Client",
        "MissingAPIKeyError",
        "NovitaOpenAI",
        "OpenAI",
        "Pace",
        "create_async_client",
        "create_client",
    ),
    "errors": ("RULES", "Action", "ErrorRule", "classify", "partial_text"),
    "prompts": ("PromptError", "PromptFormat"),
    "retry": ("Backoff", "RetryBudget", "RetryPolicy"),
}

_OTHER_SERVICES: Final = ("AsyncAzureOpenAI", "AsyncBedrockOpenAI", "AzureOpenAI", "BedrockOpenAI")

_NOT_HERE: Final = (
    "{0}.{1}: these clients talk to Azure or Amazon, not to Novita. Take them from the SDK: from openai import {1}."
    " For Novita: from {0} import OpenAI."
)
_NO_MODULE_CLIENT: Final = (
    "{0}.{1}: there is no client at the level of the module, as the SDK's own would talk to OpenAI."
    " Build one: client = {0}.OpenAI(api_key=...). It takes settings as arguments, such as base_url= and timeout=,"
    " and has client.chat, client.models and all the rest."
)


class _Face(ModuleType):
    """The type of this module: it refuses to be given what would set up the SDK's client at the level of the module."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not isinstance(value, ModuleType) and _is_of_module_client(name):
            raise AttributeError(_NO_MODULE_CLIENT.format(__name__, name))
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face

if not TYPE_CHECKING:
    _OWN = __all__
    del __all__  # which is resolved on first use too, with the names of the SDK

    def __getattr__(name: str) -> Any:
        home = next((module for module, names in _MODULES.items() if name in names), None)
        if home is not None:
            if home != "prompts":
                import_module("openai")  # from here, as it takes a tenth longer from a module that is imported itself
            value = getattr(import_module(f"{__name__}.{home}"), name)
        elif name == "__all__":
            value = [*_OWN, *_names_of_the_sdk()]
        elif name == "types" or name.startswith("_") or find_spec(f"{__name__}.{name}") is None:
            return _name_of_the_sdk(name)
        else:
            value = import_module(f"{__name__}.{name}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        theirs = {name for name in dir(import_module("openai")) if not name.startswith("_")} - {*_OTHER_SERVICES}
        return sorted(
            {*globals(), *_OWN, *_names_of_the_sdk(), *(name for name in theirs if not _is_of_module_client(name))}
        )


def _names_of_the_sdk() -> list[str]:
    """Return what ``from openai import *`` gives, but for what is not the SDK's here."""
    import openai

    own = {*_OTHER_SERVICES, *(name for names in _MODULES.values() for name in names), "__version__"}
    return [name for name in openai.__all__ if name not in own and not _is_of_module_client(name)]


def _name_of_the_sdk(name: str) -> Any:
    """Return what the SDK's module has by a public name; refuse what would not talk to Novita."""
    if name in _OTHER_SERVICES:
        raise _refusal(_NOT_HERE.format(__name__, name))
    if name != "__title__" and name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _is_of_module_client(name):
        raise _refusal(_NO_MODULE_CLIENT.format(__name__, name))
    try:
        return getattr(import_module("openai"), name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}, nor has openai") from None


def _is_of_module_client(name: str) -> bool:
    """Tell whether the SDK's module has a setting of this name for its own client, or its clients have such a part."""
    import openai

    return not name.startswith("_") and (name in openai.__annotations__ or hasattr(openai.OpenAI, name))


def _refusal(text: str) -> Exception:
    """Return the error for a refused name: in ``from ... import``, Python drops the text of an AttributeError."""
    asker = sys._getframe(3)  # noqa: SLF001 - who asked the module's __getattr__
    return ImportError(text) if asker.f_code.co_name == "_handle_fromlist" else AttributeError(text)
