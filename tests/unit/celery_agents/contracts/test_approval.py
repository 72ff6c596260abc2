from __future__ import annotations

from typing import Any

import pytest

from celery_agents.contracts.approval import (
    FlowQuestion,
    PersonAnswer,
    ToolApproval,
    is_asked,
    refusal,
)
from celery_agents.errors import InvalidPayloadError


@pytest.mark.parametrize(
    ("told", "choices", "choice", "reason"),
    [
        (True, None, True, None),
        ("yes", None, True, None),
        ("No", None, False, None),
        ("too much", None, False, "too much"),
        ("card", ["cash", "card"], "card", None),
        ({"option": "cash", "reason": "quick"}, ["cash", "card"], "cash", "quick"),
    ],
)
def test_answers_are_read(told: Any, choices: Any, choice: Any, reason: str | None) -> None:
    found = PersonAnswer.of(told, choices, "ada")
    assert (found.choice, found.reason, found.by) == (choice, reason, "ada")
    assert PersonAnswer.model_validate(found.compact()) == found


@pytest.mark.parametrize(
    ("told", "choices"),
    [
        (7, None),
        ("", None),
        ({"arguments": {}}, None),
        ("gold", ["cash", "card"]),
        (True, ["cash", "card"]),
        ({"option": "cash", "reason": 7}, ["cash", "card"]),
    ],
)
def test_what_is_no_answer(told: Any, choices: Any) -> None:
    with pytest.raises(ValueError, match="answer with"):
        PersonAnswer.of(told, choices, "ada")


def test_only_a_yes_is_one() -> None:
    """Code that asks \"if it was approved\" cannot take a refusal, or an option, for a yes."""
    assert PersonAnswer(choice=True, by="ada")
    assert not PersonAnswer(choice=False, by="ada")
    with pytest.raises(TypeError, match="compare its `choice`"):
        bool(PersonAnswer(choice="no", by="ada"))


@pytest.mark.parametrize(
    ("by", "actor", "may"),
    [
        ([], "anybody", True),
        (["ada@desk"], "ada@desk", True),
        (["ada@*"], "eve@desk", False),
        (["eve", "jwt:*@shop.example"], "jwt:ada@shop.example", True),
        (["jwt:*@shop.example"], "jwt:ada@shop.example.org", False),
        (["ada"], "ADA", False),
        (["ada"], "", False),
        (["role:user"], "ada", True),
        (["role:admin"], "ada", False),
        (["role:*"], "ada", True),
        (["user"], "ada", False),
    ],
)
def test_who_is_asked(by: Any, actor: str, may: bool) -> None:
    assert is_asked(actor, by, "user") is may


def test_whoever_has_no_role_is_asked_for_none() -> None:
    assert not is_asked("role:admin", ["role:admin", "role:*"])


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ((None, "yes", ()), "choices"),
        ((None, [], ()), "choices"),
        ((None, None, "ada"), "by"),
        ((None, None, [7]), "by"),
    ],
)
def test_questions_that_cannot_be_asked(about: Any, why: str) -> None:
    with pytest.raises(InvalidPayloadError, match=why):
        FlowQuestion.of(*about)


@pytest.mark.parametrize("reason", ["", " ", "yes", " YES ", "true", "no", "False", "yes, later"])
def test_whoever_says_no_is_read_so_whatever_the_reason(reason: str) -> None:
    assert not ToolApproval.of(refusal(reason)).approved
    assert not PersonAnswer.of(refusal(reason), None, "ada").choice


def test_a_reason_is_told() -> None:
    assert ToolApproval.of(refusal("too dear")).reason == "too dear"
