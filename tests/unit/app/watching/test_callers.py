"""Who asked for a run is read once, and the newest ones are remembered."""

from __future__ import annotations

from app.journal.schema.rows import Claimed
from app.watching.callers import CALLERS_MAX, Callers, RunCaller
from celery_agents.names import TRACE
from celery_agents.traces import TraceParent
from tests.support.claims import claim


def member_of(run_id: str) -> Claimed:
    return claim(run_id=run_id)


def test_the_newest_ones_are_remembered() -> None:
    callers = Callers(lambda run_id: TraceParent(int(run_id) + 1, 1))
    assert callers.at_hand(member_of("0")) is None
    for n in range(CALLERS_MAX + 1):
        callers.read(str(n))
    assert callers.at_hand(member_of("0")) is None
    assert callers.at_hand(member_of("2000")) == RunCaller(TraceParent(2_001, 1))


def test_a_roots_payload_says_it() -> None:
    callers = Callers(lambda _: None)
    caller = TraceParent(5, 6, sampled=False)
    root = claim(id="r", run_id="r", payload={TRACE: str(caller)})
    assert callers.at_hand(root) == RunCaller(caller)
    assert callers.at_hand(member_of("r")) == RunCaller(caller)
    assert callers.at_hand(claim(id="s", run_id="s", payload={})) == RunCaller(None)
