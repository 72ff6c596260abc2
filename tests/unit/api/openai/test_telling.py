"""What a run says is told once, whatever is repeated, lost or said in other words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.openai.speaking import Speaking, ToldRun, after
from api.openai.telling import (
    NextMessage,
    Piece,
    Retelling,
    RunEnded,
    Said,
    ToolBegun,
    ToolEnded,
    VoidMessage,
    text_of,
)
from celery_agents import names
from celery_agents.contracts.events import RunEvent
from celery_agents.contracts.outcome import Outcome, State

RUN = "run"


def event(kind: Any, text: str = "", step: str = RUN, **data: Any) -> RunEvent[Any]:
    return RunEvent(id="1-0", type=kind, step_id=step, text=text, data=data)


def end(value: Any = None, state: State = State.SUCCEEDED) -> RunEvent[Any]:
    return RunEvent(id="end", type="end", step_id=RUN, outcome=Outcome(state=state, value=value))


def told(events: Iterable[RunEvent[Any]], task: str = names.ASK, **about: Any) -> list[Piece]:
    telling = Retelling(RUN, task, **about)
    return [piece for one in events for piece in telling.add(one)]


def short(pieces: Iterable[Piece]) -> list[str]:
    marks = {NextMessage: "|", VoidMessage: "!", ToolBegun: "tool", ToolEnded: "done"}
    return [p.text if isinstance(p, Said | RunEnded) else marks[type(p)] for p in pieces]


SEE, AB, ABC = (event("text", text) for text in ("see", "ab", "abc"))
FIVE = event("text", "5")
RESTART = event("restart", attempt=2)
TOOL = event("tool", call_id="c", name="f", arguments={})
DONE = event("tool_result", call_id="c", name="f", failed=False)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([end("whole")], ["whole", "whole"]),
        ([AB, event("text", "cd"), end("abcd")], ["ab", "cd", "abcd"]),
        ([AB, end("abcd")], ["ab", "cd", "abcd"]),
        ([event("text", "ab "), end("ab")], ["ab ", "ab"]),  # white space is no other answer
        ([event("text", '{"a":  1}'), end({"a": 1})], ['{"a":  1}', '{"a": 1}']),
        ([event("text", "hm"), end("42")], ["hm", "|", "42", "42"]),
        ([event("text", "of a member", step="other"), end("42")], ["42", "42"]),
        # It begins again: what is repeated is held back.
        (
            [ABC, RESTART, AB, event("text", "cdef"), end("abcdef")],
            ["abc", "def", "abcdef"],
        ),
        ([ABC, RESTART, end("abc")], ["abc", "abc"]),
        ([ABC, RESTART, event("text", "a"), end("abcd")], ["abc", "d", "abcd"]),
        ([ABC, RESTART, event("text", "xyz"), end("xyz")], ["abc", "!", "xyz", "xyz"]),
        ([ABC, RESTART, AB, end("xyz")], ["abc", "!", "xyz", "xyz"]),
        (
            [AB, RESTART, RESTART, ABC, end("abc")],
            ["ab", "c", "abc"],
        ),
        # Calls of tools part what is said.
        (
            [SEE, TOOL, DONE, FIVE, end("5")],
            ["see", "|", "tool", "done", "5", "5"],
        ),
        ([TOOL, DONE, end("5")], ["tool", "done", "5", "5"]),
        (
            [SEE, TOOL, RESTART, SEE, TOOL, DONE, FIVE, end("5")],
            ["see", "|", "tool", "done", "5", "5"],
        ),
        (
            [SEE, RESTART, SEE, TOOL, DONE, end("5")],
            ["see", "|", "tool", "done", "5", "5"],
        ),
        (
            [SEE, TOOL, DONE, FIVE, RESTART, SEE, TOOL, DONE, event("text", "5 of"), end("5 of 6")],
            ["see", "|", "tool", "done", "5", " of", " 6", "5 of 6"],
        ),
        (
            [SEE, TOOL, RESTART, event("text", "s"), TOOL, end("5")],
            ["see", "|", "tool", "!", "s", "|", "5", "5"],
        ),
        # Where something was lost the end alone is sure.
        ([AB, event("snapshot"), event("text", "ef"), end("abcdef")], ["ab", "cdef", "abcdef"]),
        ([AB, event("snapshot"), end("xyz")], ["ab", "!", "xyz", "xyz"]),
        ([AB, end(state=State.CANCELLED)], ["ab", ""]),
    ],
)  # fmt: skip
def test_each_text_once(events: list[RunEvent[Any]], expected: list[str]) -> None:
    assert short(told(events)) == expected


def test_a_form_is_told_when_it_holds() -> None:
    events = [event("text", '{"a":'), RESTART, event("text", "no"), end({"a": 1})]
    assert short(told(events, whole=True)) == ['{"a": 1}', '{"a": 1}']


@pytest.mark.parametrize(
    ("task", "value", "text"),
    [
        (names.ASK, None, ""),
        (names.ASK, "ä", "ä"),
        (names.ASK, ["ä"], '["ä"]'),
        (names.ASK, {"option": "a"}, '{"option": "a"}'),
        (names.VOTE, {"option": "a"}, "a"),
        (names.GATHER, {"value": [1]}, "[1]"),
        (names.FALLBACK, 3, "3"),
    ],
)
def test_answers_as_texts(task: str, value: Any, text: str) -> None:
    assert text_of(task, Outcome(state=State.SUCCEEDED, value=value)) == text


PIECES = st.lists(st.sampled_from(["a", "b", "ab", "ba"]), max_size=6)


@given(st.lists(PIECES, min_size=1, max_size=4), st.booleans())
def test_whoever_listens_has_the_answer_at_the_end(tries: list[list[str]], all_said: bool) -> None:
    """Of any tries, each cut anywhere, the open message is the answer, and no text stands twice."""
    events = [event("text", piece) for piece in tries[0]]
    for again in tries[1:]:
        events += [RESTART, *(event("text", piece) for piece in again)]
    answer = "".join(tries[-1]) + ("" if all_said else "rest")
    message = ""
    for piece in told([*events, end(answer)]):
        match piece:
            case Said(text):
                message += text
            case NextMessage() | VoidMessage():
                message = ""
    assert message == answer


@given(st.lists(PIECES, min_size=1, max_size=3), st.integers(-1, 40))
def test_numbers_have_no_gap_and_no_other_meaning(tries: list[list[str]], place: int) -> None:
    """Whoever reads on behind any event gets what he would have had."""
    events = [event("text", piece) for piece in tries[0]]
    for again in tries[1:]:
        events += [RESTART, *(event("text", piece) for piece in again), TOOL, DONE]
    pieces = told([*events, end("".join(tries[-1]))])

    def spoken() -> list[dict[str, Any]]:
        speaking = Speaking(ToldRun(RUN, "m", 1))
        return [*speaking.begin(), *(e for piece in pieces for e in speaking.say(piece))]

    whole = spoken()
    assert [e["sequence_number"] for e in whole] == [*range(len(whole))]
    rest = [*after(iter(spoken()), place)]
    if place < len(whole) - 1:
        assert rest == whole[place + 1 :]
    else:  # the end alone, behind what he has
        assert [e["sequence_number"] for e in rest] == [place + 1]
        assert rest[0]["response"] == whole[-1]["response"]


def test_each_item_begins_and_ends() -> None:
    events = [SEE, TOOL, AB, RESTART, event("text", "x")]
    pieces = told([*events, end("xy")])
    speaking = Speaking(ToldRun(RUN, "m", 1))
    made = [*speaking.begin(), *(e for piece in pieces for e in speaking.say(piece))]
    items = [
        (e["type"].rsplit(".", 1)[1], e["output_index"], e["item"]) for e in made if "item" in e
    ]
    assert [(what, index, item["type"], item["status"]) for what, index, item in items] == [
        ("added", 0, "message", "in_progress"),
        ("done", 0, "message", "completed"),
        ("added", 1, "mcp_call", "in_progress"),
        ("added", 2, "message", "in_progress"),
        ("done", 2, "message", "incomplete"),
        ("added", 3, "message", "in_progress"),
        ("done", 3, "message", "completed"),
    ]
    (output,) = made[-1]["response"]["output"]
    assert output["content"][0]["text"] == "xy"
