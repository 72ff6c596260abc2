from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.execution.acting.hearing import KEPT_LEAST_S, keeps_s, told_now
from app.execution.runtime import Runtime
from app.journal.stores.flows import NewSignal
from celery_agents import names
from tests.unit.app.journal.support import claimed, step

DAY_S = 86_400.0


@pytest.mark.parametrize(("days", "kept_s"), [(30.0, 30 * DAY_S), (0.0, KEPT_LEAST_S)])
def test_what_actors_are_told_is_known_for_a_while_whatever_is_kept(
    runtime: Runtime, days: float, kept_s: float
) -> None:
    """A message may come twice, and whoever asked has to read the answer."""
    settings = runtime.settings.model_copy(update={"keep_days": days})
    about: Any = {"task": names.FLOW, "agent": "actor/Account"}
    claim = claimed(runtime.journal, "one", step("one", **about))
    assert keeps_s(claim, settings) == kept_s
    assert keeps_s(replace(claim, agent=None), settings) is None


@pytest.mark.parametrize(
    ("most", "told"), [(None, [0, 1, 2, 3]), (2, [0, 1, 2]), (1, [0, 1]), (0, [1])]
)
def test_so_many_messages_are_told_and_each_cancellation(most: int | None, told: list[int]) -> None:
    kinds: Any = ["message", "cancel", "message", "signal"]
    signals = [NewSignal(seq, 1.0, kind) for seq, kind in enumerate(kinds)]
    assert [one.seq for one in told_now(signals, most)] == told
