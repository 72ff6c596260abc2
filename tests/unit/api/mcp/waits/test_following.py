"""Flows whose histories a process follows."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest

from agents.flows.history import FlowCommand, Line, SignalWaits
from api.mcp.waits import following
from api.mcp.waits.following import FollowedFlow, FollowedFlows
from api.mcp.waits.offered import OfferedSignal
from api.mcp.waits.signals import signals_of
from app.journal.stores.flows import ToldLine
from celery_agents import names


def random_history(chance: random.Random, number: int) -> list[ToldLine]:
    """Lines as a flow has them that waits, is told signals, and begins anew now and then."""
    found, place = [], -1
    for seq in range(number):
        kind = "started" if not seq else chance.choice(["signal", "done", "done", "started"])
        key, value, told = f"k{seq}", None, None
        if kind == "signal":
            place, key = place + 1, chance.choice("abc")
            told = place
        elif kind == "started":
            value = {"generation": seq, "signals": [[chance.choice("abc"), 1]] * (seq % 2)}
        waits = [FlowCommand(str(n), "signal", chance.choice("abc"), "") for n in range(seq % 3)]
        line = Line(kind, key, 0.0, value, tuple(waits), told)  # type: ignore[arg-type]  # a kind
        found.append(ToldLine(seq, kind, line.data))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_portions_tell_what_the_whole_history_does(seed: int) -> None:
    chance = random.Random(seed)
    lines = random_history(chance, 60)
    flow, at = FollowedFlow(), 0
    while at < len(lines):
        # As two requests at once have it: some lines come twice, and the later ones first.
        more, again = chance.randrange(1, 9), chance.randrange(0, at + 1)
        flow.add(lines[at : at + more])
        flow.add(lines[again : at + 1])
        at += more
        whole = [Line.of(one.kind, one.data) for one in lines[:at]]
        assert flow.open([]) == SignalWaits(whole).open()
        assert flow.next == min(at, len(lines))
        told = [line.place for line in whole if line.place is not None]
        assert flow.heard == max(told, default=-1)
    sent = [{"name": "a", "told": False}, {"name": "b", "told": True}]
    waits = SignalWaits(Line.of(one.kind, one.data) for one in lines)
    assert flow.open(sent) == waits.open(["a"]) == flow.open(sent)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FOLLOWED_MAX", 3)
    monkeypatch.setattr(following, "SIZE_MAX", 5)
    flows = FollowedFlows()
    for n in range(5):
        flow = flows.of(str(n))
        flow.next = 1
        flows.keep(str(n), flow)
    assert [flows.of(str(n)).next for n in range(5)] == [0, 0, 1, 1, 1]
    waits = tuple(FlowCommand(str(n), "signal", "go", "") for n in range(6))
    flow = flows.of("4")
    flow.add([ToldLine(1, "done", Line("done", "x", 0.0, None, waits).data)])
    assert len(flow.open([])) == 6
    flows.keep("4", flow)
    assert flows.of("4").next == 0


def test_a_task_that_is_asked_for_again_reads_no_line_again() -> None:
    lines = random_history(random.Random(3), 40)
    asked: list[int] = []

    async def read(what: Any, *about: Any) -> Any:
        return what(*about)

    def behind(tenant: str, run_id: str, since: int) -> list[ToldLine]:
        asked.append(since)
        return [line for line in lines[:there] if line.seq >= since]

    flow = {"args": [], "kwargs": {"flow": "f", "input": None}}
    services = SimpleNamespace(
        read=read,
        models=SimpleNamespace(signals={"f": {name: OfferedSignal() for name in "abc"}}),
        desk=SimpleNamespace(asked=lambda ids: {ids[0]: ("", flow)}),
        flows=SimpleNamespace(lines=behind, sent=lambda *_: []),
        followed=FollowedFlows(),
    )
    caller: Any = SimpleNamespace(services=services)
    tree = {"id": "r", "tenant": "", "task": names.FLOW, "state": "waiting", "created_at": 1.0}
    for there in (30, 30, 35, 40):
        found = asyncio.run(signals_of(caller, tree))
        whole = SignalWaits(Line.of(line.kind, line.data) for line in lines[:there])
        assert {key: one.name for key, one in found.items()} == {
            f"signal/{key}": name for key, name in whole.open().items()
        }
    assert asked == [0, 30, 30, 35]
    # The same id of a run that was erased, and asked for anew.
    lines, there = random_history(random.Random(4), 20), 20
    tree["created_at"] = 2.0
    again = asyncio.run(signals_of(caller, tree))
    whole = SignalWaits(Line.of(line.kind, line.data) for line in lines)
    assert {key: one.name for key, one in again.items()} == {
        f"signal/{key}": name for key, name in whole.open().items()
    }
    assert asked[4:] == [0]
