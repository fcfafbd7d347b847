"""The string literals of a chat template, which it may look for in messages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from jinja2 import nodes

__all__ = ["Kinds", "Literals", "by_kind", "find_literals"]

Kinds = Mapping[type[nodes.Node], list[Any]]
"""The nodes of a tree by their type, in the order of the source."""

_CUTTING: Final = frozenset({"replace", "split", "trim"})
"""Filters that look for their arguments in the text that they are given."""

_OF_DICTS: Final = frozenset({"get", "items", "keys", "pop", "values"})
"""Methods whose arguments are keys, not parts of a text."""


@dataclass(frozen=True)
class Literals:
    """Strings by what a template may do with them: look for them anywhere, at the start, at the end, or compare.

    ``all`` are all of its strings, with the text between its tags.
    """

    searched: tuple[str, ...]
    starts: tuple[str, ...]
    ends: tuple[str, ...]
    compared: tuple[str, ...]
    all: tuple[str, ...]


def by_kind(tree: nodes.Template) -> Kinds:
    """Return all nodes of a tree by their type, found in one walk."""
    found: defaultdict[type[nodes.Node], list[Any]] = defaultdict(list)
    waiting: list[nodes.Node] = [tree]
    while waiting:
        node = waiting.pop()
        found[type(node)].append(node)
        waiting.extend([*node.iter_child_nodes()][::-1])
    return found


def find_literals(tree: Kinds) -> Literals:
    """Return the strings that a template may look for in messages."""
    sliced = [*_compared_by_name(tree)]
    return Literals(
        _distinct([*_searched(tree), *_assigned(tree)]),
        _distinct([*_arguments(tree, {"startswith"}), *sliced]),
        _distinct([*_arguments(tree, {"endswith"}), *sliced]),
        _distinct(_compared(tree)),
        _distinct(_all(tree)),
    )


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))


def _strings(expressions: Iterable[nodes.Node]) -> Iterator[str]:
    for node in expressions:
        if isinstance(node, nodes.Const) and isinstance(node.value, str):
            yield node.value


def _all(tree: Kinds) -> Iterator[str]:
    for node in chain(tree.get(nodes.Const, ()), tree.get(nodes.TemplateData, ())):
        text = node.value if isinstance(node, nodes.Const) else node.as_const()
        if isinstance(text, str):
            yield text


def _searched(tree: Kinds) -> Iterator[str]:
    """Yield strings that are looked for with ``in``, a method or a filter."""
    for compare in tree.get(nodes.Compare, ()):
        if any(operand.op in {"in", "notin"} for operand in compare.ops):
            yield from _strings([compare.expr])
    for call in tree.get(nodes.Call, ()):
        if isinstance(call.node, nodes.Getattr) and call.node.attr not in _OF_DICTS:
            yield from _strings(call.args)
    for cut in tree.get(nodes.Filter, ()):
        if cut.name in _CUTTING:
            yield from _strings(cut.args)


def _assigned(tree: Kinds) -> Iterator[str]:
    """Yield strings that are assigned to a variable, as that may be looked for; no words, which seldom are."""
    for assign in tree.get(nodes.Assign, ()):
        yield from (text for text in _strings([assign.node]) if not text.isidentifier())


def _compared_by_name(tree: Kinds) -> Iterator[str]:
    """Yield strings assigned to a variable that is compared with a slice, or with a variable that may hold one."""
    compares = map(_sides, tree.get(nodes.Compare, ()))
    sliced = chain.from_iterable(sides for sides in compares if all(map(_may_be_slice, sides)))
    compared = {side.name for side in sliced if isinstance(side, nodes.Name)}
    for assign in tree.get(nodes.Assign, ()):
        if isinstance(assign.target, nodes.Name) and assign.target.name in compared:
            yield from (text for text in _strings([assign.node]) if not text.isidentifier())


def _sides(compare: nodes.Compare) -> list[nodes.Expr]:
    return [compare.expr, *(operand.expr for operand in compare.ops)]


def _may_be_slice(expression: nodes.Node) -> bool:
    is_slice = isinstance(expression, nodes.Getitem) and isinstance(expression.arg, nodes.Slice)
    return is_slice or isinstance(expression, nodes.Name)


def _arguments(tree: Kinds, methods: set[str]) -> Iterator[str]:
    """Yield the string arguments of methods."""
    for call in tree.get(nodes.Call, ()):
        if isinstance(call.node, nodes.Getattr) and call.node.attr in methods:
            yield from _strings(call.args)


def _compared(tree: Kinds) -> Iterator[str]:
    """Yield strings that a content may be compared with; words only where the other side is called a content."""
    for compare in tree.get(nodes.Compare, ()):
        sides = _sides(compare)
        is_content = any("content" in name for side in sides for name in _names(side))
        yield from (text for text in _strings(sides) if text.strip() and (is_content or not text.isidentifier()))


def _names(expression: nodes.Node) -> Iterator[str]:
    """Yield the name of a variable, attribute or item."""
    if isinstance(expression, nodes.Name):
        yield expression.name
    elif isinstance(expression, nodes.Getattr):
        yield expression.attr
    elif isinstance(expression, nodes.Getitem):
        yield from _strings([expression.arg])
