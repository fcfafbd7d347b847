"""Values that fit a JSON schema: for structured output, and for the arguments of tool calls."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random  # noqa: TC003 - annotations can be resolved at run time
from typing import Any, Final

from novita_openai.emulator.replies import BAD_BODY, ServiceError

__all__ = ["sample"]

_WORDS: Final = ("pasta", "salt", "water", "basil", "oil", "lemon")
_DEEP: Final = 4
"""From this depth on, arrays are empty and values null wherever the schema allows it, so that recursion ends."""
_DEEPEST: Final = 32
_LARGEST: Final = 99


def sample(schema: Any, random: Random) -> Any:
    """Return a value that fits a schema.

    ``$ref``, ``const``, ``enum``, ``anyOf`` and its siblings, types, bounds and lengths are read; other keywords are
    ignored. Raises :class:`ServiceError` where no value can fit, and for what is not a schema.
    """
    try:
        return _Sampler(schema, random).value(schema, 0)
    except (AttributeError, LookupError, TypeError) as error:
        raise ServiceError(BAD_BODY, f"the JSON schema has a keyword with a wrong value: {error}") from error


class _Sampler:
    """Draws the values of one schema; its references (``$ref``) start from ``root``."""

    def __init__(self, root: Any, random: Random) -> None:
        self.root, self.random = root, random

    def value(self, schema: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ServiceError(BAD_BODY, "the JSON schema has no finite value")
        if not isinstance(schema, Mapping):
            return self.random.choice(_WORDS)
        if "$ref" in schema:
            return self.value(self._resolve(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._one_of(schema["enum"])
        for key in ("anyOf", "oneOf", "allOf"):
            if key in schema:
                options = sorted(schema[key], key=_is_null, reverse=depth >= _DEEP)
                return self.value(next(iter(options), None), depth + 1)
        return self._typed(schema, depth)

    def _resolve(self, reference: str) -> Any:
        found = self.root
        for part in reference.removeprefix("#/").split("/"):
            if not isinstance(found, Mapping) or part not in found:
                raise ServiceError(BAD_BODY, f"the JSON schema has no {reference}")
            found = found[part]
        return found

    def _one_of(self, values: Any) -> Any:
        if not values:
            raise ServiceError(BAD_BODY, "the JSON schema has an empty enum")
        return self.random.choice(values)

    def _typed(self, schema: Mapping[str, Any], depth: int) -> Any:
        kinds = schema.get("type", "object" if "properties" in schema or depth == 0 else "string")
        kind = kinds[0] if isinstance(kinds, list) and kinds else kinds
        match kind:
            case "object":
                return {name: self.value(each, depth + 1) for name, each in schema.get("properties", {}).items()}
            case "array":
                count = max(schema.get("minItems", 0), 0 if depth >= _DEEP else 1)
                return [self.value(schema.get("items"), depth + 1) for _ in range(count)]
            case "integer" | "number":
                least = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
                most = schema.get("maximum", schema.get("exclusiveMaximum", max(least, _LARGEST) + 1) - 1)
                return least + int((most - least) * self.random.random())
            case "string":
                text = self.random.choice(_WORDS).ljust(schema.get("minLength", 0), ".")
                return text[: schema.get("maxLength")]
            case "boolean":
                return self.random.choice((True, False))
            case "null":
                return None
        raise ServiceError(BAD_BODY, f"the JSON schema has the unknown type {kind!r}")


def _is_null(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "null"
