from __future__ import annotations

from typing import Any

import pytest

from agents.patterns.fallback.pattern import advance, exceeded
from agents.patterns.members import given
from agents.plan import Expand, MemberState
from celery_agents import names
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.patterns import Fallback
from celery_agents.errors import AllCandidatesFailedError


def chain(*candidates: Any, **more: Any) -> Fallback:
    return Fallback.model_validate({"input": "question", "candidates": candidates, **more})


def ok(key: str, value: str = "yes") -> MemberState:
    done = Outcome(state=State.SUCCEEDED, value=value, agent=key, usage=Usage(calls=1))
    return MemberState(key=key, state=State.SUCCEEDED, outcome=done)


def failed(key: str, kind: str = "timeout") -> MemberState:
    error = ErrorInfo(kind=kind, message=f"{key} is late")
    done = Outcome(state=State.FAILED, error=error, agent=key, usage=Usage(calls=1))
    return MemberState(key=key, state=State.FAILED, outcome=done)


def state(key: str, what: State) -> MemberState:
    outcome = Outcome(state=what) if what.final else None
    return MemberState(key=key, state=what, outcome=outcome)


def asked(found: Expand | Outcome) -> list[str]:
    assert isinstance(found, Expand)
    return [m.key for m in found.members]


IN_ORDER = ("a", {"agent": "c", "priority": 2}, {"agent": "b", "priority": 1})
ON = ("a", {"agent": "b", "on": ["timeout"]}, {"agent": "c", "on": ["refused"]})


@pytest.mark.parametrize(
    ("candidates", "members", "expected"),
    [
        (IN_ORDER, [], ["a"]),
        (IN_ORDER, [failed("a")], ["b"]),
        (IN_ORDER, [failed("a"), failed("b")], ["c"]),
        (ON, [], ["a"]),
        (ON, [failed("a", "timeout")], ["b"]),
        (ON, [failed("a", "refused")], ["c"]),
        (ON, [failed("a", "timeout"), failed("b", "refused")], ["c"]),
        (("a", "a"), [failed("a")], ["a#2"]),
    ],
)
def test_sequential(candidates: Any, members: list[MemberState], expected: list[str]) -> None:
    found = advance(chain(*candidates), members, step_id="s", remaining_s=7)
    assert asked(found) == expected
    assert isinstance(found, Expand)
    assert (found.join.kind, found.join.timeout_s, found.join.keep) == ("all", 7, False)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([], ["a"]),
        ([failed("a", "timeout")], ["b"]),
        ([failed("a", "other")], None),
    ],
)
def test_parallel_starts_all_that_may(
    members: list[MemberState], expected: list[str] | None
) -> None:
    request = chain("a", {"agent": "b", "on": ["timeout"]}, strategy="parallel")
    if expected is None:
        with pytest.raises(AllCandidatesFailedError):
            advance(request, members, step_id="s")
        return
    found = advance(request, members, step_id="s")
    assert asked(found) == expected
    assert isinstance(found, Expand)
    assert found.join.kind == "first"


def test_parallel_races() -> None:
    assert asked(advance(chain(*"abc", strategy="parallel"), [], step_id="s")) == ["a", "b", "c"]


@pytest.mark.parametrize("strategy", ["sequential", "parallel", "weighted", "adaptive", "hedged"])
def test_the_first_success_is_the_answer(strategy: str) -> None:
    members = [failed("a"), ok("b", "this"), state("c", State.RUNNING), state("d", State.SKIPPED)]
    found = advance(chain(*"abcd", strategy=strategy), members, step_id="s")
    assert found == Outcome(state=State.SUCCEEDED, value="this", agent="b", usage=Usage(calls=2))


def test_the_error_carries_every_candidates() -> None:
    members = [failed("a"), failed("b", "refused"), state("c", State.RUNNING)]
    with pytest.raises(
        AllCandidatesFailedError, match=r"All 3 candidates failed\. a: a is late"
    ) as e:
        advance(chain(*"abc", strategy="parallel"), members, step_id="s", remaining_s=0)
    assert e.value.details == {
        "errors": {
            "a": {"kind": "timeout", "message": "a is late"},
            "b": {"kind": "refused", "message": "b is late"},
            "c": {"kind": "timeout", "message": "did not end in time"},
        }
    }


@pytest.mark.parametrize("value", ["sorry", None, 0])
def test_a_default_answers_for_all_of_them(value: Any) -> None:
    request = chain("a", default={"value": value})
    found = advance(request, [failed("a")], step_id="s")
    assert found == Outcome(state=State.SUCCEEDED, value=value, usage=Usage(calls=1))


def test_no_candidate_starts_after_the_end() -> None:
    with pytest.raises(AllCandidatesFailedError):
        advance(chain("a", "b"), [failed("a")], step_id="s", remaining_s=-0.1)


def test_what_a_candidate_is_asked() -> None:
    request = chain(
        {"agent": "a", "timeout_s": 4},
        retry={"max_attempts": 2},
        instructions="Be brief.",
        answer_schema={"type": "string"},
    )
    found = advance(request, [], step_id="s")
    assert isinstance(found, Expand)
    (one,) = found.members
    assert (one.task, one.agent, one.input) == (names.ASK, "a", "question")
    assert (one.max_attempts, one.deadline_s) == (2, 4)
    assert one.options == {
        "agent": "a",
        "retry": {"max_attempts": 2},
        "deadline_s": 4,
        "instructions": "Be brief.",
        "answer_schema": {"type": "string"},
    }


