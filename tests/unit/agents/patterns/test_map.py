from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.patterns.map import advance, resumed
from agents.plan import Expand, Member, Tally
from celery_agents import names
from celery_agents.contracts.mapping import Map, MapResult
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.patterns import Vote
from celery_agents.errors import InvalidPayloadError

LATE = ErrorInfo(kind="timeout", message="late", retryable=True, type="DeadlineExceededError")
COST = Usage(calls=3, cost_usd=0.5)


def mapping(count: int = 3, **more: Any) -> Map:
    who: dict[str, Any] = {} if more.keys() & {"agents", "each"} else {"agent": "a"}
    return Map.model_validate({"input": [10 * n for n in range(count)], **who, **more})


def expanded(found: Expand | Outcome) -> Expand:
    assert isinstance(found, Expand), found
    return found


def ended(found: Expand | Outcome) -> Outcome:
    assert isinstance(found, Outcome), found
    return found


def result(found: Expand | Outcome) -> MapResult:
    outcome = ended(found)
    assert outcome.ok
    return MapResult.model_validate(outcome.value)


def told(outcome: Outcome) -> dict[str, Any]:
    assert outcome.error is not None
    found: Any = outcome.error.details["map"]
    return dict(found)


def test_all_inputs_are_asked_at_once() -> None:
    plan = expanded(advance(mapping(), Tally(), remaining_s=7))
    assert [(m.key, m.input) for m in plan.members] == [("0", 0), ("1", 10), ("2", 20)]
    assert {(m.task, m.agent) for m in plan.members} == {(names.ASK, "a")}
    assert plan.members[0].options == {"agent": "a"}
    assert (plan.join.kind, plan.join.timeout_s) == ("all", 7)


def test_what_each_step_is_told() -> None:
    request = mapping(
        1,
        retry={"max_attempts": 2},
        member_timeout_s=5,
        instructions="short",
        choices=["x", "y"],
        answer_schema={"type": "object"},
        compensation="u",
        on_failure="stop",
    )
    plan = expanded(advance(request, Tally()))
    (member,) = plan.members
    assert member.options == {
        "agent": "a",
        "retry": {"max_attempts": 2},
        "deadline_s": 5.0,
        "instructions": "short",
        "choices": ["x", "y"],
        "answer_schema": {"type": "object"},
        "compensation": {"agent": "u"},
    }
    assert (member.max_attempts, member.deadline_s) == (2, 5.0)
    assert plan.join.kind == "unbroken"


@pytest.mark.parametrize(
    ("wave", "asked", "keys"),
    [
        (None, 0, ["0", "1", "2", "3", "4"]),
        (2, 0, ["0", "1"]),
        (2, 2, ["2", "3"]),
        (2, 4, ["4"]),
        (9, 0, ["0", "1", "2", "3", "4"]),
    ],
)
def test_waves(wave: int | None, asked: int, keys: list[str]) -> None:
    tally = Tally(total=asked, succeeded=asked)
    plan = expanded(advance(mapping(5, wave=wave), tally))
    assert [m.key for m in plan.members] == keys
    assert [m.input for m in plan.members] == [10 * int(k) for k in keys]


def test_so_many_at_a_time_are_asked_at_once() -> None:
    """In what order they begin is the journal's: each end lets the next one begin."""
    plan = expanded(advance(mapping(5, max_concurrent=2), Tally()))
    assert ([m.key for m in plan.members], plan.join.max_concurrent) == (list("01234"), 2)


def test_what_had_succeeded_is_there_and_free() -> None:
    done = Outcome(state=State.SUCCEEDED, value="y", usage=COST)
    plan = expanded(advance(mapping(3), Tally(), answered={1: done}))
    assert [m.ended and m.ended.value for m in plan.members] == [None, "y", None]
    assert plan.members[1].ended is not None
    assert plan.members[1].ended.usage == Usage()


def whose(plan: Expand) -> str:
    """The agents of members, - where it is decided later."""
    assert all((m.agent is None) == ("agent" not in m.options) for m in plan.members)
    assert all(m.options.get("agent") == m.agent for m in plan.members)
    return "".join(m.agent or "-" for m in plan.members)


