"""Where a continuation joins the text before it, as tables: what is kept, what ends there, what is a thought."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion, CompletionChoice

from novita_openai.client.resumption import resumption_of
from novita_openai.client.seam import Opening, Thinking

SAID = "Boil the water, then add the salt"


def fed(opening: Opening, pieces: list[str]) -> str:
    last = len(pieces) - 1
    return "".join(opening.feed(piece, is_last=place == last) for place, piece in enumerate(pieces))


@pytest.mark.parametrize(
    ("said", "pieces"),
    [
        (SAID, [" and", " stir."]),
        (SAID, [" then", " add the", " salt and stir."]),
        (SAID, ["then add the salt", " and stir."]),
        (SAID + " ", ["then add the salt and stir."]),
        (SAID, [SAID, "."]),
        (SAID, [" then add the pepper."]),
        (SAID, [" then add"]),
        (SAID, [" the salt."]),
        ("no no no no no no", [" no no no no."]),
        ("to be or not, to be or not", [", to be or not."]),
        ("[0, 0, 0, 0, 0],\n", ["[0, 0, 0, 0, 0],\n"]),
        (SAID + ".", [" " + SAID + "."]),  # a refrain
        (SAID + "\n", [SAID + "\n"]),
        (SAID + "\n" + "- rice, peas, salt", ["\n- rice, peas, salt"]),
        ("Drain. Then add the salt", [". Then add the salt"]),
        (SAID, [" then add the salt", " then", " add"]),  # it goes round
        (SAID, [" then add the salt", " the"]),
        (SAID, [" then add the salt"]),
        ("then add the salt, so " + SAID, [" then add the salt"]),
        ("", ["Boil", " it."]),
    ],
)
def test_a_continuation_that_repeats_the_last_words_is_kept_whole(said: str, pieces: list[str]) -> None:
    opening = Opening(said, ())
    assert [opening.feed(piece, is_last=False) for piece in pieces] == pieces


@pytest.mark.parametrize(
    ("said", "stops", "pieces", "new", "is_stopped"),
    [
        ("So #", ["##"], ["#", " more"], "", True),
        ("So #", ["###"], ["#", "# more"], "", True),
        ("So #", ["###"], ["#", " more"], "# more", False),
        ("So", ["\n\n"], ["\n", "Then"], "\nThen", False),
        ("So\n", ["\n\n", "END"], ["\nThen"], "", True),
        (SAID, ["alter"], [" then"], " then", False),
    ],
)
def test_the_rest_of_a_stop_string_ends_the_text(
    said: str, stops: list[str], pieces: list[str], new: str, *, is_stopped: bool
) -> None:
    opening = Opening(said, stops)
    assert (fed(opening, pieces), opening.is_stopped) == (new, is_stopped)


@given(st.lists(st.text("ab <", min_size=1), min_size=1), st.text("ab ", max_size=11))
def test_new_text_is_never_lost(pieces: list[str], said: str) -> None:
    assert fed(Opening(said, ("<>",)), pieces) == "".join(pieces)


WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


@given(
    st.lists(st.sampled_from(WORDS), min_size=1, unique=True),
    st.sampled_from([" ", ", ", "\n", ". "]),
    st.integers(3, 5),
    st.data(),
)
def test_a_text_that_goes_round_loses_nothing_wherever_it_is_cut(
    words: list[str], mark: str, rounds: int, data: st.DataObject
) -> None:
    text = "Go: " + mark.join(words * rounds)
    place = data.draw(st.integers(0, len(text)))
    pieces = [text[place : place + 5], text[place + 5 :]]
    assert fed(Opening(text[:place], ()), pieces) == text[place:]


@pytest.mark.parametrize("mark", [". ", "\n", "; ", "! ", "\n\n"])
def test_a_sentence_or_line_said_twice_loses_nothing_wherever_it_is_cut(mark: str) -> None:
    text = f"So:\n{SAID}{mark}{SAID}{mark}Serve."
    for place in range(len(text)):
        assert fed(Opening(text[:place], ()), [text[place:]]) == text[place:]


@pytest.mark.parametrize(
    ("pieces", "thought", "message"),
    [
        (["So", ".\n", "</thi", "nk>\n\n", "\nBoil", "\nit."], "So.", "Boil\nit."),
        (["So</", "b>.\n", "Then"], "So</b>.\nThen", ""),
        (["So</", "think"], "So</think", ""),
        (["</think>Boil"], "", "Boil"),
    ],
)
def test_a_thought_is_told_from_the_message(pieces: list[str], thought: str, message: str) -> None:
    thinking, last = Thinking("</think>", is_over=False), len(pieces) - 1
    parts = [part for place, piece in enumerate(pieces) for part in thinking.feed(piece, is_last=place == last)]
    assert "".join(text for field, text in parts if field == "reasoning_content") == thought
    assert "".join(text for field, text in parts if field == "content") == message


def test_only_the_two_endpoints_of_text_are_resumed() -> None:
    body = {"model": "m", "prompt": "p", "stream": True}
    assert resumption_of("/completions", body, {}) is not None
    assert resumption_of("/completions", body, {"n": 2}) is None
    assert resumption_of("/other", body, {}) is None
    assert resumption_of("/completions", None, {}) is None


def event(text: str, index: int = 0) -> dict[str, Any]:
    return {"id": "a", "created": 1, "model": "m", "choices": [{"index": index, "text": text}]}


def chunk(text: str, finish_reason: Any = None) -> Completion:
    choice = CompletionChoice.construct(index=0, text=text, finish_reason=finish_reason, logprobs=None)
    return Completion.construct(id="a", object="text_completion", created=1, model="m", choices=[choice], usage=None)


def test_text_and_end_in_one_chunk_are_given_out_one_after_the_other() -> None:
    resumption = resumption_of("/completions", {"prompt": "p"}, {})
    assert resumption is not None
    resumption.see(event("Boil"))
    assert resumption.can_go_on()
    assert resumption.needs_request()
    resumption.begin()
    given = [each.choices[0] for each in resumption.take(chunk(" water.", "stop"))]
    assert [(choice.text, choice.finish_reason) for choice in given] == [(" water.", None), ("", "stop")]


def test_a_second_choice_that_nobody_asked_for_is_not_gone_on_with() -> None:
    resumption = resumption_of("/completions", {"prompt": "p"}, {})
    assert resumption is not None
    resumption.see(event("Boil"))
    resumption.see(event("Cook", 1))
    assert not resumption.can_go_on()


@pytest.mark.parametrize(("pieces", "sent"), [(["Boil \ud83d", "\ude00"], "Boil \U0001f600"), (["Boil \ud83d"], None)])
def test_a_text_that_ends_within_a_character_is_not_gone_on_with(pieces: list[str], sent: str | None) -> None:
    resumption = resumption_of("/completions", {"prompt": "Then: "}, {})
    assert resumption is not None
    for piece in pieces:
        resumption.see(event(piece))
    assert resumption.can_go_on() is (sent is not None)
    assert sent is None or resumption.body["prompt"] == "Then: " + sent
