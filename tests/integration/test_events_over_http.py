"""Streams, subscriptions and topics over HTTP, with real workers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select, update

from app.access.permissions import Role
from app.journal.schema.models import Entry, StreamCursor
from app.journal.stores.audit import AuditLog
from celery_agents import StreamEvent
from tests.integration.harness import SOON_S, Stack, eventually
from tests.integration.test_encryption import OLD, Sealed, sealed
from tests.integration.test_events import _common, events, served, stood, values
from tests.support.api import Asked, in_process, made_key, settings
from tests.support.api import served as api_of

__all__ = ["_common", "events", "sealed", "served"]

pytestmark = pytest.mark.databases("postgres")
ODD = [
    ("/streams/order/1", {}),
    ("/streams/order/1", {"events": []}),
    ("/streams/order/1", {"events": [{"kind": ""}]}),
    ("/streams/order/1", {"events": [{"kind": "a\u0000b"}]}),
    ("/streams/order/1", {"events": [{"kind": "\ud800"}]}),
    ("/streams/order/1", {"events": [{"kind": "paid", "key": "\ud800"}]}),
    ("/streams/order/1", {"events": [{"kind": "paid", "data": [1]}]}),
    ("/streams/order/1", {"events": [{"kind": "paid"}] * 1_001}),
    ("/streams/order/1", {"events": [{"kind": "paid"}], "expected": -1}),
    ("/streams/order/1", {"events": [{"kind": "paid"}], "expected": 2**40}),
    ("/streams/order%001", {"events": [{"kind": "paid"}]}),
    (f"/streams/{'x' * 181}", {"events": [{"kind": "paid"}]}),
    ("/subscriptions", {"name": "x", "of": "order/*"}),
    ("/subscriptions", {"name": "x", "of": "order/*", "agent": "noop", "flow": "refund"}),
    ("/subscriptions", {"name": "x", "of": "*order", "agent": "noop"}),
    ("/subscriptions", {"name": "x", "of": "order/*", "agent": "noop", "key": "{nobody}"}),
    ("/subscriptions", {"name": "x", "of": "order/*", "agent": "noop", "failures_max": 0}),
    ("/subscriptions", {"name": "x", "of": "order/*", "agent": "\ud800"}),
    ("/topics/alerts", {"body": 1, "priority": 10}),
    ("/topics/alerts", {"body": 1, "key": ""}),
    ("/topics/al*rts", {"body": 1}),
]
OWN = ["session/mine", "flow/x", "signals/x", "graph/x"]
#: Those that clients write, and nobody by HTTP.
SWARMS = ["swarm/desk", "topic/swarm/desk"]


@pytest.fixture(scope="module")
def http(_common: Stack) -> Iterator[Any]:
    """The API in this process, for the tests' own tenants."""
    with in_process(settings(_common.redis_url, _common.database_url)) as made:
        yield made


@pytest.fixture(scope="module")
def process(_common: Stack) -> Iterator[httpx2.Client]:
    """The API as a process."""
    with api_of(_common.env, _common.directory) as made:
        yield made


def asked(stack: Stack, http: Any, role: Role = Role.USER, **about: Any) -> Asked:
    """Somebody of the test's tenant, unless it says of which."""
    return Asked(http, made_key(stack.database_url, role, **{"tenant": stack.tenant} | about))


def paid(*amounts: int) -> dict[str, Any]:
    return {"events": [{"kind": "paid", "data": {"n": n}} for n in amounts]}


