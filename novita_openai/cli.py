"""The command line: arguments in, results to stdout, all else to stderr, an exit code out."""

from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Final

import openai
import structlog
import typer
from rich.console import Console
from rich.table import Table

from novita_openai.client import NovitaOpenAI, create_client
from novita_openai.errors import UNKNOWN, classify, reason_of, status_of
from novita_openai.local import LocalModel, LocalModelError

DEFAULT_MODEL: Final = "meta-llama/llama-3.1-8b-instruct"
"""The model of the service's own example."""

UNITS_PER_DOLLAR: Final = 10_000
"""The models list gives prices in units of 0.0001 dollars a million tokens."""

FAILED: Final = 1
INTERRUPTED: Final = 130

app = typer.Typer(
    help="Talk to open models on Novita AI, or to a small one on this machine. The key comes from NOVITA_API_KEY.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

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
        _print(json.dumps(rows))
    else:
        _print_table([_describe(row) for row in rows])


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
    turns = [("system", system), ("user", _read(prompt))]
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
    text = _read(prompt)
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
    with _reported(), _local_model(path, port) as server:
        _print(server.base_url)
        _tell(f"Serving until Ctrl-C. To use it: export NOVITA_API_KEY=local NOVITA_BASE_URL={server.base_url}")
        server.process.wait()
        raise LocalModelError("the local model's process has ended")


def run() -> None:
    """Run the program: logs and warnings to stderr before anything else."""
    structlog.configure(
        processors=[
            _drop_the_end,
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    warnings.showwarning = lambda message, *_: _tell(str(message))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an answer may hold what the terminal cannot show
    app(prog_name="novita-openai")


def _drop_the_end(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Leave out the last failure: it is what the command reports itself."""
    if event["event"] == "retry.gave_up":
        raise structlog.DropEvent
    return event


@contextmanager
def _reported() -> Iterator[None]:
    """Turn errors into one line on stderr and an exit code."""
    try:
        yield
    except (openai.OpenAIError, LocalModelError) as error:
        _tell(_explain(error))
        raise typer.Exit(FAILED) from error
    except BrokenPipeError:
        raise  # whoever read the output has enough; typer ends in silence
    except OSError as error:
        _tell(f"cannot write the output: {error.strerror}")
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(INTERRUPTED) from interrupt


def _explain(error: Exception) -> str:
    """Return the reason, what the service says, and what it means, on one line."""
    rule = classify(error)
    if rule is UNKNOWN:
        return " ".join(str(error).split())
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    reason = f"{reason_of(error)}:"
    return " ".join(" ".join(str(part).split()) for part in (status_of(error), reason, said, rule.meaning) if part)


@contextmanager
def _client(*, local: bool, base_url: str | None) -> Iterator[NovitaOpenAI]:
    with _reported(), _local_model() if local else nullcontext() as server:
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


def _read(prompt: str | None) -> str:
    if prompt is None and (sys.stdin is None or sys.stdin.isatty()):
        raise typer.BadParameter("no prompt: give it as an argument or on standard input")
    try:
        text = sys.stdin.buffer.read().decode() if prompt in (None, "-") else prompt
        _ = (text or "").encode()
    except UnicodeError as error:
        raise typer.BadParameter("the prompt is not UTF-8") from error
    if not text or not text.strip():
        raise typer.BadParameter("the prompt is empty")
    return text


def _show(answer: Any, text_of: Callable[[Any], str | None]) -> None:
    """Print a stream of chunks as they come, or a whole answer as JSON."""
    if isinstance(answer, openai.BaseModel):
        _print(answer.model_dump_json())
        return
    for chunk in answer:
        _print("".join(text_of(choice) or "" for choice in chunk.choices), end="")
    _print("")


def _describe(row: dict[str, Any]) -> tuple[str, ...]:
    prices = (row.get("input_token_price_per_m"), row.get("output_token_price_per_m"))
    dollars = (f"{price / UNITS_PER_DOLLAR:g}" if isinstance(price, int) else "" for price in prices)
    return (str(row.get("id")), str(row.get("context_size") or ""), *dollars)


def _print_table(rows: list[tuple[str, ...]]) -> None:
    """Print a table for a person, tab-separated lines for a program."""
    if not sys.stdout.isatty():
        _print("\n".join("\t".join(row) for row in rows))
        return
    table = Table("model", "context", "$ in / million", "$ out / million")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _print(text: str, end: str = "\n") -> None:
    print(text, end=end, flush=True)  # noqa: T201 - results belong on stdout


def _tell(text: str) -> None:
    print(f"novita-openai: {text}", file=sys.stderr)  # noqa: T201 - all else belongs on stderr
