"""Resuming a text stream that broke: what to ask next, and what of the answer is new. Pure: no I/O.

The next request asks for a completion of the prompt and the text so far. A chat is continued over the completions
endpoint too, if the prompt format of its model is known; a chat of which no text has come is sent again as it was.
:mod:`novita_openai.client.streams` says which streams are broken, among them those that are silent for longer than the
client's ``timeout``.

Limits. Each chunk with text is counted as one token. The count is subtracted from ``max_tokens``, and added to the
usage of the last request; both are wrong where a server puts several tokens into a chunk. Without ``max_tokens`` the
server's own limit holds for each request. If the stream breaks within a stop string, the part that came before has been
given out. Penalties and ``seed`` start anew. Each request pays for its prompt and the text so far; what the server
generated after the stream broke is paid for as well.

These streams are not resumed, so their error is raised, with ``.partial_text``:

- answers that are not one plain text: tools, ``n``, ``logprobs``, grammars and other formats, prompts in lists or
  tokens, text in unknown fields;
- chats of models without a known format, chats that end with the assistant's message, and chats with parameters that
  change the prompt;
- a text so far that ends within a character, or that holds a stop string of the format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import openai

from novita_openai.client.events import is_end
from novita_openai.client.seam import Opening, Thinking

if TYPE_CHECKING:
    from novita_openai.prompts import PromptFormat

__all__ = ["Resumption", "resumption_of"]

MOST_IN_A_ROW: Final = 3
"""Resumptions in a row that may bring no new text."""

MOST_IN_ALL: Final = 10
"""Resumptions of one stream."""

_COMPLETIONS: Final = "/completions"
_CHAT: Final = "/chat/completions"

# With these values of the parameters an answer is still one plain text; the later ones are of other servers.
_PLAIN: Final[Mapping[str, Any]] = {
    "n": 1, "best_of": 1, "suffix": "", "tools": [], "functions": [], "modalities": ["text"],
    "response_format": {"type": "text"}, "logprobs": None, "top_logprobs": None, "prompt_logprobs": None, "echo": None,
    "guided_json": None, "guided_regex": None, "guided_choice": None, "guided_grammar": None, "json_schema": None,
    "structured_outputs": None, "grammar": None, "regex": None, "ebnf": None, "min_tokens": None,
}  # fmt: skip
# Parameters that change the prompt of a chat in ways that its format does not know.
_UNWRITTEN: Final = (
    "chat_template", "chat_template_kwargs", "enable_thinking", "thinking", "reasoning_effort", "documents",
    "continue_final_message",
)  # fmt: skip


def resumption_of(path: str, body: object, extra: Mapping[str, Any]) -> Resumption | None:
    """Return the resumption of a request's stream, None where it is not one plain text.

    ``extra`` is what goes into the body besides the SDK's own parameters.
    """
    if path not in (_COMPLETIONS, _CHAT) or not isinstance(body, Mapping):
        return None
    asked = {**body, **extra}
    if not all(_is_plain(asked.get(name), plain) for name, plain in _PLAIN.items()):
        return None
    if path == _COMPLETIONS:
        return Resumption(asked) if isinstance(asked.get("prompt"), str) else None
    return None if any(name in asked for name in _UNWRITTEN) else ChatResumption(asked, body, extra)


def _is_plain(value: Any, plain: Any) -> bool:
    return value is None or value is False or (plain is not None and value == plain)


class Resumption:
    """What one stream of text has said so far, and how it is resumed where it breaks; this class is for completions."""

    path = _COMPLETIONS
    body: Mapping[str, Any]
    first: Any = None
    finish_reason: str | None = None
    tokens = tokens_before = pending = in_a_row = in_all = 0
    has_given_up = is_to_count = False
    is_plain = True

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self.asked, self.opening = asked, Opening("", ())
        self.contents: list[str] = []
        self.limit = asked.get("max_completion_tokens") or asked.get("max_tokens")
        self.owes_usage = bool((asked.get("stream_options") or {}).get("include_usage"))

    def see(self, event: Mapping[str, Any]) -> None:
        """Take note of an event of which the chunk is given out."""
        if self.first is None:
            self.first = event
        if event.get("usage") is not None:
            self.owes_usage = False
        for choice in event["choices"]:
            if choice["index"]:
                self.is_plain = False
            if (reason := choice.get("finish_reason")) and is_end(reason):
                self.finish_reason = reason
            if self._note(choice):
                self.tokens += 1
                self.in_a_row = 0

    def _note(self, choice: Mapping[str, Any]) -> bool:
        """Add the text of a choice; tell whether it has any."""
        if text := choice["text"]:
            self.contents.append(text)
        return bool(text)

    @property
    def is_complete(self) -> bool:
        """Tell whether the text is finished: it has a finish_reason, or its tokens are used up."""
        return self.finish_reason is not None or (self.limit is not None and self.tokens >= self.limit)

    def can_go_on(self) -> bool:
        """Prepare to resume a stream that broke; return False where that cannot be done."""
        is_spent = self.in_a_row >= MOST_IN_A_ROW or self.in_all >= MOST_IN_ALL
        if self.first is None or not self.is_plain or self.has_given_up or is_spent:
            return False
        self.tokens_before, self.pending, self.is_to_count = self.tokens, 0, self.is_complete
        return (self.is_complete and not self.owes_usage) or self._plan()

    def needs_request(self) -> bool:
        """Tell whether a further request is needed, and count it."""
        if self.is_complete and not self.owes_usage:
            return False
        self.in_a_row, self.in_all, self.has_given_up = self.in_a_row + 1, self.in_all + 1, True
        return True

    def begin(self) -> None:
        """Note that a continuation has begun: what breaks from now on can be resumed again."""
        self.has_given_up = False

    def _plan(self) -> bool:
        """Work out the next request; return False where none can go on from here."""
        return self._continue(self.asked, self.asked["prompt"], "".join(self.contents))

    def _continue(self, body: Mapping[str, Any], prompt: str, said: str) -> bool:
        try:
            # A character may come in two halves (surrogates); the stream may have broken between them.
            said = said.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            return False
        self.body = {**body, "prompt": prompt + said}
        if self.limit is not None or self.is_to_count:
            # Where only the usage is missing, one token is asked for, as servers refuse to generate 0.
            self.body["max_tokens"] = 1 if self.is_to_count or self.limit is None else self.limit - self.tokens
        stop = body.get("stop") or ()
        self.opening = Opening(said, [stop] if isinstance(stop, str) else stop)
        return True

    def end(self) -> Iterator[Any]:
        """Yield the end of a text that has used up its tokens."""
        if self.is_complete and self.finish_reason is None:
            yield self._chunk([self._choice("content", "", "length")])

    def take(self, chunk: Any) -> Iterator[Any]:
        """Yield what a chunk of the continuation adds to the stream."""
        choices = [] if self.is_to_count else [*self._choices(chunk.choices)]
        usage = None if chunk.usage is None else self._summed(chunk.usage)
        for choice in choices[:-1]:
            yield self._chunk([choice])
        if choices or usage is not None:
            yield self._chunk(choices[-1:], usage)

    @property
    def is_stopped(self) -> bool:
        """Tell whether a stop string that began before the seam has ended the text."""
        return self.opening.is_stopped

    def _choices(self, given: Any) -> Iterator[dict[str, Any]]:
        text = "".join(choice.text or "" for choice in given)
        reason = next((choice.finish_reason for choice in given if is_end(choice.finish_reason)), None)
        self.pending += bool(text)
        new = self.opening.feed(text, is_last=reason is not None)
        reason = "stop" if self.is_stopped else reason
        parts = [(field, part) for field, part in self._parts(new, is_last=reason is not None) if part]
        if parts:
            # Text that was held back is given out in fewer chunks than it came in; see() counts only those given out.
            self.tokens, self.pending = self.tokens + self.pending - len(parts), 0
        for field, part in parts:
            yield self._choice(field, part, None)
        if reason is not None:
            yield self._choice("content", "", reason)

    def _parts(self, text: str, *, is_last: bool) -> list[tuple[str, str]]:
        """Return the fields of a message that a text belongs to."""
        del is_last
        return [("content", text)]

    def _choice(self, field: str, text: str, finish_reason: str | None) -> dict[str, Any]:
        del field
        return {"index": 0, "text": text, "finish_reason": finish_reason, "logprobs": None}

    def _chunk(self, choices: list[dict[str, Any]], usage: Any = None) -> Any:
        names = ("id", "object", "created", "model", "system_fingerprint")
        frame = {name: self.first.get(name) for name in names}
        return self._kind().construct(**frame, choices=choices, usage=usage)

    def _kind(self) -> Any:
        """Return the class of the stream's chunks."""
        return openai.types.Completion

    def _summed(self, usage: Any) -> dict[str, int]:
        """Return the usage of the whole stream; the text so far, sent as prompt, counts as completion."""
        prompt = max(usage.prompt_tokens - self.tokens_before, 0)
        completion = self.tokens_before + (0 if self.is_to_count else usage.completion_tokens)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


