"""Keys and their credit in dollars: who is let in, and what an answer takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from novita_openai.emulator.replies import ServiceError

__all__ = ["Credit", "charge", "credit_of", "key_in", "require_credit"]

Credit = dict[str, float | None] | None
"""The credit of each key in dollars, None for a key that may spend any; None where every key is valid."""

_BEARER: Final = "Bearer"


def credit_of(keys: Mapping[str, float | None] | Iterable[str] | None) -> Credit:
    """Return the credit of each key that the setting ``keys`` names."""
    if keys is None:
        return None
    return dict(keys) if isinstance(keys, Mapping) else dict.fromkeys(keys)


def key_in(headers: Mapping[str, str], credit: Credit) -> str:
    """Return the key of a request; refuse a wrong one by the live service's word, a missing one by the guide's."""
    key = headers.get("authorization", "").removeprefix(_BEARER).strip()
    if credit is not None and key not in credit:
        raise ServiceError("FAILED_TO_AUTH" if key else "INVALID_API_KEY", "invalid api key")
    return key


def require_credit(credit: Credit, key: str) -> None:
    """Refuse a request whose key has nothing left."""
    left = None if credit is None else credit[key]
    if left is not None and left <= 0:
        raise ServiceError("NOT_ENOUGH_BALANCE", "not enough balance")


def charge(credit: Credit, key: str, dollars: float) -> None:
    """Take the price of an answer from a key's credit."""
    if credit is not None and (left := credit[key]) is not None:
        credit[key] = left - dollars
