"""The texts that a chat template spells out, and so may look for in a message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from jinja2 import nodes

__all__ = ["Suspects", "suspects"]

_CUTTING: Final = frozenset({"replace", "split", "trim"})
"""Filters whose arguments are looked for in what they are given."""

_KEYED: Final = frozenset({"get", "items", "keys", "pop", "values"})
"""Methods whose arguments are no part of a text."""


@dataclass(frozen=True)
class Suspects:
    """Texts by what a template does with them: look for it anywhere, at the start, at the end, or compare."""

    searched: tuple[str, ...]
    starts: tuple[str, ...]
    ends: tuple[str, ...]
    compared: tuple[str, ...]


def suspects(tree: nodes.Template) -> Suspects:
    """Return the texts that a template may look for."""
    sliced = [*_compared_by_name(tree)]
    return Suspects(
        _distinct([*_searched(tree), *_assigned(tree)]),
        _distinct([*_arguments(tree, {"startswith"}), *sliced]),
        _distinct([*_arguments(tree, {"endswith"}), *sliced]),
        _distinct(_compared(tree)),
    )


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))


def _texts(expressions: Iterable[nodes.Node]) -> Iterator[str]:
    for node in expressions:
        if isinstance(node, nodes.Const) and isinstance(node.value, str):
            yield node.value


def _searched(tree: nodes.Template) -> Iterator[str]:
    for compare in tree.find_all(nodes.Compare):
        if any(operand.op in {"in", "notin"} for operand in compare.ops):
            yield from _texts([compare.expr])
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Getattr) and call.node.attr not in _KEYED:
            yield from _texts(call.args)
    for cut in tree.find_all(nodes.Filter):
        if cut.name in _CUTTING:
            yield from _texts(cut.args)


def _assigned(tree: nodes.Template) -> Iterator[str]:
    """Yield texts that get a name, by which they may be searched; words may be anything, so they are left out."""
    for assign in tree.find_all(nodes.Assign):
        yield from (text for text in _texts([assign.node]) if not text.isidentifier())


def _compared_by_name(tree: nodes.Template) -> Iterator[str]:
    """Yield texts that get a name which is compared with a slice, or with another name, as of a slice."""
    compares = map(_sides, tree.find_all(nodes.Compare))
    cut = chain.from_iterable(sides for sides in compares if all(map(_may_be_cut, sides)))
    compared = {side.name for side in cut if isinstance(side, nodes.Name)}
    for assign in tree.find_all(nodes.Assign):
        if isinstance(assign.target, nodes.Name) and assign.target.name in compared:
            yield from (text for text in _texts([assign.node]) if not text.isidentifier())


def _sides(compare: nodes.Compare) -> list[nodes.Expr]:
    return [compare.expr, *(operand.expr for operand in compare.ops)]


def _may_be_cut(expression: nodes.Node) -> bool:
    is_slice = isinstance(expression, nodes.Getitem) and isinstance(expression.arg, nodes.Slice)
    return is_slice or isinstance(expression, nodes.Name)


def _arguments(tree: nodes.Template, methods: set[str]) -> Iterator[str]:
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Getattr) and call.node.attr in methods:
            yield from _texts(call.args)


def _compared(tree: nodes.Template) -> Iterator[str]:
    """Yield texts that a content may be compared with; words only where it is called so."""
    for compare in tree.find_all(nodes.Compare):
        sides = _sides(compare)
        is_content = any("content" in name for side in sides for name in _names(side))
        yield from (text for text in _texts(sides) if text.strip() and (is_content or not text.isidentifier()))


def _names(expression: nodes.Node) -> Iterator[str]:
    if isinstance(expression, nodes.Name):
        yield expression.name
    elif isinstance(expression, nodes.Getattr):
        yield expression.attr
    elif isinstance(expression, nodes.Getitem):
        yield from _texts([expression.arg])
