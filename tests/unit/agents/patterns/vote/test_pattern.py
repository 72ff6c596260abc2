from __future__ import annotations

from typing import Any

import pytest

from agents.patterns.vote.pattern import advance, decided
from agents.plan import Expand, MemberState
from celery_agents import names
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.patterns import Vote
from celery_agents.contracts.vote import Decision


def vote(*voters: Any, **more: Any) -> Vote:
    return Vote.model_validate({"input": "Is it?", "voters": voters, **more})


def said(key: str, value: Any, *, wave: int = 1, took_s: float = 0.01) -> MemberState:
    done = Outcome(state=State.SUCCEEDED, value=value, usage=Usage(calls=1))
    known: dict[str, Any] = {"state": State.SUCCEEDED, "outcome": done}
    return MemberState(key=key, round=wave, elapsed_s=took_s, **known)


def failed(key: str, kind: str = "agent_failed") -> MemberState:
    done = Outcome(state=State.FAILED, error=ErrorInfo(kind=kind, message="no"))
    return MemberState(key=key, state=State.FAILED, outcome=done)


def silent(key: str, state: State = State.RUNNING) -> MemberState:
    return MemberState(key=key, state=state, outcome=Outcome(state=state) if state.final else None)


def asked(found: Expand | Outcome) -> list[str]:
    assert isinstance(found, Expand)
    return [m.key for m in found.members]


def decision(found: Expand | Outcome) -> Decision:
    assert isinstance(found, Outcome)
    assert found.ok
    return Decision.model_validate(found.value)


def tally(found: Expand | Outcome) -> Decision:
    """What is known when there is no decision."""
    assert isinstance(found, Outcome)
    assert (found.state, found.error and found.error.kind) == (State.FAILED, "no_decision")
    assert found.error is not None
    return Decision.model_validate(found.error.details["decision"])


def test_all_voters_are_asked_at_once() -> None:
    found = advance(vote("a", "b", {"agent": "c", "samples": 2}), [], remaining_s=9)
    assert asked(found) == ["a", "b", "c", "c#2"]
    assert isinstance(found, Expand)
    assert (found.join.kind, found.join.timeout_s) == ("decided", 9)
    assert {m.task for m in found.members} == {names.ASK}
    assert [m.agent for m in found.members] == ["a", "b", "c", "c"]


def test_without_a_stop_rule_everybody_is_waited_for() -> None:
    found = advance(vote("a", "b", stop="none"), [])
    assert isinstance(found, Expand)
    assert found.join.kind == "all"


def test_what_a_voter_is_asked() -> None:
    request = vote("a", choices=["yes", "no"], voter_timeout_s=3, retry={"max_attempts": 2})
    found = advance(request, [])
    assert isinstance(found, Expand)
    (one,) = found.members
    assert (one.input, one.max_attempts, one.deadline_s) == ("Is it?", 2, 3)
    assert one.options == {
        "agent": "a",
        "retry": {"max_attempts": 2},
        "deadline_s": 3,
        "choices": ["yes", "no"],
    }


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([], False),
        ([said("a", "yes"), said("b", "yes")], False),
        ([said("a", "yes"), said("b", "yes"), said("c", "yes")], True),
        ([said("a", "yes"), said("b", "yes"), said("c", "no")], False),
        ([said(v, "yes") for v in "abc"] + [silent("d"), silent("e", State.READY)], True),
        ([said("a", "yes"), failed("b"), failed("c"), failed("d")], False),
        ([said("a", "yes"), failed("b"), failed("c"), failed("d"), failed("e")], True),
    ],
)
def test_decided_early(members: list[MemberState], expected: bool) -> None:
    assert decided(vote(*"abcde"), members) is expected


def test_a_decision_tells_who_was_let_go() -> None:
    members = [*(said(v, "yes") for v in "abc"), silent("d"), silent("e", State.SKIPPED)]
    found = decision(advance(vote(*"abcde"), members))
    assert (found.option, found.decided_by, found.stopped_by) == ("yes", "rule", "exact")
    assert found.tally == {"yes": 3}
    assert found.abstentions == {"skipped": 2}
    assert (found.samples_used, found.samples_saved) == (3, 2)
    assert found.usage.calls == 3


def test_voters_who_did_not_answer_in_time_are_missing() -> None:
    members = [said("a", "yes"), said("b", "yes"), silent("c"), silent("d"), silent("e")]
    found = decision(advance(vote(*"abcde", timeout_s=5), members, remaining_s=0))
    assert (found.option, found.abstentions) == ("yes", {"missing": 3})


