"""The task on a real journal, in a runtime that only notes what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agents.catalog.registry import Registered, Registry
from agents.plan import Expand, JoinPolicy
from app.execution.context import Step
from app.journal.schema.rows import Aftermath, Claimed
from celery_agents.contracts.compensation import Compensation, compensation_id
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.contracts.patterns import Compensate
from celery_agents.errors import InvalidPayloadError, RunBusyError
from tasks.compensate import compensate
from tests.unit.app.journal.support import SOON, World, claimed, expand, ids, member, plan

BY = Compensation(agent="undoes")
DONE = Outcome(state=State.SUCCEEDED, value="ticket", compensation=BY)
FAILED = Outcome(state=State.FAILED, error=ErrorInfo(kind="agent_failed", message="no"))
U = compensation_id("p")


@pytest.fixture
def world(sqlite_journal_url: str) -> Iterator[World]:
    made = World(sqlite_journal_url)
    yield made
    made.close()


class Bench:
    """A run, and its compensating step under one claim after the other."""

    def __init__(self, world: World) -> None:
        self.journal = world.journal()
        self.told: list[Aftermath] = []
        registry = Registry(cast("Any", None))
        registry._add(Registered("a", "any", "", "effect", cast("Any", None), compensation=BY))
        runtime = SimpleNamespace(
            journal=self.journal,
            follow=self.told.append,
            agents=SimpleNamespace(registry=registry),
        )
        self.runtime = cast("Any", runtime)

    def end(self, claim: Claimed, outcome: Outcome) -> list[str]:
        return ids(self.journal.finish(claim, outcome).result(SOON).wakes)

    def turn(self, claim: Claimed) -> Any:
        return compensate.run(Step(self.runtime, claim), Compensate(run_id="p"))

    def ask(self, claim: Claimed) -> Claimed:
        """The member that it wants, under way."""
        found = self.turn(claim)
        assert isinstance(found, Expand)
        made = self.journal.expand(claim, found).result(SOON)
        return claimed(self.journal, made.members[0].id)


@pytest.fixture
def bench(world: World) -> Bench:
    return Bench(world)


def test_from_the_end_of_a_run_to_its_report(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    a, b, c = expand(bench.journal, "p", plan("a", "b", "c"))
    bench.end(a, DONE)
    bench.end(b, DONE)
    bench.end(c, FAILED)
    assert bench.end(claimed(bench.journal, "p"), FAILED) == [U]
    first = bench.ask(claimed(bench.journal, U))
    assert (first.member, first.agent, first.payload["args"][0]["input"]) == (b.id, "undoes", "b")
    bench.end(first, FAILED)
    second = bench.ask(claimed(bench.journal, U))
    assert second.member == a.id
    bench.end(second, Outcome(state=State.SUCCEEDED))
    found = bench.turn(claimed(bench.journal, U))
    assert found.state is State.DEAD
    report = found.value
    assert [one["step"] for one in report["compensated"]] == [a.id]
    assert [one["step"] for one in report["failed"]] == [b.id]
    assert report["uncertain"] == [{"step": c.id, "agent": "a", "by": "undoes", "state": "failed"}]
    assert "1 of 2 steps of the run p could not be undone" in caplog.text


def test_it_waits_until_all_is_quiet(bench: Bench) -> None:
    a, b = expand(bench.journal, "p", plan("a", "b"))
    bench.end(a, DONE)
    assert U in ids(bench.journal.cancel("p").wakes)
    claim = claimed(bench.journal, U)
    with pytest.raises(RunBusyError):
        bench.turn(claim)
    assert bench.told == [Aftermath(cancels=[b.id])]  # once more, to be sure
    bench.end(b, DONE)  # but was done before it heard of it
    last = bench.ask(claimed(bench.journal, U))
    assert last.member == b.id


def test_it_does_not_wait_for_ever(world: World, bench: Bench) -> None:
    a, _ = expand(bench.journal, "p", plan("a", "b"))
    bench.end(a, DONE)
    bench.journal.cancel("p")
    world.set(U, attempts=29)
    assert bench.ask(claimed(bench.journal, U)).member == a.id


def test_what_a_hedge_left_behind_is_stopped(world: World, bench: Bench) -> None:
    a, b = expand(
        bench.journal,
        "p",
        Expand(
            members=(member("a"), member("b")),
            join=JoinPolicy(kind="first", timeout_s=60, keep=True),
        ),
    )
    world.set_join("p", deadline_at=lambda clock: clock - 1)
    parent = claimed(bench.journal, "p")
    bench.end(a, DONE)
    assert bench.end(parent, FAILED) == [U]
    with pytest.raises(RunBusyError):
        bench.turn(claimed(bench.journal, U))
    assert bench.told == [Aftermath(cancels=[b.id])]


def test_nobody_can_ask_for_it(bench: Bench) -> None:
    (a,) = expand(bench.journal, "p", plan("a"))
    bench.end(a, DONE)
    for own in (a, claimed(bench.journal, "p")):
        with pytest.raises(InvalidPayloadError):
            bench.turn(own)
