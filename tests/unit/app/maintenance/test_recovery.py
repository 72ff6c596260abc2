"""Recovery's sweeps, on a real journal."""

from __future__ import annotations

from typing import Any

import pytest

from app.execution.runtime import Runtime
from app.journal.schema.rows import Aftermath
from app.maintenance import recovery
from app.maintenance.recovery import Recovery


@pytest.mark.parametrize("outage", [False, True])
def test_after_an_outage_that_everybody_saw_nobodys_steps_are_taken_over(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, outage: bool
) -> None:
    """All leases ran out; whoever lives comes back within another lease."""
    looked: list[str] = []

    class Findings:
        take_duty = staticmethod(lambda _: True)
        late_joins = staticmethod(lambda _: Aftermath())

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

    def late_joins(limit: int) -> Aftermath:
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
