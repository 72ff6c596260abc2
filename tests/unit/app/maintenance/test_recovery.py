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
