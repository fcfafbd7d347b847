"""The names of the package: the SDK's own objects, our clients, and what would talk to somebody else."""

from __future__ import annotations

import importlib
import inspect
import pydoc
import subprocess
import sys
from typing import Any

import openai
import pytest

import novita_openai

CLIENTS = {"OpenAI", "AsyncOpenAI", "Client", "AsyncClient"}
OTHER_SERVICES = ["AzureOpenAI", "AsyncAzureOpenAI", "BedrockOpenAI", "AsyncBedrockOpenAI"]
NAMES = sorted({*openai.__all__} - {*CLIENTS, *OTHER_SERVICES, "__version__"})
BESIDE_ALL = [
    "pydantic_function_tool",
    "APIResponse",
    "AsyncAPIResponse",
    "VERSION",
    "AssistantEventHandler",
    "resources",
]
SETTINGS = ["api_key", "base_url", "organization", "project", "webhook_secret", "timeout", "max_retries", "http_client"]
SETTINGS += ["default_headers", "default_query", "api_type", "api_version", "azure_endpoint", "azure_ad_token"]
PARTS = ["chat", "completions", "models", "files", "batches", "embeddings", "images", "audio", "beta", "responses"]
PARTS += ["moderations", "fine_tuning", "uploads", "vector_stores", "evals", "containers", "realtime", "webhooks"]


@pytest.mark.parametrize("name", [*NAMES, *BESIDE_ALL])
def test_a_name_of_the_sdk_is_its_own_object(name: str) -> None:
    found: dict[str, Any] = {}
    exec(f"from novita_openai import {name}", found)  # noqa: S102 - as programs write it
    assert found[name] is getattr(novita_openai, name) is getattr(openai, name)


def test_clients_are_ours() -> None:
    assert novita_openai.Client is novita_openai.OpenAI is novita_openai.NovitaOpenAI
    assert novita_openai.AsyncClient is novita_openai.AsyncOpenAI is novita_openai.AsyncNovitaOpenAI
    assert novita_openai.__version__ != openai.__version__


def test_types_are_an_attribute() -> None:
    assert novita_openai.types.CompletionUsage is importlib.import_module("openai.types").CompletionUsage


@pytest.mark.parametrize("module", ["novita_openai.types", "novita_openai.types.chat"])
def test_the_import_of_a_module_of_types_names_where_it_is(module: str) -> None:
    with pytest.raises(ImportError, match=r"from openai\.types\.chat import ChatCompletion"):
        importlib.import_module(module)


def test_a_star_gives_the_names_of_the_sdk_and_ours() -> None:
    found: dict[str, Any] = {}
    exec("from novita_openai import *", found)  # noqa: S102 - as programs write it
    assert {*NAMES, *CLIENTS, "create_client", "RetryPolicy", "batch"} <= found.keys()
    assert found["OpenAI"] is novita_openai.OpenAI
    assert not {*OTHER_SERVICES, *SETTINGS} & {*found}


@pytest.mark.parametrize("name", OTHER_SERVICES)
def test_clients_of_other_services_are_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(AttributeError, match=f"from openai import {name}"):
        getattr(novita_openai, name)
    with pytest.raises(ImportError, match=f"from openai import {name}"):
        exec(f"from novita_openai import {name}")  # noqa: S102 - the same
    assert name not in dir(novita_openai)


@pytest.mark.parametrize("name", [*SETTINGS, *PARTS])
def test_the_client_at_the_level_of_the_module_is_refused_with_the_way_out(name: str) -> None:
    told = rf"novita_openai\.{name}: .* would talk to OpenAI.* novita_openai\.OpenAI\(api_key="
    with pytest.raises(AttributeError, match=told):
        getattr(novita_openai, name)
    with pytest.raises(AttributeError, match=told):
        setattr(novita_openai, name, "x")
    with pytest.raises(ImportError, match=told):
        exec(f"from novita_openai import {name}")  # noqa: S102 - the same
    assert not hasattr(novita_openai, name)
    assert name not in dir(novita_openai)


def test_nothing_of_the_sdks_client_at_the_level_of_the_module_gets_through() -> None:
    proxies = {name for name, value in vars(openai).items() if type(value).__module__ == "openai._module_client"}
    assert proxies >= {*PARTS}
    settings = {name for name in openai.__annotations__ if not name.startswith("_")}
    assert settings >= {*SETTINGS}
    assert not (proxies | settings) & {name for name, _ in inspect.getmembers(novita_openai)}
    hidden = {name for name in dir(openai) if not name.startswith("_")} - {*dir(novita_openai)}
    assert hidden <= proxies | settings | {*OTHER_SERVICES}


def test_other_names_can_be_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novita_openai, "OpenAI", str)
    monkeypatch.setattr(novita_openai, "mine", 1, raising=False)
    assert vars(novita_openai)["OpenAI"] is str


@pytest.mark.parametrize("name", ["no_such_name", "_client", "__wrapped__"])
def test_what_neither_has_is_no_attribute(name: str) -> None:
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
        getattr(novita_openai, name)
    with pytest.raises(AttributeError, match=f"module 'novita_openai.client' has no attribute '{name}'"):
        getattr(importlib.import_module("novita_openai.client"), name)


@pytest.mark.parametrize("name", ["client", "errors", "cli", "testing"])
def test_a_public_module_is_ours_whatever_the_sdk_has(name: str) -> None:
    code = f"import openai, novita_openai; openai.{name} = None; print(novita_openai.{name}.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == f"novita_openai.{name}"


def test_the_import_alone_imports_nothing_that_it_does_not_need() -> None:
    code = (
        "import sys, novita_openai; novita_openai.prompts; print(*{'openai', 'structlog', 'tenacity'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("client", [novita_openai.OpenAI, novita_openai.AsyncOpenAI])
def test_the_help_says_what_is_true_here(client: Any) -> None:
    text = pydoc.plain(pydoc.render_doc(client))
    assert "OPENAI_" not in text.replace("No OPENAI_* variable", "")
    documented = [inspect.getdoc(member) or "" for _, member in inspect.getmembers(client)]
    assert not [text for text in documented if "OPENAI_" in text.replace("No OPENAI_* variable", "")]
    assert "Build a client" in (inspect.getdoc(client.__init__) or "")


def test_partial_text_is_the_text_so_far_or_empty() -> None:
    error: Any = ValueError("x")
    assert novita_openai.partial_text(error) == ""
    error.partial_text = "Boil "
    assert novita_openai.partial_text(error) == "Boil "
    error.partial_text = None
    assert novita_openai.partial_text(error) == ""
