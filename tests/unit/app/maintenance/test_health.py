from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import RedisError
from sqlalchemy import event, update

from agents.catalog.probes import Probe
from agents.policies.breaker import Standing
from app.admission.guards.health import HealthView
from app.execution.runtime import Runtime
from app.journal.schema.engine import connect, now
from app.journal.schema.models import Health
from app.journal.stores.targets import Targets
from app.journal.tables import health as rows
from app.journal.tables.health import Condition
from app.maintenance import health
from app.maintenance.health import judged, probe_broker, record, report, timed
from app.settings import Settings
from celery_agents.errors import JournalUnavailableError

TARGET = "agent:a"
GOOD, BAD = Probe(TARGET, latency_ms=5.0), Probe(TARGET, "password=hunter2 no answer")
SICK, WELL, UNKNOWN = Condition.UNHEALTHY, Condition.HEALTHY, Condition.UNKNOWN


def after(probes: list[Probe], *, unhealthy_after: int = 2, healthy_after: int = 1) -> list[Any]:
    """The rows after each of these probes, one a second."""
    found: list[Any] = []
    for at, probe in enumerate(probes):
        row = judged(
            found[-1] if found else None,
            probe,
            float(at),
            unhealthy_after=unhealthy_after,
            healthy_after=healthy_after,
        )
        found.append(SimpleNamespace(**row))
    return found


@pytest.mark.parametrize(
    ("probes", "states"),
    [
        ([GOOD], [WELL]),
        ([BAD], [UNKNOWN]),
        ([BAD, BAD], [UNKNOWN, SICK]),
        ([GOOD, BAD, GOOD, BAD], [WELL, WELL, WELL, WELL]),  # not in a row
        ([GOOD, BAD, BAD, BAD], [WELL, WELL, SICK, SICK]),
        ([BAD, BAD, GOOD], [UNKNOWN, SICK, WELL]),
    ],
)
def test_thresholds(probes: list[Probe], states: list[Condition]) -> None:
    assert [r.state for r in after(probes)] == states


def test_getting_well_may_take_longer() -> None:
    found = after([BAD, BAD, GOOD, GOOD, GOOD], healthy_after=3)
    assert [r.state for r in found] == [UNKNOWN, SICK, SICK, SICK, WELL]


def test_what_a_row_tells() -> None:
    *_, last = after([GOOD, BAD, BAD, BAD])
    assert (last.since, last.checked_at, last.last_ok_at) == (2.0, 3.0, 0.0)
    assert (last.failures, last.successes, last.latency_ms) == (3, 0, 5.0)
    assert last.message == "password=*** no answer"
    assert after([BAD, GOOD])[-1].message is None


@given(st.lists(st.sampled_from([GOOD, BAD])), st.integers(1, 4), st.integers(1, 4))
def test_the_state_changes_after_so_many_in_a_row_and_not_before(
    probes: list[Probe], unhealthy_after: int, healthy_after: int
) -> None:
    found = after(probes, unhealthy_after=unhealthy_after, healthy_after=healthy_after)
    for row in found:
        assert min(row.failures, row.successes) == 0
        if row.failures >= unhealthy_after:
            assert row.state is SICK
        if row.successes >= healthy_after:
            assert row.state is WELL
    for before, row in pairwise(found):
        if row.state is not before.state:
            enough = healthy_after if row.state is WELL else unhealthy_after
            assert max(row.failures, row.successes) == enough
            assert row.since == row.checked_at
        else:
            assert row.since == before.since


