"""Prompt formats from Hugging Face chat templates, each proved on chats that it was not taken from."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.engine.separators import END
from novita_openai.prompts.errors import PromptError, TemplateError
from novita_openai.prompts.templates.chat_template import ChatTemplate
from novita_openai.prompts.templates.probe import Probe, observe
from novita_openai.prompts.templates.verification import prove

if TYPE_CHECKING:
    import os

    from novita_openai.prompts.format import PromptFormat
    from novita_openai.prompts.templates.draft import Draft

__all__ = ["from_pretrained_config", "from_template"]

_CONFIG: Final = "tokenizer_config.json"
_FILES: Final = ("chat_template.jinja", "chat_template.json", _CONFIG)
"""Where a model folder keeps its template, the newest custom first."""


def from_template(
    source: str,
    *,
    bos_token: str = "",
    eos_token: str = "",
    date: dt.date | None = None,
    name: str = "template",
    **variables: Any,
) -> PromptFormat:
    """Return the prompt format of a Hugging Face chat template.

    The template is run in a sandbox, bounded in time and memory, on chats of words that it cannot know; what stands
    between them is the format, which is then held against the template on other chats. What the template does not keep
    (a system message, a closed history, blank texts, texts that it looks for), the format refuses. ``date`` is today's
    for templates that print it. ``variables`` are what else it reads, such as ``enable_thinking=False``.

    Raise TemplateError, whose ``property`` says what does not hold: ``"syntax"``, ``"unbounded"``, ``"date"``,
    ``"refused"`` (by the template itself), ``"content lost"``, ``"content repeated"``, ``"content moved"``,
    ``"content altered"``, ``"position-dependent"`` or ``"not readable"``.
    """
    tokens = {"bos_token": bos_token, "eos_token": eos_token}
    return derive(ChatTemplate(source, date=date, variables=tokens | variables), name, bos_token)


def from_pretrained_config(
    path: str | os.PathLike[str],
    *,
    template: str = "default",
    date: dt.date | None = None,
    **variables: Any,
) -> PromptFormat:
    """Return the prompt format of a model folder, from its ``tokenizer_config.json`` and ``chat_template`` files.

    Nothing is downloaded. ``template`` chooses one where the folder names several; see ``from_template`` for the rest.
    """
    folder = Path(path)
    config = _read_json(folder / _CONFIG)
    tokens = {key: _token_text(value) for key, value in config.items() if key.endswith("_token") and value is not None}
    source = _source(folder, template)
    return from_template(source, date=date, **{"name": folder.resolve().name, **tokens, **variables})


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise TemplateError("syntax", f"{path} is no JSON: {error}") from error
    if not isinstance(read, dict):
        raise TemplateError("syntax", f"{path} holds no JSON object")
    return read


def _token_text(token: Any) -> str:
    """Return the text of a special token, which may stand in an object with its flags."""
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str):
        raise TemplateError("syntax", f"a special token is text, not {token!r}")
    return text


def _source(folder: Path, template: str) -> str:
    """Return the source of a folder's template of this name."""
    named: dict[str, str] = {}
    for path in [*(folder / file for file in _FILES), *sorted(folder.glob("additional_chat_templates/*.jinja"))]:
        for name, source in _templates_in(path).items():
            named.setdefault(name, source)
    if template not in named:
        known = ", ".join(map(repr, named)) or "none"
        raise TemplateError("missing", f"no chat template {template!r} in {folder}; it has {known}")
    return named[template]


def _templates_in(path: Path) -> dict[str, str]:
    """Return the templates of one file by name, none where there is no such file."""
    if path.suffix == ".jinja":
        name = "default" if path.name == _FILES[0] else path.stem
        return {name: path.read_text(encoding="utf-8")} if path.exists() else {}
    found = _read_json(path).get("chat_template")
    entries = found if isinstance(found, list) else [{"name": "default", "template": found}] if found else []
    problem = f"chat_template in {path} is neither a text nor a list of named templates"
    try:
        named: dict[str, str] = {entry["name"]: entry["template"] for entry in entries}
    except (KeyError, TypeError) as error:
        raise TemplateError("syntax", problem) from error
    if not all(isinstance(text, str) for pair in named.items() for text in pair):
        raise TemplateError("syntax", problem)
    return named


def derive(template: ChatTemplate, name: str, bos_token: str = "") -> PromptFormat:
    """Return the format of a compiled template."""
    template.restart()
    probe, draft = _observed(template)
    draft.take_bos(bos_token)
    prove(probe, draft)
    made = draft.format(name, (_stop(draft),))
    _demand_that_it_reads(made)
    return made


def _observed(template: ChatTemplate) -> tuple[Probe, Draft]:
    """Return the way in which a template wants contents, and what it writes then."""
    probe = Probe(template)
    try:
        return probe, observe(probe)
    except TemplateError as error:
        if error.property in {"unbounded", "date"}:
            raise
        probe = Probe(template, wants_parts=True)
        try:
            return probe, observe(probe)
        except TemplateError:
            raise error from None


def _demand_that_it_reads(made: PromptFormat) -> None:
    """Raise TemplateError where even the simplest chats do not read back."""
    roles = ("user", "assistant", "user", "assistant", "user")
    chat = [{"role": role, "content": f"Words, {place}."} for place, role in enumerate(roles)]
    try:
        made.parse(made.render(chat))
    except PromptError as error:
        raise TemplateError("not readable", f"its prompts do not read back: {error.problem}") from None


def _stop(draft: Draft) -> str:
    """Return the text that stands after a reply: the first token of it, or all that every reply is followed by."""
    after = draft.separators["assistant", "user"]
    end = draft.separators.get(("assistant", END), "")
    common = commonprefix([after, end]).strip() or after.strip() or after  # noqa: RUF071 - of texts, as meant
    token = re.match(r"<[^<>\s]+>|\[[^\[\]\s]+\]", common)
    return token.group() if token else common
