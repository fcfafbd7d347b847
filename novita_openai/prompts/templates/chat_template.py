"""A chat template, compiled for the sandbox, and rendered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

try:
    from jinja2 import TemplateError as JinjaError
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer
except ModuleNotFoundError as error:
    message = "chat templates need Jinja: pip install 'novita-openai[templates]'"
    raise ModuleNotFoundError(message, name=error.name) from error

from novita_openai.prompts.errors import TemplateError
from novita_openai.prompts.templates.literals import Literals, find_literals
from novita_openai.prompts.templates.meter import RenderingError
from novita_openai.prompts.templates.sandbox import CHARGE, JOIN, WEIGH, Sandbox

__all__ = ["ChatTemplate"]

LONGEST_SOURCE: Final = 200_000
"""Characters; the longest published chat template has 45,000."""

# What Jinja, and the Python that a template may call, can raise because of a template; all else is a bug of ours.
_FAILURES: Final = (
    JinjaError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)


_GROWING: Final = (nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Call, nodes.Filter)
"""Expressions whose values may grow; a list of other expressions is no larger than its source."""


class _Charging(NodeTransformer):
    """Puts into a template the charges that its environment has no hook for: bodies, new containers and ``~``."""

    def _visit_body(self, node: Any) -> nodes.Node:
        text = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        charge = nodes.Filter(nodes.Const(1 + text), CHARGE, [], [], None, None)
        node.body.insert(0, nodes.ExprStmt(charge))
        return nodes.Node.set_lineno(node, node.lineno)

    visit_For = visit_Macro = visit_CallBlock = visit_FilterBlock = visit_Block = _visit_body  # noqa: N815 - Jinja's names

    def _visit_container(self, node: Any) -> Any:
        self.generic_visit(node)
        if getattr(node, "ctx", "load") != "load" or node.find(_GROWING) is None:
            return node
        return nodes.Filter(node, WEIGH, [], [], None, None, lineno=node.lineno)

    visit_List = visit_Tuple = visit_Dict = _visit_container  # noqa: N815 - Jinja's names

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes), JOIN, [], [], None, None, lineno=node.lineno)


class ChatTemplate:
    """A chat template, compiled; raises TemplateError if it cannot be compiled or rendered.

    ``variables`` are what the template can read besides the messages, such as ``bos_token``.
    """

    def __init__(self, source: str, *, date: dt.date | None = None, variables: Mapping[str, Any]) -> None:
        if len(source) > LONGEST_SOURCE:
            raise TemplateError("unbounded", f"the source has {len(source)} characters; at most {LONGEST_SOURCE}")
        self._environment = Sandbox(date)
        self._variables = dict(variables)
        with _as_template_error("syntax"):
            tree = self._environment.parse(source)
            self.literals: Literals = find_literals(tree)
            code = self._environment.compile(_Charging().visit(tree))
        made = self._environment.template_class.from_code
        self._template = made(self._environment, code, self._environment.globals, None)

    def restart(self) -> None:
        """Start the time limit anew, for the renderings from now on."""
        self._environment.meter.restart()

    def render(self, messages: Iterable[Mapping[str, Any]], *, reply: bool) -> str:
        """Return the prompt of a chat history; with ``reply``, it ends with the header of the assistant's reply."""
        self._environment.meter.refill()
        context = {"tools": None, "documents": None, **self._variables, "messages": [*map(dict, messages)]}
        with _as_template_error("refused"):
            made = self._template.new_context(context | {"add_generation_prompt": reply})
            return "".join(self._template.root_render_func(made))


@contextmanager
def _as_template_error(property: str) -> Iterator[None]:
    """Turn the errors of a template into TemplateError."""
    try:
        yield
    except RenderingError as error:
        raise TemplateError(error.property, str(error)) from None
    except _FAILURES as error:
        raise TemplateError(property, f"{type(error).__name__}: {error}") from error
