"""Kimi K3: calls stand in a part of their own after the reply, each argument with its type; results are numbered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.tool_calls.calls import ToolCall, call_fields, json_or_none, json_text, tool_call
from novita_openai.prompts.tool_calls.declarations import DeclarationsForm
from novita_openai.prompts.tool_calls.dialect import DeclaredApart

if TYPE_CHECKING:
    from novita_openai.prompts.messages import ChatTurn, Tools

__all__ = ["KIMI_3"]

_CLOSED: Final = "<|close|>response<|sep|>"
_TOOLS: Final = "<|open|>tools<|sep|>"
_OPENED: Final = _CLOSED + _TOOLS
_ENDS: Final = ("<|close|>message<|sep|>", "<|close|>tools<|sep|>")
_CALL: Final = re.compile(
    r'<\|open\|>call tool="(?P<name>[^"]*)" index="\d+"<\|sep\|>(?P<arguments>.*?)<\|close\|>call<\|sep\|>', re.DOTALL
)
_ARGUMENT: Final = re.compile(
    r'<\|open\|>argument key="(?P<name>[^"]*)" type="(?P<type>\w+)"<\|sep\|>(?P<value>.*?)<\|close\|>argument<\|sep\|>',
    re.DOTALL,
)
_RESULT: Final = re.compile(r' tool="(?P<name>[^"]*)" index="\d+"<\|sep\|>(?P<text>.*)', re.DOTALL)
_TYPES: Final = {bool: "boolean", type(None): "null", int: "number", float: "number", str: "string", dict: "object"}


class _SortedJson(DeclarationsForm):
    """All tools as one JSON list without spaces, the keys of each object sorted."""

    __slots__ = ()

    def written(self, tools: Tools) -> str:
        return json_text(_sorted([*tools]), is_compact=True)

    def found(self, text: str) -> Iterator[Any]:
        value = json_or_none(text)
        yield from value if isinstance(value, list) else ()


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value, key=str.lower)}
    return [*map(_sorted, value)] if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class _Kimi(DeclaredApart):
    def write(self, turns: Sequence[ChatTurn], tools: Tools | None, default: str | None) -> list[ChatTurn]:
        names = [""]
        written: list[ChatTurn] = []
        for turn, following in zip(turns, [*turns[1:], None], strict=True):
            if turn.calls and (following is None or following.role != "tool"):
                raise PromptError("the format writes calls only with their results after them", index=turn.index)
            if turn.calls:
                names = [each["function"]["name"] for each in turn.calls]
            index = len(written) - max((place for place, each in enumerate(written) if each.calls), default=0)
            written.append(self._written(turn, names, index))
        return self.declare(written, tools, default) if tools else written

    def _written(self, turn: ChatTurn, names: Sequence[str], index: int) -> ChatTurn:
        """Return a turn with its calls in its text, or a result with the name of its call and its number."""
        if turn.role == "tool":
            return turn.with_text(f' tool="{_escaped(names[index - 1])}" index="{index}"<|sep|>{turn.text}')
        return turn.with_text(self.write_calls(turn)) if turn.calls else turn

    def write_calls(self, turn: ChatTurn) -> str:
        return turn.text + _OPENED + "".join(_written(index, each) for index, each in enumerate(turn.calls, 1))

    def read_result(self, turn: ChatTurn) -> ChatTurn:
        found = _RESULT.fullmatch(turn.text)
        if found is None:
            raise PromptError("this is not how the format writes the result of a call", offset=0)
        return turn.with_text(found["text"])

    def read_calls(self, text: str, tools: Tools | None = None) -> tuple[str, tuple[ToolCall, ...]]:  # noqa: ARG002 - each argument says its type
        content, closed, rest = text.partition(_CLOSED)
        rest = rest.removesuffix(_ENDS[0])
        if closed and not rest:
            return content, ()
        inside = rest.removesuffix(_ENDS[1]).removeprefix(_TOOLS)
        calls = tuple(filter(None, map(_call_in, _CALL.finditer(inside))))
        is_whole = rest.startswith(_TOOLS) and not _CALL.sub("", inside) and len(calls) == len(_CALL.findall(inside))
        return (content, calls) if calls and is_whole else (text, ())


def _written(index: int, call: ToolCall) -> str:
    _, name, arguments = call_fields(call)
    inside = "".join(_argument(key, value) for key, value in json.loads(arguments).items())
    return f'<|open|>call tool="{_escaped(name)}" index="{index}"<|sep|>{inside}<|close|>call<|sep|>'


def _argument(key: str, value: Any) -> str:
    text = value if isinstance(value, str) else json_text(value)
    kind = _TYPES.get(type(value), "array")
    return f'<|open|>argument key="{_escaped(key)}" type="{kind}"<|sep|>{text}<|close|>argument<|sep|>'


def _call_in(found: re.Match[str]) -> ToolCall | None:
    arguments = {_unescaped(each["name"]): _value(each) for each in _ARGUMENT.finditer(found["arguments"])}
    is_whole = not _ARGUMENT.sub("", found["arguments"])
    return tool_call(_unescaped(found["name"]), arguments) if is_whole else None


def _value(found: re.Match[str]) -> Any:
    return found["value"] if found["type"] == "string" else json_or_none(found["value"])


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;")


def _unescaped(text: str) -> str:
    return text.replace("&quot;", '"').replace("&amp;", "&")


KIMI_3: Final = _Kimi(
    (_OPENED,),
    _CLOSED,
    tuple(("assistant", tag) for tag in ("<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>")),
    declarations=_SortedJson(),
)