def test_a_quorum_that_silence_missed() -> None:
    request = vote(*"abcde", quorum=3)
    found = tally(advance(request, [said("a", "yes"), said("b", "yes"), *map(silent, "cde")]))
    assert (found.deadlock, found.quorum_met, found.option) == ("quorum", False, None)


@pytest.mark.parametrize(
    ("answers", "deadlock"),
    [(["yes", "no"], "threshold"), ([None, None], "no_ballots")],
)
def test_no_escalation_is_no_decision_with_the_tally(answers: list[Any], deadlock: str) -> None:
    members = [said(v, x) for v, x in zip("ab", answers, strict=True)]
    found = tally(advance(vote("a", "b"), members))
    assert found.deadlock == deadlock
    assert [b.voter for b in found.ballots] == ["a", "b"]


# ---------------------------------------------------------------- waves


def test_waves_ask_few_at_first_and_more_only_when_undecided() -> None:
    request = vote(*"abcdefg", waves=[3, 2], rule="plurality", stop={"kind": "lead", "k": 2})
    assert asked(advance(request, [])) == ["a", "b", "c"]
    split = [said("a", "x"), said("b", "y"), said("c", "z")]
    assert asked(advance(request, split)) == ["d", "e"]
    second = [said("d", "x", wave=2), said("e", "x", wave=2)]
    found = decision(advance(request, [*split, *second]))
    assert (found.option, found.waves, found.stopped_by) == ("x", 2, "exact")
    assert (found.samples_used, found.samples_saved) == (5, 2)
    agreed = [said(v, "x") for v in "abc"]
    assert decision(advance(request, agreed)).samples_saved == 4


def test_waves_have_a_most() -> None:
    request = vote(*"abcde", waves={"sizes": [2], "max": 4}, rule="plurality", tie="fail")
    split = [said("a", "x"), said("b", "y")]
    assert asked(advance(request, split)) == ["c", "d"]
    all_of_them = [*split, said("c", "x"), said("d", "y")]
    assert tally(advance(request, all_of_them)).deadlock == "tie"


@pytest.mark.parametrize(
    ("remaining_s", "more"),
    [(None, 3), (1000, 3), (24, 3), (8.5, 4), (4, 8), (2.1, 16), (1.5, 16), (0.1, 16)],
)
def test_waves_grow_where_time_is_short(remaining_s: float | None, more: int) -> None:
    """Of twenty voters four were heard in 2 s, 3-1; with 6-1 it would be decided."""
    request = vote({"agent": "m", "samples": 20}, stop="adaptive_consistency", rule="plurality")
    heard = [said("m", "x"), said("m#2", "y"), said("m#3", "x"), said("m#4", "x", took_s=2)]
    assert len(asked(advance(request, heard, remaining_s=remaining_s))) == more


def test_no_wave_begins_after_the_end() -> None:
    request = vote(*"abcd", waves=[2], rule="unanimous", timeout_s=5)
    found = advance(request, [said("a", "x"), silent("b")], remaining_s=-1)
    assert isinstance(found, Outcome)


# ---------------------------------------------------------------- escalation

SPLIT = [said("a", "yes"), said("b", "no")]


def test_a_supervisor_is_asked_with_the_ballots() -> None:
    request = vote("a", "b", choices=["yes", "no"], escalate="boss")
    found = advance(request, SPLIT)
    assert isinstance(found, Expand)
    (one,) = found.members
    assert (one.task, one.agent) == (names.ASK, "boss")
    assert one.options["agent"] == "boss"
    assert one.options["choices"] == ["yes", "no"]
    assert isinstance(one.input, dict)
    assert one.input["question"] == "Is it?"
    ballots: Any = one.input["ballots"]
    assert [(b["voter"], b["option"]) for b in ballots] == [("a", "yes"), ("b", "no")]
    assert found.note == {"why": "threshold", "to": "boss"}


def test_backups_of_the_supervisor_are_a_chain() -> None:
    escalate = {"kind": "supervisor", "agent": "boss", "backups": ["deputy"]}
    found = advance(vote("a", "b", escalate=escalate), SPLIT)
    assert isinstance(found, Expand)
    assert found.members[0].task == names.FALLBACK
    assert found.members[0].options["candidates"] == ["boss", "deputy"]


@pytest.mark.parametrize(
    ("word", "option"),
    [
        ("no", "no"),
        ({"option": "No", "reason": "so"}, "no"),
        ('{"option": "yes"}', "yes"),
        ("maybe", None),
        (None, None),
    ],
)
def test_the_supervisors_word(word: Any, option: str | None) -> None:
    request = vote("a", "b", choices=["yes", "no"], escalate="boss")
    plan = advance(request, SPLIT)
    found = advance(request, [*SPLIT, said(asked(plan)[0], word)])
    if option is None:
        assert tally(found).deadlock == "threshold"
    else:
        made = decision(found)
        assert (made.option, made.decided_by) == (option, "supervisor")
        assert made.tally == {"yes": 1, "no": 1}
        assert isinstance(found, Outcome)
        assert found.usage.calls == 3


