from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, delete, text
from sqlalchemy.exc import TimeoutError  # noqa: A004

from app.journal import Journal
from app.journal.queries.cluster import cluster
from app.journal.schema.models import Worker
from app.journal.schema.rows import Refusal
from app.journal.tables.workers import take_duty
from celery_agents.errors import JournalUnavailableError
from tests.unit.app.journal.support import (
    DONE,
    SOON,
    OnPostgres,
    World,
    claimed,
    expand,
    plan,
    refused,
    step,
)


@pytest.fixture(scope="module")
def gone_pid() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    return child.pid


def lease(world: World, worker_id: str) -> float:
    until: float = world.one(Worker, Worker.id == worker_id).lease_until
    return until - world.clock()


def test_a_worker_has_a_lease_from_its_start(world: World, journal: Journal) -> None:
    assert lease(world, journal.me.id) == pytest.approx(600, abs=5)
    me = world.one(Worker, Worker.id == journal.me.id)
    assert (me.name, me.pid, me.host) == ("worker@here", os.getpid(), socket.gethostname())


def test_a_worker_that_comes_back_frees_its_former_steps(world: World, gone_pid: int) -> None:
    former = world.journal("w", pid=gone_pid)
    claimed(former, "s", step())
    back = world.journal("w")
    assert lease(world, former.me.id) < 0
    assert claimed(back, "s").token == 2


@pytest.mark.parametrize(
    ("former", "gone"),
    [
        ({"name": "w", "pid": os.getppid}, False),  # two workers share a name by mistake
        ({"name": "other"}, False),
        ({"name": "w", "host": "elsewhere"}, True),  # the name has moved to this host
        ({"name": "w", "pid": os.getpid}, True),  # the first process of its container, as ever
    ],
)
def test_only_a_former_worker_of_the_name_that_is_gone_loses_its_lease(
    world: World, former: dict[str, object], gone: bool
) -> None:
    known = {k: v() if callable(v) else v for k, v in former.items()}
    world.add_worker(**{"host": socket.gethostname(), "pid": 1, **known})
    world.journal("w")
    assert (lease(world, "old") < 0) is gone


def test_a_heartbeat_extends_the_lease_and_tells_what_runs(world: World, journal: Journal) -> None:
    first, second = (claimed(journal, i, step(i)) for i in ("s1", "s2"))
    journal.finish(claimed(journal, "s3", step("s3")), DONE).result(SOON)
    claimed(world.journal("other"), "s4", step("s4"))
    world.set("s2", cancel_requested=True)
    world.end_lease(journal, ago_s=-1)
    beat = journal.beat()
    assert beat.alive
    assert beat.running == {"s1": first.token, "s2": second.token}
    assert beat.cancelled == ["s2"]
    assert lease(world, journal.me.id) == pytest.approx(600, abs=5)


def test_a_worker_that_was_forgotten_registers_again(world: World, journal: Journal) -> None:
    with world.engine.begin() as c:
        c.execute(delete(Worker))
    assert not journal.beat().alive
    assert journal.beat().alive
    assert lease(world, journal.me.id) > 0


def test_a_heartbeat_tells_what_another_worker_took(world: World, journal: Journal) -> None:
    claimed(journal, "s", step())
    world.end_lease(journal)
    claimed(world.journal("other"), "s")
    assert journal.beat().running == {}


def test_steps_are_given_back(world: World, journal: Journal) -> None:
    other = world.journal("other")
    for journal_, i in ((journal, "s1"), (journal, "s2"), (other, "s3")):
        claimed(journal_, i, step(i))
    journal.give_back(["s1", "s3"])
    assert [world.row(f"s{n}").state for n in (1, 2, 3)] == ["ready", "running", "running"]
    assert claimed(other, "s1").attempt == 1  # nobody ran it
    journal.give_back([])


