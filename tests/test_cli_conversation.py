"""A conversation: real keys through prompt_toolkit, a scripted server, and once a real terminal."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from server import Reply, Server, chunk, error, stream
from shell import Ended, Shell

from novita_openai.cli import asking, conversation

LLAMA = "meta-llama/llama-3.1-8b-instruct"
USAGE = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
LISTED = {
    "data": [
        {"id": LLAMA, "input_token_price_per_m": 200, "output_token_price_per_m": 500},
        {"id": "qwen/qwen3-30b-a3b-fp8"},
    ]
}
Talk = Callable[..., Ended]


def said(text: str) -> Reply:
    return stream(chunk(text), chunk("", "stop"), {**chunk(""), "choices": [], "usage": USAGE})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def talk(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Hold a conversation: keys as they are typed, each message with its Enter."""
    monkeypatch.setattr(asking, "is_terminal", lambda _: True)

    def talk(*keys: str, options: tuple[str, ...] = ()) -> Ended:
        with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
            typed.send_text("".join(keys) + "\x04")
            return shell("chat", *options, stdin=Terminal())

    return talk


def test_each_message_is_sent_with_all_that_was_said_before(talk: Talk, server: Server) -> None:
    server.script.extend([said("Boil water."), said("Ten minutes.")])
    ended = talk("How do I make pasta?\r", "How long?\r", options=("--system", "You cook."))
    assert (ended.code, ended.out) == (0, "Boil water.\nTen minutes.\n")
    assert ended.told[0].startswith(f"asking {LLAMA}; /help")
    roles = [(each["role"], each["content"]) for each in server.requests[1].json["messages"]]
    assert roles == [
        ("system", "You cook."),
        ("user", "How do I make pasta?"),
        ("assistant", "Boil water."),
        ("user", "How long?"),
    ]


def test_pasted_and_begun_lines_are_one_message(talk: Talk, server: Server) -> None:
    server.always = said("ok")
    talk("\x1b[200~one\ntwo\x1b[201~\r", "three\x1b\rfour\r")
    sent = [request.json["messages"][-1]["content"] for request in server.requests]
    assert sent == ["one\ntwo", "three\nfour"]


def test_ctrl_c_drops_what_is_typed_and_nothing_is_not_sent(talk: Talk, server: Server) -> None:
    server.always = said("ok")
    talk("never\x03", "once\r", "\r", "  \r", "/quit\r", "never\r")
    assert [request.json["messages"][-1]["content"] for request in server.requests] == ["once"]


def test_a_refused_message_is_told_and_the_conversation_goes_on(talk: Talk, server: Server) -> None:
    server.script.extend([error(400, "INVALID_REQUEST_BODY"), said("ok")])
    ended = talk("one\r", "two\r")
    assert (ended.code, ended.out) == (0, "ok\n")
    assert ended.told[1].startswith("400 INVALID_REQUEST_BODY")
    assert [each["content"] for each in server.requests[1].json["messages"]] == ["two"]


