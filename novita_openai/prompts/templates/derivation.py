"""Derives prompt formats from Hugging Face chat templates."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novita_openai.prompts.engine.control import stops_of
from novita_openai.prompts.errors import PromptError, TemplateError
from novita_openai.prompts.templates.chat_template import ChatTemplate
from novita_openai.prompts.templates.model_folder import read_source, read_tokens
from novita_openai.prompts.templates.probe import Probe, chat_roles, observe
from novita_openai.prompts.templates.verification import verify_draft

if TYPE_CHECKING:
    import os

    from novita_openai.prompts.format import PromptFormat
    from novita_openai.prompts.templates.draft import Draft

__all__ = ["derive", "from_pretrained_config", "from_template"]


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

    The template is run in a sandbox, bounded in time and memory, on chats of made-up words. What it writes between them
    is the format, which is then compared with the template on other chats. The format refuses what the template does
    not keep: a system message, a closed history, blank texts, texts that it looks for. ``date`` is today's, for
    templates that print it. ``variables`` are what else the template reads, such as ``enable_thinking=False``.

    Raise TemplateError, whose ``property`` says which requirement is not met: ``"syntax"``, ``"unbounded"``,
    ``"date"``, ``"refused"`` (by the template itself), ``"content lost"``, ``"content repeated"``, ``"content moved"``,
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
    """Return the prompt format of a model's folder, from its ``tokenizer_config.json`` and ``chat_template`` files.

    Nothing is downloaded. ``template`` chooses one if the folder has several; the ``property`` of the TemplateError is
    ``"missing"`` if it has none of this name. See ``from_template`` for the rest.
    """
    folder = Path(path)
    options = {"name": folder.resolve().name, **read_tokens(folder), **variables}
    return from_template(read_source(folder, template), date=date, **options)


def derive(template: ChatTemplate, name: str, bos_token: str = "") -> PromptFormat:
    """Return the format of a compiled template."""
    template.restart()
    probe, draft = _observed(template)
    draft.take_bos(bos_token)
    verify_draft(probe, draft)
    made = draft.format(name, stops_of(draft.separators))
    _refuse_unreadable(made)
    return made


def _observed(template: ChatTemplate) -> tuple[Probe, Draft]:
    """Return the way in which a template takes contents, and what it writes then."""
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


def _refuse_unreadable(made: PromptFormat) -> None:
    """Raise TemplateError if not even a simple chat reads back."""
    chat = [{"role": role, "content": f"Words, {place}."} for place, role in enumerate(chat_roles(5))]
    try:
        made.parse(made.render(chat))
    except PromptError as error:
        raise TemplateError("not readable", f"the prompts of this template do not read back: {error.problem}") from None