def test_several_agents_in_turn() -> None:
    request = mapping(7, agents=["a", "b", "c"])
    assert whose(expanded(advance(request, Tally()))) == "abcabca"
    later = expanded(advance(request.model_copy(update={"wave": 2}), Tally(total=2, succeeded=2)))
    assert whose(later) == "ca"  # by the places of the inputs, not of those of a wave


def test_whoever_is_free_gets_the_next_one() -> None:
    about: Any = {"agents": ["a", "b"], "assign": "least_busy", "max_concurrent": 3}
    assert whose(expanded(advance(mapping(6, **about), Tally()))) == "aba---"
    done = Outcome(state=State.SUCCEEDED, agent="b", value="y", usage=COST)
    plan = expanded(advance(mapping(6, **about), Tally(), answered={0: done, 2: done}))
    assert whose(plan) == "babba-"  # those who have answered, and three turns
    assert [m.ended is not None for m in plan.members] == [True, False, True, *[False] * 3]


def test_a_resumed_map_of_several_keeps_who_is_whose() -> None:
    earlier = mapping(4, agents=["a", "b"])
    done = Outcome(state=State.SUCCEEDED, agent="a", value="y")
    again = resumed(Map(resumes="r", max_concurrent=1), earlier)
    assert whose(expanded(advance(again, Tally(), answered={0: done}))) == "abab"
    other = resumed(Map(resumes="r", agents=("c", "d", "e")), earlier)
    assert whose(expanded(advance(other, Tally(), answered={0: done}))) == "adec"
    assert resumed(Map(resumes="r", agent="c"), earlier).agents == ()
    with pytest.raises(InvalidPayloadError, match="a turn for each agent"):
        resumed(Map.from_message([], {"resumes": "r", "assign": "least_busy"}), earlier)


def test_each_input_is_put_to_a_panel() -> None:
    vote = Vote(voters=("a", "b"), timeout_s=9)
    plan = expanded(advance(mapping(2, each=vote, max_concurrent=1), Tally()))
    assert [(m.key, m.input) for m in plan.members] == [("0", 0), ("1", 10)]
    assert {(m.task, m.agent, m.deadline_s) for m in plan.members} == {(names.VOTE, None, 9.0)}
    assert plan.members[0].options == vote.message_options()
    sooner = mapping(1, each=vote, member_timeout_s=5)
    assert expanded(advance(sooner, Tally())).members[0].deadline_s == 5


def test_a_resumed_map_is_as_it_was_but_for_what_is_said() -> None:
    earlier = mapping(4, wave=2, instructions="short", on_failure="stop")
    found = resumed(Map(resumes="r"), earlier)
    assert found == earlier
    found = resumed(Map(resumes="r", agent="b", max_concurrent=3), earlier)
    assert (found.agent, found.max_concurrent, found.wave) == ("b", 3, None)
    assert (found.input, found.instructions, found.on_failure) == (earlier.input, "short", "stop")


def test_what_came_of_them() -> None:
    tally = Tally(
        total=3, succeeded=2, failed=1, usage=COST, errors=((1, LATE),), values=("x", None, "z")
    )
    found = advance(mapping(), tally)
    assert ended(found).usage == COST
    assert result(found).model_dump() == {
        "count": 3,
        "succeeded": 2,
        "failed": 1,
        "skipped": 0,
        "results": ("x", None, "z"),
        "failures": ({"index": 1, "kind": "timeout", "message": "late"},),
    }


def test_results_that_are_too_big_are_left_out() -> None:
    found = ended(advance(mapping(), Tally(total=3, succeeded=3, values=None)))
    assert found.value == {"count": 3, "succeeded": 3}


def test_no_inputs_are_no_error() -> None:
    for how in ("go_on", "stop"):
        found = result(advance(mapping(0, on_failure=how), Tally()))
        assert (found.count, found.results) == (0, ())


