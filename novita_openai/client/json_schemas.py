"""What is wrong with a JSON value, by a JSON Schema: jsonschema says it (the extra ``schema``)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from novita_openai.installing import how_to_install

__all__ = ["flaws_of", "listed", "validator_of"]

SHOWN_FLAWS: Final = 5


def validator_of(schema: Mapping[str, Any], name: str) -> Any:
    """Return jsonschema's validator; raise ``ValueError``, which begins with ``name``, for what is no JSON Schema."""
    try:  # by name, as type checkers need not have the extra
        jsonschema, referencing = import_module("jsonschema"), import_module("referencing")
    except ImportError as error:
        raise ImportError(f"a JSON Schema is checked by jsonschema: {how_to_install('schema')}") from error
    kind = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(f"{name}: this is no JSON Schema: {error.json_path}: {error.message}") from None
    return kind(schema, registry=referencing.Registry())  # which fetches nothing from the network


def flaws_of(validator: Any, value: Any) -> str | None:
    """Return what is wrong with a value, with the place of each flaw; None where nothing is."""
    errors = sorted(validator.iter_errors(value), key=lambda error: error.json_path)
    return listed([f"{error.json_path}: {error.message}" for error in errors])


def listed(flaws: list[str]) -> str | None:
    """Return the first flaws as one text, and how many more there are; None where there are none."""
    more = [f"and {len(flaws) - SHOWN_FLAWS} more"] if len(flaws) > SHOWN_FLAWS else []
    return "; ".join([*flaws[:SHOWN_FLAWS], *more]) or None
