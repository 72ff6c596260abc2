"""Agents and panels over many inputs with real workers: all, whatever happens on the way."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from celery_agents import Client, Fallback
from celery_agents.errors import (
    AgentFailedError,
    AllCandidatesFailedError,
    InvalidPayloadError,
    StepCancelledError,
)
from tests.integration.harness import COROUTINES, SOON_S, Stack, eventually, lines
from tests.support.drawn import costly, in_turn

pytestmark = pytest.mark.databases("sqlite")

FOREVER: dict[str, Any] = {"seconds": 600}
#: Inputs of a map that takes a while.
MANY = costly(1_000, part=3)
FEW_SLOTS = ["--concurrency", "4", *COROUTINES[2:]]


def states(stack: Stack, run_id: str) -> Counter[str]:
    return Counter(m.state for m in stack.members(run_id).values())


def test_many_inputs(client: Client, stack: Stack) -> None:
    run = client.map("noop", range(MANY))
    found = run.get(timeout=60)
    assert (found.count, found.succeeded, found.failed, found.skipped) == (MANY, MANY, 0, 0)
    assert found.results == tuple(range(MANY))
    read = list(run.results())
    assert [place for place, _ in read] == list(range(MANY))
    assert [outcome.value for _, outcome in read] == list(range(MANY))
    assert stack.row(run.id).token == 2  # one expansion, one end


def test_some_fail(client: Client) -> None:
    run = client.map("shout", ["a", 1, "c"])
    found = run.get(timeout=SOON_S)
    assert (found.succeeded, found.failed, found.results) == (2, 1, ("A", None, "C"))
    assert [(f.index, f.kind) for f in found.failures] == [(1, "agent_failed")]
    assert [outcome.ok for _, outcome in run.results()] == [True, False, True]
    with pytest.raises(AllCandidatesFailedError, match="None of 2 inputs"):
        client.map("shout", [1, 2]).get(timeout=SOON_S)


def test_the_first_that_fails_stops_the_others(client: Client, stack: Stack) -> None:
    run = client.map("slow", [FOREVER, "not an order", FOREVER], on_failure="stop")
    with pytest.raises(AgentFailedError, match="Input 1 of 3") as caught:
        run.get(timeout=SOON_S)
    assert caught.value.details["map"]["failed"] == 1
    eventually(lambda: all(m.finished_at for m in stack.members(run.id).values()))
    assert set(states(stack, run.id)) <= {"failed", "cancelled", "skipped"}


def test_waves_come_one_after_the_other(client: Client, stack: Stack) -> None:
    run = client.map("noop", range(5), wave=2)
    assert run.get(timeout=SOON_S).results == (0, 1, 2, 3, 4)
    assert [m.round for m in stack.members(run.id).values()] == [1, 1, 2, 2, 3]


def _most(told: list[str]) -> int:
    """How many ran at the same time at the most, of lines ``begin`` and ``end``."""
    running = most = 0
    for line in told:
        running += 1 if line == "begin" else -1
        most = max(most, running)
    return most


def test_so_many_at_a_time(client: Client, stack: Stack, counted: Path) -> None:
    """One that is slow holds nobody up: with waves it would, and they would not end in time."""
    slow = {"seconds": FOREVER["seconds"]}
    orders = [slow, *[{"seconds": 0.01, "path": str(counted), "value": n} for n in range(12)]]
    run = client.map("slow", orders, max_concurrent=3)
    eventually(lambda: states(stack, run.id)["succeeded"] == 12)
    assert _most(lines(counted)) == 2
    assert {m.round for m in stack.members(run.id).values()} == {1}
    run.cancel()
    with pytest.raises(StepCancelledError):
        run.get(timeout=SOON_S)


def test_one_that_fails_stops_those_whose_turn_has_not_come(client: Client, stack: Stack) -> None:
    run = client.map("shout", ["a", 1, *"bcdef"], max_concurrent=1, on_failure="stop")
    with pytest.raises(AgentFailedError, match="Input 1 of 7"):
        run.get(timeout=SOON_S)
    assert states(stack, run.id) == {"succeeded": 1, "failed": 1, "skipped": 5}


def test_only_what_failed_is_asked_again(stack: Stack, client: Client, counted: Path) -> None:
    path = str(counted)
    orders: list[Any] = [
        "not an order" if n in {1, 4, 5} else {"path": path, "value": n} for n in range(7)
    ]
    first = client.map("count", orders)
    assert first.get(timeout=SOON_S).failed == 3
    second = client.map.resume(first.id, max_concurrent=1)
    with pytest.raises(InvalidPayloadError, match="has not ended"):
        client.map.resume(_open(client)).get(timeout=SOON_S)
    found = second.get(timeout=SOON_S)
    assert (found.count, found.succeeded, found.failed) == (7, 4, 3)
    assert len(lines(counted)) == 4  # nothing of before was asked again
    third = client.map.resume(second.id, agent="noop")  # of one that resumed, by another agent
    found = third.get(timeout=SOON_S)
    wanted = tuple("not an order" if n in {1, 4, 5} else n for n in range(7))
    assert (found.succeeded, found.results) == (7, wanted)
    assert [place for place, _ in third.results()] == list(range(7))
    assert len(lines(counted)) == 4
    assert {m.round for m in stack.members(third.id).values()} == {0, 1}
    assert client.map.resume(third.id).get(timeout=SOON_S).results == wanted  # nothing is left
    with pytest.raises(InvalidPayloadError, match="no map"):
        client.map.resume(first.id, tenant="other").get(timeout=SOON_S)


def _open(client: Client) -> str:
    """A map that goes on."""
    return client.map("slow", [{"seconds": 8}]).id


def test_agents_have_inputs_in_turn(client: Client, stack: Stack, tmp_path: Path) -> None:
    run = client.map(["shout", "noop"], ["a", "b", 3, "d", 5, "f"])
    found = run.get(timeout=SOON_S)
    assert (found.results, found.failed) == (("A", "b", None, "d", None, "f"), 2)
    assert [outcome.agent for _, outcome in run.results()] == ["shout", "noop"] * 3
    run.export(tmp_path / "all.jsonl")
    told = [json.loads(line) for line in lines(tmp_path / "all.jsonl")]
    assert [(line["index"], line["agent"]) for line in told][:2] == [(0, "shout"), (1, "noop")]
    again = client.map.resume(run.id, agent=["shout", "shout", "noop", "slow", "noop"])
    assert again.get(timeout=SOON_S).results == ("A", "b", 3, "d", 5, "f")
    assert [outcome.agent for _, outcome in again.results()][:3] == ["shout", "noop", "noop"]
    assert stack.members(again.id)["4"].agent == "noop"


def test_whoever_is_free_gets_the_next(client: Client, stack: Stack, counted: Path) -> None:
    """One agent hangs with the first input: the other one has all the others."""
    orders = [FOREVER, *[{"seconds": 0, "path": str(counted), "value": n} for n in range(8)]]
    run = client.map(["slow", "count"], orders, assign="least_busy", max_concurrent=2)
    eventually(lambda: states(stack, run.id)["succeeded"] == 8)
    whose = {key: member.agent for key, member in stack.members(run.id).items()}
    assert whose == {"0": "slow", **{str(n): "count" for n in range(1, 9)}}
    run.cancel()
    with pytest.raises(StepCancelledError):
        run.get(timeout=SOON_S)
    third = client.map.resume(run.id, agent=["noop", "shout"], max_concurrent=2)
    found = third.get(timeout=SOON_S)
    assert found.results is not None
    assert found.results[0] == FOREVER


def test_each_input_is_put_to_a_panel(client: Client, stack: Stack) -> None:
    vote = client.vote.s(["noop", "noop"], choices=["x", "y"])
    run = client.map(vote, ["x", "y", "x"], max_concurrent=2)
    assert run.get(timeout=SOON_S).succeeded == 3
    decided: list[Any] = [outcome.value for _, outcome in run.results()]
    assert [value["option"] for value in decided] == ["x", "y", "x"]
    assert {m.task for m in stack.members(run.id).values()} == {"agents.vote"}
    chain = client.map(Fallback(candidates=("shout", "noop")), ["a", 2])
    assert chain.get(timeout=SOON_S).results == ("A", 2)
    assert [outcome.agent for _, outcome in chain.results()] == ["shout", "noop"]
    gathered = client.map(client.gather.s(["noop", "shout"], how="concat"), ["a", "b"], wave=1)
    assert gathered.get(timeout=SOON_S).succeeded == 2
    values: list[Any] = [outcome.value for _, outcome in gathered.results()]
    assert [value["value"] for value in values] == ["a\n\nA", "b\n\nB"]


def test_time_that_is_over(client: Client) -> None:
    run = client.map("slow", [{"seconds": 0, "value": "x"}, FOREVER], timeout_s=4)
    found = run.get(timeout=SOON_S)
    assert (found.succeeded, found.skipped, found.results) == (1, 1, ("x", None))


def test_big_results_are_read_in_pages(client: Client) -> None:
    texts = [f"{n} " * 5_000 for n in range(20)]
    run = client.map("noop", texts)
    assert run.get(timeout=SOON_S).results is None
    assert [outcome.value for _, outcome in run.results()] == texts


def test_a_run_that_nobody_knows_has_no_results(client: Client) -> None:
    with pytest.raises(InvalidPayloadError, match="no step nobody"):
        next(client.runs.results("nobody", timeout=SOON_S))


def test_a_place_in_a_chain(client: Client) -> None:
    steps = client.ask.s("noop", ["a", "b"]) | client.map.s("shout") | client.ask.s("noop")
    found: Any = steps.apply_async().get(timeout=SOON_S)
    assert found == {"count": 2, "succeeded": 2, "results": ["A", "B"]}


def test_cancelling(client: Client, stack: Stack) -> None:
    run = client.map("slow", [FOREVER] * 40)
    eventually(lambda: states(stack, run.id)["running"] > 0)
    run.cancel()
    with pytest.raises(StepCancelledError):
        run.get(timeout=SOON_S)
    eventually(lambda: states(stack, run.id) == {"cancelled": 40})
    assert {outcome.state for _, outcome in run.results()} == {"cancelled"}


def test_a_run_does_not_wait_for_a_large_map(fast: Stack, counted: Path) -> None:
    """Behind all of its members it would stand in a queue that is first in, first out."""
    fast.worker(FEW_SLOTS)
    run = fast.client.map("count", [{"path": str(counted), "seconds": 0.05}] * MANY)
    eventually(lambda: lines(counted))
    assert fast.client.ask("noop", "me too").get(timeout=SOON_S) == "me too"
    assert len(lines(counted)) < MANY // 2
    run.cancel()
    with pytest.raises(StepCancelledError):
        run.get(timeout=SOON_S)


@pytest.mark.parametrize(
    ("loses", "at_once"),
    in_turn([(True, None), (True, 12), (False, 12), (False, None)], 0, part=2),
)
def test_a_worker_killed_in_the_middle(
    fast: Stack, counted: Path, loses: bool, at_once: int | None
) -> None:
    """With a window or without, and with the messages or without: Redis is emptied then."""
    worker = fast.worker()
    order: dict[str, Any] = {"path": str(counted), "seconds": 0.02}
    number = 80 if at_once else 160
    run = fast.client.map("count", [order] * number, max_concurrent=at_once)
    eventually(lambda: len(lines(counted)) > number // 8)
    worker.kill()
    if loses:
        fast.redis.flushdb()
    worker.start()
    assert run.get(timeout=60).succeeded == number
    assert states(fast, run.id) == {"succeeded": number}
    done = Counter(lines(counted))
    assert len(done) == number
    # What ran as the worker died ran again, unless its end was written.
    assert sum(done.values()) - number <= len(done) // 4
    assert len(list(run.results())) == number


def test_what_was_done_is_undone(fast: Stack, counted: Path) -> None:
    fast.env.update({"AGENTS_MODULES": '["tests.support.sagas"]'})
    fast.worker()
    order: dict[str, Any] = {"path": str(counted)}
    run = fast.client.map("hotel", [order, order, "not an order"], on_failure="stop", wave=2)
    with pytest.raises(AgentFailedError, match="Input 2 of 3"):
        run.get(timeout=SOON_S)
    report = run.compensation.get(timeout=SOON_S)
    assert lines(counted) == ["+hotel", "+hotel", "-hotel", "-hotel"]
    assert [one["agent"] for one in report["compensated"]] == ["hotel", "hotel"]


def test_a_map_is_found_and_its_progress_drawn(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    run = client.map("slow", [FOREVER, {"seconds": 0}], tenant="drawn")
    eventually(lambda: (told := run.progress()) is not None and told.succeeded == 1)
    told = run.progress()
    assert told is not None
    assert (told.total, told.running, told.failed) == (2, 1, 0)
    (found,) = client.runs.list(tenant="drawn", state="waiting").runs
    assert (found.id, found.why) == (run.id, "1 of 2 members have ended")
    run.cancel()
    with pytest.raises(StepCancelledError):
        run.get(timeout=SOON_S, progress=True)
    assert "2/2" in capsys.readouterr().err
    shown = client.runs.show(run.id, answers=True)
    assert shown is not None
    assert {step["state"] for step in shown["steps"]} == {"cancelled", "succeeded"}
    assert [*shown["answers"].values()] != []
    with pytest.raises(InvalidPayloadError, match="limit"):
        client.runs.list(limit=0)
