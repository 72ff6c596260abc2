"""Actors that are told sums, while workers are killed and frozen past their leases."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import func, select

from app.journal.schema.models import Entry
from celery_agents.contracts.flows.entries import ANSWERS, HISTORY, SIGNALS
from tests.chaos.audit import audit
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.scenarios.load import FAULTS, Frozen, thaw
from tests.chaos.stand import Stand, eventually, kept_running

WORKERS, AT_ONCE = 4, 500
#: Seconds for a batch of messages to stand in the mailboxes, whoever dies meanwhile.
_TOLD_S = 120.0


@scenario("actors")
def actors(stand: Stand) -> Numbers:
    """Each message of each key is applied once, in its order, by one at a time."""
    keys, messages = stand.size(1_000, 12), stand.size(100, 6)
    faults = ["kill"] * stand.size(6, 2) + ["freeze"] * stand.size(4, 2)
    stand.rng.shuffle(faults)
    told = [("Tally", f"k{k}", "add", number) for number in range(messages) for k in range(keys)]
    size = max(1, min(AT_ONCE, len(told) // (len(faults) + 1)))
    batches = [told[start : start + size] for start in range(0, len(told), size)]
    every = len(batches) // (len(faults) + 1)
    workers, began = stand.workers(stand.size(WORKERS, 3)), time.monotonic()
    done, frozen = Counter[str](), Frozen()
    with kept_running(workers), _thawed_in_time(frozen):
        for place, batch in enumerate(batches, 1):
            stand.client.actors.tell_many(batch, timeout=_TOLD_S)
            if place % every == 0 and faults:
                done[FAULTS[faults.pop()](stand, workers, frozen)] += 1
        eventually(lambda: not frozen, "all go on", timeout_s=_TOLD_S)
        wanted = {f"k{key}": sum(range(messages)) for key in range(keys)}
        timeout_s = stand.size(1_800, 240)
        eventually(lambda: _totals(stand) == wanted, "the sums", timeout_s=timeout_s)
        eventually(lambda: not stand.stack.unsettled(), "all are settled", timeout_s=timeout_s)
    kept = _kept(stand)
    assert not any(one["state"]["astray"] for one in kept), "messages were applied out of order"
    assert {one["state"]["awaits"] for one in kept} == {messages}, "a message was applied twice"
    assert _count(stand, SIGNALS) == len(told), "a message stands twice in a mailbox"
    assert _count(stand, ANSWERS) == 0, "a message was refused"
    took_s = time.monotonic() - began
    return {"keys": keys, "messages": len(told), **done, "took_s": took_s, **audit(stand)}


@contextmanager
def _thawed_in_time(frozen: Frozen) -> Iterator[None]:
    """Let those that are frozen go on, beside: amid a write one holds SQLite's lock till then."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.1):
            thaw(frozen, time.monotonic())

    thread = threading.Thread(target=work, name="thawing", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _kept(stand: Stand) -> list[Any]:
    """All actors as they were committed last: their keys and states."""
    last = (
        select(Entry.stream, func.max(Entry.seq).label("seq"))
        .where(Entry.stream.startswith(HISTORY), Entry.kind == "started")
        .group_by(Entry.stream)
        .subquery()
    )
    query = select(Entry.data).join(
        last, (Entry.stream == last.c.stream) & (Entry.seq == last.c.seq)
    )
    rows = stand.stack.read(lambda c: c.execute(query).scalars().all())
    return [told for row in rows if (told := row["value"].get("input")) and told["state"]]


def _totals(stand: Stand) -> dict[str, int]:
    time.sleep(0.5)
    return {one["key"]: one["state"]["total"] for one in _kept(stand)}


def _count(stand: Stand, prefix: str) -> int:
    query = select(func.count()).where(Entry.stream.startswith(prefix))
    return int(stand.stack.read(lambda c: c.execute(query).scalar_one()))
