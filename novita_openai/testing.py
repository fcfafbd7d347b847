"""The pytest plugin: the fixture ``novita``, a running emulator that every client of the test talks to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from novita_openai.emulator import Emulator


@pytest.fixture
def novita(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Run an :class:`~novita_openai.emulator.Emulator`, and set the environment so that clients need no argument.

    Retries do not wait. ``novita.script.append(...)`` says what the next requests get, ``novita.requests`` what came.
    """
    from novita_openai.emulator import Emulator
    from novita_openai.retry import no_wait

    with Emulator() as server, no_wait():
        monkeypatch.delenv("NOVITA_API_KEY_FILE", raising=False)
        for name in ("NO_PROXY", "no_proxy"):  # otherwise requests would go to a proxy that the environment names
            monkeypatch.setenv(name, "127.0.0.1", prepend=",")
        monkeypatch.setenv("NOVITA_API_KEY", "sk_test")
        monkeypatch.setenv("NOVITA_BASE_URL", server.base_url)
        yield server
