"""What waits for a person as a form, and its answers."""

from __future__ import annotations

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
        (VOTE, {"action": "decline"}),
        (VOTE, {"action": ACCEPT, "content": {"choice": 1}}),
    ],
)
def test_what_is_no_answer(wish: dict[str, Any], told: Any) -> None:
    with pytest.raises(ProblemError):
        choice_of(wish, told)
