"""Jinja as Hugging Face sets it up, in a sandbox that bounds what a chat template takes.

A template is a program by a stranger. Jinja's sandbox keeps it from the attributes of Python's objects, but not from
taking all time and memory. So here every step that can be repeated, and every step that can make a value larger than
those it is given, is charged to a meter:

1. each run of the body of a loop, macro or block, with the text that stands in it;
2. each value that is printed, joined with ``~``, or put into a list, tuple or dict, with all that it holds;
3. the result of each call, filter, operator, comparison and slice, before it is used.

A call into Python or an operator is refused beforehand if the product of its two heaviest operands is above a bound, as
no function of the sandbox makes more than that of them in one step. Only methods and filters are there of which this is
known, and only values of types that the meter knows. The number of the source's tokens is bounded too, and they spell
out all that happens between two charges. So a rendering ends when it has used up what the meter allows, or its time,
without a thread, a signal or another process.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from types import BuiltinMethodType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final

from jinja2 import nodes, pass_context
from jinja2.ext import Extension
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, TemplateReference, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace

from novita_openai.prompts.templates.meter import MOST_BITS, MOST_PRODUCT, Meter, RenderingError, format_extent

if TYPE_CHECKING:
    from jinja2.lexer import Token, TokenStream
    from jinja2.parser import Parser

__all__ = ["CHARGE", "JOIN", "WEIGH", "Sandbox"]

CHARGE, WEIGH, JOIN = ".charge", ".weigh", ".join"
"""Filters that charge the meter; a template cannot use them itself, as their names are no identifiers."""

_MOST_TOKENS: Final = 25_000
"""The longest published chat template has 8,500."""

_WIDEST_INDENT: Final = 16
_MOST_DIGITS: Final = 99
_LONGEST_DATE: Final = 200
_LONGEST_PROBLEM: Final = 500

_HELD_BACK: Final = frozenset({"pprint", "random", "striptags", "sum", "urlize", "wordwrap", "xmlattr"})
"""Filters of Jinja that no chat template needs: their result is random, or their cost cannot be known beforehand."""

_COSTLY_TESTS: Final = frozenset({
    "!=", "<", "<=", "==", ">", ">=", "divisibleby", "eq", "equalto", "ge", "greaterthan", "gt", "in", "le",
    "lessthan", "lower", "lt", "ne", "upper",
})  # fmt: skip
"""Tests whose cost grows with what they are given."""


class _Generation(Extension):
    """Hugging Face's ``{% generation %}``, which marks what the assistant wrote and prints nothing of its own.

    It also sees all tokens of a template, and bounds them.
    """

    tags = {"generation"}  # noqa: RUF012 - so Jinja declares it

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        for count, token in enumerate(stream):
            if count > _MOST_TOKENS:
                raise RenderingError("unbounded", f"the source has more than {_MOST_TOKENS} tokens")
            if isinstance(token.value, int) and token.value.bit_length() > MOST_BITS:
                raise RenderingError("unbounded", f"a number has more than {MOST_BITS} bits")
            yield token

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Namespace(Namespace):
    """Jinja's namespace, printed without what it holds, as that may be the namespace itself."""

    def __repr__(self) -> str:
        return "<Namespace>"


_DICT_NAMES: Final = frozenset(dir(dict))
_TEXT_METHODS: Final = frozenset(name for name in dir(str) if not name.startswith(("_", "format"))) - {
    "encode",
    "maketrans",
    "translate",
}
_METHODS: Final[tuple[tuple[type, frozenset[str]], ...]] = (
    (str, _TEXT_METHODS),
    (dict, frozenset({"copy", "get", "items", "keys", "values"})),
    (list, frozenset({"copy", "count", "index"})),
    (tuple, frozenset({"count", "index"})),
)
"""The methods of data that templates may call; their results are no larger than the product of their operands."""
_FRAME_VARIABLES: Final = frozenset({"_loop_vars", "_block_vars"})
_HOLDERS: Final = frozenset({_Namespace, LoopContext})
"""Types whose public attributes templates may read, if they are values of the types below."""

_OBJECTS: Final = (
    BlockReference, BuiltinMethodType, Cycler, FunctionType, Joiner, LoopContext, Macro, MethodType, Namespace,
    TemplateReference, Undefined,
)  # fmt: skip
"""What a template may hold besides data."""

