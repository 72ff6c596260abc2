"""A run that ends gets the step that tells of it in the same transaction, however it ends."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, select

from app.journal import Journal
from app.journal.schema.models import Step
from app.journal.schema.rows import Claimed, NewStep
from app.journal.steps import cancels, compensations, dead_letters
from celery_agents import names
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.contracts.patterns import Delivery
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    World,
    claimed,
    expand,
    finished,
    plan,
    step,
)

URL = "https://example.com/hook"
CANCELLED = Outcome(state=State.CANCELLED, error=ErrorInfo(kind="cancelled", message="no"))


def asked(run_id: str = "s", webhook: Any = URL, **about: Any) -> NewStep:
    """A run as a message asks for it."""
    ask = Ask.model_validate({"agent": "a", "webhook": webhook})
    about = {"priority": 3, "tenant": "acme", **about}
    options = ask.message_options()
    return NewStep.of_run(ask, ["hello"], options, id=run_id, task=names.ASK, queue="q", **about)


def told(world: World) -> list[Any]:
    with world.engine.connect() as c:
        return list(c.execute(select(Step.__table__).where(Step.task == names.WEBHOOK)))


def end(journal: Journal, claim: Claimed, outcome: Outcome, **how: Any) -> Any:
    return journal.finish(claim, outcome, **how).result(SOON)


@pytest.mark.parametrize("outcome", [DONE, FAILED, CANCELLED, Outcome(state=State.DEAD)])
def test_each_end_is_told(world: World, journal: Journal, outcome: Outcome) -> None:
    claim = claimed(journal, "s", asked())
    (wake,) = end(journal, claim, outcome, told=True).wakes
    (row,) = told(world)
    about = (row.run_id, row.parent_id, row.state, row.queue, row.priority, row.tenant)
    assert about == ("s", None, "ready", "q", 3, "acme")
    assert (wake.id, wake.task, wake.tenant) == (row.id, names.WEBHOOK, "acme")
    request = Delivery.from_message(row.payload["args"], row.payload["kwargs"], known=True)
    assert request.to.url == URL
    data = request.event["data"]
    assert isinstance(data, dict)
    assert (request.event["type"], data["id"]) == (f"run.{outcome.state}", "s")
    assert row.max_attempts == request.retry.max_attempts
    assert claimed(journal, row.id).run_id == "s"
    with world.engine.connect() as c:
        runs = c.exec_driver_sql("SELECT id FROM runs").scalars().all()
    assert runs == ["s"]  # it is none of its own


def test_only_the_ends_that_are_wanted(world: World, journal: Journal) -> None:
    for n, outcome in enumerate([DONE, FAILED, CANCELLED]):
        webhook = {"url": URL, "on": ["failed", "dead"]}
        claim = claimed(journal, f"s{n}", asked(f"s{n}", webhook))
        end(journal, claim, outcome, told=True)
    assert [row.run_id for row in told(world)] == ["s1"]


def test_ends_that_no_worker_writes_are_told_too(world: World, journal: Journal) -> None:
    journal.insert(asked("ready")).result(SOON)
    journal.transaction(lambda c: cancels.cancel(c, "ready", journal.rules))
    lost = claimed(journal, "lost", asked("lost"))
    world.set("lost", state="ready", attempts=99, ready_at=0.0)
    assert finished(journal, lost.id).outcome.state is State.DEAD
    parent = claimed(journal, "v", asked("v"))
    journal.expand(parent, plan("a")).result(SOON)
    journal.transaction(lambda c: cancels.cancel(c, "v", journal.rules))
    kinds = {r.run_id: r.payload["kwargs"]["event"]["type"] for r in told(world)}
    assert kinds == {"ready": "run.cancelled", "lost": "run.dead", "v": "run.cancelled"}


def test_an_end_that_is_written_twice_is_told_once(world: World, journal: Journal) -> None:
    claim = claimed(journal, "s", asked())
    first, second = (journal.finish(claim, DONE, told=True) for _ in range(2))
    assert [first.result(SOON).applied, second.result(SOON).applied] == [True, False]
    assert not end(journal, claim, FAILED, told=True).applied
    assert len(told(world)) == 1


def test_one_that_is_requeued_is_told_again(world: World, journal: Journal) -> None:
    claimed(journal, "s", asked())
    world.set("s", state="ready", attempts=99, ready_at=0.0)
    finished(journal, "s")
    journal.transaction(lambda c: dead_letters.requeue_step(c, "s", 10.0))
    end(journal, claimed(journal, "s"), DONE, told=True)
    kinds = [row.payload["kwargs"]["event"]["type"] for row in told(world)]
    assert sorted(kinds) == ["run.dead", "run.succeeded"]
    assert len({row.id for row in told(world)}) == 2


def test_one_that_is_given_up_is_requeued(world: World, journal: Journal) -> None:
    end(journal, claimed(journal, "s", asked()), DONE, told=True)
    (row,) = told(world)
    end(journal, claimed(journal, row.id), Outcome(state=State.DEAD))
    assert [r.id for r in told(world)] == [row.id]  # nobody is told of that
    wake = journal.transaction(lambda c: dead_letters.requeue_step(c, row.id, 10.0))
    assert (wake.id, world.run("s").state) == (row.id, "succeeded")
    assert claimed(journal, row.id).attempt == 1


def test_a_run_is_undone_beside_it(world: World, journal: Journal) -> None:
    """Undoing waits for the run's steps, and not for who tells of it."""
    parent = claimed(journal, "p", asked("p"))
    journal.expand(parent, plan("a")).result(SOON)
    (key,) = [r.id for r in _members(world)]
    undoable = DONE.model_copy(update={"compensation": Compensation(agent="u")})
    end(journal, claimed(journal, key), undoable)
    wakes = end(journal, claimed(journal, "p"), FAILED, told=True).wakes
    assert {w.task for w in wakes} == {names.COMPENSATE, names.WEBHOOK}
    assert journal.transaction(lambda c: compensations.let_go(c, "p")) is None
    assert [row.state for row in told(world)] == ["ready"]


def _members(world: World) -> list[Any]:
    with world.engine.connect() as c:
        return list(c.execute(select(Step.__table__).where(Step.parent_id.is_not(None))))


def statements(journal: Journal, work: Any) -> list[str]:
    """The statements that a piece of work sends."""
    sent: list[str] = []
    heard = ("before_cursor_execute", lambda *told: sent.append(told[2]))
    event.listen(journal.engine, *heard)
    try:
        work()
    finally:
        event.remove(journal.engine, *heard)
    return sent


@pytest.mark.parametrize("outcome", [DONE, FAILED])
def test_a_run_without_one_costs_nothing(journal_url: str, outcome: Outcome) -> None:
    world = World(journal_url)  # its connections know no statement by its name yet
    journal = world.journal()

    def sent(webhook: Any) -> list[str]:
        claim = claimed(journal, f"s{webhook}", asked(f"s{webhook}", webhook))
        how = {"told": webhook is not None}
        return statements(journal, lambda: end(journal, claim, outcome, **how))

    bare = [s for s in sent(None) if "steps" in s]
    assert len(bare) == 1, bare  # its own end
    assert not any("INSERT" in s for s in bare)
    assert any("INSERT" in s for s in sent(URL))
    assert [row.run_id for row in told(world)] == [f"s{URL}"]
    world.close()


def test_members_tell_nobody(world: World, journal: Journal) -> None:
    (a,) = expand(journal, "p", plan("a"))
    end(journal, a, FAILED)
    assert told(world) == []
    assert step().envelope is None
