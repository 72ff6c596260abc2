from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from app.concurrency.watchdog import Watchdog
from app.execution.runtime import Active, Outage, Runtime, runtime_of
from app.journal.schema.models import Worker
from app.journal.schema.rows import Claimed
from app.journal.writing.connection import Held
from tests.unit.app.journal.support import DONE, SOON, step


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock) -> Outage:
    return Outage(7.0, 1.5, clock)


def test_its_journal_is_open_before_the_first_step(app: Celery) -> None:
    """Pools of the engine tell of connections as they are taken: none is, by a claim and an end."""
    runtime, taken = runtime_of(app, "worker@here"), list[object]()
    event.listen(runtime.journal.engine, "checkout", lambda *about: taken.append(about))
    claim = runtime.journal.claim("s", step()).result(SOON)
    assert isinstance(claim, Claimed)
    assert runtime.journal.finish(claim, DONE).result(SOON).applied
    assert taken == []


def test_it_starts_though_the_journal_cannot_be_opened_yet(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Held, statements: object) -> None:
        raise OperationalError("", {}, OSError("away"))

    monkeypatch.setattr(Held, "open", away)
    runtime = runtime_of(app, "worker@here")
    assert isinstance(runtime.journal.claim("s", step()).result(SOON), Claimed)


class TestStrays:
    """Claims that the journal knows and this process does not: their answers were lost."""

    def claim(self, runtime: Runtime) -> Claimed:
        found = runtime.journal.claim("s", step()).result(SOON)
        assert isinstance(found, Claimed)
        return found

    def holder(self, runtime: Runtime) -> tuple[str, int]:
        beat = runtime.journal.beat()
        return ("here", beat.running["s"]) if "s" in beat.running else ("nobody", 0)

    def test_one_is_given_back_at_the_second_beat(self, runtime: Runtime) -> None:
        self.claim(runtime)
        runtime._beat_once()
        assert self.holder(runtime) == ("here", 1)
        runtime._beat_once()
        assert self.holder(runtime) == ("nobody", 0)

    def test_one_whose_message_has_not_begun_is_claimed_again_by_that(
        self, runtime: Runtime
    ) -> None:
        """What this process took itself waits for Celery's main thread, which may be held up."""
        runtime.claimed["s"] = self.claim(runtime)
        runtime._beat_once()
        assert [*runtime.claimed] == ["s"]
        runtime._beat_once()
        assert (self.holder(runtime), runtime.claimed) == (("nobody", 0), {})

    def test_one_ahead_whose_message_begins_at_that_moment_is_not_given_back(
        self, runtime: Runtime
    ) -> None:
        """Else somebody would run it, too."""
        ahead = self.claim(runtime)

        class Begins(dict[str, Any]):
            def pop(self, step_id: str, *default: Any) -> Any:
                runtime.active[step_id] = Active(claim=ahead)
                super().pop(step_id, None)
                return super().pop(step_id, *default)

        runtime.claimed = Begins(s=ahead)
        runtime._beat_once()
        runtime._beat_once()
        assert self.holder(runtime) == ("here", 1)

    def test_a_later_claim_of_the_same_step_is_none(self, runtime: Runtime) -> None:
        """Each beat reads a claim that ends before it is looked for here."""
        journal = runtime.journal
        for token in (1, 2):
            claim = self.claim(runtime)
            runtime._beat_once()
            assert self.holder(runtime) == ("here", token)
            journal.postpone(claim, delay_s=0).result(SOON)

    def test_the_claim_that_runs_here_is_not_given_back_for_one_of_before(
        self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is claimed once more between the second beat and what that gives back."""
        journal, stray = runtime.journal, self.claim(runtime)
        runtime._beat_once()
        real = journal.give_back

        def late(*args: Any) -> None:
            journal.postpone(stray, delay_s=0).result(SOON)
            runtime.active["s"] = Active(claim=self.claim(runtime))
            real(*args)

        monkeypatch.setattr(journal, "give_back", late)
        runtime._beat_once()
        assert self.holder(runtime) == ("here", 2)


class TestALoopThatStandsStill:
    """Its worker lives, and its heart has a thread of its own: only the lease tells others."""

    @pytest.fixture
    def dog(
        self, runtime: Runtime, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Watchdog]:
        """A watch with a patience of 7 s on a loop that stands still."""
        runtime.watchdog.stop()
        found = Watchdog(runtime.loop, 7.0, clock=clock)
        monkeypatch.setattr(runtime, "watchdog", found)
        monkeypatch.setattr(found, "_interrupt", lambda: None)
        goes_on = threading.Event()
        runtime.loop.loop.call_soon_threadsafe(goes_on.wait, SOON)
        yield found
        goes_on.set()

    def look(self, dog: Watchdog, clock: Clock, times: int) -> None:
        for _ in range(times):
            clock.at += 0.7
            dog.look()

    def beats(self, runtime: Runtime) -> bool:
        query = select(Worker.lease_until).where(Worker.id == runtime.journal.me.id)
        before = runtime.journal.read(lambda c: c.execute(query).scalar_one())
        runtime._try_beat()
        return bool(runtime.journal.read(lambda c: c.execute(query).scalar_one()) != before)

    def test_it_has_no_heartbeat(self, runtime: Runtime, clock: Clock, dog: Watchdog) -> None:
        self.look(dog, clock, 10)
        assert self.beats(runtime)
        self.look(dog, clock, 2)
        assert not self.beats(runtime)
        assert runtime.writes, "the journal is not what is wrong"
        dog._answer()
        self.look(dog, clock, 1)
        assert self.beats(runtime), "it goes on"


class TestOutage:
    """Leases of 7 s, beats each 1.5 s: others' leases may be over 4 s after our last beat."""

    def test_none(self, outage: Outage, clock: Clock) -> None:
        for _ in range(20):
            clock.at += 1.5
            assert not outage.lasts
            outage.heard(alive=True)
        assert not outage.lasts

    def test_it_lasts_while_nothing_is_heard(self, outage: Outage, clock: Clock) -> None:
        clock.at += 3.9
        assert not outage.lasts
        clock.at += 0.2
        assert outage.lasts  # also before our own heartbeat has noticed

    @pytest.mark.parametrize("alive", [True, False])
    def test_others_have_a_lease_s_time_to_come_back(
        self, outage: Outage, clock: Clock, alive: bool
    ) -> None:
        clock.at += 6.0 if alive else 3600.0
        outage.heard(alive=alive)
        for _ in range(4):
            assert outage.lasts
            clock.at += 1.5
            outage.heard(alive=True)
        clock.at += 1.1
        assert not outage.lasts

    def test_a_lease_that_was_ended_is_one(self, outage: Outage, clock: Clock) -> None:
        clock.at += 1.5
        outage.heard(alive=False)
        assert outage.lasts
