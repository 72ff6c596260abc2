"""What waits for a person as a form, and its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.mcp.forms import choice_of, form_of
from api.problems import ProblemError

TOOL: dict[str, Any] = {"tool": "pay", "arguments": {"amount": 3}}
VOTE: dict[str, Any] = {"question": "Which?", "choices": ("a", "b")}
OPEN: dict[str, Any] = {"question": {"which": 1}}
FLOW: dict[str, Any] = {"question": "Send it?", "asks": "flow"}
ACCEPT = "accept"


@pytest.mark.parametrize(
    ("wish", "fields", "words"),
    [
        (TOOL, ["approve", "reason"], 'May pay be called with {"amount": 3}?'),
        (VOTE, ["choice"], "Which?"),
        (OPEN, ["choice"], '{"which": 1}'),
        (FLOW, ["approve", "reason"], "Send it?"),
        ({"question": "\x1b[2Ja"}, ["choice"], "a"),
    ],
)
def test_a_form(wish: dict[str, Any], fields: list[str], words: str) -> None:
    form = form_of(wish)["params"]
    assert list(form["requestedSchema"]["properties"]) == fields
    assert words in form["message"]
    assert "\x1b" not in form["message"]


@pytest.mark.parametrize(
    ("wish", "told", "choice"),
    [
        (TOOL, {"action": ACCEPT, "content": {"approve": True}}, True),
        (TOOL, {"action": ACCEPT, "content": {"approve": True, "reason": "x"}}, True),
        (TOOL, {"action": ACCEPT, "content": {"approve": False}}, False),
        (TOOL, {"action": ACCEPT, "content": {"approve": False, "reason": "dear"}}, "dear"),
        (TOOL, {"action": ACCEPT, "content": {"approve": False, "reason": "yes"}}, False),
        (TOOL, {"action": ACCEPT, "content": {"approve": False, "reason": " True "}}, False),
        (FLOW, {"action": ACCEPT, "content": {"approve": False, "reason": "YES"}}, False),
        (TOOL, {"action": ACCEPT, "content": {"approve": False, "reason": "no"}}, False),
        (TOOL, {"action": ACCEPT, "content": {"approve": False, "reason": "  "}}, False),
        (TOOL, {"action": ACCEPT, "content": {"approve": False, "reason": None}}, False),
        (TOOL, {"action": "decline"}, False),
        (FLOW, {"action": "cancel"}, False),
        (VOTE, {"action": ACCEPT, "content": {"choice": "a"}}, "a"),
        (OPEN, {"action": ACCEPT, "content": {"choice": "c"}}, "c"),
    ],
)
def test_an_answer(wish: dict[str, Any], told: Any, choice: Any) -> None:
    assert choice_of(wish, told) == choice


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        (TOOL, None),
        (TOOL, []),
        (TOOL, {}),
        (TOOL, {"action": ACCEPT}),
        (TOOL, {"action": "x"}),
        (TOOL, {"action": ACCEPT, "content": {"approve": "yes"}}),
        (TOOL, {"action": ACCEPT, "content": [True]}),
        (TOOL, {"action": ACCEPT, "content": {"approve": False, "reason": {"arguments": {}}}}),
        (TOOL, {"action": ACCEPT, "content": {"approve": False, "reason": True}}),
        (TOOL, {"action": ACCEPT, "content": {"approve": False, "reason": 0}}),
        (TOOL, {"action": ACCEPT, "content": {"approve": True, "reason": [1]}}),
        (VOTE, {"action": "decline"}),
        (VOTE, {"action": ACCEPT, "content": {"choice": 1}}),
    ],
)
def test_what_is_no_answer(wish: dict[str, Any], told: Any) -> None:
    with pytest.raises(ProblemError):
        choice_of(wish, told)


def test_no_argument_stands_behind_a_long_one_and_what_is_cut_says_so() -> None:
    inner = {"why": "x" * 9_000, "list": ["y" * 9_000, *range(9_000)], "amount": 1_000_000}
    arguments = {"order": inner, "to": "mallory"}
    wish = {"tool": "pay", "arguments": arguments, "run_id": "run-7"}
    message = form_of(wish)["params"]["message"]
    for words in ('"why": "xxx', '"list": ["yyy', '"amount": 1000000', '"to": "mallory"'):
        assert words in message
    assert "characters more)" in message
    assert message.endswith("[Cut: GET /waiting has the whole of it, of the run run-7.]")
    assert len(message) < 5_000


@pytest.mark.parametrize("question", ["x" * 9_000, ["x" * 9_000], {"a": "x" * 9_000}])
def test_a_long_question_is_cut_and_says_so(question: Any) -> None:
    message = form_of({"question": question, "run_id": "run-7"})["params"]["message"]
    assert "Cut: GET /waiting" in message
    assert len(message) < 5_000


def test_what_fits_is_not_cut() -> None:
    assert "Cut" not in form_of({"question": "x" * 4_000, "run_id": "r"})["params"]["message"]


def test_halves_of_surrogate_pairs_are_in_no_form() -> None:
    wish = {"question": "\ud83d", "choices": ("a\ud83d",), "run_id": "r"}
    json.dumps(form_of(wish), ensure_ascii=False).encode()