def test_no_list_is_one() -> None:
    with pytest.raises(InvalidPayloadError, match="list of inputs"):
        advance(Map(agent="a"), Tally())


def test_time_that_is_over_closes_it_with_what_is_there() -> None:
    request = mapping(4, wave=2)
    tally = Tally(total=2, succeeded=1, values=("x", None))
    found = result(advance(request, tally, remaining_s=0))
    assert (found.succeeded, found.failed, found.skipped) == (1, 0, 3)
    assert found.results == ("x", None, None, None)


def test_one_that_fails_stops_a_map_that_wants_all() -> None:
    tally = Tally(total=3, succeeded=1, failed=1, usage=COST, errors=((1, LATE),))
    found = ended(advance(mapping(9, on_failure="stop", wave=3), tally))
    assert (found.state, found.usage) == (State.FAILED, COST)
    assert found.error is not None
    assert (found.error.kind, found.error.type) == ("timeout", "DeadlineExceededError")
    assert found.error.message == "Input 1 of 9: late"
    assert told(found) == {
        "count": 9,
        "succeeded": 1,
        "failed": 1,
        "skipped": 7,
        "failures": [{"index": 1, "kind": "timeout", "message": "late"}],
    }


@pytest.mark.parametrize(
    ("how", "tally", "kind"),
    [
        ("go_on", Tally(total=3, failed=3, errors=((0, LATE),)), "all_failed"),
        ("go_on", Tally(total=3, failed=1, errors=((0, LATE),)), "all_failed"),
        ("go_on", Tally(total=3), "cancelled"),  # out of time, and none has ended
        ("stop", Tally(total=3, succeeded=2), "cancelled"),
    ],
)
def test_when_it_fails(how: str, tally: Tally, kind: str) -> None:
    found = ended(advance(mapping(on_failure=how), tally))
    assert found.state is State.FAILED
    assert found.error is not None
    assert found.error.kind == kind
    assert told(found)["count"] == 3


class Played:
    """A map as the journal plays it: members that are named in ``fails`` fail, others succeed."""

    def __init__(self, request: Map, fails: set[int]) -> None:
        self.request = request
        self.fails = fails
        self.asked: list[Member] = []
        self.rounds = 0

    def end(self) -> Outcome:
        while True:
            found = advance(self.request, self.tally())
            if isinstance(found, Outcome):
                return found
            assert found.members, "it would never end"
            self.asked += found.members
            self.rounds += 1

    def tally(self) -> Tally:
        failed = [n for n in range(len(self.asked)) if n in self.fails]
        return Tally(
            total=len(self.asked),
            succeeded=len(self.asked) - len(failed),
            failed=len(failed),
            errors=tuple((n, LATE) for n in failed[:10]),
            values=tuple(None if n in self.fails else m.input for n, m in enumerate(self.asked)),
        )


@given(
    count=st.integers(0, 40),
    wave=st.none() | st.integers(1, 50),
    fails=st.sets(st.integers(0, 40)),
    stops=st.booleans(),
)
def test_every_input_is_asked_once_in_order(
    count: int, wave: int | None, fails: set[int], stops: bool
) -> None:
    request = mapping(count, wave=wave, on_failure="stop" if stops else "go_on")
    played = Played(request, fails)
    end = played.end()
    assert [m.key for m in played.asked] == [str(n) for n in range(len(played.asked))]
    assert [m.input for m in played.asked] == [10 * n for n in range(len(played.asked))]
    broken = [n for n in fails if n < count]
    if not stops:
        assert len(played.asked) == count
        assert played.rounds == (-(-count // wave) if wave else min(count, 1))
        assert end.ok == (count == 0 or len(broken) < count)
    else:
        assert end.ok == (not broken)
        first_bad_wave = min(broken) // (wave or 50) if broken else None
        assert first_bad_wave is None or played.rounds == first_bad_wave + 1
    found = result(end) if end.ok else MapResult.model_validate(told(end))
    assert found.count == count == found.succeeded + found.failed + found.skipped
    if end.ok:
        assert found.results is not None
        assert len(found.results) == count
