"""Signals that race with ends, kills, cancellations and generations: each is taken once, or late.

``AGENTS_SIGNALS=10000`` of them, where more are wanted than a suite has time for.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.journal.schema.models import Entry
from celery_agents.contracts.flows.entries import SIGNALS
from celery_agents.errors import AgentsError
from tests.integration.harness import SOON_S, Stack, eventually
from tests.integration.test_flows import lasting

__all__ = ["lasting"]

pytestmark = pytest.mark.databases("one")

WANTED = int(os.environ.get("AGENTS_SIGNALS", "120"))
#: Signals that a flow is sent, and takes before it ends; one of four flows is cancelled amid them.
SENT, TAKES = 12, 8
SENDERS = 4
KILLS = max(WANTED // 500, 2)


class Race:
    """Senders of signals, and what they were told became of each."""

    def __init__(self, stack: Stack, runs: list[Any]) -> None:
        self.stack, self.runs = stack, runs
        self.replies: dict[tuple[str, str], str] = {}

    def send(self, about: tuple[Any, int]) -> None:
        """Say something until there is an answer to it; at times it is said twice."""
        run, number = about
        key = f"s{number}"
        while (run.id, key) not in self.replies or random.random() < 0.1:
            try:
                reply = run.signal("word", number, id=key, timeout=5.0)
            except AgentsError:  # its worker was killed, or all are away
                continue
            if reply != "unknown":  # no worker has begun with it
                self._note(run, key, reply)

    def _note(self, run: Any, key: str, reply: str) -> None:
        before = self.replies.setdefault((run.id, key), reply)
        assert (before == "too_late") == (reply == "too_late"), f"{key}: {before}, then {reply}"

    def accepted(self, run: Any) -> list[int]:
        """The signals of a flow that somebody was told are taken, by their numbers."""
        return sorted(
            int(key[1:])
            for (of, key), reply in self.replies.items()
            if of == run.id and reply != "too_late"
        )


def raced(stack: Stack, wanted: int, meanwhile: Callable[[Race], None]) -> Race:
    """Send so many signals, in any order, while ``meanwhile`` something happens to the workers."""
    order: Any = {"words": [], "most": TAKES}
    runs = [stack.client.start("taking", order, id=f"t{n}") for n in range(wanted // SENT)]
    race = Race(stack, runs)
    words = [(run, number) for run in runs for number in range(SENT)]
    random.Random(7).shuffle(words)
    with ThreadPoolExecutor(SENDERS) as senders:
        sent = senders.map(race.send, words)
        for run in runs[::4]:
            run.cancel()
        meanwhile(race)
        assert len([*sent]) == len(words)
    return race


def check(race: Race, run: Any) -> tuple[int, int, int]:
    """Hold a flow against what its senders were told: how many were taken, unread, too late."""
    eventually(lambda: race.stack.state(run.id) in {"succeeded", "cancelled"}, timeout_s=90)
    row = race.stack.row(run.id)
    took = [*(row.outcome["value"] or ())] if row.state == "succeeded" else []
    stood = _stood(race.stack, run.id)
    accepted = race.accepted(run)
    assert sorted(stood) == accepted, "what is in the journal is what senders were told"
    assert took == stood[: len(took)], "each was taken once, in the order of the journal"
    unread = [
        v for line in run.history(timeout=SOON_S) if line.kind == "unread" for v in line.value
    ]
    assert unread == [["word", number] for number in stood[len(took) :]], "the rest is listed"
    assert len(took) <= TAKES
    return len(took), len(unread), SENT - len(accepted)


def _stood(stack: Stack, run_id: str) -> list[int]:
    """The numbers of the signals in a flow's stream, in their order."""
    query = select(Entry.data).where(Entry.stream == SIGNALS + run_id, Entry.kind == "signal")
    rows = stack.read(lambda c: c.execute(query.order_by(Entry.seq)).scalars().all())
    return [data["value"] for data in rows]


def test_each_is_taken_once_or_too_late(lasting: Stack, tmp_path: Path) -> None:
    workers = [lasting.worker(), lasting.worker()]

    def kills(race: Race) -> None:
        for kill in range(KILLS):
            enough = WANTED * (kill + 1) // (KILLS + 2)
            eventually(lambda: len(race.replies) > enough, timeout_s=300)  # noqa: B023 - at once
            workers[kill % 2].kill()
            if kill == KILLS - 1:
                lasting.redis.flushdb()
            workers[kill % 2] = lasting.worker()

    race = raced(lasting, WANTED, kills)
    found = [check(race, run) for run in race.runs]
    taken, unread, late = map(sum, zip(*found, strict=True))
    print(f"{taken} taken, {unread} unread, {late} too late of {len(race.replies)}")
    assert taken + unread + late == len(race.replies) == len(race.runs) * SENT
    assert taken > 0
    assert late > 0


def test_signals_that_nobody_took_are_listed(lasting: Stack) -> None:
    lasting.worker()
    run = lasting.client.start("refund", {"path": str(lasting.directory / "lines")})
    eventually(lambda: run.signal("other", 1, timeout=SOON_S) == "taken")
    run.signal("approve", False, timeout=SOON_S)
    assert run.get(timeout=SOON_S)["paid"] is False
    assert run.signal("other", 2, timeout=SOON_S) == "too_late"
    (last,) = [line for line in run.history(timeout=SOON_S) if line.kind == "unread"]
    assert last.value == [["other", 1]]
