"""Events that start runs, while workers are killed and the broker is emptied."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from sqlalchemy import select, text

from app.journal.schema.models import Step, StreamCursor, table
from celery_agents import StreamEvent
from celery_agents.errors import AgentsError
from tests.chaos.agents import TALLY
from tests.chaos.audit import audit
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.scenarios.load import strike
from tests.chaos.stand import PATIENT, Stand, eventually, kept_running

#: Events of one append, and streams that they are in.
PORTION, STREAMS = 50, 7
#: The projection of the scenarios' agents; and seconds within which whoever is served gets on: a
#: worker that was killed is replaced, and its lease ends, in much less.
PROJECTION, RISES_S = "tally", 30.0


@scenario("events")
def events(stand: Stand) -> Numbers:
    """Faults come evenly over the events: each has one run, and a projection counts it once."""
    with stand.stack.engine.begin() as connection:
        connection.execute(text(TALLY))
    workers = stand.workers(2)
    faults = ["kill"] * stand.size(20, 2) + ["wipe"] * stand.size(3, 1)
    stand.rng.shuffle(faults)
    count, done = stand.size(10_000, 100), Counter[str]()
    client, began = stand.client, time.monotonic()
    client.on("told/*", run=client.ask.s("hears", retry=PATIENT), name="hears", timeout=60)
    portions = [range(at, min(at + PORTION, count)) for at in range(0, count, PORTION)]
    with kept_running(workers):
        for place, portion in enumerate(portions):
            _append(stand, f"told/{place % STREAMS}", portion)
            while (place + 1) * len(faults) // len(portions) > sum(done.values()):
                done[strike(faults[sum(done.values())], stand, workers)] += 1
        for name in (PROJECTION, "hears"):
            _all_served(stand, name, count)
        timeout_s = stand.size(600, 120)
        eventually(lambda: _ended(stand) >= count, "all have a run", timeout_s=timeout_s)
        eventually(lambda: not stand.stack.unsettled(), "all are settled", timeout_s=timeout_s)
    heard = Counter(row.payload["args"][0]["data"]["n"] for row in stand.rows(Step.payload))
    assert heard == Counter(range(count)), "an event has another number of runs than one"
    assert Counter(_tally(stand)) == Counter(range(count)), "the projection counted otherwise"
    took_s = time.monotonic() - began
    return {"events": count, **done, "took_s": took_s, **stand.witness.check(), **audit(stand)}


def _all_served(stand: Stand, name: str, count: int) -> None:
    """Wait until a subscription was served all; it is never long without getting on."""
    served, until = -1, time.monotonic() + RISES_S
    while served < count:
        row = _cursor(stand, name)
        if row is not None and row["served"] > served:
            served, until = row["served"], time.monotonic() + RISES_S
        assert time.monotonic() < until, f"{name} does not get on: {row}"
        time.sleep(0.2)


def _cursor(stand: Stand, name: str) -> dict[str, Any] | None:
    with stand.stack.engine.connect() as connection:
        query = select(table(StreamCursor)).where(StreamCursor.name == name)
        row = connection.execute(query).mappings().first()
        return None if row is None else dict(row)


def _append(stand: Stand, stream: str, numbers: range) -> None:
    """Append events, again until somebody says that they are there; their keys make them one."""
    told = [StreamEvent(kind="told", data={"n": n}, key=str(n)) for n in numbers]

    def there() -> bool:
        try:
            return bool(stand.client.events.append(stream, told, timeout=5.0))
        except AgentsError:  # the message was wiped, or is with a worker that was killed
            return False

    eventually(there, "an append", timeout_s=60)


def _ended(stand: Stand) -> int:
    return sum(row.finished_at is not None for row in stand.rows(Step.finished_at))


def _tally(stand: Stand) -> dict[int, int]:
    with stand.stack.engine.connect() as connection:
        return {row.n: row.times for row in connection.execute(text("SELECT * FROM tally"))}