def test_who_leaves_gives_back_what_it_holds(world: World, journal: Journal) -> None:
    leaving = world.journal("leaving")
    claimed(leaving, "s", step())
    claimed(journal, "kept", step("kept"))
    expand(leaving, "p", plan("a"))
    world.journals.remove(leaving)
    leaving.close()
    assert (world.row("s").state, world.row("s").attempts) == ("ready", 0)
    assert world.row("s").wake_at <= world.clock()
    assert (world.row("kept").state, world.row("p").state) == ("running", "waiting")
    assert claimed(journal, "s").attempt == 1
    assert refused(journal, "p") is Refusal.WAITING
    with pytest.raises(Exception, match="No row"):
        world.one(Worker, Worker.id == leaving.me.id)


def test_a_duty_has_one_holder(world: World) -> None:
    journals = [world.journal(f"w{n}") for n in range(4)]
    start = threading.Barrier(len(journals))
    took: list[str] = []

    def take(journal: Journal) -> None:
        start.wait()
        if journal.transaction(lambda c: take_duty(c, "recovery", journal.me.id, 600)):
            took.append(journal.me.id)

    threads = [threading.Thread(target=take, args=(j,)) for j in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    (holder,) = took
    again = [
        j.transaction(partial(take_duty, name="recovery", holder=j.me.id, lease_s=600))
        for j in journals
    ]
    assert [j.me.id for j, ok in zip(journals, again, strict=True) if ok] == [holder]


def test_each_that_lives_has_a_place_of_its_own(world: World, journal: Journal) -> None:
    journals = [journal, *(world.journal(f"w{n}") for n in range(3))]
    found = [j.findings.standing() for j in journals]
    assert sorted(found) == [(n, 4) for n in range(4)]
    gone = next(j for j, (place, _) in zip(journals, found, strict=True) if place == 1)
    gone.close()
    left = [j.findings.standing() for j in journals if j is not gone]
    assert sorted(left) == [(n, 3) for n in range(3)]


def test_a_duty_falls_to_another_when_its_lease_ends(world: World, journal: Journal) -> None:
    other = world.journal("other")
    assert journal.transaction(lambda c: take_duty(c, "recovery", "a", -1))
    assert other.transaction(lambda c: take_duty(c, "recovery", "b", 600))
    assert not journal.transaction(lambda c: take_duty(c, "recovery", "a", 600))
    assert journal.transaction(lambda c: take_duty(c, "another", "a", 600))


def test_a_claim_of_which_nobody_knows_was_no_attempt(world: World, journal: Journal) -> None:
    """Its answer was lost: two heartbeats later it is given back, and has its one attempt still."""
    claimed(journal, "s", step(max_attempts=1))
    journal.give_back(["s"])
    assert claimed(world.journal("other"), "s").attempt == 1


def test_what_was_claimed_once_more_is_not_given_back(world: World, journal: Journal) -> None:
    first = claimed(journal, "s", step())
    journal.postpone(first, delay_s=0).result(SOON)
    second = claimed(journal, "s")
    journal.give_back(["s"], {"s": first.token})
    assert (world.row("s").state, world.row("s").token) == ("running", second.token)
    journal.give_back(["s"], {"s": second.token})
    assert world.row("s").state == "ready"


class TestAPoolThatIsEmpty(OnPostgres):
    def test_a_heartbeat_waits_for_nobody_s_connection(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Reads of many steps hold all connections for longer than a lease, on a healthy server."""
        monkeypatch.setattr(journal.engine.pool, "_timeout", 0.2)  # of the queue's

        def one(connection: Connection) -> Any:
            return connection.execute(text("SELECT 1")).scalar()

        with ExitStack() as held:
            with suppress(TimeoutError):
                for _ in range(100):
                    held.enter_context(journal.engine.connect())
            with pytest.raises(JournalUnavailableError):
                journal.read(one)
            assert journal.beat().alive
        assert journal.read(one) == 1


def test_a_heartbeat_says_what_the_process_uses(journal: Journal) -> None:
    (before,) = journal.read(cluster).workers
    assert (before.memory_bytes, before.cores) == (None, None)
    journal.beat()
    (worker,) = journal.read(cluster).workers
    assert worker.memory_bytes is not None
    assert worker.memory_bytes > 10 * 2**20
    assert worker.cores is not None
    assert worker.cores >= 0
