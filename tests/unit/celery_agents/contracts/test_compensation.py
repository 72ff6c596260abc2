from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from celery_agents.contracts.ask import Ask
from celery_agents.contracts.compensation import PATIENT, Compensation, compensation_id
from celery_agents.contracts.policies import RetryPolicy
from celery_agents.contracts.vote import VotePolicy


def test_a_name_is_an_agent_that_is_patient() -> None:
    found = Compensation.model_validate("refund")
    assert (found.agent, found.retry) == ("refund", PATIENT)
    assert found.retry.max_attempts > RetryPolicy().max_attempts


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (False, False),
        ("refund", Compensation(agent="refund")),
        (
            {"agent": "refund", "retry": {"max_attempts": 3}},
            Compensation(agent="refund", retry=RetryPolicy(max_attempts=3)),
        ),
        ({"agent": "refund", "retry": {}}, Compensation(agent="refund", retry=RetryPolicy())),
    ],
)
def test_what_a_step_may_say(given: Any, expected: Any) -> None:
    ask = Ask.from_message(["x"], {"agent": "a", "compensation": given})
    assert ask.compensation == expected
    assert Ask.from_message(["x"], ask.message_options()).compensation == expected


@pytest.mark.parametrize("given", [True, "", 3, {"retry": {}}, {"agent": "a", "by": "b"}])
def test_what_it_may_not(given: Any) -> None:
    with pytest.raises(ValidationError):
        Ask(agent="a", compensation=given)


def test_samples_of_a_voter_keep_it() -> None:
    voters = [{"agent": "a", "samples": 2, "compensation": "u"}]
    found = VotePolicy.model_validate({"voters": voters}).voters
    assert [(v.key, v.compensation) for v in found] == [
        ("a", Compensation(agent="u")),
        ("a#2", Compensation(agent="u")),
    ]


def test_one_id_for_each_run() -> None:
    assert compensation_id("r") == compensation_id("r")
    assert len({compensation_id(r) for r in ("r", "s", compensation_id("r"))}) == 3
