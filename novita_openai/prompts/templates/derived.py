"""A derived format: what it writes and reads is held against its chat template, each time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from novita_openai.prompts.engine.separators import PromptEnding
from novita_openai.prompts.errors import PromptError, TemplateError
from novita_openai.prompts.format import PromptFormat, ending_of
from novita_openai.prompts.messages import History, read_messages

if TYPE_CHECKING:
    from novita_openai.prompts.engine.separators import Segment

__all__ = ["Confirms", "DerivedFormat"]

_SHOWN: Final = 40
"""Characters of a prompt that an error shows."""


class Confirms(Protocol):
    """Asks a chat template."""

    def confirm(self, chat: Sequence[Segment], *, reply: bool) -> str:
        """Return what the template writes for a chat of any length."""
        ...


@dataclass(frozen=True)
class DerivedFormat(PromptFormat):
    """The format of a chat template; with a ``probe`` its template is asked to confirm each prompt.

    A template may treat some texts in a way that no observation can find: those above a length, those that hold a word.
    Where it writes other text than the format, ``render`` and ``parse`` raise PromptError.
    """

    probe: Confirms | None = field(default=None, repr=False, compare=False)

    def render(self, messages: Iterable[Any], **options: Any) -> str:
        """Return the prompt of a chat history, with the arguments of ``PromptFormat.render``."""
        if not isinstance(messages, (list, str, bytes, Mapping)):
            messages = [*messages]
        prompt = super().render(messages, **options)
        ending, after = ending_of(messages, continue_final=options.get("continue_final"), reply=options.get("reply"))
        self._confirm(messages, ending, prompt.removesuffix(after))
        return prompt

    def parse(self, prompt: str) -> History:
        """Return the messages of a prompt, as ``PromptFormat.parse`` does."""
        history = super().parse(prompt)
        ending, after = ending_of(history, continue_final=None, reply=None)
        self._confirm(history, ending, prompt.removesuffix(after))
        return history

    def _confirm(self, messages: Iterable[Any], ending: str, prompt: str) -> None:
        """Raise PromptError unless the template writes these messages as this prompt."""
        if self.probe is None:
            return
        ours = prompt if self.bos and prompt.startswith(self.bos) else self.bos + prompt
        try:
            chat = [(turn.role, turn.text) for turn in read_messages(messages)]
            theirs = self.probe.confirm(chat, reply=ending == PromptEnding.REPLY)
        except TemplateError as error:
            raise PromptError(f"the chat template refuses these messages: {error.problem}", format=self.name) from None
        if ours != (theirs[: len(ours)] if ending == PromptEnding.PREFILL else theirs):
            raise self._differing(ours, theirs)

    def _differing(self, ours: str, theirs: str) -> PromptError:
        """Return the error for a prompt that the template writes otherwise, with the place where they part."""
        pairs = enumerate(zip(ours, theirs, strict=False))
        place = next((place for place, (mine, other) in pairs if mine != other), min(len(ours), len(theirs)))
        here, there = (text[place : place + _SHOWN] for text in (ours, theirs))
        problem = f"the chat template writes {there!r} where its format has {here!r}: use chat completions"
        return PromptError(problem, format=self.name, offset=place)
