"""The two errors of prompt formats that users see; both are ValueErrors and can be pickled."""

from __future__ import annotations

from typing import Any

__all__ = ["PromptError", "TemplateError"]


class PromptError(ValueError):
    """Messages that cannot be written as a prompt without losing or forging something, or a prompt that cannot be read.

    ``problem`` says what is wrong and what to do. ``format`` is the format's name, ``index`` the place of the message
    in the list, ``marker`` the text that stands in the way, and ``offset`` its place in characters: in the prompt that
    was read, or in the text of the message that was to be written. Each of these is None where it does not apply.
    """

    def __init__(
        self,
        problem: str,
        *,
        format: str | None = None,
        index: int | None = None,
        marker: str | None = None,
        offset: int | None = None,
    ) -> None:
        places = [
            f"format {format!r}" if format is not None else "",
            f"message {index}" if index is not None else "",
            f"offset {offset}" if offset is not None else "",
        ]
        super().__init__(f"{', '.join(place for place in places if place) or 'prompt'}: {problem}")
        self.problem, self.format, self.index, self.marker, self.offset = problem, format, index, marker, offset

    def __reduce__(self) -> tuple[Any, ...]:
        return _prompt_error, (self.problem, self.format, self.index, self.marker, self.offset)

    def within(self, format: str) -> PromptError:
        """Return the same error with the format's name."""
        return _prompt_error(self.problem, format, self.index, self.marker, self.offset)


def _prompt_error(
    problem: str, format: str | None, index: int | None, marker: str | None, offset: int | None
) -> PromptError:
    return PromptError(problem, format=format, index=index, marker=marker, offset=offset)


class TemplateError(ValueError):
    """A chat template of which no format can be made; ``property`` is the requirement that it does not meet.

    The properties are a few fixed words; ``from_template`` lists them.
    """

    def __init__(self, property: str, problem: str) -> None:
        super().__init__(f"{property}: {problem}")
        self.property, self.problem = property, problem

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.property, self.problem)
