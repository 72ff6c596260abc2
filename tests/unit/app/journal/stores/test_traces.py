"""Runs that have ended are told once, from the time on at which somebody began to tell."""

from __future__ import annotations

import json

import pytest

from app.journal import Journal
from app.journal.queries.traced import TracedRun, session_in
from app.journal.schema.rows import NewStep
from app.journal.schema.sealed import sealed_answer
from app.journal.stores.parents import Parents
from app.journal.stores.traces import Traces
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.noted import counts
from celery_agents.sealing import Seals
from celery_agents.traces import TraceParent
from celery_agents.wire.ids import new_id
from tests.support.fernet import fernet_key
from tests.unit.app.journal.support import DONE, SOON, World, claimed, expand, plan, step

CALLER = TraceParent(7, 9)
SECRET, SEALS = "a secret text", Seals([fernet_key("old")])
ODD = '{"traceparent": "00-1-2-01", "args": ['


def traces(world: World, *, delay_s: float = 0.0, backlog_s: float = 3_600.0) -> Traces:
    return Traces(world.engine, "me", delay_s=delay_s, backlog_s=backlog_s)


@pytest.fixture
def told(world: World) -> Traces:
    """Somebody tells already."""
    made = traces(world)
    ended, _ = made.ended(10)
    assert made.told(ended)
    return made


def finish(journal: Journal, run_id: str) -> None:
    journal.finish(claimed(journal, run_id, step(run_id)), DONE).result(SOON)


def take(told: Traces, limit: int = 10) -> list[str]:
    ended, sizes = told.ended(limit)
    assert [*sizes] == [*ended.run_ids]
    assert ended.is_empty or told.told(ended)
    return [*ended.run_ids]


def test_each_run_is_told_once_when_all_its_steps_have_ended(
    journal: Journal, told: Traces
) -> None:
    finish(journal, "r0")
    first, second = expand(journal, "open", plan("a", "b"))
    assert take(told) == ["r0"]
    assert take(told) == []
    finish(journal, "r1")
    journal.finish(first, DONE).result(SOON)
    assert take(told) == ["r1"]
    journal.finish(second, DONE).result(SOON)
    journal.finish(claimed(journal, "open"), DONE).result(SOON)
    assert take(told) == ["open"]
    assert take(told) == []


def test_what_ran_before_is_not_told(world: World, journal: Journal) -> None:
    finish(journal, "before")
    made = traces(world)
    assert take(made) == []
    finish(journal, "after")
    assert take(made) == ["after"]


def test_what_is_older_than_the_backlog_is_passed_over(world: World, journal: Journal) -> None:
    long_ago = traces(world, delay_s=10_000.0)
    assert take(long_ago) == []
    finish(journal, "new")
    finish(journal, "old")
    with world.engine.begin() as c:
        c.exec_driver_sql("UPDATE runs SET created_at = created_at - 5000 WHERE id = 'old'")
    assert take(traces(world)) == ["new"]


def test_of_two_who_tell_at_once_one_is_right(world: World, journal: Journal, told: Traces) -> None:
    finish(journal, "r0")
    other = traces(world)
    mine, theirs = told.ended(10)[0], other.ended(10)[0]
    assert told.told(mine)
    assert not other.told(theirs)
    assert other.ended(10)[0].is_empty


def rows(told: Traces, *run_ids: str, content: bool = False) -> list[TracedRun]:
    return told.rows(run_ids, content=content)


def of_run(run_id: str, value: object, trace: str | None) -> NewStep:
    about = {"id": run_id, "task": "agents.ask", "queue": "q"}
    return NewStep.of_run(Ask(agent="a"), [value], {"agent": "a"}, trace=trace, **about)


@pytest.mark.parametrize("value", ["hello", "\u2028\x00\ud800", {"session": "none"}])
def test_the_session_of_a_run_is_read(journal: Journal, told: Traces, value: object) -> None:
    within, alone = new_id(), new_id()
    about = {"task": "agents.ask", "queue": "q"}
    for run_id, more in ((within, {"session": "ada/7"}), (alone, {})):
        new = NewStep.of_run(Ask(agent="a"), [value], {"agent": "a", **more}, id=run_id, **about)
        journal.finish(claimed(journal, run_id, new), DONE).result(SOON)
    found = [session_in(run.steps[0].asked) for run in rows(told, within, alone)]
    assert found == ["ada/7", None]


@pytest.mark.parametrize("value", [{"traceparent": str(CALLER)}, ODD, "x" * 50_000, None])
def test_a_caller_is_read_from_where_it_stands_alone(
    world: World, journal: Journal, told: Traces, value: object
) -> None:
    alone, called = new_id(), new_id()
    for new in (of_run(alone, value, None), of_run(called, value, str(CALLER))):
        journal.finish(claimed(journal, new.id, new), DONE).result(SOON)
    callers = Parents(world.engine)
    assert callers.caller_of(alone) is None
    assert callers.caller_of(called) == CALLER
    assert [run.caller for run in rows(told, alone, called)] == [None, CALLER]
    assert rows(told, called)[0].steps[0].payload is None
    with_content = rows(told, called, content=True)[0].steps[0]
    assert "args" in with_content.payload


def test_what_is_encrypted_is_told_where_it_is_asked_for(journal_url: str) -> None:
    """The caller and why a model stopped in any case; of another step's value nothing."""
    world = World(journal_url, SEALS)
    journal = world.journal()
    made, other = (of_run(new_id(), SECRET, str(CALLER)) for _ in range(2))
    said = Outcome(state=State.SUCCEEDED, value=SECRET)
    for new in (made, other):
        claim = claimed(journal, new.id, new)
        journal.start_call(claim, 0, "model:gpt", "identity", "key").result(SOON)
        answer = {"value": {"text": SECRET, "stop": "length"}, "usage": {"calls": 1}}
        sealed = sealed_answer(SEALS, answer, claim.id, "identity")
        journal.finish_call(claim, 0, sealed).result(SOON)
        journal.finish(claim, said).result(SOON)
    world.set(other.id, outcome=SEALS.seal_outcome(said, made.id).compact())
    found, moved = rows(traces(world), made.id, other.id, content=True)
    assert found.caller == CALLER
    assert [SECRET in told for told in (found.steps[0].payload, found.steps[0].outcome)] == [
        True
    ] * 2
    assert (SECRET in moved.steps[0].payload, moved.steps[0].outcome) == (True, None)
    assert counts()["traces_unreadable"] == 1
    [bare] = rows(traces(world), made.id)
    assert (bare.caller, bare.steps[0].payload, bare.steps[0].outcome) == (CALLER, None, None)
    [[call]] = bare.calls.values()
    assert json.loads(call.answer)["value"]["stop"] == "length"
    world.close()


def test_with_no_run_there_is_no_caller(world: World) -> None:
    assert Parents(world.engine).caller_of("nobody") is None
