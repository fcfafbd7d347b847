"""What a person reads of a log event while a command runs."""

from __future__ import annotations

import logging
from typing import Any, Final

from novita_openai.cli.failures import in_the_shell
from novita_openai.cli.terminal import tell

__all__ = ["in_words", "watch_log"]


def watch_log() -> None:
    """Tell events of this package on stderr, in words."""
    logger = logging.getLogger("novita_openai")
    logger.handlers, logger.propagate = [_Teller()], False


class _Teller(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if words := in_words(vars(record), record.getMessage()):
            known = record.args if isinstance(record.args, dict) else {}
            tell(words, **{"event": getattr(record, "event", ""), **known})


def in_words(event: dict[str, Any], plain: str) -> str:
    """Return what an event says, "" for what the command itself will say; ``plain`` where nobody has put it better."""
    words = _WORDS.get(str(event.get("event")))
    known = {name: _rounded(value) for name, value in event.items() if value is not None}
    return plain if words is None else words.format_map(_Failed(known))


def _rounded(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


class _Failed(dict[str, Any]):
    """The keys of an event, and the words that are made of them."""

    def __missing__(self, name: str) -> str:
        if name == "failure":
            reason = str(self.get("reason", ""))
            return f"{self.get('status', '')} {_REASONS.get(reason, reason)}".strip()
        if name == "where":
            known = [str(self[each]) for each in ("host", "cause") if each in self]
            return f" ({': '.join(known)})" if known else ""
        if name == "meaning":
            from novita_openai.batch.explanations import explained

            reason = str(self["reason"])
            is_said = "cause" in self or bool(_REASONS.get(reason))
            meaning = "" if is_said else in_the_shell(explained(reason))
            return f": {meaning}" if meaning else ""
        if name == "nearest":
            return f"; near names: {', '.join(self['near'])}" if "near" in self else ""
        return "?"


_REASONS: Final = {
    "connection_error": "the connection failed",
    "timeout": "no answer in time",
    "invalid_answer": "the reply holds no answer",
    "no_word": "",
    "not_json": "",
}
"""Why a request is sent again, where the service itself has not said it in a word, as a person says it."""

_WORDS: Final = {
    "retry.scheduled": "{failure}: asking again in {wait} s (attempt {attempt} of {attempts} failed)",
    "retry.gave_up": "",
    "batch.failure": "{failure}{where}{meaning}",
    "batch.outage": "no row is answered at present ({reason}); none of them loses attempts or time by that",
    "batch.model_put_off": "{model}: put off, as the service asks to wait {seconds} s; the other models go on",
    "batch.model_refused": "{model}: all of its rows have failed ({failure})",
    "batch.unfit_model": "the model {model} {problem}{nearest}",
    "batch.slow_transport": "without aiohttp a batch is slower: {hint}",
    "batch.rows_left_input": "{file}: results of rows that the input does not hold any more: {count}",
    "batch.damaged_rows": "{file}: lines that are no results: {count}, moved to {kept_in}; their rows are sent again",
    "batch.unknown_rows": "{batch}: answers of the service to rows that were not asked: {count}",
    "batch.not_cancelled": "{batch}: could not be cancelled ({reason})",
    "batch.unknown_status": "{batch}: the service names a status that nobody has documented, {status}; waiting on",
    "batch.gone": "",
    "batch.unknown_part": "the service did not say whether it has a batch (rows: {rows}); looking for it",
    "batch.refused_part": "",
    "batch.file_not_deleted": "the file {file} could not be deleted at the service ({reason})",
    "stream.resumed": "{failure}: the answer broke off; going on with it in {wait} s",
}