def test_rows_are_written_and_changes_logged(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    for probes in ([GOOD, Probe("broker")], [BAD], [BAD]):
        record(runtime.journal, probes, runtime.settings)
    known = {r["target"]: r for r in runtime.journal.read(rows.read)}
    assert {t: r["state"] for t, r in known.items()} == {TARGET: SICK, "broker": WELL}
    assert 0 <= known[TARGET]["lasts_s"] <= known["broker"]["lasts_s"] < 60
    assert "agent:a is unhealthy. password=*** no answer" in caplog.text
    assert "hunter2" not in caplog.text


def view(runtime: Runtime, *, fresh_s: float = 45, cache_s: float = 0) -> HealthView:
    return HealthView(runtime.journal, fresh_s=fresh_s, cache_s=cache_s)


def test_workers_see_who_is_unhealthy(runtime: Runtime) -> None:
    assert view(runtime).unhealthy() == frozenset()
    for _ in range(2):
        record(runtime.journal, [BAD, Probe("agent:b")], runtime.settings)
    assert view(runtime).unhealthy() == {TARGET}
    checked(runtime, TARGET, ago_s=50)
    assert view(runtime).unhealthy() == frozenset()  # nobody looks any more


def test_the_view_is_cached(runtime: Runtime) -> None:
    cached = view(runtime, cache_s=600)
    assert cached.unhealthy() == frozenset()
    for _ in range(2):
        record(runtime.journal, [BAD], runtime.settings)
    assert cached.unhealthy() == frozenset()


def test_while_the_journal_is_away_the_last_view_holds(runtime: Runtime) -> None:
    for _ in range(2):
        record(runtime.journal, [BAD], runtime.settings)
    seen = view(runtime)
    assert seen.unhealthy() == {TARGET}

    def away(*_: Any) -> Any:
        raise JournalUnavailableError

    seen._journal = SimpleNamespace(targets=SimpleNamespace(in_state=away))  # type: ignore[assignment]  # what it uses of it
    assert seen.unhealthy() == {TARGET}


def test_a_look_that_fails_is_a_finding() -> None:
    def away() -> None:
        raise RedisError("down")

    assert timed("t", away).error == "RedisError: down"
    found = timed("t", lambda: None)
    assert (found.error, found.latency_ms is not None) == (None, True)


def test_a_broker_that_is_away(settings: Settings) -> None:
    assert "Error" in (probe_broker(settings).error or "")


def checked(runtime: Runtime, target: str, *, ago_s: float) -> None:
    """Let a target have been looked at so long ago."""
    change = update(Health).where(Health.target == target).values(checked_at=now() - ago_s)
    runtime.journal.transaction(lambda c: c.execute(change))


@pytest.fixture
def broker_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "probe_broker", lambda _: Probe("broker", latency_ms=1.0))


@pytest.mark.usefixtures("broker_is_up")
class TestReport:
    def test_nothing_was_probed_yet(self, runtime: Runtime) -> None:
        found = report(runtime.journal.engine, runtime.settings)
        assert [(r["target"], r["state"]) for r in found.rows] == [
            ("broker", WELL),
            ("journal", WELL),
        ]
        assert found.ok

    def test_something_is_unhealthy(self, runtime: Runtime) -> None:
        for _ in range(2):
            record(runtime.journal, [BAD, Probe("broker")], runtime.settings)
        found = report(runtime.journal.engine, runtime.settings)
        assert [r["target"] for r in found.rows] == ["broker", "journal", TARGET]
        assert not found.ok

    def test_silence_is_an_alarm(self, runtime: Runtime) -> None:
        record(runtime.journal, [GOOD], runtime.settings)
        checked(runtime, TARGET, ago_s=100)
        found = report(runtime.journal.engine, runtime.settings)
        assert (found.rows[-1]["state"], found.ok) == ("stale", False)

    def test_an_agent_that_was_taken_away_is_none(self, runtime: Runtime) -> None:
        for _ in range(2):
            record(runtime.journal, [BAD, Probe("agent:b")], runtime.settings)
        checked(runtime, TARGET, ago_s=100)
        found = report(runtime.journal.engine, runtime.settings)
        assert {r["target"]: r["state"] for r in found.rows[2:]} == {
            TARGET: "stale",
            "agent:b": WELL,
        }
        assert found.ok

    def test_the_journal_is_away(
        self, runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(health, "probe_writes", lambda _: Probe("journal", "gone"))
        found = report(runtime.journal.engine, settings)
        assert [r["state"] for r in found.rows] == [WELL, SICK]
        assert not found.ok


def test_the_broker_is_away(runtime: Runtime) -> None:
    assert not report(runtime.journal.engine, runtime.settings).ok


def test_a_journal_that_takes_no_write_is_unhealthy(runtime: Runtime) -> None:
    """A full or read-only one answers questions all the same."""
    full = connect(runtime.settings.database_url.get_secret_value())
    event.listen(full, "connect", lambda connection, _: connection.execute("PRAGMA query_only=1"))
    try:
        assert Targets(full).ping()
        (found,) = [r for r in report(full, runtime.settings).rows if r["target"] == "journal"]
    finally:
        full.dispose()
    assert found["state"] == SICK
    assert "readonly" in found["message"]


def test_the_breaker_of_a_target_is_told(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    record(runtime.journal, [GOOD], runtime.settings)
    monkeypatch.setattr(health, "probe_broker", lambda _: Probe("broker"))
    monkeypatch.setattr(health, "breakers_in", lambda *_: {TARGET: Standing.OPEN})
    found = {r["target"]: r for r in report(runtime.journal.engine, runtime.settings).rows}
    assert found[TARGET]["breaker"] == "open"
    assert found["broker"]["breaker"] is None