_VALUES: Final = frozenset({bool, dict, int, list, str})


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja as Hugging Face sets it up, with every step charged to ``meter``."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self, date: dt.date | None) -> None:
        self.meter = Meter(_OBJECTS)
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, "jinja2.ext.loopcontrols"],
            # The meter would see only once what is computed while compiling.
            optimized=False,
            finalize=self._printed,
        )
        self.filters |= {"tojson": self._tojson, "format": self._format, "round": _rounding(self.filters["round"])}
        self.filters = {name: self._metered(run) for name, run in self.filters.items() if name not in _HELD_BACK}
        self.filters |= {CHARGE: self._charge, WEIGH: self._weigh, JOIN: self._join}
        self.tests |= {name: self._metered(run) for name, run in self.tests.items() if name in _COSTLY_TESTS}
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": _clock(date)}
        self.globals |= {"namespace": _Namespace, "dict": _dict}
        del self.globals["lipsum"]

    def _metered(self, run: Any) -> Callable[..., Any]:
        """Return a filter with its operands checked and its result weighed."""
        first = int(hasattr(run, "jinja_pass_arg"))  # the first argument is then one that Jinja passes itself
        check, weigh = self.meter.check_operands, self.meter.weigh

        @wraps(run)
        def metered(*operands: Any, **options: Any) -> Any:
            check([*operands[first:], *options.values()])
            return weigh(run(*operands, **options))

        return metered

    @pass_context
    def _charge(self, _: Context, amount: int) -> None:
        self.meter.charge(amount)

    @pass_context
    def _weigh(self, _: Context, value: Any) -> Any:
        return self.meter.weigh(value)

    @pass_context
    def _printed(self, _: Context, value: Any) -> Any:
        """Return a value that is printed, weighed; refuse functions, which Python prints with their address."""
        if isinstance(value, (BuiltinMethodType, FunctionType, MethodType)):
            raise RenderingError("refused", "the template prints a function, which no prompt can hold")
        return self.meter.weigh(value)

    @pass_context
    def _join(self, _: Context, values: Iterable[Any]) -> str:
        return "".join([str(self.meter.weigh(value)) for value in values])

    def _tojson(
        self,
        value: Any,
        ensure_ascii: bool = False,  # noqa: FBT001, FBT002 - Hugging Face's signature
        indent: int | str | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,  # noqa: FBT001, FBT002 - the same
    ) -> str:
        if (indent if isinstance(indent, int) else len(indent or "")) > _WIDEST_INDENT:
            raise RenderingError("unbounded", f"tojson indents by {indent}; at most {_WIDEST_INDENT}")
        encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
        return "".join(map(self.meter.weigh, encoder.iterencode(value)))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return an attribute or item; skip Jinja's checks for safe ones that templates often read."""
        kind = type(obj)
        if kind is dict and attribute not in _DICT_NAMES:
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        if kind in _HOLDERS and not attribute.startswith("_"):
            value = getattr(obj, attribute, None)
            if type(value) in _VALUES:
                return value
        elif kind is str and attribute in _TEXT_METHODS:
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return an item or attribute; filters read long paths of them in one step."""
        self.meter.charge(1)
        return super().getitem(obj, argument)

    def call_binop(self, context: Context | None, operator: str, left: Any, right: Any) -> Any:  # noqa: ARG002
        """Return the result of an operator, with its operands checked and itself weighed."""
        if operator == "%" and isinstance(left, str):
            self._check_format(left, right if isinstance(right, tuple) else [right])
        elif operator == "**":
            self.meter.check_power(left, right)
        elif operator == "*" and not (isinstance(left, int) and isinstance(right, int)):
            self.meter.check_operands([left, right])
        return self.meter.weigh(self.binop_table[operator](left, right))

    def _check_format(self, text: str, values: Iterable[Any]) -> None:
        """Refuse a format string whose widths are too large, or that could name large values too often."""
        values = [*values]
        self.meter.check_operands([format_extent(text), *values])
        self.meter.check_operands([format_extent(text), self.meter.weight(values, MOST_PRODUCT)])

    def _format(self, text: Any, *values: Any, **named: Any) -> Any:
        """Do what Jinja's filter of this name does, through the operator that is checked."""
        if values and named:
            raise TypeError("format takes values or named values, not both")
        return self.call_binop(None, "%", str(text), named or values)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return a safe ``str.format``, with its operands checked and its result weighed."""
        safe = super().wrap_str_format(value)
        if safe is None:
            return None

        def run(*operands: Any, **options: Any) -> str:
            self._check_format(value.__self__, [*operands, *options.values()])
            text: str = self.meter.weigh(safe(*operands, **options))
            return text

        return run

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, PYI063 - Jinja's signature
        """Return the result of a call, weighed; the operands of a call into Python are checked."""
        self = __self
        if _is_of_data(__obj):
            for name in _FRAME_VARIABLES & kwargs.keys():
                del kwargs[name]
            self.meter.check_operands([__obj.__self__, *args, *kwargs.values()])
            return self.meter.weigh(__obj(*args, **kwargs))
        value = super().call(__context, __obj, *args, **kwargs)
        if isinstance(__obj, Macro):
            self.meter.charge(1)
            return value
        return self.meter.weigh(value)


def _is_of_data(function: Any) -> bool:
    """Tell whether a function is a method of data; refuse those of which it is not known what they take."""
    if not isinstance(function, (BuiltinMethodType, MethodType)):
        return False
    names = next((names for kind, names in _METHODS if isinstance(function.__self__, kind)), None)
    if names is None and isinstance(function, MethodType):
        return False
    if function.__name__ not in (names or ()):
        raise RenderingError("refused", f"the method {function.__name__!r} is not there for chat templates")
    return True


def _rounding(run: Callable[..., float]) -> Callable[..., float]:
    def rounded(value: float, precision: int = 0, method: Any = "common") -> float:
        if abs(precision) > _MOST_DIGITS:
            raise RenderingError("unbounded", f"round to {precision} digits; at most {_MOST_DIGITS}")
        return run(value, precision, method)

    return rounded


def _dict(given: dict[Any, Any] | None = None, /, **items: Any) -> dict[Any, Any]:
    """Return a dict as Python's ``dict`` does it; no pairs, whose keys could be made so that a dict takes long."""
    if not isinstance(given or {}, dict):
        raise RenderingError("refused", f"dict() of a {type(given).__name__} is not there for chat templates")
    return {**(given or {}), **items}


def _raise_exception(problem: str) -> None:
    raise RenderingError("refused", f"the template says {str(problem)[:_LONGEST_PROBLEM]!r}")


def _clock(date: dt.date | None) -> Callable[[str], str]:
    def strftime_now(format: str) -> str:
        if date is None:
            raise RenderingError("date", "the template prints today's date: give it as date=")
        if len(format) > _LONGEST_DATE:
            raise RenderingError("unbounded", f"strftime_now gets {len(format)} characters; at most {_LONGEST_DATE}")
        return date.strftime(format)

    return strftime_now
