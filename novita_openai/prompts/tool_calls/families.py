"""The dialects of tool calls, by the names that formats give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.tool_calls.deepseek import DEEPSEEK
from novita_openai.prompts.tool_calls.hermes import HERMES
from novita_openai.prompts.tool_calls.llama import LLAMA
from novita_openai.prompts.tool_calls.mistral import MISTRAL, MISTRAL_V7

if TYPE_CHECKING:
    from novita_openai.prompts.tool_calls.dialect import Dialect

__all__ = ["DIALECTS"]

DIALECTS: Final[Mapping[str, Dialect]] = {
    "hermes": HERMES,
    "deepseek": DEEPSEEK,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "mistral-v7": MISTRAL_V7,
}
