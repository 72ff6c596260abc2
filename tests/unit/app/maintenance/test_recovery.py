"""Recovery's sweeps, on a real journal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agents.plan import AwaitedAny, Expand, JoinPolicy
from app.execution.runtime import Runtime
from app.journal.schema.rows import Aftermath
from app.maintenance import recovery
from app.maintenance.recovery import Recovery
from celery_agents import names
from celery_agents.errors import JournalUnavailableError
from tests.unit.app.journal.support import claimed, step


@pytest.mark.parametrize("outage", [False, True])
def test_after_an_outage_that_everybody_saw_nobodys_steps_are_taken_over(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, outage: bool
) -> None:
    """All leases ran out; whoever lives comes back within another lease."""
    looked: list[str] = []

    class Findings:
        take_duty = staticmethod(lambda _: True)
        late_joins = staticmethod(lambda *_: Aftermath())

        def wanting(self, kind: str, limit: int, **_: Any) -> list[Any]:
            looked.append(kind)
            return []

    made = Recovery(runtime)
    made._findings = Findings()  # type: ignore[assignment]
    monkeypatch.setattr(Runtime, "follow", lambda *_: None)
    monkeypatch.setattr(type(runtime.outage), "lasts", property(lambda _: outage))
    monkeypatch.setattr(recovery, "dead_letters_of", lambda _: type("D", (), {"take_in": int})())
    monkeypatch.setattr(made, "_take_in", lambda _: 0)
    monkeypatch.setattr(made._intake, "depth", lambda _: 0)
    made.sweep()
    assert ("orphaned" in looked) == (not outage)
    assert {"unsettled", "unwoken"} <= {*looked}


def test_all_are_woken_whose_time_has_come_however_many_sleep(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch a second would let the last of thousands wait for long."""
    left, woken = [*range(2_345)], list[int]()
    made = Recovery(runtime)

    def late_joins(limit: int, _: float) -> Aftermath:
        found, left[:] = left[:limit], left[limit:]
        wakes: Any = found
        return Aftermath(wakes=wakes)

    def follow(_: Runtime, after: Aftermath) -> None:
        wakes: Any = after.wakes
        woken.extend(wakes)

    monkeypatch.setattr(made._findings, "late_joins", late_joins)
    monkeypatch.setattr(Runtime, "follow", follow)
    made._ring(500)
    assert woken == [*range(2_345)]


