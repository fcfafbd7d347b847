"""What the emulator's settings may be; each is checked whenever it is set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from novita_openai.emulator.faults import Fault
from novita_openai.emulator.requests import Model

__all__ = ["checked", "credit_of", "span_of"]

_PORTS: Final = range(65_536)
_HIDDEN: Final = "keys"
_ROUNDING: Final = 1e-9


def checked(name: str, value: Any) -> Any:
    """Return a setting as it is kept; raise ``ValueError`` for one that cannot be."""
    value = tuple(value) if name == "models" and isinstance(value, Iterable) and not isinstance(value, str) else value
    wanted, is_valid = _CHECKS.get(name, ("", _anything))
    if not is_valid(value):
        shown = "what was given" if name == _HIDDEN else repr(value)
        raise ValueError(f"{name} must be {wanted}, not {shown}")
    for kind in value if name == "faults" else ():
        Fault(kind)
    return value


def credit_of(keys: Mapping[str, float | None] | Iterable[str] | None) -> dict[str, float | None] | None:
    """Return the credit of each key in dollars, None for one without end; None where every key is taken."""
    if keys is None:
        return None
    return dict(keys) if isinstance(keys, Mapping) else dict.fromkeys(keys)


def span_of(latency: float | tuple[float, float]) -> tuple[float, float]:
    """Return the least and the most seconds."""
    return latency if isinstance(latency, tuple) else (latency, latency)


def _anything(_: Any) -> bool:
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_time(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_limit(limit: Any) -> bool:
    values = limit.values() if isinstance(limit, Mapping) else [limit]
    return all(value is None or (_is_number(value) and value > 0) for value in values)


def _is_latency(value: Any) -> bool:
    if not isinstance(value, tuple):
        return _is_time(value)
    return len(value) == len(("least", "most")) and all(map(_is_time, value)) and value[0] <= value[1]


def _are_shares(faults: Any) -> bool:
    return isinstance(faults, Mapping) and all(map(_is_time, faults.values())) and sum(faults.values()) <= 1 + _ROUNDING


def _are_keys(keys: Any) -> bool:
    if isinstance(keys, Mapping):
        return all(map(_is_name, keys)) and all(each is None or _is_number(each) for each in keys.values())
    return keys is None or (not isinstance(keys, str) and all(map(_is_name, keys)))


def _are_models(models: Any) -> bool:
    return isinstance(models, tuple) and all(isinstance(each, Model) or _is_name(each) for each in models)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


_CHECKS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "models": ("a list of ids and Models", _are_models),
    "keys": ("None, a list of keys, or keys with their credit in dollars", _are_keys),
    "rpm": ("above 0 requests a minute, or that for each model", _is_limit),
    "tpm": ("above 0 tokens a minute, or that for each model", _is_limit),
    "burst": ("None or at least 1 request", lambda value: value is None or (_is_number(value) and value >= 1)),
    "concurrency": ("above 0 requests, or that for each model", _is_limit),
    "retry_after": ("True, False or seconds", lambda value: isinstance(value, bool) or _is_time(value)),
    "latency": ("seconds, or the least and the most of them", _is_latency),
    "chunk_interval": ("at least 0 seconds", _is_time),
    "faults": ("shares of kinds, from 0 to 1 together", _are_shares),
    "port": ("0 (a free one) to 65535", lambda value: isinstance(value, int) and value in _PORTS),
}