class ChatResumption(Resumption):
    """The resumption of a chat: renders its prompt, and keeps reasoning and content apart."""

    thinking: Thinking | None = None
    is_asked_anew = False

    def __init__(self, asked: Mapping[str, Any], body: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
        super().__init__(asked)
        self.thoughts: list[str] = []
        self.texts = {"content": self.contents, "reasoning_content": self.thoughts}
        self.own, self.extra = body, {name: value for name, value in extra.items() if name != "separate_reasoning"}

    def _note(self, choice: Mapping[str, Any]) -> bool:
        """Add the text and the thought of a choice; one that says anything else cannot be resumed."""
        has_text = False
        for name, value in choice["delta"].items():
            if value and name in self.texts and isinstance(value, str):
                self.texts[name].append(value)
                has_text = True
            elif value and name != "role":
                self.is_plain = False
        return has_text

    def _kind(self) -> Any:
        from openai.types.chat import ChatCompletionChunk

        return ChatCompletionChunk

    def _plan(self) -> bool:
        self.is_asked_anew = not (self.thoughts or self.contents) and not self.is_to_count
        if self.is_asked_anew:
            self.path, self.body = _CHAT, self.asked
            return True
        self.path = _COMPLETIONS
        return self._render()

    def _render(self) -> bool:
        """Render the chat and what it has said so far; return False where its format is unknown or refuses it."""
        from novita_openai.prompts import PromptError, chat_to_completion, format_for_model

        try:
            body = chat_to_completion(**self.own)
            form = format_for_model(body["model"])
        except PromptError:
            return False
        parts = self._parts_of_prompt(form, body["prompt"])
        if parts is None or self.own["messages"][-1]["role"] == "assistant":
            return False
        prompt, said, self.thinking = parts
        if any(stop in said for stop in form.stop):
            return False  # in a prompt, a stop string would end the turn
        return self._continue({**body, **self.extra}, prompt, said)

    def _parts_of_prompt(self, form: PromptFormat, prompt: str) -> tuple[str, str, Thinking | None] | None:
        """Return the prompt, the text so far as the model wrote it, and how to split what follows; None if uncertain.

        Where the server does not separate the reasoning, its tags are part of the content.
        """
        (opened, blank), thought = form.opening, form.thought
        reasoning, content = "".join(self.thoughts), "".join(self.contents)
        if reasoning and thought is not None:
            said = thought.open + reasoning.lstrip("\n")
            if content:
                said = said.rstrip("\n") + thought.close + content.lstrip("\n")
            return prompt.removesuffix(opened), said, Thinking(thought.tags[1], is_over=bool(content))
        if thought is not None and content.startswith(thought.tags[0]):
            return prompt.removesuffix(opened), content, None
        is_open = thought is not None and thought.tags[0] in opened and thought.tags[1] not in opened + content
        if reasoning or is_open:
            return None
        return prompt, content if content.startswith(blank) else blank + content, None

    def take(self, chunk: Any) -> Iterator[Any]:
        """Yield what a chunk of the continuation adds to the stream."""
        if not self.is_asked_anew:
            yield from super().take(chunk)
            return
        yield chunk.model_copy(update={name: self.first.get(name) for name in ("id", "created", "model")})

    def _parts(self, text: str, *, is_last: bool) -> list[tuple[str, str]]:
        return [("content", text)] if self.thinking is None else self.thinking.feed(text, is_last=is_last)

    def _choice(self, field: str, text: str, finish_reason: str | None) -> dict[str, Any]:
        return {"index": 0, "delta": {field: text} if text else {}, "finish_reason": finish_reason}