@pytest.mark.parametrize("strategy", ["weighted", "adaptive", "hedged"])
def test_every_strategy_tries_everybody_once(strategy: str) -> None:
    members: list[MemberState] = []
    request = chain(*"abcd", strategy=strategy)
    for _ in "abcd":
        (key,) = asked(advance(request, members, step_id="s"))
        members.append(failed(key))
    assert sorted(m.key for m in members) == list("abcd")
    with pytest.raises(AllCandidatesFailedError):
        advance(request, members, step_id="s")


def test_masked_candidates_are_asked_when_nobody_else_is_left() -> None:
    request = chain("a", "b")
    assert asked(advance(request, [], step_id="s", masked={"a"})) == ["b"]
    assert asked(advance(request, [failed("b")], step_id="s", masked={"a"})) == ["a"]


def test_a_hedge_runs_beside_the_slow_one() -> None:
    request = chain("a", "b", strategy="hedged", hedge={"delay_s": 3})
    first = advance(request, [], step_id="s")
    assert isinstance(first, Expand)
    assert (asked(first), first.join.timeout_s, first.join.keep) == (["a"], 3, True)


@pytest.mark.parametrize(
    ("remaining_s", "join"),
    [(None, (3, True)), (10, (3, True)), (3, (3, False)), (2, (2, False)), (0.1, (0.1, False))],
)
def test_nobody_runs_on_beyond_the_whole_time(
    remaining_s: float | None, join: tuple[float, bool]
) -> None:
    request = chain(*"abc", strategy="hedged", hedge={"delay_s": 3})
    found = advance(request, [], step_id="s", remaining_s=remaining_s)
    assert isinstance(found, Expand)
    assert (found.join.timeout_s, found.join.keep) == join


def test_options_that_say_nothing_are_left_out() -> None:
    assert given(a=None, b={}, c=0, d="", e=[]) == {"c": 0, "d": "", "e": []}


@pytest.mark.parametrize(
    ("candidates", "members", "masked", "expected"),
    [
        (("a", "b"), [], (), {"a": "fail"}),  # it may be refused now: b is there
        (("a", "b"), [failed("a")], (), {"b": None}),  # nobody is: it waits
        (("a",), [], (), {"a": None}),
        (("a", "b", "c"), [], ("a",), {"b": "fail"}),
        (("a", "b"), [], ("a", "b"), {"a": "fail"}),
        (("a", "b"), [], ("b",), {"a": None}),  # nobody waits for b's breaker instead
    ],
)
def test_only_the_last_one_waits_when_it_is_refused(
    candidates: Any, members: list[MemberState], masked: Any, expected: dict[str, str | None]
) -> None:
    found = advance(chain(*candidates), members, step_id="s", masked=masked)
    assert isinstance(found, Expand)
    assert {m.key: m.options.get("when_open") for m in found.members} == expected


@pytest.mark.parametrize(
    ("on", "failures", "expected"),
    [
        (["rate_limited"], (), ["rate_limited"]),
        (["breaker_open", "timeout"], (), ["breaker_open"]),
        (["rate_limited", "breaker_open"], (), ["breaker_open", "rate_limited"]),
        (["rate_limited", "breaker_open", "limited"], (), "fail"),
        (["unavailable"], (), None),  # it would not take over
        (["unavailable"], ("x",), "fail"),  # x has failed that way
    ],
)
def test_who_is_refused_gives_way_to_those_who_may_take_over(
    on: list[str], failures: tuple[str, ...], expected: Any
) -> None:
    backup = {"agent": "b", "on": on}
    request = chain(*failures, "a", backup)
    found = advance(request, [failed(f, "unavailable") for f in failures], step_id="s")
    assert isinstance(found, Expand)
    assert [m.options.get("when_open") for m in found.members] == [expected]


@pytest.mark.parametrize("strategy", ["parallel", "hedged"])
def test_those_who_run_beside_each_other_wait_when_nobody_comes_after(strategy: str) -> None:
    request = chain("a", "b", strategy=strategy, hedge={"delay_s": 3, "share": 1})
    last = advance(request, [] if strategy == "parallel" else [failed("a")], step_id="s")
    assert isinstance(last, Expand)
    assert {m.options.get("when_open") for m in last.members} == {None}


def test_the_largest_model_that_it_was_too_long_for_is_told() -> None:
    def too_long(key: str, **details: Any) -> MemberState:
        error = ErrorInfo(kind="context_exceeded", message="too long", details=details)
        done = Outcome(state=State.FAILED, error=error, agent=key)
        return MemberState(key=key, state=State.FAILED, outcome=done)

    assert exceeded([failed("a"), ok("b")]) is None
    assert exceeded([too_long("a", context_tokens=8), too_long("b", context_tokens=200)]) == 200
    assert exceeded([too_long("a"), failed("b")]) is None
