"""The program and its commands but for ``batch`` and ``prompt``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Final

import openai
import typer
from rich.console import Console

from novita_openai.cli.batch import run_batch
from novita_openai.cli.prompt import prompt_app
from novita_openai.cli.terminal import prepare, print_table, read_text, reported, show, tell
from novita_openai.client import NovitaOpenAI, create_client
from novita_openai.local import LocalModel, LocalModelError

DEFAULT_MODEL: Final = "meta-llama/llama-3.1-8b-instruct"
"""The model of the service's own example."""

UNITS_PER_DOLLAR: Final = 10_000
"""The models list gives prices in units of 0.0001 dollars a million tokens."""

app = typer.Typer(
    help="Talk to open models on Novita AI, or to a small one on this machine. The key comes from NOVITA_API_KEY.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command("batch")(run_batch)
app.add_typer(prompt_app, name="prompt")

Prompt = Annotated[str | None, typer.Argument(help="The prompt; standard input where it is missing or '-'.")]
Model = Annotated[str, typer.Option("--model", "-m", help="The model's id; see the command 'models'.")]
Local = Annotated[bool, typer.Option("--local", help="Start a small model on this machine for this command: no key.")]
BaseURL = Annotated[str | None, typer.Option("--base-url", help="The address [default: Novita's, or NOVITA_BASE_URL].")]
MaxTokens = Annotated[int, typer.Option("--max-tokens", min=1, help="The longest answer, in tokens.")]
Temperature = Annotated[float | None, typer.Option("--temperature", min=0, max=2, help="0 is the most predictable.")]
AsJSON = Annotated[bool, typer.Option("--json", help="Print the whole answer as one line of JSON.")]


@app.command()
def models(*, local: Local = False, base_url: BaseURL = None, as_json: AsJSON = False) -> None:
    """List the models: id, context size in tokens, dollars per million tokens in and out."""
    with _client(local=local, base_url=base_url) as client:
        rows = [model.model_dump() for model in client.models.list()]
    if as_json:
        show(json.dumps(rows))
    else:
        print_table([_describe(row) for row in rows], "model", "context", "$ in / million", "$ out / million")


@app.command()
def chat(
    prompt: Prompt = None,
    *,
    model: Model = DEFAULT_MODEL,
    system: Annotated[str | None, typer.Option(help="The system message.")] = None,
    max_tokens: MaxTokens = 512,
    temperature: Temperature = None,
    local: Local = False,
    base_url: BaseURL = None,
    as_json: AsJSON = False,
) -> None:
    """Answer a chat message, as it is written."""
    turns = [("system", system), ("user", read_text(prompt))]
    messages: Any = [{"role": role, "content": content} for role, content in turns if content is not None]
    options = _options(model=model, max_tokens=max_tokens, temperature=temperature, stream=not as_json)
    with _client(local=local, base_url=base_url) as client:
        _show(client.chat.completions.create(messages=messages, **options), lambda choice: choice.delta.content)


@app.command()
def complete(
    prompt: Prompt = None,
    *,
    model: Model = DEFAULT_MODEL,
    max_tokens: MaxTokens = 512,
    temperature: Temperature = None,
    local: Local = False,
    base_url: BaseURL = None,
    as_json: AsJSON = False,
) -> None:
    """Continue a prompt, as it is written."""
    text = read_text(prompt)
    options = _options(model=model, max_tokens=max_tokens, temperature=temperature, stream=not as_json)
    with _client(local=local, base_url=base_url) as client:
        _show(client.completions.create(prompt=text, **options), lambda choice: choice.text)


@app.command()
def serve(
    *,
    path: Annotated[Path | None, typer.Option(help="A GGUF file of your own [default: a small Gemma 3].")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
) -> None:
    """Serve a small model on this machine until Ctrl-C; print its base URL."""
    with reported(), _local_model(path, port) as server:
        show(server.base_url)
        tell(f"Serving until Ctrl-C. To use it: export NOVITA_API_KEY=local NOVITA_BASE_URL={server.base_url}")
        server.process.wait()
        raise LocalModelError("the local model's process has ended")


@contextmanager
def _client(*, local: bool, base_url: str | None) -> Iterator[NovitaOpenAI]:
    with reported(), _local_model() if local else nullcontext() as server:
        api_key, base_url = ("local", server.base_url) if server else (None, base_url)
        with create_client(api_key=api_key, base_url=base_url) as client:
            yield client


@contextmanager
def _local_model(path: Path | None = None, port: int = 0) -> Iterator[LocalModel]:
    server = LocalModel(path, port=port)
    with Console(stderr=True).status("Starting the local model"):
        server.start()
    with server:
        yield server


def _options(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _show(answer: Any, text_of: Callable[[Any], str | None]) -> None:
    """Print a stream of chunks as they come, or a whole answer as JSON."""
    if isinstance(answer, openai.BaseModel):
        show(answer.model_dump_json())
        return
    for chunk in answer:
        show("".join(text_of(choice) or "" for choice in chunk.choices), end="")
    show("")


def _describe(row: dict[str, Any]) -> tuple[str, ...]:
    prices = (row.get("input_token_price_per_m"), row.get("output_token_price_per_m"))
    dollars = (f"{price / UNITS_PER_DOLLAR:g}" if isinstance(price, int) else "" for price in prices)
    return (str(row.get("id")), str(row.get("context_size") or ""), *dollars)


@app.command()
def emulate(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    model: Annotated[list[str] | None, typer.Option(help="A model it has, again for more [default: a few].")] = None,
    key: Annotated[list[str] | None, typer.Option(help="KEY or KEY=DOLLARS of credit, again for more.")] = None,
    rpm: Annotated[float | None, typer.Option(help="Requests a minute, for each model.")] = None,
    tpm: Annotated[float | None, typer.Option(help="Tokens a minute, for each model.")] = None,
    burst: Annotated[float | None, typer.Option(help="Requests at once [default: a minute's worth].")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests in flight, for each model.")] = None,
    retry_after: Annotated[bool, typer.Option(help="Say in a 429 how long to wait.")] = False,
    latency: Annotated[float, typer.Option(help="Seconds before each answer.")] = 0.0,
    chunk_interval: Annotated[float, typer.Option(help="Seconds between the events of a stream.")] = 0.0,
    fault: Annotated[
        list[str] | None, typer.Option(help="KIND=SHARE of requests, or KIND for all; again for more.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the faults and latencies.")] = 0,
    list_faults: Annotated[bool, typer.Option("--list-faults", help="List the kinds of faults and exit.")] = False,
) -> None:
    """Emulate the service on this machine until Ctrl-C: its answers, errors, limits and faults. Print its base URL."""
    with reported():
        from novita_openai.emulator import FAULTS, MODELS, Emulator
    if list_faults:
        print_table([(kind, row.meaning) for kind, row in FAULTS.items()], "fault", "meaning")
        raise typer.Exit
    shares = _numbers(fault or [], "--fault KIND or KIND=SHARE")
    try:
        server = Emulator(
            port=port,
            models=model or MODELS,
            keys=_numbers(key, "--key KEY or KEY=DOLLARS") if key else None,
            rpm=rpm,
            tpm=tpm,
            burst=burst,
            concurrency=concurrency,
            retry_after=retry_after,
            latency=latency,
            chunk_interval=chunk_interval,
            faults={kind: 1.0 if share is None else share for kind, share in shares.items()},
            seed=seed,
        )
        server.start()
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    with reported(), closing(server):
        show(server.base_url)
        own = "any" if key is None else "<one of the keys>"
        tell(f"Emulating until Ctrl-C. To use it: export NOVITA_API_KEY={own} NOVITA_BASE_URL={server.base_url}")
        Event().wait()


def _numbers(options: list[str], wanted: str) -> dict[str, float | None]:
    """Read options of the form NAME or NAME=NUMBER; what is wrong with one is told without it, as it may be a key."""
    pairs = [option.partition("=") for option in options]
    try:
        return {name: float(number) if sign else None for name, sign, number in pairs}
    except ValueError as error:
        raise typer.BadParameter(f"{wanted} is asked for, and what follows a '=' is no number") from error


def run() -> None:
    """Run the program."""
    prepare()
    app(prog_name="novita-openai")
