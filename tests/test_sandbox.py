"""Chat templates of strangers: bounded in time and memory, kept from Python, and rendered as Jinja does."""

from __future__ import annotations

import datetime as dt
import importlib
import sys
import time
import tracemalloc
from typing import Any

import pytest

from novita_openai.prompts import TemplateError, from_template
from novita_openai.prompts.templates import meter
from novita_openai.prompts.templates.chat_template import ChatTemplate

CHAT = [{"role": "user", "content": "hello"}]


def run(source: str, **variables: Any) -> str:
    return ChatTemplate(source, date=dt.date(2025, 7, 26), variables=variables).render(CHAT, reply=True)


HOSTILE = [
    "{% for i in range(10**9) %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}" + "x" * 9999 + "{% endfor %}",
    "{% for i in range(99999) %}{{ '" + "x" * 9999 + "' }}{% endfor %}",
    "{% set x %}{% for i in range(99999) %}" + "x" * 9999 + "{% endfor %}{% endset %}",
    "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for i in [1] recursive %}{{ loop([1, 1]) }}{{ loop([1]) }}{% endfor %}",
    "{% block a %}" + "x" * 99 + "{{ self.a() }}{{ self.a() }}{% endblock %}",
    "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}",
    "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}",
    "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}",
    "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}",
    "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
    "{% set ns = namespace(x=['x']) %}{% for i in range(99) %}{% set ns.x = ns.x * 2 %}{% endfor %}",
    "{{ 'x' * 10**10 }}",
    "{{ 10**(10**10) }}",
    "{{ 9**999999 }}",
    "{{ 'x'.center(10**10) }}",
    "{{ 'x'|center(9999999999) }}",
    "{{ '%9999999999d' % 1 }}",
    "{{ '%*d' % (9999999999, 1) }}",
    "{{ '%9999999999d'|format(1) }}",
    "{{ '%s %(a)s'|format(1, a=2) }}",
    "{{ '{:9999999999}'.format(1) }}",
    "{{ '{:{w}}'.format(1, w=9999999999) }}",
    "{{ ('{0}' * 9999).format('x' * 99999) }}",
    "{{ ('x' * 99999).replace('', 'y' * 99999) }}",
    "{{ ('x' * 99999)|replace('x', 'y' * 99999) }}",
    "{{ ('y' * 99999).join('x' * 99999) }}",
    "{{ [[[1]]]|tojson(indent=9999999999) }}",
    "{{ messages|tojson(indent='" + " " * 99 + "') }}",
    "{{ range(99999)|map('center', 99999)|list }}",
    "{{ range(99999)|map('string')|map('center', 9999)|join }}",
    "{% set a = namespace() %}{% set a.a = a %}{{ [a] * 10**9 }}",
    "(" * 99999,
    "{{ " + "(" * 9999 + ")" * 9999 + " }}",
    "{{ " + "not " * 9999 + "1 }}",
    "{{ " + "1" * 99999 + " }}",
    "x" * 200_001,
]


@pytest.mark.parametrize("source", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_template_ends(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "MOST_WORK", 200_000)
    monkeypatch.setattr(meter, "MOST_SECONDS", 0.5)
    tracemalloc.start()
    start = time.monotonic()
    try:
        if source.startswith("(" * 9):
            assert run(source) == source
        else:
            with pytest.raises(TemplateError):
                run(source)
        assert tracemalloc.get_traced_memory()[1] < 300_000_000
    finally:
        tracemalloc.stop()
    assert time.monotonic() - start < 30


def test_many_small_steps_end_when_their_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "MOST_SECONDS", 0.25)
    template = ChatTemplate("{% for i in range(99999) %}{% endfor %}", variables={})
    time.sleep(0.3)
    with pytest.raises(TemplateError, match=r"more than 0\.25 seconds"):
        template.render(CHAT, reply=True)
    template.restart()


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__",
        "messages.__class__.__mro__",
        "messages|attr('__class__')",
        "messages['__class__']",
        "'{0.__class__}'.format(messages)",
        "'{m.__class__}'.format_map({'m': messages})",
        "namespace.__init__.__globals__",
        "strftime_now.__globals__",
        "raise_exception.__code__",
        "cycler.__init__.__globals__",
        "joiner.__dict__",
        "self.__dict__",
        "(messages|map('upper')).gi_frame",
        "namespace(x=1).__dict__",
        "lipsum.__globals__",
    ],
)
def test_python_is_out_of_reach(expression: str) -> None:
    with pytest.raises(TemplateError):
        run("{{ (" + expression + ").x.y }}{{ " + expression + ".x }}")


