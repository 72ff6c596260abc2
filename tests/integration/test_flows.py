"""Flows with real workers: what they wait for, and what happens to them meanwhile."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_agents import StreamEvent, Wish
from celery_agents.client.control import acting_as
from celery_agents.errors import InvalidPayloadError, NotAllowedError, StreamConflictError
from tests.integration.harness import FAST, SOON_S, Location, Stack, eventually, lines

pytestmark = pytest.mark.databases("one")

#: One that is frozen stays so for longer, where there is time for that: ``FROZEN_S=60``.
FROZEN_S = float(os.environ.get("FROZEN_S", "0"))
MODULES = {"AGENTS_MODULES": json.dumps(["tests.support.agents", "tests.support.lasting"])}


@pytest.fixture
def lasting(own_location: Location) -> Iterator[Stack]:
    made = Stack(*own_location, FAST | MODULES)
    yield made
    made.close()


@pytest.fixture(scope="module")
def flows(location: Location) -> Iterator[Stack]:
    """A stack with a worker, which each test here asks for flows that no other one does."""
    made = Stack(*location, FAST | MODULES)
    made.worker()
    yield made
    made.close()


def history(run: Any) -> list[tuple[str, str]]:
    return [(line.kind, line.key) for line in run.history(timeout=SOON_S)]


def test_it_waits_without_a_slot_and_goes_on_with_each_word(flows: Stack, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    run = flows.client.start("refund", {"path": str(path)}, id="refund-1")
    assert run.id == flows.client.start("refund", {"path": str(path)}, id="refund-1").id
    eventually(lambda: len(history(run)) == 3)
    assert run.signal("approve", True, id="click", timeout=SOON_S) == "taken"
    assert run.signal("approve", True, id="click", timeout=SOON_S) == "known"
    assert run.get(timeout=SOON_S) == {"facts": ["crm", "ledger"], "paid": True}
    assert sorted(lines(path)) == ["crm", "ledger", "paid"]
    assert run.signal("approve", True, id="click", timeout=SOON_S) == "known"
    assert run.signal("approve", False, id="late", timeout=SOON_S) == "too_late"
    told = history(run)
    assert told[0] == ("started", "")
    assert sorted(told[1:3]) == [("done", "1"), ("done", "2")]
    assert told[3:] == [("signal", "approve"), ("done", "5")]
    (entry,) = flows.client.streams.read("refunds", timeout=SOON_S)
    assert (entry.kind, entry.key, entry.data) == ("decided", "refund-1", {"approved": True})
    assert flows.client.start.handle("nobody").signal("x", timeout=SOON_S) == "unknown"


def wish(stack: Stack, run: Any) -> Wish:
    eventually(lambda: run.waiting(timeout=SOON_S), "it asks a person")
    found: Wish = run.waiting(timeout=SOON_S)[0]
    assert found in stack.client.waiting(timeout=SOON_S)
    return found


def test_people_are_asked_and_those_alone_who_may_answer(flows: Stack) -> None:
    run = flows.client.start("asking", ["boss@*", "jwt:*@shop"])
    first = wish(flows, run)
    assert (first.asks, first.question, first.by) == ("flow", {"pay": 7}, ("boss@*", "jwt:*@shop"))
    with acting_as("jwt:ada@elsewhere"), pytest.raises(NotAllowedError, match="boss@"):
        flows.client.runs.approve(run.id, True, key=first.key, timeout=SOON_S)
    with acting_as("boss@desk"):
        with pytest.raises(InvalidPayloadError, match="a flow waits: give the key"):
            flows.client.runs.approve(run.id, True, timeout=SOON_S)
        for _ in (1, 2):  # the same answer again is none
            flows.client.runs.approve(run.id, True, key=first.key, timeout=SOON_S)
    with acting_as("jwt:eve@shop"), pytest.raises(InvalidPayloadError, match="waits for a person"):
        flows.client.runs.approve(run.id, True, key=first.key, timeout=SOON_S)
    eventually(lambda: wish(flows, run).choices == ("cash", "card"))
    second = wish(flows, run)
    with pytest.raises(InvalidPayloadError, match="one of cash, card"):
        flows.client.runs.approve(run.id, "gold", key=second.key, timeout=SOON_S)
    told: Any = {"option": "card", "reason": "no change"}
    flows.client.runs.approve(run.id, told, key=second.key, timeout=SOON_S)
    assert run.get(timeout=SOON_S) == ["boss@desk", "card", "no change"]
    assert run.waiting(timeout=SOON_S) == []  # nobody is asked any more who was in no hurry
    asked = [command[1] for line in run.history(timeout=SOON_S) for command in line.then]
    assert asked.count("approval") == 3


def test_a_person_refuses_through_a_kill(lasting: Stack) -> None:
    worker = lasting.worker()
    run = lasting.client.start("asking", [])
    asked = wish(lasting, run)
    worker.kill()
    lasting.worker()
    lasting.client.runs.approve(run.id, "too much", key=asked.key, timeout=2 * SOON_S)
    assert run.get(timeout=SOON_S) == "too much"


def test_each_wake_may_be_a_replay(lasting: Stack, tmp_path: Path) -> None:
    lasting.worker(env={"AGENTS_FLOWS_MAX": "0"})
    run = lasting.client.start("stages", {"path": str(tmp_path / "lines"), "stages": 3})
    assert len(run.get(timeout=SOON_S)) == 9
    assert len(lines(tmp_path / "lines")) == 9


def test_its_time_runs_on_and_who_is_late_is_stopped(flows: Stack, tmp_path: Path) -> None:
    path = tmp_path / "stopped"
    run = flows.client.start("impatient", {"path": str(path)})
    assert run.get(timeout=SOON_S) == "late"
    eventually(path.exists)
    assert [kind for kind, _ in history(run)] == ["started", "timer", "timer"]


def test_one_that_is_cancelled_cleans_up_through_a_kill(lasting: Stack, tmp_path: Path) -> None:
    worker, path = lasting.worker(), tmp_path / "lines"
    order: Any = {"path": str(tmp_path / "stopped"), "lines": str(path)}
    run = lasting.client.start("tidied", order)
    eventually(lambda: len(history(run)) == 1)
    worker.kill()
    run.cancel()
    lasting.worker()
    eventually(lambda: lasting.state(run.id) == "cancelled", timeout_s=2 * SOON_S)
    assert lines(path) == ["cleaned"]
    assert [kind for kind, _ in history(run)] == ["started", "cancel", "done"]
    assert run.signal("go", timeout=SOON_S) == "too_late"


def test_a_parked_one_that_is_cancelled_ends(lasting: Stack, tmp_path: Path) -> None:
    lasting.worker(env={"AGENTS_FLOWS_MAX": "0"})
    path = tmp_path / "deployed"
    run = lasting.client.start("changed", str(path))
    eventually(lambda: len(history(run)) == 2)
    path.write_text("new code")
    run.cancel()
    eventually(lambda: lasting.state(run.id) == "cancelled")


@pytest.mark.parametrize("kept", ["0", "1000"])
def test_an_endless_one_begins_anew_with_what_it_knows(
    lasting: Stack, tmp_path: Path, kept: str
) -> None:
    worker = lasting.worker(env={"AGENTS_FLOWS_MAX": kept})
    path, words = tmp_path / "lines", ["a", "b", "c"]
    order: Any = {"path": str(path), "words": []}
    run = lasting.client.start("endless", order)
    eventually(lambda: history(run))
    for number, word in enumerate(words):
        # Said again by whoever took it over from the killed one, it is known.
        assert run.signal("word", word, id=f"w{number}", timeout=SOON_S) in ("taken", "known")
        if word == "b":
            worker.kill()
            worker = lasting.worker(env={"AGENTS_FLOWS_MAX": kept})
    eventually(lambda: len(lines(path)) >= len(words))
    assert run.signal("word", "end", timeout=SOON_S) == "taken"
    assert run.get(timeout=2 * SOON_S) == words
    assert [*dict.fromkeys(lines(path))] == ["a 0", "b 1", "c 2", "end 3"]
    told: Any = list(run.history(timeout=SOON_S))
    kinds = [line.kind for line in told]
    assert kinds in (["started", "signal", "done"], ["started", "done"])  # or it moved along
    assert told[0].value["generation"] == 3


def test_killed_workers_and_failures_are_passed(lasting: Stack, tmp_path: Path) -> None:
    worker = lasting.worker()
    order: Any = {"path": str(tmp_path / "killed"), "lines": str(tmp_path / "lines")}
    run = lasting.client.start("survivor", order)
    eventually(lambda: not worker.running, "the worker is killed")
    lasting.worker()
    found = run.get(timeout=2 * SOON_S)
    assert found == [1, "agent_failed", "cleaned", [7, "yes", False]]
    assert lines(tmp_path / "lines")[-1] == "cleaned"


def test_one_after_the_other_through_kills_and_an_emptied_redis(
    lasting: Stack, tmp_path: Path
) -> None:
    """Each but the first is begun by the end of the one before, as a rule."""
    path, after, steps = tmp_path / "lines", tmp_path / "after", 120
    workers = [lasting.worker(), lasting.worker()]
    order: Any = {"lines": str(path), "after": str(after), "steps": steps}
    run = lasting.client.start("in_a_row", order)
    for n in (10, 30, 55, 80):
        eventually(lambda n=n: path.exists() and len(lines(path)) >= n)  # type: ignore[misc]
        if n == 30:
            lasting.redis.flushall()
            continue
        for worker in workers:  # all of them: one that lives would end it while others start
            worker.kill()
        workers = [lasting.worker()]
    after.touch()
    assert run.get(timeout=2 * SOON_S) == [*range(steps)]
    made = lines(path)
    assert sorted(map(int, dict.fromkeys(made))) == [*range(steps)]
    assert len(made) - steps <= 3, "each kill has one under way"
    told = history(run)
    assert told.count(("started", "")) == 1
    assert [key for kind, key in told if kind == "done"] == [str(n + 1) for n in range(steps)]


def test_each_step_is_taken_once_through_kills_and_an_emptied_redis(
    lasting: Stack, tmp_path: Path
) -> None:
    path, after, stages = tmp_path / "lines", tmp_path / "after", 6
    order: Any = {"path": str(path), "after": str(after), "stages": stages}
    runs = [lasting.client.start("stages", order) for _ in range(5)]
    for kill in range(4):
        worker = lasting.worker()
        enough = 16 * (kill + 1)
        eventually(lambda: len(lines(path)) > enough)  # noqa: B023 - at once
        worker.kill()
        if kill == 1:
            lasting.redis.flushdb()
    lasting.worker()
    after.touch()
    wanted = [f"{stage}.{branch}" for stage in range(stages) for branch in range(3)]
    for run in runs:
        eventually(lambda: lasting.state(run.id) == "succeeded", timeout_s=90)  # noqa: B023
        assert lasting.row(run.id).outcome["value"] == wanted
        told = history(run)
        assert len(told) == len(set(told)) == 1 + len(wanted)


def test_one_that_is_frozen_past_its_lease_writes_nothing_afterwards(
    lasting: Stack, tmp_path: Path
) -> None:
    """It stands amid the code of three flows, one of which asks, one ends, one begins anew."""
    frozen, held, log = lasting.worker(), tmp_path / "held", tmp_path / "log"
    held.touch()
    order: Any = {"held": str(held), "log": str(log), "path": str(tmp_path / "lines")}
    ways = ["asks", "ends", "begins anew"]
    runs = [lasting.client.start("held", {**order, "then": way}) for way in ways]
    for run in runs:
        eventually(lambda: run.signal("go", 1, timeout=SOON_S) == "taken")  # noqa: B023 - at once
    eventually(lambda: lines(log) == [f"begins {frozen.pid}"] * len(ways))
    lasting.freeze(frozen)
    held.unlink()
    other = lasting.worker()
    eventually(lambda: runs[2].signal("go", 2, id="again", timeout=SOON_S) in ("taken", "known"))
    for run in runs:
        run.get(timeout=2 * SOON_S)
        eventually(lambda: lasting.row(run.id).settled)  # noqa: B023 - at once
    before = [(lasting.row(run.id), history(run)) for run in runs]
    time.sleep(FROZEN_S)
    frozen.resume()
    eventually(lambda: lines(log).count(f"goes on {frozen.pid}") == len(ways))
    assert frozen.terminate() == 0  # all that it would write was written, or refused
    assert [(lasting.row(run.id), history(run)) for run in runs] == before
    assert [row.outcome["value"] for row, _ in before] == [
        other.pid,
        [1, other.pid],
        [2, other.pid],
    ]
    assert lines(tmp_path / "lines") == [str(other.pid)]
    emitted = [e.data["by"] for e in lasting.client.streams.read("held", timeout=SOON_S)]
    assert emitted == [other.pid] * 4


def test_code_that_differs_parks_the_run_and_the_right_one_goes_on(
    lasting: Stack, tmp_path: Path
) -> None:
    lasting.worker(env={"AGENTS_FLOWS_MAX": "0"})  # as one that has just begun
    flows, path = lasting, tmp_path / "deployed"
    run = flows.client.start("changed", str(path))
    eventually(lambda: len(history(run)) == 2)
    path.write_text("new code")
    assert run.signal("go", 1, timeout=SOON_S) == "taken"

    told = str(eventually(lambda: flows.events(run.id, "diverged")))
    assert "key first" in told
    assert "lasting.py:" in told
    assert not run.ready()
    path.unlink()
    assert run.signal("nudge", timeout=SOON_S) == "taken"  # else it is tried each minute
    assert run.get(timeout=SOON_S) == 1


def test_a_flow_that_is_not_there_fails_at_once(flows: Stack) -> None:
    run = flows.client.start("nobody")
    with pytest.raises(Exception, match="There is no flow 'nobody'"):
        run.get(timeout=SOON_S)
    outcome = run.outcome()
    assert outcome is not None
    assert outcome.error is not None
    assert outcome.error.kind == "unknown_flow"


def test_streams_are_appended_and_followed(flows: Stack, tmp_path: Path) -> None:
    streams = flows.client.streams
    paid = StreamEvent(kind="paid", data={"sum": 12}, key="p-1")
    assert streams.append("order/7", [paid], expected=0, timeout=SOON_S) == [0]
    assert streams.append("order/7", [paid], expected=0, timeout=SOON_S) == [0]
    other = StreamEvent(kind="sent")
    with pytest.raises(StreamConflictError) as refused:
        streams.append("order/7", [other], expected=0, timeout=SOON_S)
    assert refused.value.details["length"] == 1
    order: dict[str, Any] = {"path": str(tmp_path / "lines"), "value": 5, "stream": "order/8"}
    flows.client.ask("noted", order).get(timeout=SOON_S)
    failing = flows.client.ask("noted", {**order, "fails": True})
    with pytest.raises(Exception, match="it fails"):
        failing.get(timeout=SOON_S)
    found = [(e.stream, e.kind) for e in streams.follow("mailer", of="order/", timeout=SOON_S)]
    assert found == [("order/7", "paid"), ("order/8", "noted")]
    assert list(streams.follow("mailer", of="order/", timeout=SOON_S)) == []
    assert streams.delete("order/7", timeout=SOON_S) == 1
    assert streams.forget("mailer", timeout=SOON_S)
