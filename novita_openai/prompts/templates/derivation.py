"""Derives prompt formats from Hugging Face chat templates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novita_openai.prompts.engine.control import stops_of
from novita_openai.prompts.engine.separators import REPLY, PromptEnding
from novita_openai.prompts.errors import PromptError, TemplateError
from novita_openai.prompts.given import shown
from novita_openai.prompts.templates.chat_template import ChatTemplate
from novita_openai.prompts.templates.marks import marks_of
from novita_openai.prompts.templates.model_folder import read_ends, read_source, read_tokens
from novita_openai.prompts.templates.probe import Probe, chat_roles, observe
from novita_openai.prompts.templates.variables import SPECIAL_TOKENS, check_variables
from novita_openai.prompts.templates.verification import verify_draft

if TYPE_CHECKING:
    from novita_openai.prompts.format import PromptFormat
    from novita_openai.prompts.templates.draft import Draft

__all__ = ["derive", "from_pretrained_config", "from_template"]


def from_template(
    source: str,
    *,
    date: dt.date | None = None,
    name: str = "template",
    verify: bool = True,
    **variables: Any,
) -> PromptFormat:
    """Return the prompt format of a Hugging Face chat template.

    The template is run in a sandbox, bounded in time and memory, on chats of made-up words. What it writes between them
    is the format, which is then compared with the template on other chats. The format refuses what the template does
    not keep: a system message, a closed history, blank texts, texts that it looks for. Where the template writes no
    header for the reply, the format writes closed histories alone, with ``reply=False``.

    ``variables`` are what the template reads besides the messages: ``bos_token`` and ``eos_token``, None where the
    model has none, and its own, such as ``enable_thinking=False``. A BOS at the start of all prompts is set apart as
    the format's ``bos``, also where the template spells it out; the EOS ends generation, so no text may hold it, even
    where the template does not write it. ``date`` is today's, for templates that print it.

    With ``verify`` the format asks the template to confirm each prompt that it writes or reads, which takes about as
    long as rendering it with Jinja: texts that no observation can find, such as those above a length, may be lost. It
    then raises PromptError. With ``verify=False`` it trusts what was observed.

    Raise TemplateError, and nothing else. Its ``property`` says which requirement is not met: ``"syntax"``,
    ``"unbounded"`` (more than 4 seconds, or work that could take 200 MB), ``"date"``, ``"token missing"`` (the template
    reads a token that was not given), ``"variable unread"`` (it does not read one that was), ``"refused"`` (by the
    template itself, or by the sandbox), ``"content lost"``, ``"content repeated"``, ``"content moved"``,
    ``"content altered"``, ``"position-dependent"``, ``"no generation prompt"`` or ``"not readable"``.
    """
    tokens = {key: value for key, value in variables.items() if key in SPECIAL_TOKENS}
    own = {key: value for key, value in variables.items() if key not in SPECIAL_TOKENS}
    return _derived(source, tokens, own, (), date=date, name=name, verify=verify)


def from_pretrained_config(
    path: str | PathLike[str],
    *,
    template: str = "default",
    date: dt.date | None = None,
    name: str | None = None,
    verify: bool = True,
    **variables: Any,
) -> PromptFormat:
    """Return the prompt format of a model's folder, from its ``chat_template`` files and its special tokens.

    The tokens are those of ``tokenizer_config.json`` and, where that has none, ``special_tokens_map.json``; the other
    ones that end generation are those of ``generation_config.json``. Nothing is downloaded. ``template`` chooses one if
    the folder has several; the ``property`` of the TemplateError is ``"missing"`` if it has none of this name. See
    ``from_template`` for the rest.
    """
    if not isinstance(path, (str, PathLike)):
        raise TemplateError("missing", f"path must be that of a model's folder, not {shown(path)}: give its path")
    folder = Path(path)
    tokens = read_tokens(folder)
    own = {key: value for key, value in variables.items() if key not in SPECIAL_TOKENS | tokens.keys()}
    tokens |= {key: value for key, value in variables.items() if key not in own}
    source = read_source(folder, template)
    ends = read_ends(folder)
    return _derived(source, tokens, own, ends, date=date, name=name or folder.resolve().name, verify=verify)


def _derived(
    source: str,
    tokens: Mapping[str, Any],
    own: Mapping[str, Any],
    ends: tuple[str, ...],
    *,
    date: dt.date | None,
    name: str,
    verify: bool,
) -> PromptFormat:
    if not isinstance(name, str):
        raise TemplateError("syntax", f"name must be text, not {shown(name)}: give one, or leave it out")
    if not isinstance(verify, bool):
        raise TemplateError("syntax", f"verify must be True or False, not {shown(verify)}: give one of these")
    template = ChatTemplate(source, date=date, variables={**tokens, **own})
    check_variables(template.reads, own)
    return derive(template, name, tokens.get("bos_token") or "", ends, verify=verify)


def derive(
    template: ChatTemplate, name: str, bos_token: str = "", ends: tuple[str, ...] = (), *, verify: bool = True
) -> PromptFormat:
    """Return the format of a compiled template; ``ends`` are tokens that end generation beside its ``eos_token``."""
    probe, draft = _observed(template)
    draft.take_bos(bos_token)
    verify_draft(probe, draft)
    draft.marks = marks_of(probe)
    stops = stops_of(draft.separators)
    asks = _asks_for_replies(probe, draft)
    if not asks:
        _drop_reply(draft)
    template.look_at_clock()
    ends = (template.variables.get("eos_token") or "", *ends)
    ends = tuple(end for end in dict.fromkeys(ends) if end.strip() and end not in stops)
    made = draft.format(name, stops, ends, probe if verify else None)
    _refuse_unreadable(made, asks=asks)
    template.look_at_clock()
    return made


def _asks_for_replies(probe: Probe, draft: Draft) -> bool:
    """Tell whether prompts end with the header of the reply; if not, a part of it comes with the reply alone."""
    asked, header = draft.separators["user", REPLY], draft.separators["user", "assistant"]
    if not (header.startswith(asked) and header[len(asked) :].strip()):
        return True
    chat = [("user", "Words.")]
    try:
        return probe.prompt(chat, reply=True) != probe.prompt(chat, reply=False)
    except TemplateError:
        return True


def _drop_reply(draft: Draft) -> None:
    """Restrict a draft to closed histories; raise TemplateError if it has none of these either."""
    if PromptEnding.CLOSED in draft.endings:
        problem = "the template writes no header for the assistant's reply, and no closed history"
        raise TemplateError("no generation prompt", problem)
    draft.drop_reply()


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


def _refuse_unreadable(made: PromptFormat, *, asks: bool) -> None:
    """Raise TemplateError if only white space tells turns apart, or if not even a simple chat reads back."""
    blank = next((text for text in made.control if not text.strip()), None)
    if blank is not None:
        raise TemplateError("not readable", f"nothing but {blank!r} tells two turns of this template apart")
    roles = chat_roles(5 if asks else 4)
    chat = [{"role": role, "content": f"Words, {place}."} for place, role in enumerate(roles)]
    try:
        made.parse(made.render(chat, reply=asks))
    except PromptError as error:
        raise TemplateError("not readable", f"the prompts of this template do not read back: {error.problem}") from None
