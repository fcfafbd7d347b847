"""Logs what went wrong or was put off: through structlog where the program has configured it, else through logging.

Without a configuration structlog prints to stdout, which belongs to the program. The standard logger ``novita_openai``
prints warnings to stderr where the program has not configured logging either.
"""

from __future__ import annotations

import logging
from typing import Any, Final

__all__ = ["warn"]


def warn(event: str, **details: object) -> None:
    """Log an event, named as a dotted fact, with its details: as keys in structlog, as attributes of a record."""
    # Imported late: it takes longer to import than the rest of this package, and many programs meet no error.
    import structlog

    if _is_configured(structlog):
        structlog.get_logger("novita_openai").warning(event, **details)
        return
    known = [name for name, value in details.items() if value is not None]
    message = " ".join([event, *(f"{name}=%({name})s" for name in known)])
    logging.getLogger("novita_openai").warning(message, details, extra={"event": event, **details})


def _is_configured(structlog: Any) -> bool:
    """Tell whether structlog's configuration is the program's own.

    ``is_configured()`` stays true after ``capture_logs()``, which leaves structlog's defaults in place. What these are
    only a private module says; without it, ``is_configured()`` decides.
    """
    config, defaults = structlog.get_config(), vars(getattr(structlog, "_config", structlog))
    is_own = any(config[name] != defaults.get(f"_BUILTIN_DEFAULT_{name.upper()}") for name in _DEFAULTS)
    return structlog.is_configured() and is_own


_DEFAULTS: Final = ("processors", "wrapper_class", "context_class", "logger_factory")
