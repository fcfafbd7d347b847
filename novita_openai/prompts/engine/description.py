"""The description of a prompt format: all that differs between formats, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.engine.separators import ASKED, END, REPLY, START, Separators
from novita_openai.prompts.errors import PromptError
from novita_openai.prompts.given import check_text, shown

if TYPE_CHECKING:
    from novita_openai.prompts.engine.losses import Losses
    from novita_openai.prompts.engine.reasoning import Thought
    from novita_openai.prompts.engine.trimming import Trims

__all__ = ["MOST_STOPS", "Description"]

MOST_STOPS: Final = 4
"""How many stop strings the service takes."""


@dataclass(frozen=True)
class Description:
    """The description of a prompt format.

    - ``separators``: the texts between messages, keyed by (previous role, next role). The roles are ``system``,
      ``user``, ``assistant`` and ``tool``, and ``reasoned`` for an assistant's message that starts with reasoning. In
      place of the first role there is ``start``; in place of the last one ``reply`` (the prompt asks for the
      assistant's reply) or ``end`` (the history is closed). ``final`` replaces ``assistant`` before a reply that ends
      the history, and ``asked`` replaces ``user`` before the message that asks for the reply, where these have another
      header. A history with a pair that has no separator is refused.
    - ``bos``: the text that begins a sequence, written only when asked for, as completions servers add it themselves.
    - ``trim``: what is stripped from a role's texts (``"left"``, ``"right"``, ``"both"``, ``"newlines"``: those at the
      start), keyed by role, or by (previous role, role) where it depends on the role before.
    - ``joins``: the text that joins neighbouring messages of a role into one, keyed by (role, role).
    - ``system_in``: ``"first"`` or ``"last"``: the user message that the system text is moved into, with
      ``joins["system", "user"]`` after it; "" where the format has system messages, or no place for system text.
    - ``never_empty``: the roles whose messages the published template drops, or writes otherwise, if they have no text.
    - ``losses``: what else the published template loses, as ``from_template`` finds it.
    - ``thought``: how reasoning is written.
    - ``tools``: the name of the dialect in which tool calls are written.
    - ``marks``: the tokens and tags that the published template writes for calls, results and thoughts, also where the
      format has no place for these.
    - ``date``: the style of the date that stands for ``{date}`` in separators.
    - ``stop``: at most 4 stop strings; the first is the one that ends a turn.
    - ``ends``: the tokens that end generation for the model, also where the published template writes none of them.
    - ``source``: where the format was taken from.
    """

    name: str
    separators: Separators = field(hash=False)
    bos: str = ""
    trim: Trims = field(default_factory=dict, hash=False)
    joins: Mapping[tuple[str, str], str] = field(default_factory=dict, hash=False)
    system_in: str = ""
    never_empty: tuple[str, ...] = ()
    losses: Losses | None = None
    thought: Thought | None = None
    tools: str = ""
    marks: tuple[str, ...] = ()
    date: str = ""
    stop: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        self._refuse_types()
        problems = [problem for pair, text in self.separators.items() if (problem := self._problem(pair, text))]
        if len(self.stop) > MOST_STOPS:
            problems.append(f"{len(self.stop)} stop strings, and the service takes {MOST_STOPS}")
        if self.system_in and (self.system_in not in ("first", "last") or ("system", "user") not in self.joins):
            problems.append("system_in must be 'first' or 'last', with a text in joins['system', 'user']")
        if problems:
            raise ValueError(f"format {self.name!r}: {problems[0]}")

    def _refuse_types(self) -> None:
        """Raise PromptError for a field of a wrong type."""
        for name in ("name", "bos", "system_in", "tools", "date", "source"):
            check_text(getattr(self, name), f"{name} of a format", "give a text, or leave it out")
        for name in ("stop", "ends", "marks", "never_empty"):
            given = getattr(self, name)
            if not (isinstance(given, tuple) and all(isinstance(text, str) for text in given)):
                raise PromptError(f"{name} of a format must be a tuple of texts, not {shown(given)}: give ('...',)")
        if not isinstance(self.separators, Mapping) or not all(map(_is_separator, self.separators.items())):
            way = "give {('start', 'user'): '...', ...}"
            raise PromptError(f"separators must be texts by pairs of roles, not {shown(self.separators)}: {way}")

    def _problem(self, pair: tuple[str, str], text: str) -> str | None:
        """Return why a prompt with this separator could not be read back; None if it can."""
        if not text and pair[0] != START and pair[1] not in (END, REPLY):
            return f"the separator {pair} is empty, so that nothing tells the two messages apart"
        if pair[1] == ASKED and not text.startswith(self.separators.get((pair[0], "user"), f"{text}?")):
            return f"the separator {pair} must start with the separator {(pair[0], 'user')}"
        if pair[0] == START and self.bos and text.startswith(self.bos):
            return f"the separator {pair} starts with the BOS, which is written apart: take it out"
        return None

    @cached_property
    def reply_ends(self) -> tuple[str, ...]:
        """The strings at which a reply ends: the stop strings, and the other tokens that end generation."""
        return tuple(dict.fromkeys((*self.stop, *self.ends)))

    def is_in_user_turn(self, pair: tuple[str, str]) -> bool:
        """Tell whether a separator begins a result in the way in which the format begins a user's message."""
        user = self.separators.get((pair[0], "user"), "")
        return pair[1] == "tool" and user != "" and self.separators[pair].startswith(user)


def _is_separator(item: tuple[Any, Any]) -> bool:
    """Tell whether this is a text between two roles."""
    pair, text = item
    is_pair = isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(role, str) for role in pair)  # noqa: PLR2004
    return is_pair and isinstance(text, str)
