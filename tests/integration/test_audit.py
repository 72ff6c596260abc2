"""Acts of clients, written down by the worker that does them: who asks, before they are done."""

from __future__ import annotations

import json

from celery import Celery

from app.journal.schema.engine import connect
from app.journal.stores.audit import AuditLog
from celery_agents import names
from celery_agents.client.control import who
from tests.integration.harness import COROUTINES, SOON_S, Stack, eventually


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
