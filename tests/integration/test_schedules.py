"""Schedules with real workers: each slot once, whoever is killed."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.access.permissions import Role
from app.journal.schema.engine import connect
from app.journal.stores.audit import AuditLog
from celery_agents.contracts.flows.schedules import ScheduleInfo
from celery_agents.errors import InvalidPayloadError
from tests.integration.harness import SOON_S, Stack, eventually, lines
from tests.integration.test_flows import MODULES, lasting
from tests.support.api import Asked, in_process, made_key, settings

__all__ = ["lasting"]

pytestmark = pytest.mark.databases("one")


def stood(stack: Stack, name: str = "s") -> ScheduleInfo:
    found = stack.client.schedules.get(name, timeout=SOON_S)
    assert found is not None
    return found


def test_schedules_of_a_client(lasting: Stack, tmp_path: Path) -> None:
    lasting.worker()
    schedules, path = lasting.client.schedules, tmp_path / "lines"
    order: Any = {"path": str(path), "value": "tick"}
    run = lasting.client.ask.s("noted", order)
    made = schedules.put("s", run, cron="0 9 * * *", tz="Europe/Berlin", timeout=SOON_S)
    assert (made.task, made.of) == ("agents.ask", "noted")
    assert made.next_at is not None
    assert made.next_at > time.time()
    assert schedules.list(timeout=SOON_S) == [made]
    triggered = schedules.trigger("s", timeout=SOON_S)
    assert triggered.get(timeout=SOON_S) == "tick"
    assert [one.run_id for one in stood(lasting).runs] == [triggered.id]
    schedules.pause("s", timeout=SOON_S)
    assert stood(lasting).paused
    schedules.resume("s", timeout=SOON_S)
    later = lasting.client.ask.s("noted", {**order, "value": "once"})
    schedules.put("once", later, at=datetime.now(UTC), timeout=SOON_S)
    eventually(lambda: lines(path) == ["tick", "once"])
    eventually(lambda: stood(lasting, "once").next_at is None)
    with pytest.raises(InvalidPayloadError, match="Bad minute"):
        schedules.put("s", run, cron="x 9 * * *", timeout=SOON_S)
    with pytest.raises(InvalidPayloadError, match="no schedule nobody"):
        schedules.pause("nobody", timeout=SOON_S)
    assert schedules.delete("s", timeout=SOON_S)
    assert not schedules.delete("s", timeout=SOON_S)
    assert schedules.get("s", timeout=SOON_S) is None
    engine = connect(lasting.database_url)
    acts = [(act["action"], act["target"]) for act in AuditLog(engine).newest(20)]
    engine.dispose()
    verbs = ["put", "trigger", "pause", "resume", "delete"]
    assert {(f"schedule.{verb}", "s") for verb in verbs} <= set(acts)


def test_schedules_over_http(lasting: Stack, tmp_path: Path) -> None:
    lasting.worker()
    url, path = lasting.database_url, tmp_path / "lines"
    order: Any = {"path": str(path), "value": "tick"}
    run: Any = {"task": "ask", "agent": "noted", "input": order}
    body: Any = {"name": "shop s", "cron": "0 9 * * *", "tz": "Europe/Berlin", "run": run}
    keys = {tenant: made_key(url, Role.USER, tenant=tenant) for tenant in ("acme", "other")}
    few = made_key(url, Role.USER, tenant="acme", agents=["shout"], runs_per_s=1)
    with in_process(settings(lasting.redis_url, url)) as http:
        user, other, narrow = (Asked(http, key) for key in (*keys.values(), few))
        made = user("POST", "/schedules", body, status=201)
        assert (made["tenant"], made["of"]) == ("acme", "noted")
        assert user("POST", "/schedules", body, status=201) == made
        assert user("GET", "/schedules", status=200) == {"items": [made]}
        assert made["rule"]["tz"] == "Europe/Berlin"
        assert str(path) not in json.dumps(made)
        ended = user("POST", "/schedules/shop s/trigger", status=202)
        assert user.end(ended["id"])["value"] == "tick"
        told = user("GET", "/schedules/shop s", status=200)
        assert [one["run_id"] for one in told["runs"]] == [ended["id"]]
        user("POST", "/schedules/shop s/pause", status=200)
        assert user("GET", "/schedules/shop s", status=200)["paused"]
        user("POST", "/schedules/shop s/resume", status=200)
        assert not user("GET", "/schedules/shop s", status=200)["paused"]

        for asked in ("pause", "resume", "trigger"):
            assert other("POST", f"/schedules/shop s/{asked}").status_code == 404
        assert other("DELETE", "/schedules/shop s").status_code == 404
        assert other("GET", "/schedules", status=200) == {"items": []}
        assert other("GET", "/schedules?tenant=acme").status_code == 403
        # Agents of a key: what it puts, and what it triggers.
        assert narrow("POST", "/schedules", body).status_code == 403
        assert narrow("POST", "/schedules/shop s/trigger").status_code == 403
        assert narrow("POST", "/schedules/none/trigger").status_code == 404
        allowed = {**body, "name": "loud", "run": {"task": "ask", "agent": "shout", "input": "a"}}
        narrow("POST", "/schedules", allowed, status=201)
        assert narrow("POST", "/schedules/loud/trigger", status=202)["id"]
        lasting.client.schedules.put(
            "flow", lasting.client.start.s("refund", order), every_s=900.0, tenant="acme"
        )
        assert narrow("POST", "/schedules/flow/trigger").status_code == 403

        wrong: Any
        for wrong in (
            {"cron": "x 9 * * *"},
            {"every_s": 9},
            {"run": {**run, "tenant": "other"}},
            {"name": "a/b"},
        ):
            assert user("POST", "/schedules", {**body, **wrong}).status_code == 422, wrong
        user("DELETE", "/schedules/shop s", status=204)
        assert user("DELETE", "/schedules/shop s").status_code == 404
        assert user("GET", "/schedules/shop s").status_code == 404
    engine = connect(url)
    acts = [act for act in AuditLog(engine).newest(40) if act["target"] == "shop s"]
    engine.dispose()
    mine = {a["action"] for a in acts if (a["actor"], a["tenant"]) == (keys["acme"][3:11], "acme")}
    assert mine == {f"schedule.{verb}" for verb in ("put", "trigger", "pause", "resume", "delete")}


def test_each_slot_is_started_once_by_two_workers_through_kills_and_an_emptied_redis(
    lasting: Stack, tmp_path: Path
) -> None:
    path = tmp_path / "lines"
    workers = [lasting.worker(), lasting.worker()]
    run = lasting.client.ask.s("noted", {"path": str(path), "value": "tick"})
    options: Any = {"overlap": "allow", "catchup": "all", "timeout": SOON_S}
    names = ["a", "b", "c"]
    began = {}
    for name in names:
        made = lasting.client.schedules.put(name, run, every_s=1.0, **options)
        began[name] = made.next_at
    for kill in range(3):
        enough = len(lines(path)) + 5
        eventually(lambda: len(lines(path)) > enough)  # noqa: B023 - at once
        workers[kill % 2].kill()
        if kill == 1:
            lasting.redis.flushdb()
        workers[kill % 2] = lasting.worker()
    for name in names:
        lasting.client.schedules.pause(name, timeout=SOON_S)
    slots = {}
    for name in names:
        info = stood(lasting, name)
        first, next_at = began[name], info.next_at
        assert first is not None
        assert next_at is not None
        slots[name] = round(next_at - first)
        assert info.skipped == 0
    rows = eventually(lambda: _ended(lasting, sum(slots.values())))
    assert rows == sum(slots.values())


def _ended(stack: Stack, wanted: int) -> int:
    """How many runs there are, once all have ended and as many are there as slots."""
    found = stack.client.runs.list(limit=1_000, timeout=SOON_S).runs
    return len(found) if len(found) >= wanted and all(r.state.final for r in found) else 0


def test_a_worker_dies_between_a_slot_and_its_message(lasting: Stack, tmp_path: Path) -> None:
    """The row is there, and is woken as any other."""
    path, killed = tmp_path / "lines", tmp_path / "killed"
    modules = [*json.loads(MODULES["AGENTS_MODULES"]), "tests.support.killed_at_slot"]
    dying = {"AGENTS_MODULES": json.dumps(modules), "KILLED_AT_SLOT": str(killed)}
    worker = lasting.worker(env=dying)
    run = lasting.client.ask.s("noted", {"path": str(path), "value": "tick"})
    lasting.client.schedules.put("s", run, at=time.time() + 0.5, timeout=SOON_S)
    eventually(lambda: not worker.running, "the worker is killed")
    assert killed.exists()
    lasting.worker(env=dying)
    eventually(lambda: lines(path) == ["tick"])
    assert stood(lasting).next_at is None
    assert lines(path) == ["tick"]
