"""What `chat` and `complete` send, show and say: answers that are not whole, pipes, images, schemas, parameters."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from server import Reply, Server, chunk, error, stream
from shell import Shell
from terminals import Terminal

from novita_openai.cli.answers import ShownAnswer, remark
from novita_openai.cli.schemas import schema_in
from novita_openai.emulator import Emulator
from novita_openai.retry import no_wait

PNG = b"\x89PNG\r\n\x1a\n"
MODEL = "meta-llama/llama-3.1-8b-instruct"
LISTED = {
    "object": "list",
    "data": [
        {
            "id": MODEL,
            "features": ["structured-outputs"],
            "input_token_price_per_m": 200,
            "output_token_price_per_m": 500,
        },
        {"id": "org/plain", "features": []},
        {"id": "org/plain-large", "features": []},
    ],
}


def thought(text: str) -> dict[str, Any]:
    return chunk("") | {"choices": [{"index": 0, "delta": {"reasoning_content": text}, "finish_reason": None}]}


@pytest.mark.parametrize(
    ("answer", "limit", "code", "words"),
    [
        (ShownAnswer("Boil.", finish_reason="stop"), None, None, ""),
        (ShownAnswer("Boil", finish_reason="length"), 9, 0, "the answer is cut: it reached --max-tokens 9"),
        (ShownAnswer("Boil", finish_reason="length"), None, 0, "ask for more, such as --max-tokens 8192"),
        (
            ShownAnswer(thoughts="Hm", finish_reason="length"),
            9,
            1,
            "thoughts used up its tokens: it reached --max-tokens 9",
        ),
        (ShownAnswer("Bo", finish_reason="content_filter"), None, 1, "the answer was filtered"),
        (ShownAnswer(finish_reason="stop"), None, 1, "the answer is empty"),
        (ShownAnswer(" \n", finish_reason="stop"), None, 1, "the answer is empty"),
        (ShownAnswer(finish_reason="tool_calls", calls_tools=True), None, 1, "--json prints it"),
        (ShownAnswer("Let me see.", finish_reason="tool_calls", calls_tools=True), None, None, ""),
    ],
)
def test_an_answer_that_is_not_whole_is_said_with_the_way_out(
    answer: ShownAnswer, limit: int | None, code: int | None, words: str
) -> None:
    said = remark(answer, limit)
    assert (None if said is None else said.code) == code
    assert said is None or words in said.words


def test_an_empty_completion_says_that_the_prompt_may_be_complete() -> None:
    said = remark(ShownAnswer(finish_reason="stop"), None, is_chat=False)
    assert said is not None
    assert "end it where the text must go on" in said.words


def test_a_cut_answer_is_shown_and_told(shell: Shell, server: Server) -> None:
    server.always = stream(chunk("The answer is forty-"), chunk("", "length"))
    ended = shell("chat", "Hi", "--max-tokens", "5")
    assert (ended.code, ended.out) == (0, "The answer is forty-\n")
    assert "--max-tokens 5: give more" in ended.line


def test_nothing_limits_an_answer_unless_asked(shell: Shell, server: Server) -> None:
    server.always = stream(chunk("ok", "stop"))
    for command in ("chat", "complete"):
        assert shell(command, "Hi").code == 0
        assert "max_tokens" not in server.requests[-1].json


def test_thoughts_go_to_stderr_or_nowhere(shell: Shell, server: Server) -> None:
    server.always = stream(thought("Pasta? "), thought("Water."), chunk("Boil it.\n", "stop"))
    ended = shell("chat", "Hi")
    assert (ended.code, ended.out, ended.told) == (0, "Boil it.\n", ["Pasta? Water.", ""])
    assert shell("chat", "Hi", "--no-reasoning").told == []


def test_thoughts_alone_are_no_answer(shell: Shell, server: Server) -> None:
    server.always = stream(thought("Pasta?\n"), chunk("", "length"))
    ended = shell("chat", "Hi", "--max-tokens", "5")
    assert (ended.code, ended.out, ended.told[0]) == (1, "", "Pasta?")
    assert "there is no answer" in ended.told[-1]


def test_json_says_too_what_is_wrong_with_the_answer(shell: Shell, server: Server) -> None:
    message = {"role": "assistant", "content": "", "reasoning_content": "Hm"}
    choice = {"index": 0, "message": message, "finish_reason": "content_filter"}
    usage = {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}
    server.always = Reply(body={"id": "1", "model": "m", "created": 1, "choices": [choice], "usage": usage})
    ended = shell("chat", "Hi", "--json")
    assert (ended.code, json.loads(ended.out)["id"]) == (1, "1")
    assert "filtered" in ended.line


def test_an_answer_that_breaks_off_ends_its_line(shell: Shell, server: Server) -> None:
    whole = stream(chunk("Boil "), chunk("water.", "stop"))
    server.always = Reply(body=whole.body.partition("\n\n")[0] + "\n\n", headers=whole.headers)
    ended = shell("chat", "Hi")
    assert (ended.code, ended.out) == (1, "Boil \n")
    assert ended.line == ("the answer broke off, ask again: The stream is broken: it ended without a finish_reason.")


@pytest.mark.parametrize("fault", ["truncated", "html", "malformed", "not_utf8", "close", "bad_gateway", "null_list"])
def test_what_came_in_place_of_an_answer_is_told(fault: str, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator(faults={fault: 1.0}) as service:
        monkeypatch.setenv("NOVITA_BASE_URL", service.base_url)
        with no_wait():
            ended = shell("chat", "Hi")
    assert ended.code == 1
    assert re.search(r"\w+ \w+ \w+", ended.told[-1])
    assert re.findall("connection_error|not_json", " ".join(ended.told)) == []


def test_to_a_person_an_answer_begins_with_its_first_word(shell: Shell, server: Server) -> None:
    server.always = stream(chunk("\n"), chunk(" Boil"), chunk(" water.", "stop"))
    assert shell("chat", "Hi").out == "\n Boil water.\n"
    with Terminal("chat", "Hi", variables={"NOVITA_API_KEY": "k", "NOVITA_BASE_URL": server.base_url}) as terminal:
        assert terminal.end() == 0
    assert terminal.text == "Boil water.\n"


@pytest.mark.parametrize("hosts", [None, "other.example"])
def test_the_local_model_is_asked_past_a_proxy(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, hosts: str | None
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, hosts) if hosts else monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    assert shell("models", "--local").code == 0
    assert dict(os.environ) == before


def test_the_local_model_answers_by_a_schema(shell: Shell) -> None:
    ended = shell("chat", "--local", "--schema", "name, born int", "--temperature", "0", "Who wrote Faust?")
    assert ended.code == 0
    assert json.loads(ended.out).keys() == {"name", "born"}


@pytest.mark.parametrize("command", ["chat", "complete"])
def test_the_local_model_is_asked_by_its_name_and_no_other(command: str, shell: Shell) -> None:
    assert "leave out --model, or --local" in shell(command, "--local", "-m", "nope", "Hi").line
    ended = shell(command, "--local", "--max-tokens", "1", "--json", "Hi")
    assert json.loads(ended.out)["model"] == "gemma-3-270m-q4_k_m"


def test_piped_text_and_the_argument_are_one_prompt(shell: Shell, server: Server) -> None:
    server.always = stream(chunk("ok", "stop"))
    assert shell("chat", "Summarize this.", text="a document\n").code == 0
    assert server.requests[-1].json["messages"] == [{"role": "user", "content": "a document\n\nSummarize this."}]
    shell("complete", "ASSISTANT:", text="USER: Hi\n")
    assert server.requests[-1].json["prompt"] == "USER: Hi\nASSISTANT:"
    shell("chat", "-", text="all of it")
    assert server.requests[-1].json["messages"][0]["content"] == "all of it"


def test_what_is_piped_in_must_be_text(shell: Shell, server: Server) -> None:
    ended = shell("chat", "Hi", stdin=io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert (ended.code, "piped in is not UTF-8" in ended.line) == (2, True)
    assert server.requests == []


def test_a_terminal_is_not_read_beside_an_argument(shell: Shell, server: Server) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    server.always = stream(chunk("ok", "stop"))
    assert shell("chat", "Hi", stdin=Terminal()).code == 0
    assert shell("complete", stdin=Terminal()).code == 2


def test_images_are_sent_along(shell: Shell, server: Server, tmp_path: Path) -> None:
    server.always = stream(chunk("A cat.", "stop"))
    photo = tmp_path / "photo"
    photo.write_bytes(PNG)
    ended = shell("chat", "What is this?", "-a", str(photo), "-a", "https://example.org/cat.jpg")
    assert (ended.code, ended.out) == (0, "A cat.\n")
    first, second, text = server.requests[0].json["messages"][0]["content"]
    assert first["image_url"]["url"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert second["image_url"]["url"] == "https://example.org/cat.jpg"
    assert text == {"type": "text", "text": "What is this?"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["chat", "Hi", "-a", "{here}/notes.txt"], 2, "notes.txt is not an image that models take"),
        (["chat", "Hi", "-a", "{here}/none.png"], 1, "none.png: No such file"),
        (["chat", "Hi", "--local", "--base-url", "http://127.0.0.1:1"], 2, "--local and --base-url name two services"),
        (["chat", "Hi", "--set", "top_p"], 2, "--set top_p: give name=value"),
        (["chat", "Hi", "--set", "=1"], 2, "give name=value"),
        (["chat", "Hi", "--set", "model=m"], 2, "--model says that"),
        (["chat", "Hi", "--set", "n=2"], 2, "with --json alone"),
        (["chat", "Hi", "--schema", "age number"], 2, "'age number' is not a field"),
        (["chat", "Hi", "--schema", " "], 2, "name at least one field"),
        (["chat", "Hi", "--schema", "{here}/none.json"], 1, "none.json: No such file"),
        (["chat", "Hi", "--schema", "{here}/notes.txt"], 2, "this is not JSON"),
        (["chat", "Hi", "--schema", "{here}/list.json"], 2, "a JSON Schema is an object, not list"),
        (["chat", "Hi", "--schema", '{{"type": 3}}'], 1, "--schema: this is no JSON Schema: $.type"),
        (["chat", "Hi", "--nothing"], 2, "No such option"),
        (["chat", ""], 2, "the prompt is empty"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    arguments: list[str], code: int, words: str, shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "list.json").write_text("[]")
    ended = shell(*(argument.format(here=tmp_path) for argument in arguments))
    assert (ended.code, ended.out, words in ended.line) == (code, "", True), ended


def test_set_sends_any_parameter(shell: Shell, server: Server) -> None:
    server.always = stream(chunk("ok", "stop"))
    shell("chat", "Hi", "--set", "top_p=0.5", "--set", "stop=END", "--set", 'thinking={"type": "disabled"}')
    sent = server.requests[0].json
    assert (sent["top_p"], sent["stop"], sent["thinking"]) == (0.5, "END", {"type": "disabled"})


def test_usage_is_tokens_dollars_and_seconds(shell: Shell, server: Server) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 100}, "completion_tokens_details": {"reasoning_tokens": 7}}
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, **details}
    server.script.extend(
        [stream(chunk("ok", "stop"), {**chunk(""), "choices": [], "usage": usage}), Reply(body=LISTED)]
    )
    ended = shell("chat", "Hi", "--usage")
    assert ended.line.startswith(
        "1000 tokens in (100 cached), 100 out (7 of them thoughts), $0.000025, first token after"
    )
    assert server.requests[0].json["stream_options"] == {"include_usage": True}
    server.script.append(stream(chunk("ok", "stop")))
    assert shell("chat", "Hi", "--usage").line.startswith("tokens are not told, first token after")
    server.script.extend([stream({**chunk("ok", "stop"), "usage": usage}), error(400)])
    assert ", price unknown, first token" in shell("chat", "Hi", "--usage").line


def test_usage_of_a_whole_answer_has_no_first_token(shell: Shell) -> None:
    ended = shell("chat", "Hi", "-m", "m", "--usage", "--json")
    assert ended.line.startswith("3 tokens in, 2 out, price unknown, 0.")


def test_a_short_name_is_the_one_model_that_it_fits(shell: Shell, server: Server) -> None:
    server.script.extend([error(404, "MODEL_NOT_FOUND"), Reply(body=LISTED), stream(chunk("ok", "stop"))])
    ended = shell("chat", "Hi", "-m", "llama-3.1-8b")
    assert (ended.code, ended.out, ended.line) == (0, "ok\n", f"asking {MODEL}")
    assert server.requests[-1].json["model"] == MODEL


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plai", "'plai' fits several models: org/plain, org/plain-large"),
        ("meta-lama/llama-3.1-8b", f"there is no model 'meta-lama/llama-3.1-8b'; near names: {MODEL}"),
        ("plane", "there is no model 'plane'; near names: org/plain"),
        ("zzz", "there is no model 'zzz'; 'novita-openai models' lists them"),
    ],
)
@pytest.mark.parametrize("command", [["chat", "Hi", "-m"], ["prompt", "check"]])
def test_a_name_of_no_model_or_of_several_is_told_with_those_near_it(
    command: list[str], name: str, words: str, shell: Shell, server: Server
) -> None:
    server.script.extend([error(404, "MODEL_NOT_FOUND"), Reply(body=LISTED)])
    ended = shell(*command, name)
    assert (ended.code, words in ended.line) == (1, True), ended


@pytest.mark.parametrize("listed", [Reply(body=LISTED), error(401, "INVALID_API_KEY")])
def test_a_refusal_that_the_list_does_not_explain_stays(listed: Reply, shell: Shell, server: Server) -> None:
    server.script.extend([error(404, "MODEL_NOT_FOUND"), listed])
    assert "404 MODEL_NOT_FOUND" in shell("chat", "Hi").line
    server.script.append(error(404, "FILE_NOT_FOUND"))
    assert "404 FILE_NOT_FOUND" in shell("chat", "Hi").line


def test_fields_are_a_schema() -> None:
    assert schema_in("name, age int, born float: the year") == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "born": {"type": "number", "description": "the year"},
        },
        "required": ["name", "age", "born"],
        "additionalProperties": False,
    }
    assert [*schema_in("name: first, last\nok bool\n")["properties"]] == ["name", "ok"]


def test_a_schema_is_asked_for_and_checked(shell: Shell, server: Server) -> None:
    server.script.extend([Reply(body=LISTED), stream(chunk('{"name": '), chunk('"Ada"} ', "stop"))])
    ended = shell("chat", "Who?", "--schema", "name", "-m", "llama-3.1")
    assert (ended.code, ended.out, ended.told) == (0, '{"name": "Ada"}\n', [])
    sent = server.requests[-1].json
    assert (sent["model"], sent["response_format"]["json_schema"]["schema"]) == (MODEL, schema_in("name"))


def test_a_model_without_structured_outputs_is_asked_in_words(shell: Shell, server: Server, tmp_path: Path) -> None:
    server.script.extend([Reply(body=LISTED), stream(chunk('{"name": "Ada"}', "stop"))])
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(schema_in("name")))
    assert shell("chat", "Who?", "--schema", str(path), "-m", "org/plain").code == 0
    sent = server.requests[-1].json
    assert "response_format" not in sent
    assert "fits this JSON Schema" in sent["messages"][0]["content"]


@pytest.mark.parametrize(
    ("text", "finish", "words"),
    [
        ('{"name": 3}', "stop", "does not fit --schema: $.name: 3 is not of type 'string'"),
        ("Ada", "stop", "does not fit --schema: it is not JSON"),
        ('{"name": ', "length", "the answer is cut"),
        ("", "stop", "the answer is empty"),
    ],
)
def test_an_answer_that_does_not_fit_its_schema_is_no_result(
    text: str, finish: str, words: str, shell: Shell, server: Server
) -> None:
    server.script.extend([Reply(body={"data": []}), stream(chunk(text, finish))])
    ended = shell("chat", "Who?", "--schema", "name")
    assert (ended.code, ended.out, words in " ".join(ended.told)) == (1, "", True), ended