def test_streams(served: Stack, http: Any) -> None:
    user, other = asked(served, http), asked(served, http, tenant="acme")
    made = user("POST", "/streams/order/1", {**paid(1, 2), "expected": 0}, status=201)
    assert made == {"stream": "order/1", "places": [0, 1]}
    late = user("POST", "/streams/order/1", {**paid(3), "expected": 0}, status=409)
    assert (late["kind"], "has 2 entries" in late["detail"]) == ("conflict", True)
    once = {"events": [{"kind": "paid", "key": "one"}]}
    for _ in range(2):
        assert user("POST", "/streams/order/1", once, status=201)["places"] == [2]
    found = user("GET", "/streams/order/1?after=0&limit=1", status=200)["items"]
    assert [(e["seq"], e["data"]) for e in found] == [(1, {"n": 2})]
    (listed,) = user("GET", "/streams?of=order/", status=200)["items"]
    assert (listed["stream"], listed["entries"]) == ("order/1", 3)
    assert other("GET", "/streams/order/1", status=200)["items"] == []
    assert other("GET", "/streams", status=200)["items"] == []
    assert other("GET", "/streams/order/1?tenant=").status_code == 403
    assert other("DELETE", "/streams/order/1").status_code == 404
    user("DELETE", "/streams/order/1", status=204)
    assert user("GET", "/streams", status=200)["items"] == []


def test_our_own_are_nobody_elses(events: Stack) -> None:
    """Rows that nobody writes so may spoil places: they are in a journal of the test's own."""
    events.worker()
    with in_process(settings(events.redis_url, events.database_url)) as http:
        _are_nobody_elses(events, asked(events, http, Role.ADMIN))


def _are_nobody_elses(events: Stack, user: Asked) -> None:
    with events.engine.begin() as connection:
        about = {"tenant": "", "seq": 0, "kind": "k", "data": {}, "at": 1.0, "xid": 0, "tokens": 0}
        for n, stream in enumerate(OWN):
            row = {**about, "stream": stream, "pos": 1_000_000 + n}
            connection.execute(Entry.__table__.insert().values(row))  # type: ignore[attr-defined]
    assert user("GET", "/streams", status=200)["items"] == []
    for stream in OWN:
        for told in (
            user("GET", f"/streams/{stream}"),
            user("GET", f"/streams/{stream}?follow=true"),
            user("POST", f"/streams/{stream}", paid(1)),
            user("DELETE", f"/streams/{stream}"),
            user("POST", "/subscriptions", {"name": "x", "of": stream, "agent": "noop"}),
        ):
            assert told.status_code == 422, (stream, told.text)
            assert "service's own" in told.text


def test_those_of_swarms_are_read_alone(served: Stack, http: Any) -> None:
    user = asked(served, http, Role.ADMIN)
    served.client.swarm("desk", ["noop"], tenant=served.tenant)
    for stream in SWARMS:
        for told in (
            user("POST", f"/streams/{stream}", paid(1)),
            user("DELETE", f"/streams/{stream}"),
            user("POST", f"/topics/{stream.removeprefix('topic/')}", {"body": 1}),
        ):
            assert told.status_code == 422, (stream, told.text)
            assert "service's own" in told.text
    (entry,) = user("GET", "/streams/swarm/desk", status=200)["items"]
    assert entry["kind"] == "joined"


def test_deleting_is_for_people_and_written_down(served: Stack, http: Any) -> None:
    user, program = asked(served, http), asked(served, http, Role.SERVICE)
    program("POST", "/streams/order/1", paid(1), status=201)
    assert program("DELETE", "/streams/order/1").status_code == 403
    assert asked(served, http, Role.READONLY)("DELETE", "/streams/order/1").status_code == 403
    user("DELETE", "/streams/order/1", status=204)
    assert not served.client.events.forget("mine", **served.mine)
    acts = [(a["action"], a["target"]) for a in AuditLog(served.engine).newest(9)]
    assert ("stream.delete", "order/1") in acts
    assert ("cursor.delete", "mine") in acts


