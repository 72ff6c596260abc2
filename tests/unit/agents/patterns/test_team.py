from __future__ import annotations

from typing import Any

import pytest

from agents.patterns.team import LEAD, PICKER, Staff, Turned, advance, parts
from agents.plan import Expand, MemberState
from celery_agents import names
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.teams.team import PARTS_MAX, Team, TeamReport
from celery_agents.errors import InvalidPayloadError

REQUEST = Team(lead="boss", input="Do it.", instructions="Be quick.", max_steps=9)


def turn(id: str, parent: str, who: str, calls: int, cost_usd: float | None = None) -> Turned:  # noqa: A002
    usage = Usage(calls=calls, cost_usd=cost_usd)
    about: Any = {"task": f"task of {id}", "error": None, "duration_s": 1.0, "depth": 0}
    return Turned(id, parent, who, state=State.SUCCEEDED, usage=usage, **about)


TREE = [turn("l", "t", "boss", 6, 0.6), turn("a", "l", "x", 3, 0.3), turn("b", "a", "y", 1, 0.1)]


def lead(state: State = State.SUCCEEDED, **about: Any) -> MemberState:
    usage = Usage(calls=6, cost_usd=0.6)
    return MemberState(key=LEAD, state=state, outcome=Outcome(state=state, usage=usage, **about))


def test_the_lead_is_asked_first_and_reports_what_others_did() -> None:
    plan = advance(REQUEST, [], turned=list, remaining_s=5.0)
    assert isinstance(plan, Expand)
    (member,) = plan.members
    assert (member.key, member.task, member.agent, member.input) == (
        *(LEAD, names.ASK, "boss", "Do it."),
    )
    assert member.options == {"agent": "boss", "instructions": "Be quick.", "repeats": {}}
    asked = advance(REQUEST.model_copy(update={"repeats": "ask"}), [], turned=list)
    assert isinstance(asked, Expand)
    assert "repeats" not in asked.members[0].options
    assert plan.join.timeout_s == 5.0
    outcome = advance(REQUEST, [lead(value="Done.", agent="other")], turned=lambda: TREE)
    assert isinstance(outcome, Outcome)
    report = TeamReport.model_validate(outcome.value)
    assert (report.value, report.agent, report.usage) == ("Done.", "other", outcome.usage)
    told = [(p.agent, p.asked_by, p.task, p.usage.calls) for p in report.parts]
    assert told == [
        *(
            ("boss", None, "task of l", 3),
            ("x", "boss", "task of a", 2),
            ("y", "x", "task of b", 1),
        ),
    ]
    assert sum(p.usage.cost_usd or 0 for p in report.parts) == pytest.approx(0.6)


def test_a_failed_lead_is_a_failed_team_with_a_report() -> None:
    error = ErrorInfo(kind="agent_failed", message="no", details={"more": 1})
    outcome = advance(REQUEST, [lead(State.FAILED, error=error)], turned=lambda: TREE)
    assert isinstance(outcome, Outcome)
    assert outcome.error is not None
    assert outcome.error.message == "no"
    assert outcome.error.details["more"] == 1
    assert len(TeamReport.model_validate(outcome.error.details["report"]).parts) == len(TREE)
    assert outcome.usage.calls == 6


def test_a_lead_that_did_not_end_in_time_is_late() -> None:
    running = MemberState(key=LEAD, state=State.RUNNING)
    outcome = advance(REQUEST, [running], turned=lambda: TREE[:1], remaining_s=0.0)
    assert isinstance(outcome, Outcome)
    assert outcome.error is not None
    assert outcome.error.kind == "timeout"


def test_turns_of_one_agent_add_up_and_unknown_costs_stay_unknown() -> None:
    tree = [*TREE, turn("c", "l", "y", 2, None)]
    report = TeamReport(value=None, parts=parts(tree))
    assert report.by_agent["y"] == Usage(calls=3, cost_usd=None)
    assert report.by_agent["boss"] == Usage(calls=1, cost_usd=None)


def test_a_step_that_failed_before_its_members_were_counted_has_its_own_cost() -> None:
    found = parts([turn("l", "t", "boss", 1, 0.1), turn("a", "l", "x", 3, 0.3)])
    assert found[0].usage == Usage(calls=1, cost_usd=0.1)


def test_a_report_of_very_many_is_cut() -> None:
    many = [turn(str(n), "t", "x", 1) for n in range(PARTS_MAX + 3)]
    outcome = advance(REQUEST, [lead(value=1)], turned=lambda: many)
    assert isinstance(outcome, Outcome)
    report = TeamReport.model_validate(outcome.value)
    assert (len(report.parts), report.left_out) == (PARTS_MAX, 3)


# -- members for the task

POET = {"base": "writer", "name": "poet", "tools": []}


def picked(value: Any, state: State = State.SUCCEEDED) -> MemberState:
    outcome = Outcome(state=state, value=value, usage=Usage(calls=2, cost_usd=0.1))
    return MemberState(key=PICKER, state=state, outcome=outcome)


def of(members: Any) -> Team:
    return Team.from_message(["Do it."], {"lead": "boss", "members": members})


def test_members_stand_in_the_leads_row() -> None:
    plan = advance(of(["critic", POET]), [], turned=list)
    assert isinstance(plan, Expand)
    (member,) = plan.members
    told = {"base": "boss", "members": [{"base": "critic"}, POET]}
    assert (member.key, member.options["spec"]) == (LEAD, told)


def test_an_agent_says_who_the_members_are() -> None:
    request, staff = of("staffing"), Staff(bases=("writer",), told="- writer: Writes.")
    plan = advance(request, [], turned=list, staff=staff)
    assert isinstance(plan, Expand)
    (picker,) = plan.members
    assert (picker.key, picker.agent, picker.input) == (PICKER, "staffing", "Do it.")
    assert str(picker.options["instructions"]).endswith("- writer: Writes.")
    schema: Any = picker.options["answer_schema"]
    assert schema["items"]["properties"]["base"] == {"type": "string", "enum": ["writer"]}
    plan = advance(request, [picked([POET])], turned=list, staff=staff)
    assert isinstance(plan, Expand)
    assert plan.members[0].options["spec"] == {"base": "boss", "members": [POET]}
    outcome = advance(request, [picked([POET]), lead(value="Done.")], turned=lambda: TREE)
    assert isinstance(outcome, Outcome)
    assert outcome.usage.calls == 6 + 2
    assert outcome.usage.cost_usd == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (picked([{"base": "treasurer"}]), "'treasurer' is none that may be chosen"),
        (picked([POET, POET]), "two are named 'poet'"),
        (picked("anybody"), "members: "),
        (picked([{"base": "writer", "api_key_env": "X"}]), "members: "),
        (picked(None, State.FAILED), "Nobody said the members"),
        (MemberState(key=PICKER, state=State.RUNNING), "Nobody said the members: The time"),
    ],
)
def test_members_that_are_none(found: MemberState, why: str) -> None:
    outcome = advance(of("staffing"), [found], turned=list, staff=Staff(bases=("writer",)))
    assert isinstance(outcome, Outcome)
    assert outcome.error is not None
    assert why in outcome.error.message
    assert outcome.usage.calls == (0 if found.outcome is None else 2)


def test_members_that_their_bases_cannot_be() -> None:
    def check(members: Any) -> None:
        raise InvalidPayloadError(f"{len(members)} are too many")

    outcome = advance(of(["a", "b"]), [], turned=list, staff=Staff(check))
    assert isinstance(outcome, Outcome)
    assert outcome.error is not None
    assert (outcome.error.kind, outcome.error.message) == ("invalid_payload", "2 are too many")
