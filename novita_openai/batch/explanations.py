"""What the code of a failed row means, with the way out, for people who read a report."""

from __future__ import annotations

from typing import Final

from novita_openai.batch.checks import VALIDATION_FAILED
from novita_openai.batch.rows import ROW_TIMEOUT
from novita_openai.errors import RULES

__all__ = ["explained"]

_OWN: Final = {
    ROW_TIMEOUT: "The row's time was up before an answer came; give rows more of it (row_timeout).",
    VALIDATION_FAILED: "No answer passed the check; the last one is in the file of failed rows.",
    "empty": "The cells of the row hold nothing to ask.",
    "not_json": "Something in front of the service has answered with a page: a gateway, a firewall or a proxy.",
    "no_word": "The service gave no code for it.",
}


def explained(code: str) -> str:
    """Return what a code means, "" where nobody has documented it."""
    meaning = next((rule.meaning for rule in RULES if rule.reason == code), "")
    return _OWN.get(code, meaning)