@pytest.mark.parametrize("change", ["messages.append(1)", "messages[0].update(role='x')", "messages.clear()"])
def test_nothing_is_changed(change: str) -> None:
    with pytest.raises(TemplateError):
        run("{{ " + change + " }}")


@pytest.mark.parametrize("name", ["random", "urlize", "pprint", "xmlattr"])
def test_filters_that_no_chat_needs_are_held_back(name: str) -> None:
    with pytest.raises(TemplateError, match="No filter named"):
        run("{{ 'x'|" + name + " }}")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ messages|tojson }}", '[{"role": "user", "content": "hello"}]'),
        ("{{ {'a': 'é<'}|tojson }}", '{"a": "é<"}'),
        ("{{ [1, {'a': 2}]|tojson(indent=2) }}", '[\n  1,\n  {\n    "a": 2\n  }\n]'),
        ("{{ {'b': 1, 'a': 2}|tojson(sort_keys=true, separators=(',', ':')) }}", '{"a":2,"b":1}'),
        ("{{ messages|map(attribute='content')|map('upper')|join('-') }}", "HELLO"),
        ("{{ 'x' if messages|selectattr('role', 'equalto', 'tool') else 'y' }}", "x"),
        (
            (
                "{% for a in range(5) %}{% if a == 1 %}{% continue %}{% endif %}"
                "{% if a == 3 %}{% break %}{% endif %}{{ a }}{% endfor %}"
            ),
            "02",
        ),
        (
            "{% macro f(x) %}<{{ x }}{{ caller() if caller }}>{% endmacro %}{{ f(1) }}{% call f(2) %}y{% endcall %}",
            "<1><2y>",
        ),
        ("{% filter upper %}a{% endfilter %}{{ '%s-%d' % ('a', 7) }}{{ '{}{}'.format(1, 'b') }}", "Aa-71b"),
        (
            "{{ [1] + [messages[0].content] }}{{ 7 % 4 }}{{ 2 ** 3 }}{{ 3 * 4 }}{{ none }}{{ true }}{{ nothing }}",
            "[1, 'hello']3812NoneTrue",
        ),
        (
            (
                "{% set ns = namespace(n=0, f=messages) %}{% set ns.n = ns.n + 1 %}"
                "{{ ns.n }}{{ ns.f|length }}{{ ns.g }}{{ ns }}"
            ),
            "11<Namespace>",
        ),
        ("{% generation %}{% set x = 1 %}{{ x }}{% endgeneration %}{{ x is defined }}", "1False"),
        ("{{ strftime_now('%d %B %Y') }}", "26 July 2025"),
        (
            "{{ messages[0].get('role') }}{{ messages[0].items()|list|length }}{{ messages[0].absent is defined }}",
            "user2False",
        ),
        ("{% for m in messages %}{{ m.content.split('l')|length }}{{ loop.index0 }}{% endfor %}", "30"),
        ("  {% if true %}\nx\n  {% endif %}\n", "x\n"),
        ("{% for a, b in [(1, messages)] %}{{ a }}{% endfor %}", "1"),
        ("{{ tools is none }}{{ add_generation_prompt }}{{ here }}", "TrueTrueyes"),
    ],
)
def test_what_is_bounded_is_otherwise_as_in_jinja(source: str, text: str) -> None:
    assert run(source, here="yes") == text


def test_without_jinja_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sandbox", "chat_template", "literals"):
        monkeypatch.delitem(sys.modules, f"novita_openai.prompts.templates.{module}")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install .*\[templates\]"):
        importlib.import_module("novita_openai.prompts.templates.chat_template")


