from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.patterns.compensate import Undoable, conclusion, key, next_one, undo
from agents.patterns.fallback.pattern import advance as fallback
from agents.patterns.gather.pattern import advance as gather
from agents.patterns.map import advance as mapping
from agents.patterns.vote.pattern import advance as vote
from agents.plan import Expand, MemberState, Tally
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.compensation import Compensation, CompensationReport, Undoing
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.mapping import Map
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.errors import CompensationFailedError

ERROR = ErrorInfo(kind="unavailable", message="closed")


def done(*ids: str) -> list[Undoable]:
    """Steps in the order in which they are undone."""
    return [Undoable(i, f"does {i}", Compensation(agent=f"undoes {i}")) for i in ids]


def tried(step_id: str, state: State = State.SUCCEEDED) -> MemberState:
    error = None if state is State.SUCCEEDED else ERROR
    outcome = Outcome(state=state, error=error, usage=Usage(calls=1)) if state.final else None
    return MemberState(key=step_id, state=state, outcome=outcome)


BAD = State.FAILED


@pytest.mark.parametrize(
    ("members", "turn", "expected"),
    [
        ([], 0, "c"),
        ([tried("c")], 0, "b"),
        ([tried("c"), tried("b", BAD)], 0, "a"),  # goes on after a failure
        ([tried("c"), tried("b", State.DEAD), tried("a")], 0, None),
        ([tried("c", State.RUNNING)], 0, "c"),  # the same again
        ([tried("b"), tried("a")], 0, "c"),  # it finished late
        ([tried("c"), tried("b", BAD), tried("a", BAD)], 1, "b"),  # asked for again
        ([tried("c"), tried("b", BAD), tried("a", BAD), tried("b#2", BAD)], 1, "a"),
        ([tried("c"), tried("b", BAD), tried("a"), tried("b#2")], 1, None),
        ([tried("c"), tried("b", BAD), tried("a"), tried("b#2")], 2, None),
    ],
)
def test_whose_turn_it_is(members: list[MemberState], turn: int, expected: str | None) -> None:
    found = next_one(done("c", "b", "a"), members, turn)
    assert (found and found.id) == expected


@given(st.lists(st.sampled_from([State.SUCCEEDED, BAD, State.DEAD]), max_size=20), st.data())
def test_each_is_asked_once_a_turn_and_all_are(states: list[State], data: Any) -> None:
    finished = done(*(f"s{n}" for n in range(len(states))))
    members: list[MemberState] = []
    for turn in range(3):
        before = {m.key for m in members if m.state is State.SUCCEEDED}
        asked = []
        while (step := next_one(finished, members, turn)) is not None:
            asked.append(step.id)
            state = data.draw(st.sampled_from(states))
            members.append(tried(key(step.id, turn), state))
        undone = {k.split("#")[0] for k in before}
        assert asked == [f.id for f in finished if f.id not in undone]


def test_how_it_is_asked() -> None:
    how = Compensation.model_validate(
        {"agent": "refund", "retry": {"max_attempts": 7}, "timeout_s": 5}
    )
    plan = undo("r", Undoable("s", "charge", how), ({"eur": 5}, "receipt"), 1)
    (member,) = plan.members
    assert (member.key, member.agent, member.max_attempts) == ("s#2", "refund", 7)
    assert member.input == {
        "run": "r",
        "step": "s",
        "agent": "charge",
        "input": {"eur": 5},
        "output": "receipt",
    }
    asked = Ask.from_message([member.input], member.options)
    assert (asked.timeout_s, asked.retry.max_attempts) == (5, 7)
    assert asked.compensation is False  # whatever its agent says
    assert (plan.join.kind, plan.note) == ("all", {"step": "s", "by": "refund"})


def test_all_was_undone() -> None:
    unsure = [Undoing(step="x", agent="car", by="refund", state="failed")]
    found = conclusion("r", done("b", "a"), [tried("b"), tried("a")], unsure, 0)
    assert (found.state, found.error, found.usage.calls) == (State.SUCCEEDED, None, 2)
    report = CompensationReport.model_validate(found.value)
    assert [u.step for u in report.compensated] == ["b", "a"]
    assert (report.failed, report.uncertain) == ((), tuple(unsure))


def test_what_failed_is_loud() -> None:
    found = conclusion("r", done("b", "a"), [tried("b", BAD), tried("a")], [], 0)
    assert found.state is State.DEAD  # a letter, to be asked for again
    assert found.error is not None
    error = found.error.exception()
    assert isinstance(error, CompensationFailedError)
    assert error.message == (
        "1 of 2 steps of the run r could not be undone. does b by undoes b: closed"
    )
    report = CompensationReport.model_validate(error.details)
    assert [u.step for u in report.compensated] == ["a"]
    assert report.failed[0].error == {"kind": "unavailable", "message": "closed"}
    assert found.value == error.details


def test_a_later_turn_makes_good() -> None:
    members = [tried("b", BAD), tried("a"), tried("b#2")]
    assert conclusion("r", done("b", "a"), members, [], 1).state is State.SUCCEEDED


def test_many_failures_are_told_in_short() -> None:
    ids = [f"s{n}" for n in range(9)]
    found = conclusion("r", done(*ids), [tried(i, BAD) for i in ids], [], 0)
    assert found.error is not None
    assert found.error.message.count("closed") == 3
    assert found.error.message.endswith("; …")


@pytest.mark.parametrize(
    "plan",
    [
        fallback(
            Fallback.model_validate({"candidates": [{"agent": "a", "compensation": "u"}]}),
            [],
            step_id="s",
        ),
        gather(Gather.model_validate({"agents": [{"agent": "a", "compensation": "u"}]}), []),
        mapping(Map.model_validate({"input": [1], "agent": "a", "compensation": "u"}), Tally()),
        vote(Vote.model_validate({"voters": [{"agent": "a", "compensation": "u"}]}), []),
    ],
    ids=["fallback", "gather", "map", "vote"],
)
def test_patterns_hand_on_what_their_members_say(plan: Any) -> None:
    assert isinstance(plan, Expand)
    assert plan.members[0].options["compensation"] == {"agent": "u"}