def test_what_is_no_request(served: Stack, http: Any) -> None:
    user = asked(served, http, Role.ADMIN)
    headers = {"Content-Type": "application/json"}
    for path, body in ODD:
        told = user("POST", path, content=json.dumps(body), headers=headers)
        assert told.status_code in {400, 413, 422}, (path, body, told.text)
    for path in ("?after=-2", "?after=x", "?limit=0", "?follow=perhaps", f"?after={2**40}"):
        assert user("GET", f"/streams/order/1{path}").status_code == 422
    for place in ("x", "-1", "9" * 30):
        asks = {"Last-Event-ID": place}
        assert user("GET", "/streams/order/1?follow=true", headers=asks).status_code == 422
    assert user("GET", "/streams", status=200)["items"] == []
    listed = user("GET", "/subscriptions", status=200)["items"]
    assert [one["name"] for one in listed if one["serves"] == "runs"] == []


def test_subscriptions(served: Stack, http: Any) -> None:
    user, narrow = asked(served, http), asked(served, http, agents=["shout"])
    reader = asked(served, http, Role.SERVICE)
    body = {"name": "order/x", "of": "order/*", "kind": "paid", "agent": "noop"}
    assert reader("POST", "/subscriptions", body).status_code == 403
    assert narrow("POST", "/subscriptions", body).status_code == 403
    flow = {"name": "f", "of": "order/*", "flow": "refund"}
    assert narrow("POST", "/subscriptions", flow).status_code == 403
    made = user("POST", "/subscriptions", body, status=201)
    assert (made["name"], made["what"], made["served"]) == ("order/x", "noop", 0)
    mine = {**body, "agent": "shout"}
    assert narrow("POST", "/subscriptions", mine).status_code == 403  # it is not theirs to change
    reader("POST", "/streams/order/1", paid(1, 2), status=201)
    eventually(lambda: sorted(values(served)) == [1, 2])
    for act in ("pause", "resume"):
        assert narrow("POST", f"/subscriptions/order/x/{act}").status_code == 403
        assert user("POST", f"/subscriptions/nobody/{act}").status_code == 404
        assert user("POST", f"/subscriptions/order/x/{act}", status=200) == {"id": "order/x"}
        shown = user("GET", "/subscriptions/order/x", status=200)
        assert shown["paused"] == (act == "pause")
    assert narrow("DELETE", "/subscriptions/order/x").status_code == 403
    all_of_it = update(StreamCursor).where(StreamCursor.tenant == served.tenant)
    with served.engine.begin() as connection:
        connection.execute(all_of_it.values(rule={"newer": 1}, target={"newer": 1}))
    for found in (
        user("GET", "/subscriptions", status=200)["items"][0],
        user("GET", "/subscriptions/order/x", status=200),
        served.client.events.subscriptions(**served.mine)[0].model_dump(),
    ):
        assert (found["name"], found["serves"]) == ("order/x", "unknown")
    user("DELETE", "/subscriptions/order/x", status=204)
    assert user("GET", "/subscriptions/order/x").status_code == 404
    assert user("DELETE", "/subscriptions/order/x").status_code == 404


def test_topics(served: Stack, http: Any) -> None:
    user, other = asked(served, http), asked(served, http, tenant="acme")
    told = {"body": {"disk": 91}, "priority": 1, "key": "disk"}
    for _ in range(2):
        made = user("POST", "/topics/all/alerts", told, status=201)
        assert made == {"topic": "all/alerts", "place": 0}
    (message,) = user("GET", "/topics/all/alerts", status=200)["items"]
    assert (message["body"], message["priority"]) == ({"disk": 91}, 1)
    (topic,) = user("GET", "/topics", status=200)["items"]
    assert (topic["topic"], topic["messages"]) == ("all/alerts", 1)
    assert other("GET", "/topics", status=200)["items"] == []
    assert other("GET", "/topics/all/alerts", status=200)["items"] == []

    def fails(_: object) -> None:
        raise ValueError("no")

    served.client.topics.handle(
        "all/alerts", "pager", fails, failures_max=1, idle_s=0.1, tenant=served.tenant
    )
    (dead,) = user("GET", "/topics/all/alerts/dead", status=200)["items"]
    assert dead["data"]["reason"] == "ValueError: no"
    about = {"take": "{data[body]}", "priority": "{data[priority]}", "since": "start"}
    body = {"name": "t", "of": "topic/all/alerts", "agent": "noop", **about}
    user("POST", "/subscriptions", body, status=201)
    eventually(lambda: stood(served, "t").served == 1)
    (run,) = served.client.runs.list(**served.mine).runs
    assert served.client.runs.handle(run.id).get(timeout=SOON_S) == {"disk": 91}


