"""Finds the chat template and the special tokens in the folder of a model, as Hugging Face stores them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from novita_openai.prompts.errors import TemplateError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_ends", "read_source", "read_tokens"]

_CONFIG: Final = "tokenizer_config.json"
_TOKEN_FILES: Final = (_CONFIG, "special_tokens_map.json")
"""Where a folder has its special tokens; the earlier file counts."""

_FILES: Final = ("chat_template.jinja", "chat_template.json", _CONFIG)
"""Where a folder has its templates, newest convention first; of two with the same name, the earlier one counts."""


def read_tokens(folder: Path) -> dict[str, str | None]:
    """Return the special tokens of a folder, such as ``bos_token``; None where the folder says that there is none."""
    tokens: dict[str, str | None] = {}
    for file in _TOKEN_FILES:
        for key, value in _read_json(folder / file).items():
            if key.endswith("_token") and tokens.get(key) is None:
                tokens[key] = _token_text(value, file)
    return tokens


def _token_text(token: Any, file: str) -> str | None:
    """Return the text of a special token, which may stand in an object with its flags."""
    text = token.get("content") if isinstance(token, dict) else token
    if not (text is None or isinstance(text, str)):
        raise TemplateError("syntax", f"a special token in {file} must be text, not {token!r}")
    return text


def read_ends(folder: Path) -> tuple[str, ...]:
    """Return the tokens that end generation in this folder, as far as its files say which texts their ids have."""
    ids = _read_json(folder / "generation_config.json").get("eos_token_id")
    texts = {} if ids is None else _added_tokens(folder)
    return tuple(texts[f"{each}"] for each in (ids if isinstance(ids, list) else [ids]) if f"{each}" in texts)


def _added_tokens(folder: Path) -> dict[str, str]:
    """Return the texts of a folder's special tokens by their ids."""
    try:
        named = _read_json(folder / _CONFIG).get("added_tokens_decoder")
        if named:
            return {each: f"{token['content']}" for each, token in named.items()}
        listed = _read_json(folder / "tokenizer.json").get("added_tokens") or []
        return {f"{token['id']}": f"{token['content']}" for token in listed}
    except (AttributeError, KeyError, TypeError) as error:
        raise TemplateError("syntax", f"the added tokens in {folder} have no ids and contents") from error


def read_source(folder: Path, template: str) -> str:
    """Return the source of a folder's template of this name."""
    named: dict[str, str] = {}
    for path in [*(folder / file for file in _FILES), *sorted(folder.glob("additional_chat_templates/*.jinja"))]:
        for name, source in _templates_in(path).items():
            named.setdefault(name, source)
    if not isinstance(template, str) or template not in named:
        known = ", ".join(map(repr, named)) or "none"
        raise TemplateError("missing", f"no chat template {template!r} in {folder}; it has {known}")
    return named[template]


def _templates_in(path: Path) -> dict[str, str]:
    """Return the templates in one file, by name; empty if there is no such file."""
    if path.suffix == ".jinja":
        name = "default" if path.name == _FILES[0] else path.stem
        text = _read_file(path)
        return {} if text is None else {name: text}
    found = _read_json(path).get("chat_template")
    entries = found if isinstance(found, list) else [{"name": "default", "template": found}] if found else []
    problem = f"chat_template in {path} is neither a text nor a list of named templates"
    try:
        named: dict[str, str] = {entry["name"]: entry["template"] for entry in entries}
    except (KeyError, TypeError) as error:
        raise TemplateError("syntax", problem) from error
    if not all(isinstance(text, str) for pair in named.items() for text in pair):
        raise TemplateError("syntax", problem)
    return named


def _read_json(path: Path) -> Mapping[str, Any]:
    """Return the JSON object in a file; empty if there is no such file."""
    text = _read_file(path)
    if text is None:
        return {}
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TemplateError("syntax", f"{path} is not JSON: {error}") from error
    if not isinstance(read, dict):
        raise TemplateError("syntax", f"{path} must hold a JSON object, not {type(read).__name__}")
    return read


def _read_file(path: Path) -> str | None:
    """Return the text of a file, None if there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeError) as error:
        raise TemplateError("syntax", f"{path} cannot be read: {error}") from error
