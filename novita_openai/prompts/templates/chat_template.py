"""A chat template, compiled for the sandbox, and rendered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any, Final

try:
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer
except ModuleNotFoundError as error:
    from novita_openai.installing import how_to_install

    message = f"chat templates need Jinja: {how_to_install('templates')}"
    raise ModuleNotFoundError(message, name=error.name) from error

from novita_openai.prompts.errors import TemplateError
from novita_openai.prompts.given import shown
from novita_openai.prompts.templates.literals import Literals, by_kind, find_literals
from novita_openai.prompts.templates.meter import RenderingError
from novita_openai.prompts.templates.sandbox import CHARGE, JOIN, WEIGH, Sandbox
from novita_openai.prompts.templates.variables import check_date, check_tokens, names_read

__all__ = ["ChatTemplate"]

LONGEST_SOURCE: Final = 200_000
"""Characters; the longest published chat template has 45,000."""

_WORK_A_CHARACTER: Final = 64
"""How much a template may be charged for each character of a long history: each one is moved about a few times."""

_GROWING: Final = (nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Call, nodes.Filter)
"""Expressions whose values may grow; a list of other expressions is no larger than its source."""


class _Charging(NodeTransformer):
    """Puts into a template the charges that its environment has no hook for: bodies, new containers and ``~``."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - Jinja's name
        if node.test is not None:
            node.test = nodes.Filter(node.test, WEIGH, [], [], None, None, lineno=node.lineno)
        return self._visit_body(node)

    def _visit_body(self, node: Any) -> nodes.Node:
        text = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        charge = nodes.Filter(nodes.Const(1 + text), CHARGE, [], [], None, None)
        node.body.insert(0, nodes.ExprStmt(charge))
        return nodes.Node.set_lineno(node, node.lineno)

    visit_Macro = visit_CallBlock = visit_FilterBlock = visit_Block = _visit_body  # noqa: N815 - Jinja's names

    def _visit_container(self, node: Any) -> Any:
        self.generic_visit(node)
        if getattr(node, "ctx", "load") != "load" or node.find(_GROWING) is None:
            return node
        return nodes.Filter(node, WEIGH, [], [], None, None, lineno=node.lineno)

    visit_List = visit_Tuple = visit_Dict = _visit_container  # noqa: N815 - Jinja's names

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes), JOIN, [], [], None, None, lineno=node.lineno)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        return nodes.Filter(node, WEIGH, [], [], None, None, lineno=node.lineno)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        return nodes.Filter(node, WEIGH, [], [], None, None, lineno=node.lineno)


class ChatTemplate:
    """A chat template, compiled; raises TemplateError if it cannot be compiled or rendered.

    ``variables`` are what the template can read besides the messages, such as ``bos_token``; a token that is None is
    not defined. ``reads`` are the names of those that it does read. Compiling counts towards the time limit.
    """

    def __init__(self, source: str, *, date: dt.date | None = None, variables: Mapping[str, Any]) -> None:
        if not isinstance(source, str):
            raise TemplateError("syntax", f"a chat template must be text, not {shown(source)}: give its source")
        check_date(date)
        if len(source) > LONGEST_SOURCE:
            raise TemplateError("unbounded", f"the source has {len(source)} characters; at most {LONGEST_SOURCE}")
        self._source, self._date, self._given = source, date, dict(variables)
        self._lock = Lock()
        self._environment = Sandbox(date)
        self.variables = {
            name: value for name, value in variables.items() if value is not None or not name.endswith("_token")
        }
        with _as_template_error("syntax"):
            tree = self._environment.parse(source)
            self._environment.meter.look_at_clock()
            kinds = by_kind(tree)
            self.literals: Literals = find_literals(kinds)
            self.reads = names_read(tree, kinds.get(nodes.Name, ()), variables)
            code = self._environment.compile(_Charging().visit(tree))
        made = self._environment.template_class.from_code
        self._template = made(self._environment, code, self._environment.globals, None)
        check_tokens(self.reads, variables)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(ChatTemplate, date=self._date, variables=self._given), (self._source,)

    def restart(self) -> None:
        """Start the time limit anew, for the renderings from now on."""
        self._environment.meter.restart()

    def look_at_clock(self) -> None:
        """Raise TemplateError if the time is up."""
        with _as_template_error("unbounded"):
            self._environment.meter.look_at_clock()

    def confirm(self, messages: Sequence[Mapping[str, Any]], *, reply: bool, size: int) -> str:
        """Return the prompt of a history whose texts have so many characters, with time and work of its own.

        Threads may share a template; they take turns.
        """
        with self._lock:
            self.restart()
            return self.render(messages, reply=reply, more=_WORK_A_CHARACTER * size)

    def render(self, messages: Iterable[Mapping[str, Any]], *, reply: bool, more: int = 0) -> str:
        """Return the prompt of a chat history; with ``reply``, it ends with the header of the assistant's reply.

        ``more`` is work that is allowed beyond that of a short history.
        """
        self._environment.meter.refill(more)
        context = {"tools": None, "documents": None, **self.variables, "messages": [*map(dict, messages)]}
        with _as_template_error("refused"):
            made = self._template.new_context(context | {"add_generation_prompt": reply})
            return "".join(self._template.root_render_func(made))


@contextmanager
def _as_template_error(property: str) -> Iterator[None]:
    """Turn the errors of a template, which can raise whatever Python can, into TemplateError."""
    try:
        yield
    except RenderingError as error:
        raise TemplateError(error.property, str(error)) from None
    except Exception as error:
        raise TemplateError(property, f"{type(error).__name__}: {error}") from error
