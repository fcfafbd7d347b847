"""Histories and prompts made up at random of what the separators, thoughts and calls of a format consist of."""

from __future__ import annotations

import json
import random
from typing import Any

from prompt_texts import fragments

from novita_openai.prompts import PromptFormat

PLAIN = ("", "", " ", "\n", "\n\n", "a", "x", "#", "é", "\0", "C#", "{", '"')
IDS = ("call_0", "abcdefghi", "functions.f:0")
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"reply": False},
    {"continue_final": True},
    {"bos": True},
    {"keep_reasoning": True, "reply": False},
    {"keep_reasoning": True, "continue_final": True},
)
NEXT = {"user": "assistant", "assistant": "user", "system": "user"}


class Fuzz:
    """Makes up histories, prompts and logs for a format."""

    def __init__(self, fmt: PromptFormat, seed: str) -> None:
        self.format = fmt
        self.random = random.Random(f"{fmt.name} {seed}")
        self.pieces = [piece for piece in fragments(fmt) if len(piece) < 400]

    def text(self, share: float = 0.25) -> str:
        """Return a text of a few pieces, of which a share is the format's."""
        count = self.random.choice((0, 0, 1, 1, 2, 3))
        return "".join(self.piece(share) for _ in range(count))

    def piece(self, share: float) -> str:
        return self.random.choice(self.pieces if self.random.random() < share else PLAIN)

    def history(self) -> list[dict[str, Any]]:
        """Return the messages of a chat, with thoughts and calls where the format has them."""
        messages: list[dict[str, Any]] = []
        if self.random.random() < 0.35:
            messages.append({"role": "system", "content": self.text()})
        role = "user" if self.random.random() < 0.9 else "assistant"
        for _ in range(self.random.choice((1, 2, 2, 3, 4, 5))):
            messages += self.turn(role)
            role = NEXT.get(messages[-1]["role"], "assistant")
            if self.random.random() < 0.1:
                role = self.random.choice((*NEXT,))
        return messages

    def turn(self, role: str) -> list[dict[str, Any]]:
        """Return a message, with the result of its call if it has one."""
        message: dict[str, Any] = {"role": role, "content": self.text()}
        if role == "assistant" and self.format.thought is not None and self.random.random() < 0.4:
            message["reasoning_content"] = self.text()
        if role != "assistant" or not self.format.tools or self.random.random() < 0.6:
            return [message]
        arguments = json.dumps({"a": self.random.choice((1, None, "x", self.text()))}, ensure_ascii=False)
        call_id, function = self.random.choice(IDS), {"name": "f", "arguments": arguments}
        message["tool_calls"] = [{"id": call_id, "type": "function", "function": function}]
        result = {"role": "tool", "tool_call_id": call_id, "content": self.text()}
        return [message, result] if self.random.random() < 0.8 else [message]

    def options(self) -> dict[str, Any]:
        options = self.random.choice(OPTIONS)
        return {**options, "tools": [self.tool()]} if self.format.tools and self.random.random() < 0.3 else options

    def tool(self) -> dict[str, Any]:
        """Return the declaration of a tool."""
        parameters = {"type": "object", "properties": {"a": {"type": "string", "description": self.text(0.1)}}}
        return {"type": "function", "function": {"name": "f", "description": self.text(), "parameters": parameters}}

    def logs(self, prompt: str | None) -> list[str]:
        """Return texts that may be logs: a prompt with what ends a reply or cut somewhere, or else pieces in a row."""
        if prompt is None:
            row = "".join(self.piece(0.8) for _ in range(self.random.choice((2, 4, 5, 6))))
            starts = sorted(text for (previous, _), text in self.format.separators.items() if previous == "start")
            return [row, self.random.choice(starts) + row]
        cut = prompt[: self.random.randrange(len(prompt) + 1)] + self.piece(0.7)
        place = self.random.randrange(len(prompt) + 1)
        without = prompt[:place] + prompt[place + self.random.randrange(1, 20) :]
        return [cut, without, prompt + prompt, prompt + "\n", *(prompt + end for end in self.format.reply_ends)]
