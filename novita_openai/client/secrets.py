"""Errors of what is given a key: no traceback shows it, not even one with the local variables of each frame."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from novita_openai import sdk

__all__ = ["discreet"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def discreet(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Drop the frames of a function from its errors: they hold the keys and addresses that it is given."""

    @wraps(function)
    def run(*args: Any, **options: Any) -> Any:
        try:
            return cast("Any", function)(*args, **options)
        except Exception as error:
            del args
            options.clear()
            sdk.forget_frames(error)
            raise

    return run