def test_a_stream_is_followed(served: Stack, process: httpx2.Client) -> None:
    key = made_key(served.database_url, Role.USER, tenant=served.tenant)
    user = Asked(process, key)
    user("POST", "/streams/order/1", paid(1, 2), status=201)
    headers = {"Authorization": f"Bearer {key}", "Last-Event-ID": "0"}
    took = list[Any]()
    with process.stream("GET", "/streams/order/1?follow=true", headers=headers) as told:
        assert told.headers["content-type"].startswith("text/event-stream")
        for line in told.iter_lines():
            if line.startswith("data: "):
                took.append(json.loads(line.removeprefix("data: ")))
            if len(took) == 1 and line.startswith("data: "):
                user("POST", "/streams/order/1", paid(3), status=201)
            if len(took) == 2:
                break
    assert [(e["seq"], e["data"]["n"]) for e in took] == [(1, 2), (2, 3)]


def _last(http: Any, headers: dict[str, str], then: Any) -> tuple[str, dict[str, Any]]:
    """The kind and data of the last event of one who follows; ``then``: once it has begun."""
    lines = list[str]()
    with http.stream("GET", "/streams/order/1?follow=true", headers=headers, timeout=30) as told:
        for line in told.iter_lines():
            lines.append(line)
            if len(lines) == 1:
                then()
    told = [line for line in lines if line.startswith(("event: ", "data: "))]
    return told[-2].removeprefix("event: "), json.loads(told[-1].removeprefix("data: "))


def test_who_follows_is_told_that_a_stream_was_deleted(
    served: Stack, process: httpx2.Client
) -> None:
    key = made_key(served.database_url, Role.USER, tenant=served.tenant)
    user = Asked(process, key)
    user("POST", "/streams/order/1", paid(1, 2), status=201)
    headers = {"Authorization": f"Bearer {key}", "Last-Event-ID": "0"}

    def then() -> None:
        time.sleep(2)  # it has been read
        user("DELETE", "/streams/order/1", status=204)

    kind, data = _last(process, headers, then)
    assert (kind, data["kind"]) == ("error", "not_found")


def test_who_follows_is_told_of_what_cannot_be_read(sealed: Sealed, tmp_path: Path) -> None:
    sealed.worker()
    sealed.client.events.append("order/1", [StreamEvent(kind="paid")], timeout=SOON_S)
    with sealed.engine.begin() as connection:
        connection.execute(update(Entry).values(stream="order/1", seq=1))  # of another place
    key = made_key(sealed.database_url, Role.USER)
    with api_of(sealed.env, tmp_path) as http:
        kind, data = _last(http, {"Authorization": f"Bearer {key}"}, lambda: None)
    assert (kind, data["kind"]) == ("error", "unreadable")


def test_values_are_encrypted(sealed: Sealed) -> None:
    sealed.worker()
    given = settings(sealed.redis_url, sealed.database_url, fernet_keys=(OLD,))
    with in_process(given) as http:
        user = asked(sealed, http)
        body = {"events": [{"kind": "paid", "data": {"card": "hidden"}}]}
        user("POST", "/streams/order/1", body, status=201)
        user("POST", "/topics/alerts", {"body": "hidden"}, status=201)
        (entry,) = user("GET", "/streams/order/1", status=200)["items"]
        (message,) = user("GET", "/topics/alerts", status=200)["items"]
        assert (entry["data"], message["body"]) == ({"card": "hidden"}, "hidden")
    with sealed.engine.connect() as connection:
        rows = connection.execute(select(Entry.data)).scalars().all()
    assert len(rows) == 2
    assert "hidden" not in str(rows)