PLAIN = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.mark.parametrize(
    "source",
    [
        "{% set a = 'a' * 400000 %}" + "{% set v = a[1:] %}" * 99,
        "{% set a = 'a' * 400000 %}" + "{% if a == a ~ '' %}{% endif %}" * 99,
        "{% set a = [0] * 300000 %}" + "{% set v = a[::-1] %}" * 99,
        "{% set b = ('a' * 1000).encode() * 2000000 %}",
        "{{ ('é' * 1900000).encode('punycode')|length }}",
        "{% set b = (1).to_bytes(1000, 'big') %}{% set c = [b] %}",
        "{{ ('x'|safe).center(10**10) }}",
        "{{ ('x'|safe) * 10**10 }}",
        "{{ ('<!---->' * 100000)|striptags }}",
        "{{ ('x ' * 100000)|wordwrap(1) }}",
        "{{ ([[1] * 100] * 9999)|sum(start=[]) }}",
        "{{ 1.5|round(10**8, 'floor') }}",
        "{{ " + "0x" + "f" * 9999 + " }}",
        "{{ (2 ** 9999) ** 9999 }}",
        "{{ (2 ** 9999) * (2 ** 9999) }}",
        "{{ dict([[1, 2]]) }}",
        "{{ {}.fromkeys('ab') }}",
        "{{ ''.maketrans('a', 'b') }}",
        "{{ strftime_now('%Y' * 9999) }}",
        "{{ (-8) ** 0.5 }}",
        "{{ 'x'.upper }}",
        "{{ (2 ** 8000) * (2 ** 8000) * (2 ** 8000) }}",
        "{{ 1.5|round(1000) }}",
        "{{ ('x' * 3000)|join('y' * 3000) }}{{ ['a' * 300000] ~ '' }}{{ ['b' * 400000, 'c' * 400000] }}",
        "{% set ns = namespace(x=['x']) %}{% for i in range(99999) %}{% set ns.x = ns.x|select %}{% endfor %}",
        "{% set ns = namespace() %}{% for i in range(99999) %}{% set ns.x = namespace(x=ns.x) %}{% endfor %}",
        "{% for a in range(99999) if 'x' in 'y' * 9999 %}{% endfor %}",
        "{{ 1 }}" * 26_000,
        "y" * 60_000,
        "{% for i in range(3000) %}" + "ab" * 50 + "{% endfor %}",
    ],
)
def test_a_derivation_of_hostile_steps_ends_within_its_bounds(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "MOST_SECONDS", 0.5)
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError):
            from_template(source + PLAIN, date=dt.date(2025, 7, 26))
        assert tracemalloc.get_traced_memory()[1] < 150_000_000
    finally:
        tracemalloc.stop()


def test_compiling_counts_towards_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "MOST_SECONDS", 0.0)
    with pytest.raises(TemplateError, match="seconds") as caught:
        ChatTemplate("x", variables={})
    assert caught.value.property == "unbounded"


def test_the_clock_is_looked_at_between_the_steps_of_a_derivation() -> None:
    template = ChatTemplate(PLAIN, variables={})
    template.look_at_clock()
    vars(template)["_environment"].meter.until = 0.0
    with pytest.raises(TemplateError, match="seconds"):
        template.look_at_clock()


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ 'abc'[1:] }}{{ [1, 2, 3][::-1] }}{{ messages[-1:]|length }}", "bc[3, 2, 1]1"),
        ("{{ 2.5|round }}{{ 2.25|round(1, 'floor') }}{{ 7 // 2 }}{{ 7 / 2 }}{{ 3 - 1 }}", "2.02.23" + "3.52"),
        ("{{ dict(messages[0], x=1)|length }}{{ dict(a=2).a }}", "32"),
        ("{{ 1 < 2 < 3 }}{{ 'a' in 'abc' }}{{ 3 is gt 2 }}{{ 4 is divisibleby 2 }}", "TrueTrueTrueTrue"),
        ("{% for x in ['a', 'b'] if x == 'b' %}{{ x }}{% endfor %}", "b"),
        ("{% set i = ['a', 'b']|map('upper') %}{{ i|join }}{{ i|join }}{{ i is iterable }}", "ABTrue"),
        ("{{ cycler('a', 'b').next() }}{% set j = joiner(',') %}{{ j() }}{{ j() }}", "a,"),
        ("{% for a in [1, 2] %}{{ loop.cycle('x', 'y') }}{{ loop.changed(1) }}{% endfor %}", "xTrueyFalse"),
        ("{{ {'a': 1}.items()|list }}{{ {'a': 1}.keys()|list }}{{ range(3)|list }}", "[('a', 1)]['a'][0, 1, 2]"),
        ("{% set f = 'a b'.split %}{% set d = {'m': raise_exception, 'n': namespace()} %}{{ d|length }}", "2"),
    ],
)
def test_what_is_charged_is_otherwise_as_in_jinja(source: str, text: str) -> None:
    assert run(source) == text