@pytest.mark.parametrize("end", [failed, silent])
def test_a_supervisor_that_cannot_decide(end: Any) -> None:
    request = vote("a", "b", escalate="boss")
    (key,) = asked(advance(request, SPLIT))
    assert tally(advance(request, [*SPLIT, end(key)])).deadlock == "threshold"


def test_a_person_waits_outside() -> None:
    request = vote("a", "b", escalate="person")
    found = advance(request, SPLIT)
    assert isinstance(found, Expand)
    (one,) = found.members
    assert (one.task, one.waits) == (names.APPROVAL, True)
    told: Any = one.input
    assert "by" not in told
    bosses: Any = advance(vote("a", "b", escalate={"kind": "person", "by": ["boss@*"]}), SPLIT)
    assert bosses.members[0].input["by"] == ["boss@*"]
    made = decision(advance(request, [*SPLIT, said(one.key, "no")]))
    assert (made.option, made.decided_by) == ("no", "person")


ESCALATIONS: list[Any] = [
    "person",
    "boss",
    {"kind": "supervisor", "agent": "boss", "backups": ["deputy"]},
]


@pytest.mark.parametrize("escalate", ESCALATIONS)
@pytest.mark.parametrize("remaining_s", [30, 0.1, None])
def test_who_decides_has_what_is_left_of_the_time(escalate: Any, remaining_s: float | None) -> None:
    found = advance(vote("a", "b", escalate=escalate), SPLIT, remaining_s=remaining_s)
    assert isinstance(found, Expand)
    assert found.join.timeout_s == remaining_s


@pytest.mark.parametrize("escalate", ESCALATIONS)
@pytest.mark.parametrize("remaining_s", [0, -3])
def test_nobody_is_asked_after_the_end(escalate: Any, remaining_s: float) -> None:
    found = advance(vote("a", "b", escalate=escalate), SPLIT, remaining_s=remaining_s)
    assert tally(found).tally == {"yes": 1, "no": 1}
    assert isinstance(found, Outcome)
    assert "no time was left" in str(found.error)


@pytest.mark.parametrize("escalate", ESCALATIONS)
@pytest.mark.parametrize("state", [State.SKIPPED, State.RUNNING, State.CANCELLED])
def test_who_is_silent_until_the_end_decides_nothing(escalate: Any, state: State) -> None:
    request = vote("a", "b", escalate=escalate)
    (key,) = asked(advance(request, SPLIT))
    found = advance(request, [*SPLIT, silent(key, state)], remaining_s=0)
    assert tally(found).deadlock == "threshold"
    assert isinstance(found, Outcome)
    assert f"the {key.strip('@')} did not answer in time" in str(found.error)


@pytest.mark.parametrize("name", ["supervisor", "person"])
def test_a_voter_may_have_any_name(name: str) -> None:
    request = vote("a", name, escalate="supervisor")
    split = [said("a", "yes"), said(name, "no")]
    (key,) = asked(advance(request, split))
    assert key not in {"a", name}
    assert decision(advance(request, [*split, said(key, "yes")])).decided_by == "supervisor"


def test_a_vote_that_is_decided_does_not_escalate() -> None:
    request = vote(*"abc", escalate="boss")
    assert decision(advance(request, [said(v, "yes") for v in "abc"])).decided_by == "rule"


# ---------------------------------------------------------------- deliberation


def test_voters_see_the_others_ballots_and_may_change_theirs() -> None:
    request = vote(*"abc", deliberation=2)
    split = [said("a", "x"), said("b", "y"), said("c", "z")]
    again = advance(request, split)
    assert isinstance(again, Expand)
    assert [m.agent for m in again.members] == ["a", "b", "c"]
    told: Any = again.members[0].input
    assert told["question"] == "Is it?"
    assert told["your_ballot"]["option"] == "x"
    agreed = [*split, *(said(m.key, "x") for m in again.members)]
    found = decision(advance(request, agreed))
    assert (found.option, found.rounds, found.tally) == ("x", 1, {"x": 3})


def test_deliberation_ends_when_nothing_changes() -> None:
    request = vote(*"abc", deliberation=5, rule="plurality", tie="stated")
    members = [said("a", "x"), said("b", "y"), said("c", "z")]
    again = advance(request, members)
    assert isinstance(again, Expand)
    members += [said(m.key, v) for m, v in zip(again.members, "xyz", strict=True)]
    assert decision(advance(request, members)).rounds == 1
