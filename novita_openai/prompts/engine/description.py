"""What a prompt format is: data, with the rules that it must keep to be read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from novita_openai.prompts.engine.table import ASKED, END, REPLY, START

if TYPE_CHECKING:
    from novita_openai.prompts.engine.losses import Losses
    from novita_openai.prompts.engine.reasoning import Thought

__all__ = ["Description"]

MOST_STOPS: Final = 4
"""The service takes no more stop strings."""


@dataclass(frozen=True)
class Description:
    """The description of a prompt format.

    ``separators`` are keyed by (previous, next): roles (``system``, ``user``, ``assistant``, ``tool``, and ``reasoned``
    for an assistant's message that starts with a thought), ``start``, ``reply`` (the prompt is ready for the
    assistant), ``end`` (a closed history) and ``final`` (before an assistant's message that ends the history, where
    that differs) and ``asked`` (before the user's message that asks for the reply, where the header goes on). A pair
    without a separator is an order that the format has not.

    ``bos`` is the text that begins a sequence, written only when asked for: completions servers add it themselves.
    ``trim`` says what is stripped from a role's texts (``"left"``, ``"right"``, ``"both"``), keyed by role, or by
    (previous, role) where it differs after some role. ``joins`` are pairs of roles whose neighbouring messages become
    one, with the given text between them. ``system_in`` moves the system text into the ``"first"`` or the ``"last"``
    user message, with ``joins["system", "user"]`` between them. ``forbidden`` are texts that the published template
    takes out of replies; ``may_be_empty`` is false where it drops empty messages. ``losses`` is what else
    it does not keep, as ``from_template`` finds it. ``thought`` says how reasoning is
    written, ``tools`` names the dialect of tool calls, ``date`` is the style of the date that stands for ``{date}`` in
    separators. ``stop`` are at most 4 stop strings, the end of the turn first; ``source`` is where the format was
    taken from.
    """

    name: str
    separators: Mapping[tuple[str, str], str] = field(hash=False)
    bos: str = ""
    trim: Mapping[str | tuple[str, str], str] = field(default_factory=dict, hash=False)
    joins: Mapping[tuple[str, str], str] = field(default_factory=dict, hash=False)
    system_in: str = ""
    forbidden: tuple[str, ...] = ()
    may_be_empty: bool = True
    losses: Losses | None = None
    thought: Thought | None = None
    tools: str = ""
    date: str = ""
    stop: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        for pair, text in self.separators.items():
            if not text and pair[0] != START and pair[1] not in (END, REPLY):
                raise ValueError(f"format {self.name!r}: nothing between {pair[0]} and {pair[1]} tells them apart")
            if pair[1] == ASKED and not text.startswith(self.separators.get((pair[0], "user"), f"{text}?")):
                raise ValueError(f"format {self.name!r}: the separator {pair} does not go on where the user's ends")
            if pair[0] == START and self.bos and text.startswith(self.bos):
                raise ValueError(f"format {self.name!r}: the separator {pair} holds the BOS, which stands apart")
        if len(self.stop) > MOST_STOPS:
            raise ValueError(f"format {self.name!r}: {len(self.stop)} stop strings; the service takes {MOST_STOPS}")
        if self.system_in and (self.system_in not in ("first", "last") or ("system", "user") not in self.joins):
            raise ValueError(f"format {self.name!r}: system_in is 'first' or 'last', with joins['system', 'user']")
