"""Content of spans: as guards let it pass, without secrets, cut."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agents.catalog.registry import Registry
from agents.guarding.pii import PersonalData
from agents.guarding.screening import TextGuard
from app.watching.contents import CONTENT_MAX, Contents
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import BlockedError

FIND = PersonalData(("email",), ())
MASK = TextGuard("privacy", "mask", "off", FIND)
BLOCK_INPUT, BLOCK_OUTPUT = (
    TextGuard("no", *on, FIND) for on in (("block", "off"), ("off", "block"))
)
ANNA = "anna@example.org"


def told(asked: Any, said: Any, *guards: TextGuard, **about: Any) -> tuple[str | None, str | None]:
    """The texts of input and answer in a span of the agent ``a``, which has these guards."""
    registry = cast(
        "Registry",
        SimpleNamespace(get={"a": "the agent"}.get, guards_of=lambda _: guards),
    )
    outcome = about.pop("outcome", None) or Outcome(state=State.SUCCEEDED, value=said)
    row = {
        "task": "agents.ask",
        "agent": "a",
        "payload": json.dumps({"args": [asked], "kwargs": {}}),
        "outcome": json.dumps(outcome.compact()),
    }
    found = Contents(registry).of(SimpleNamespace(**row | about))
    texts = (found.get(f"gen_ai.{side}.messages") for side in ("input", "output"))
    asked_text, said_text = (t and json.loads(t)[0]["parts"][0]["content"] for t in texts)
    return asked_text, said_text


def test_without_guards_it_is_told_as_it_stands() -> None:
    assert told("hello", {"a": 1}) == ("hello", '{"a": 1}')


def test_what_a_guard_masks_is_masked_in_the_answer_too() -> None:
    """There it was put back for whoever asked."""
    assert told(f"I am {ANNA}", f"Hello {ANNA}", MASK) == ("I am ⟨EMAIL_1⟩", "Hello ⟨EMAIL_1⟩")


@pytest.mark.parametrize(
    ("guard", "asked", "said", "wanted"),
    [
        (BLOCK_INPUT, ANNA, "fine", (None, None)),
        (BLOCK_OUTPUT, "who?", ANNA, ("who?", None)),
        (BLOCK_OUTPUT, "who?", "nobody", ("who?", "nobody")),
    ],
)
def test_what_a_guard_blocks_is_not_told(
    guard: TextGuard, asked: str, said: str, wanted: tuple[str | None, str | None]
) -> None:
    assert told(asked, said, guard) == wanted


def test_what_a_judge_blocked_is_not_told() -> None:
    """Nobody asks the judge again; the outcome has what it said."""
    refused = Outcome(state=State.FAILED, error=ErrorInfo.of(BlockedError("no")))
    assert told("a question", None, outcome=refused) == (None, None)


def test_secrets_are_left_out_and_long_texts_cut() -> None:
    asked, said = told("the key is sk-proj-abcdefghijklmnopqrstuvwxyz0123456789", "x" * 50_000)
    assert asked is not None
    assert "abcdefghij" not in asked
    assert said is not None
    assert len(said) <= CONTENT_MAX
    assert len(told({"many": ["y" * 5_000] * 5}, "")[0] or "") <= CONTENT_MAX


@pytest.mark.parametrize(
    "about", [{"agent": None}, {"agent": "unknown"}, {"task": "agents.vote"}, {"payload": None}]
)
def test_of_what_is_not_known_nothing_is_told(about: dict[str, Any]) -> None:
    assert told("hello", "hi", **about) == (None, None)
