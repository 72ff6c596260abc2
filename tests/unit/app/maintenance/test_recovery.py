"""Recovery's sweeps, on a real journal."""

from __future__ import annotations

from typing import Any

import pytest

from app.execution.runtime import Runtime
from app.maintenance import recovery
from app.maintenance.recovery import Recovery


@pytest.mark.parametrize("outage", [False, True])
def test_after_an_outage_that_everybody_saw_nobodys_steps_are_taken_over(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, outage: bool
) -> None:
    """All leases ran out; whoever lives comes back within another lease."""
    looked: list[str] = []

    class Findings:
        take_duty = late_joins = staticmethod(lambda _: True)

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