@pytest.mark.parametrize("quick", [True, False])
def test_flows_are_woken_in_its_own_slots_as_long_as_those_before_go_on(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    """Then by messages, which others take, too."""
    left, sent, taken = [*range(150)], list[int](), list[int]()
    made = Recovery(runtime)

    def found(limit: int, *_: Any) -> list[int]:
        some, left[:] = left[:limit], left[limit:]
        return some

    class Own:
        room, queues = 40, ("agents",)

        def take(self, due: list[int], *, bulk: bool) -> Any:
            assert bulk == (len(due) == self.room)
            taken.extend(due)
            return SimpleNamespace(wait=lambda left_s: quick and left_s > 0)

    def follow(_: Runtime, after: Aftermath) -> None:
        wakes: Any = after.wakes
        sent.extend(wakes)

    made._own = Own()  # type: ignore[assignment]
    monkeypatch.setattr(made._findings, "take_flows", found)
    monkeypatch.setattr(made._findings, "late_joins", lambda n, _: Aftermath(wakes=found(n)))  # type: ignore[arg-type]
    monkeypatch.setattr(Runtime, "follow", follow)
    made._ring(500)
    assert [*taken, *sent] == [*range(150)]
    assert len(taken) == (150 if quick else 40)


@pytest.mark.parametrize(("has_duty", "ago_s"), [(True, 2.0), (False, 2.25)])
def test_what_is_due_as_it_takes_flows_is_left_to_its_next_look(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, has_duty: bool, ago_s: float
) -> None:
    """By messages go those alone that it could not take; nor at once where another has the duty."""
    made, clock, asked = Recovery(runtime), [100.0], list[float]()

    def late_joins(_: int, ago_s: float) -> Aftermath:
        asked.append(ago_s)
        return Aftermath()

    made._has_duty = has_duty
    monkeypatch.setattr(recovery, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(made, "_ring_here", lambda: clock.append(clock.pop() + 2.0))
    monkeypatch.setattr(made._findings, "late_joins", late_joins)
    made._ring(500)
    assert asked == [pytest.approx(ago_s)]


def test_flows_that_it_takes_at_once_keep_it_from_a_sweep_for_a_bounded_time(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, clock, asked = Recovery(runtime), [100.0], list[float]()

    def found(limit: int, *_: Any) -> list[int]:
        clock[0] += 0.4
        asked.append(clock[0])
        assert len(asked) < 10
        return [*range(limit)]

    class Own:
        room, queues = 4, ("agents",)

        def take(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(wait=lambda _: True)

    made._own = Own()  # type: ignore[assignment]
    monkeypatch.setattr(recovery, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(made._findings, "take_flows", found)
    made._ring_here()
    assert len(asked) == 4


@pytest.mark.parametrize(("left_s", "pause_s"), [(0.0, 0.05), (0.5, 0.55), (60.0, 1.0)])
def test_who_has_not_the_duty_looks_again_as_it_ends(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, left_s: float, pause_s: float
) -> None:
    """A worker that is killed would else leave it for an interval more."""
    made = Recovery(runtime)
    monkeypatch.setattr(made._findings.__class__, "take_duty", lambda *_: False)
    monkeypatch.setattr(made._findings.__class__, "duty_left", lambda _: left_s)
    assert made._pause_s() == made._settings.recovery_interval_s
    assert made.sweep() == 0
    assert made._settings.recovery_interval_s == 1.0
    assert made._pause_s() == pytest.approx(pause_s)


@pytest.mark.parametrize(("has_duty", "after_s"), [(True, 0.0), (False, 0.05)])
def test_they_are_woken_at_their_time_and_not_at_the_next_sweep(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, has_duty: bool, after_s: float
) -> None:
    """Also by those who have not the duty, a moment later: whoever has it may be dead."""
    made = Recovery(runtime)
    made._has_duty = has_duty
    clock, due, rung = [100.0], [100.4, 100.41, 103.0], list[float]()

    def wait(seconds: float) -> bool:
        clock[0] += seconds
        return False

    def ring(_: int) -> None:
        rung.append(clock[0])
        due[:] = [at for at in due if at > clock[0]]

    monkeypatch.setattr(recovery, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(made, "_pause", wait)
    monkeypatch.setattr(made, "_ring", ring)
    monkeypatch.setattr(
        made._findings.__class__, "next_late", lambda _: min(due) - clock[0] if due else None
    )
    left_s = made._ring_in_time(1.0)
    assert rung[0] == pytest.approx(100.4 + after_s)
    assert due == [103.0]
    assert len(rung) <= 2, "not once for each"
    assert clock[0] + left_s == pytest.approx(101.0)
    due.clear()
    assert made._ring_in_time(1.0) == 1.0


def test_claims_that_came_to_nothing_are_given_back_at_once_and_their_wakes_sent(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But no claim of after; also behind an outage, and before this worker ends."""
    journal, sent, outage = runtime.journal, list[str](), [True]

    def publish(_: Any, wakes: list[Any]) -> None:
        if outage.pop():
            raise JournalUnavailableError("away")
        sent.extend(wake.id for wake in wakes)

    monkeypatch.setattr(recovery, "publish", publish)
    given = [claimed(journal, name, step(name)) for name in ("dropped", "again")]
    journal.give_back(["again"])
    assert claimed(journal, "again").token == 2
    made = Recovery(runtime)
    monkeypatch.setattr(made._own, "returned", lambda: [given.pop() for _ in [*given]])
    made._own.returns()
    assert not made._pause(60.0)
    outage.append(False)
    assert not made._pause(0.0)
    assert sent == ["dropped"]
    outage.append(False)
    given.append(claimed(journal, "dropped"))
    made._own.returns()
    made._stopped.set()
    assert made._pause(60.0)
    assert sent == ["dropped", "dropped"]


def test_one_that_stays_late_keeps_no_sweep_waiting(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Recovery(runtime)
    clock, rung = [100.0], list[float]()

    def wait(seconds: float) -> bool:
        clock[0] += seconds
        return False

    monkeypatch.setattr(recovery, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(made, "_pause", wait)
    monkeypatch.setattr(made, "_ring", rung.append)
    monkeypatch.setattr(made._findings.__class__, "next_late", lambda _: -5.0)
    assert made._ring_in_time(1.0) == 0.0
    assert clock[0] < 101.1
    assert len(rung) <= 21


def test_the_next_one_is_known(runtime: Runtime) -> None:
    journal = runtime.journal
    assert journal.findings.next_late() is None
    for step_id, timeout_s in (("a", 500.0), ("b", 50.0), ("c", None)):
        claim = claimed(journal, step_id, step(step_id, task=names.FLOW, agent=None))
        join = JoinPolicy(kind="any", timeout_s=timeout_s)
        plan = Expand(members=(), join=join, awaited=AwaitedAny(open=("x",)))
        assert journal.expand(claim, plan).result(20).applied
    left_s = journal.findings.next_late()
    assert left_s is not None
    assert 0 < left_s <= 50
