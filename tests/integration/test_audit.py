"""Acts of clients, written down by the worker that does them: who asks, before they are done."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from celery import Celery

from app.access.permissions import Role
from app.journal.schema.engine import connect
from app.journal.stores.audit import AuditLog
from celery_agents import names
from celery_agents.client.control import who
from tests.integration.harness import COROUTINES, SOON_S, Stack, eventually
from tests.support.api import Asked, in_process, made_key, settings

pytestmark = pytest.mark.databases("postgres")


def test_what_clients_do_stands_in_the_chain(fast: Stack) -> None:
    fast.worker(COROUTINES)
    client = fast.client
    run = client.ask("noop", 1)
    run.get(timeout=SOON_S)
    client.runs.cancel(run.id)
    assert client.sessions.delete("talk") is False
    client.dead_letters.drop("nothing")
    client.runs.status(run.id)
    plain = Celery("somebody", broker=fast.redis_url, backend=fast.redis_url)
    about = {"args": ["talk"], "kwargs": {"tenant": "acme"}, "queue": names.CONTROL_QUEUE}
    assert plain.send_task(names.FORGET, **about).get(timeout=SOON_S) is False
    plain.close()
    engine = connect(fast.database_url, timeout_s=5.0)
    log = AuditLog(engine)
    eventually(lambda: len(log.newest(10)) == 5)
    found = {(e["action"], e["target"], e["tenant"]): e for e in log.newest(10)}
    assert set(found) == {
        ("db.upgrade", "head", ""),  # of the fixture
        ("run.cancel", run.id, ""),
        ("session.delete", "talk", ""),
        ("session.delete", "talk", "acme"),
        ("letter.drop", "nothing", ""),
    }
    assert found["run.cancel", run.id, ""]["actor"] == who()
    assert found["session.delete", "talk", "acme"]["actor"].startswith("gen")
    assert json.loads(found["letter.drop", "nothing", ""]["data"]) == {}
    assert list(log.verify()) == []
    engine.dispose()


def denials(log: AuditLog) -> Counter[tuple[str, str, int]]:
    """How often who was denied what: they are written down in portions."""
    times = Counter[tuple[str, str, int]]()
    for entry in log.newest(20):
        if entry["action"] == "denied":
            data = json.loads(entry["data"])
            times[entry["actor"], entry["target"], data["status"]] += data["times"]
    return times


def test_what_people_do_over_the_api(either: Stack) -> None:
    """Keys, what workers do for it, and denials: each with the key that asked."""
    url = either.database_url
    admin, reader = (made_key(url, role) for role in (Role.ADMIN, Role.READONLY))
    ids = {name: key.split("_")[1] for name, key in (("admin", admin), ("reader", reader))}
    with in_process(settings(either.redis_url, url)) as http:
        chief, narrow, nobody = Asked(http, admin), Asked(http, reader), Asked(http)
        asked = {"name": "desk", "role": "user", "expires_s": 600, "runs_per_s": 3}
        made = chief("POST", "/keys", asked, status=201)
        new = chief("POST", f"/keys/{made['id']}/rotate", {"hours": 0}, status=201)
        assert Asked(http, new["key"]).ask("shout", "a")["value"] == "A"
        assert chief("POST", f"/keys/{made['id']}/rotate", {}).status_code == 404
        chief("DELETE", f"/keys/{new['id']}", status=200)
        run = chief.ask("noop", 1)
        chief("POST", f"/tasks/{run['id']}/cancel", status=202)
        for _ in range(3):
            narrow("POST", "/keys", asked, status=403)
            nobody("GET", "/tasks", status=401)
        Asked(http, f"ca_{ids['admin']}_{'x' * 43}")("GET", "/ui/agents", status=401)
        log = AuditLog(either.engine)
        narrow("GET", "/audit", status=403)
        page = chief("GET", "/audit?limit=1", status=200)
        (newest,) = page["items"]
        assert newest["seq"] == page["more"]
        before = chief("GET", f"/audit?limit=100&before={page['more']}", status=200)
        assert [one["seq"] for one in before["items"]][::-1] == [*range(1, newest["seq"])]
        assert isinstance(before["items"][0]["data"], dict)
        assert before["more"] is None
        eventually(lambda: "run.cancel" in {e["action"] for e in log.newest(20)})
    # What is denied again is written down a minute later, and when the API ends.
    found = [(e["actor"], e["action"], e["target"], json.loads(e["data"])) for e in log.newest(20)]
    by_admin = [told[1:3] for told in reversed(found) if told[0] == ids["admin"]]
    assert by_admin == [
        ("key.create", made["id"]),
        ("key.rotate", made["id"]),
        ("key.revoke", new["id"]),
        ("run.cancel", run["id"]),
    ]
    about = {action: data for _, action, _, data in found}
    assert about["key.rotate"] == {"replaced_by": new["id"], "after_s": 0.0}
    assert (about["key.create"]["role"], about["key.create"]["runs_per_s"]) == ("user", 3)
    assert denials(log) == {
        (ids["reader"], "POST /keys", 403): 3,
        (ids["reader"], "GET /audit", 403): 1,
        ("nobody", "GET /tasks", 401): 3,
        (f"{ids['admin']}, not proven", "GET /ui/agents", 401): 1,
    }
    for key in (admin, reader, made["key"], new["key"]):
        assert key.split("_", 2)[2] not in str(log.newest(50))
    assert list(log.verify()) == []
