from __future__ import annotations

from typing import Any

import pytest

from app.journal import Journal
from app.journal.tables.health import Condition


def row(target: str, state: Condition, at: float) -> dict[str, Any]:
    told = {"target": target, "state": state, "since": at, "checked_at": at}
    told |= {"last_ok_at": None, "latency_ms": None, "failures": 0, "successes": 0}
    return {**told, "message": None}


@pytest.mark.parametrize("state", list(Condition))
@pytest.mark.databases("both")
def test_a_judge_sees_what_was_and_says_what_is(journal: Journal, state: Condition) -> None:
    seen: list[dict[str, Any]] = []

    def judge(before: dict[str, Any], at: float) -> list[dict[str, Any]]:
        seen.append(before)
        assert at == pytest.approx(journal.targets.ping(), abs=60)
        return [row("agent:a", state, at)]

    before, after = journal.targets.judge(["agent:a", "agent:b"], judge)
    assert (before, [r["state"] for r in after]) == ({}, [state])
    journal.targets.judge(["agent:a"], judge)
    assert [set(found) for found in seen] == [set(), {"agent:a"}]
    assert [(r["target"], r["state"]) for r in journal.targets.read()] == [("agent:a", state)]
    assert journal.targets.in_state(state, 60) == {"agent:a"}
    assert journal.targets.in_state("another", 60) == frozenset()
