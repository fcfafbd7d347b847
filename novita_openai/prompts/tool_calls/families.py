"""The dialects of tool calls, by the names that formats give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.tool_calls.arguments import TaggedArguments
from novita_openai.prompts.tool_calls.cohere import COMMAND, COMMAND_R7B
from novita_openai.prompts.tool_calls.declarations import SECTIONS, XML, Declarations
from novita_openai.prompts.tool_calls.deepseek import DEEPSEEK
from novita_openai.prompts.tool_calls.gemma import GEMMA_4
from novita_openai.prompts.tool_calls.granite import GRANITE_3, GRANITE_31
from novita_openai.prompts.tool_calls.harmony import HARMONY
from novita_openai.prompts.tool_calls.hermes import HERMES
from novita_openai.prompts.tool_calls.kimi import KIMI_3
from novita_openai.prompts.tool_calls.llama import LLAMA
from novita_openai.prompts.tool_calls.minimax import MINIMAX_3
from novita_openai.prompts.tool_calls.mistral import MISTRAL, MISTRAL_V7, MISTRAL_V7_TEKKEN
from novita_openai.prompts.tool_calls.mistral_tekken import MISTRAL_V11, MISTRAL_V11_BARE, MISTRAL_V13
from novita_openai.prompts.tool_calls.olmo import OLMO_3
from novita_openai.prompts.tool_calls.smollm import SMOLLM_3
from novita_openai.prompts.tool_calls.tagged import Tagged

if TYPE_CHECKING:
    from novita_openai.prompts.tool_calls.dialect import Dialect

__all__ = ["DIALECTS"]

_FUNCTIONS: Final = Declarations(is_function=True)

_GLM: Final = Tagged(
    ("<tool_call>",),
    "<tool_call>",
    call=("<tool_call>", "\n", "</tool_call>"),
    between="\n",
    glue="\n",
    arguments=TaggedArguments(("<arg_key>", "</arg_key>\n<arg_value>"), "</arg_value>\n"),
)
_GLM_47: Final = replace(
    _GLM,
    call=("<tool_call>", "", "</tool_call>"),
    between="",
    glue="",
    arguments=TaggedArguments(("<arg_key>", "</arg_key><arg_value>"), "</arg_value>"),
)
_LING_3: Final = replace(
    _GLM,
    call=("<tool_call>", "\n", "\n</tool_call>"),
    arguments=TaggedArguments(("<arg_key>", "</arg_key>\n<arg_value>"), "</arg_value>"),
    after_system=True,
)
_JSON_TAGS: Final = Tagged(
    ("<tool_call>",),
    "<tool_call>",
    call=('<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>"),
    between="\n",
    glue="\n",
    after_system=True,
)
_HY3: Final = Tagged(
    ("<tool_calls:opensource>",),
    "<tool_calls:opensource>",
    calls=("<tool_calls:opensource>\n", "\n</tool_calls:opensource>"),
    call=("<tool_call:opensource>", "<tool_sep:opensource>\n", "</tool_call:opensource>"),
    between="\n",
    arguments=TaggedArguments(
        ("<arg_key:opensource>", "</arg_key:opensource>\n<arg_value:opensource>"), "</arg_value:opensource>\n"
    ),
    after_system=True,
    is_answered=True,
)
_KIMI: Final = Tagged(
    ("<|tool_calls_section_begin|>",),
    "<|tool_calls_section_begin|>",
    id_style="functions.{name}:{number}",
    id_form=r"functions\.{name}:\d+",
    result="{name}<|im_middle|>## Return of {id}\n{text}",
    calls=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    call=("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"),
    declarations=Declarations(between=",", ends=("[", "]"), is_compact=True),
    names_id=True,
)
_QWEN_CODER: Final = Tagged(
    ("<tool_call>\n<function=",),
    "<tool_call>",
    call=("<tool_call>\n<function=", ">\n", "</function>\n</tool_call>"),
    between="\n",
    glue="\n\n",
    arguments=TaggedArguments(("<parameter=", ">\n"), "\n</parameter>\n", is_python=True),
)
_QWEN_36: Final = replace(_QWEN_CODER, arguments=TaggedArguments(("<parameter=", ">\n"), "\n</parameter>\n"))
_STEP: Final = replace(_QWEN_CODER, between="", glue="", after_system=True)
_QWEN_CODER_XML: Final = replace(_QWEN_CODER, declarations=XML, after_system=True)
_MIMO: Final = replace(
    _QWEN_CODER_XML,
    between="",
    glue="",
    arguments=TaggedArguments(("<parameter=", ">"), "</parameter>\n", is_python=True),
)
_MINIMAX: Final = Tagged(
    ("<minimax:tool_call>",),
    "<minimax:tool_call>",
    calls=("\n<minimax:tool_call>\n", "</minimax:tool_call>"),
    call=('<invoke name="', '">\n', "</invoke>\n"),
    arguments=TaggedArguments(('<parameter name="', '">'), "</parameter>\n"),
    declarations=Declarations(("<tool>", "</tool>"), is_function=True),
    after_system=True,
)
_DEEPSEEK_31: Final = Tagged(
    ("<｜tool▁calls▁begin｜>",),
    "<｜tool▁calls▁begin｜>",
    calls=("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    call=("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"),
    declarations=SECTIONS,
    after_system=True,
)
_DEEPSEEK_32: Final = Tagged(
    ("<｜DSML｜function_calls>",),
    "<｜DSML｜function_calls>",
    calls=("\n\n<｜DSML｜function_calls>\n", "\n</｜DSML｜function_calls>"),
    call=('<｜DSML｜invoke name="', '">\n', "\n</｜DSML｜invoke>"),
    between="\n",
    arguments=TaggedArguments(
        ('<｜DSML｜parameter name="', '" string="{is_string}">'), "</｜DSML｜parameter>", between="\n"
    ),
    declarations=_FUNCTIONS,
    after_system=True,
)
_DEEPSEEK_4: Final = replace(
    _DEEPSEEK_32,
    markers=("<｜DSML｜tool_calls>",),
    call_starts="<｜DSML｜tool_calls>",
    calls=("\n\n<｜DSML｜tool_calls>\n", "\n</｜DSML｜tool_calls>"),
)

DIALECTS: Final[Mapping[str, Dialect]] = {
    "hermes": HERMES,
    "deepseek": DEEPSEEK,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "mistral-v7": MISTRAL_V7,
    "mistral-v7-tekken": MISTRAL_V7_TEKKEN,
    "mistral-v11": MISTRAL_V11,
    "mistral-v11-bare": MISTRAL_V11_BARE,
    "mistral-v13": MISTRAL_V13,
    "command-r7b": COMMAND_R7B,
    "command-a": COMMAND,
    "gemma-4": GEMMA_4,
    "harmony": HARMONY,
    "kimi-k3": KIMI_3,
    "minimax-m3": MINIMAX_3,
    "granite-3": GRANITE_3,
    "granite-3.1": GRANITE_31,
    "smollm-3": SMOLLM_3,
    "olmo-3": OLMO_3,
    "granite-4": _JSON_TAGS,
    "qwen3-omni": _JSON_TAGS,
    "ling-3": _LING_3,
    "glm-4.5": _GLM,
    "glm-4.7": _GLM_47,
    "glm-5.2": replace(_GLM_47, declarations=Declarations(is_function=True, dropped=("strict", "defer_loading"))),
    "hy3": _HY3,
    "kimi": _KIMI,
    "qwen3.5": _QWEN_CODER,
    "qwen3.6": _QWEN_36,
    "step": _STEP,
    "qwen3-coder": _QWEN_CODER_XML,
    "qwen3-coder-next": replace(_QWEN_CODER_XML, arguments=_QWEN_36.arguments),
    "mimo": _MIMO,
    "nemotron-3": replace(_QWEN_CODER_XML, calls=("\n", ""), glue="", is_joined=True, is_answered=True),
    "minimax-m2": _MINIMAX,
    "deepseek-v3.1": _DEEPSEEK_31,
    "deepseek-v3.2": _DEEPSEEK_32,
    "deepseek-v4": _DEEPSEEK_4,
}