def test_an_interrupt_stops_an_answer_and_keeps_what_had_come(
    talk: Talk, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = conversation.Conversation.spend

    def interrupted(*_: object) -> None:
        monkeypatch.setattr(conversation.Conversation, "spend", shown)
        raise KeyboardInterrupt

    monkeypatch.setattr(conversation.Conversation, "spend", interrupted)
    server.script.extend([said("Boil"), said("ok")])
    ended = talk("one\r", "two\r")
    assert ended.told[1] == "stopped"
    assert [each["content"] for each in server.requests[1].json["messages"]] == ["one", "Boil", "two"]


def test_what_nobody_expects_ends_the_conversation(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("novita_openai.cli.talking.obey", broken)
    with pytest.raises(KeyError):
        talk("/help\r")


def test_answers_that_are_cut_and_their_usage_are_told(talk: Talk, server: Server) -> None:
    server.script.extend([stream(chunk("Boil", "length")), Reply(body=LISTED)])
    told = talk("one\r", options=("--usage", "--max-tokens", "1")).told
    assert told[1].startswith("the answer is cut: it reached --max-tokens 1")
    assert told[2].startswith("tokens are not told")


def test_the_model_can_be_changed_by_a_short_name(talk: Talk, server: Server) -> None:
    server.script.extend([Reply(body=LISTED), said("ok"), Reply(body=LISTED)])
    ended = talk("/model qwen3\r", "Hi\r", "/model\r", "/model nothing\r")
    assert server.requests[1].json["model"] == "qwen/qwen3-30b-a3b-fp8"
    assert ended.told[1:3] == ["asking qwen/qwen3-30b-a3b-fp8"] * 2
    assert ended.told[3] == "there is no model 'nothing'; 'novita-openai models' lists them"


def test_a_short_name_given_at_the_start_is_found_once(talk: Talk, server: Server) -> None:
    server.script.extend([error(404, "MODEL_NOT_FOUND"), Reply(body=LISTED), said("one"), said("two")])
    talk("Hi\r", "Hi\r", options=("-m", "qwen3"))
    assert [request.json.get("model") for request in server.requests if request.body] == [
        "qwen3",
        "qwen/qwen3-30b-a3b-fp8",
        "qwen/qwen3-30b-a3b-fp8",
    ]


def test_the_system_message_can_be_changed(talk: Talk, server: Server) -> None:
    server.always = said("ok")
    ended = talk("/system\r", "/system You cook.\r", "/system\r", "Hi\r")
    assert ended.told[1:] == ["no system message", *["the system message: You cook."] * 2]
    assert server.requests[0].json["messages"][0] == {"role": "system", "content": "You cook."}


def test_undo_forgets_the_last_question_and_its_answer(talk: Talk, server: Server) -> None:
    server.always = said("ok")
    ended = talk("/undo\r", "x" * 80 + "\r", "/undo\r", "two\r")
    assert ended.told[1:] == ["nothing has been said yet", f"forgotten: {'x' * 57}..."]
    assert len(server.requests[1].json["messages"]) == 1


def test_the_prompt_of_what_was_said_is_shown(talk: Talk, server: Server) -> None:
    server.always = said("Boil water.")
    ended = talk("/prompt\r", "Pasta?\r", "/prompt\r", "/prompt vicuna-newline\r")
    assert ended.told[1] == "nothing has been said yet"
    assert "<|start_header_id|>user<|end_header_id|>\n\nPasta?<|eot_id|>" in ended.out
    assert ended.told[2].startswith("format llama-3.1, ")
    assert "USER: Pasta?\nASSISTANT: Boil water." in ended.out
    assert ended.told[3].startswith("format vicuna-newline, ")


def test_each_role_has_its_colour_in_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "?"},
    ]
    assert [*conversation.painted("USER: Hi\n", messages, Terminal())] == [
        "\x1b[2mUSER: \x1b[0m",
        "\x1b[36mHi\x1b[0m",
        "\x1b[2m\n\x1b[0m",
    ]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "".join(conversation.painted("USER: Hi\n", messages, Terminal())) == "USER: Hi\n"


def test_the_cost_is_told_by_model(talk: Talk, server: Server) -> None:
    server.script.extend([said("ok"), said("ok"), Reply(body=LISTED)])
    ended = talk("/cost\r", "Hi\r", "Hi\r", "/cost\r")
    assert ended.told[1:] == ["nothing has been spent yet", f"{LLAMA}: 2000 tokens in, 20 out, $0.000041"]


def test_a_conversation_is_on_the_disk_only_where_it_is_saved(talk: Talk, server: Server, tmp_path: Path) -> None:
    server.always = said("Größe")
    path, other = tmp_path / "said.json", tmp_path / "other"
    other.write_text("mine")
    ended = talk("/save\r", f"/save {other}\r", "Hi\r", f"/save {path}\r", "/save\r")
    assert ended.told[1:3] == ["/save FILE: name the file", f"{other} is there already: name another file"]
    assert ended.told[3:] == [f"written to {path}"] * 2
    assert json.loads(path.read_text())["messages"][1] == {"role": "assistant", "content": "Größe"}
    assert sorted(tmp_path.iterdir()) == [other, path]


def test_help_lists_every_command_and_others_are_refused(talk: Talk) -> None:
    ended = talk("/help\r", "/etc/hosts\r")
    told = "\n".join(ended.told)
    assert [name for name in conversation.COMMANDS if name not in told] == []
    assert "there is no command /etc/hosts" in ended.told[-1]


@pytest.mark.parametrize("option", [["--json"], ["--schema", "name"], ["-a", "cat.png"]])
def test_a_conversation_takes_no_option_of_a_single_answer(option: list[str], talk: Talk) -> None:
    ended = talk(options=tuple(option))
    assert (ended.code, "give a prompt" in ended.line) == (2, True)


def test_without_a_terminal_there_is_no_conversation(shell: Shell) -> None:
    assert "no prompt" in shell("chat", stdin=Terminal()).line or sys.stdout.isatty()
