from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.sessions import exchange_of, fitting, tokens_of
from celery_agents.contracts.conversation import ChatMessage

PHOTO = {"kind": "image", "media_type": "image/png", "data": "cGl4ZWw="}


def message(role: str, content: Any = "", **more: Any) -> ChatMessage:
    return ChatMessage.model_validate({"role": role, "content": content, **more})


def talk(*messages: ChatMessage) -> list[tuple[str, str]]:
    return [(m.role, m.text) for m in messages]


@pytest.mark.parametrize(
    ("asked", "question", "said"),
    [
        ([], "Who?", [("user", "Who?")]),
        ([], None, [("user", "null")]),
        ([], {"n": 1}, [("user", '{"n": 1}')]),
        ([], " ", [("user", '" "')]),
        ([], "half \ud800", [("user", "half \N{REPLACEMENT CHARACTER}")]),
        ([message("user", "a")], "b", [("user", "a"), ("user", "b")]),
        ([message("user", "a")], None, [("user", "a")]),
        ([message("system", "Be terse."), message("user", "a")], None, [("user", "a")]),
        ([message("system", "Be terse.")], "b", [("user", "b")]),
    ],
)
def test_an_exchange_is_what_was_asked_and_answered(
    asked: list[ChatMessage], question: Any, said: list[tuple[str, str]]
) -> None:
    assert talk(*exchange_of(asked, question, (), "It.")) == [*said, ("assistant", "It.")]


@pytest.mark.parametrize(
    ("answer", "text"), [("", '""'), (None, "null"), (0, "0"), ({"a": "é"}, '{"a": "é"}')]
)
def test_an_answer_says_something(answer: Any, text: str) -> None:
    assert exchange_of((), "?", (), answer)[-1].text == text


def test_what_was_said_on_the_way_stands_between() -> None:
    turns = (message("assistant", "I look."),)
    assert talk(*exchange_of((), "?", turns, "!"))[1] == ("assistant", "I look.")


@pytest.mark.parametrize(
    ("told", "tokens"),
    [
        (message("user", "abcd"), 5),
        (message("user", "abcd efgh"), 6),
        (message("user", "日本語の"), 8),
        (message("user", "half \ud800"), 6),
        (message("user", [PHOTO]), 1_604),
        (message("tool", call_id="1"), 4),
        (message("assistant", tool_calls=[{"id": "1", "name": "find", "arguments": {"n": 1}}]), 9),
    ],
)
def test_tokens_are_estimated(told: ChatMessage, tokens: int) -> None:
    assert tokens_of([told]) == tokens
    assert tokens_of([told, told]) == 2 * tokens


@pytest.mark.parametrize(
    ("text", "exchanges"),
    [("word " * 160, 90), ("日本語のことば" * 10, 176), ("0123456789" * 8, 157)],
    ids=["800 bytes of English", "210 bytes of Japanese", "80 digits"],
)
def test_a_window_holds_so_many_exchanges(text: str, exchanges: int) -> None:
    """Of a default window's 24,000 tokens; four bytes a token would be 58, 210 and 500."""
    one = tokens_of(exchange_of((), text, (), text))
    assert fitting([one] * 1_000, 24_000) == exchanges


@given(sizes=st.lists(st.integers(1, 50), max_size=20), budget=st.integers(0, 300))
def test_as_many_as_fit(sizes: list[int], budget: int) -> None:
    number = fitting(sizes, budget)
    assert sum(sizes[:number]) <= budget
    assert number == len(sizes) or sum(sizes[: number + 1]) > budget


def test_what_does_not_fit_is_the_last_that_is_looked_at() -> None:
    looked = iter([5, 5, 5, 5])
    assert fitting(looked, 9) == 1
    assert [*looked] == [5, 5]
