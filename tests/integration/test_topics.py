"""Topics over the journal, with real workers: the same as in one process, and they last."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from celery_agents import Client
from celery_agents.client.bus import listening
from tests.integration.harness import SOON_S, Stack, celery, eventually
from tests.integration.test_events import _common, events, served, stood
from tests.support.service import APP
from tests.support.topics import CHECKS, heard

__all__ = ["_common", "events", "served"]

pytestmark = pytest.mark.databases("one")


def test_they_are_those_of_one_process(served: Stack) -> None:
    for check in CHECKS:
        check(served.client.topics)
        for name in ("topic/alerts", "topic/alerts2", "dead/alerts"):
            served.client.events.delete(name, timeout=SOON_S)
        for name in ("pager", "late"):
            served.client.events.forget(f"topic/alerts: {name}", timeout=SOON_S)


def test_an_agent_takes_each_message(served: Stack) -> None:
    client = served.client
    made = client.topics.subscribe("alerts", "noop", **served.mine)
    client.topics.publish("alerts", {"disk": 91}, priority=2, tenant=served.tenant)
    eventually(lambda: stood(served, made.name).served == 1)
    (run,) = client.runs.list(**served.mine).runs
    assert client.runs.handle(run.id).get(timeout=SOON_S) == {"disk": 91}
    assert served.row(run.id).priority == 2


def test_nothing_is_lost_by_kills_and_wipes(events: Stack) -> None:
    events.worker()
    client = events.client
    client.topics.publish_many("alerts", range(700), key="first")
    listening = client.topics.listen("alerts", "pager", idle_s=0.01)
    assert next(listening).body == 0
    events.workers[0].kill()
    events.redis.flushdb()
    events.worker()
    with Client(events.redis_url) as other:
        assert heard(other.topics) == [*range(700)]


def test_who_waits_is_woken_by_redis(served: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who listens looks by himself each ten minutes here."""
    monkeypatch.setattr(listening, "LOOK_S", 600.0)
    client, took = served.client, list[int]()

    def listen() -> None:
        with Client(served.redis_url) as other:
            for message in other.topics.listen("alerts", "pager", tenant=served.tenant):
                if message.body == "end":
                    return
                took.append(int(str(message.body)))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    for n in range(20):
        client.topics.publish("alerts", n, tenant=served.tenant)
        time.sleep(0.05)

    def ended() -> bool:
        """Say it again: a wake that comes between a look and the wait for one is lost."""
        client.topics.publish("alerts", "end", tenant=served.tenant)
        thread.join(0.5)
        return not thread.is_alive()

    eventually(ended)
    assert took == [*range(20)]


def test_from_a_shell(served: Stack) -> None:
    def shell(*words: str) -> Any:
        about = ("--tenant", served.tenant, "--json")
        done = celery("-A", APP, "agents", "topics", *words, *about, env=served.env)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    assert shell("publish", "alerts", "disk full", "--priority", "1") == {
        "topic": "alerts",
        "place": 0,
    }
    assert shell("history", "alerts")["body"] == "disk full"
    assert shell("listen", "alerts", "pager", "--idle", "0.1")["priority"] == 1
    assert [one["topic"] for one in shell("list")] == ["alerts"]
    assert shell("subscribe", "alerts", "noop")["of"] == "topic/alerts"
