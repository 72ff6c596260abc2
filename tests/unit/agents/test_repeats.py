"""Which turn has the answer to a question that was asked before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.repeats import AskedTurn, about_of, same_turn
from celery_agents.contracts.outcome import State

OPEN, DONE, FAILED = State.RUNNING, State.SUCCEEDED, State.FAILED


def turn(
    name: str, parent: str, about: str, state: State = OPEN, same: str | None = None
) -> AskedTurn:
    return AskedTurn(name, parent, about, state, same)


@pytest.mark.parametrize(
    ("turns", "asking", "found"),
    [
        ([], "lead", None),
        ([turn("a", "lead", "x", DONE)], "lead", "a"),
        ([turn("a", "lead", "y", DONE)], "lead", None),
        ([turn("a", "lead", "x", FAILED)], "lead", None),
        ([turn("a", "lead", "x"), turn("b", "lead", "x", DONE)], "lead", "b"),
        ([turn("a", "lead", "x"), turn("b", "lead", "y")], "b", "a"),
        # a asks b, which asks a's question: a waits for b
        ([turn("a", "lead", "x"), turn("b", "a", "y")], "b", None),
        # x waits for y's answer under q; y asking x's question would wait for itself
        (
            [
                *(turn("p", "lead", "p"), turn("q", "lead", "q")),
                *(turn("x", "p", "x"), turn("y", "q", "y"), turn("f", "x", "y", same="y")),
            ],
            "y",
            None,
        ),
        # once the one that waits has ended, nothing stands in the way
        (
            [
                *(turn("p", "lead", "p"), turn("q", "lead", "q")),
                *(turn("x", "p", "x"), turn("y", "q", "y"), turn("f", "x", "y", DONE, "y")),
            ],
            "y",
            "x",
        ),
    ],
)
def test_whose_answer_it_is(turns: list[AskedTurn], asking: str, found: str | None) -> None:
    assert same_turn("x", asking, turns) == found


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=30))
def test_nobody_waits_in_a_circle(asked: list[tuple[int, int]]) -> None:
    """Whoever asks whatever in whatever order, of those that may still ask."""
    turns = [AskedTurn("0", None, "lead", OPEN)]
    for at, about in asked:
        asking = turns[at % len(turns)]
        if asking.same_as is None:  # the others ask nobody
            same = same_turn(str(about), asking.id, turns)
            turns.append(AskedTurn(str(len(turns)), asking.id, str(about), OPEN, same))
    left = {turn.id: turn for turn in turns}
    while left:  # whoever waits for nobody ends
        free = [
            turn.id
            for turn in left.values()
            if turn.same_as not in left and not any(t.parent_id == turn.id for t in left.values())
        ]
        assert free
        for one in free:
            del left[one]


def test_what_a_question_is() -> None:
    def about(**options: Any) -> str:
        return about_of({"args": ["x"], "kwargs": {"agent": "a", **options}})

    assert about() == about(max_steps=3, retry={"max_attempts": 1}, repeats={}, stream=True)
    told = [about(), about(instructions="Be brief."), about(spec={"base": "a", "name": "b"})]
    assert len({*told, about_of({"args": ["y"], "kwargs": {"agent": "a"}})}) == len(told) + 1
