"""The API on a real broker, a real journal, and real workers."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.access.permissions import Role
from app.journal.stores.parents import Parents
from celery_agents import names
from celery_agents.wire.ids import new_id
from tests.integration.harness import COROUTINES, FAST, Stack, eventually
from tests.support.api import Asked, in_process, made_key, served, settings
from tests.support.drawn import costly

pytestmark = pytest.mark.databases("postgres")

#: ``MANY_RUNS=1000 MANY_CALLERS=500``: the measured ones.
MANY_RUNS = int(os.environ.get("MANY_RUNS", costly(50)))
MANY_CALLERS = int(os.environ.get("MANY_CALLERS", costly(40, part=2)))
ASK = {"task": "ask", "agent": "shout", "input": "hello"}


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[Any]:
    """The API of the shared stack."""
    with in_process(settings(stack.redis_url, stack.database_url)) as made:
        yield made


@pytest.fixture(scope="module")
def user(stack: Stack, http: Any) -> Asked:
    return Asked(http, made_key(stack.database_url, Role.USER, tenant="acme"))


@pytest.fixture(scope="module")
def other(stack: Stack, http: Any) -> Asked:
    return Asked(http, made_key(stack.database_url, Role.USER, tenant="umbrella"))


@pytest.fixture(scope="module")
def everywhere(stack: Stack, http: Any) -> Asked:
    return Asked(http, made_key(stack.database_url, Role.ADMIN, tenant=None))


@pytest.fixture
def idle(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    """A stack without a worker, on each database."""
    made = Stack(redis_url, database_url, tmp_path, FAST)
    yield made
    made.close()


@pytest.fixture
def alone(idle: Stack) -> Iterator[Asked]:
    """A user of an API without a worker."""
    key = made_key(idle.database_url, Role.USER)
    with in_process(settings(idle.redis_url, idle.database_url, wake_grace_s=1.0)) as made:
        yield Asked(made, key)


# -- asking


def test_a_run_is_accepted_and_done(user: Asked) -> None:
    told = user("POST", "/tasks", ASK)
    assert told.status_code == 202
    run_id = told.json()["id"]
    assert told.headers["location"] == f"/tasks/{run_id}"
    found = user.end(run_id)
    assert (found["state"], found["value"], found["tenant"]) == ("succeeded", "HELLO", "acme")
    assert "value" not in found["steps"][0]
    whole = user("GET", f"/tasks/{run_id}?include=values", status=200)
    assert whole["steps"][0]["value"] == "HELLO"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ({"task": "ask", "agent": "shout", "input": "a"}, "A"),
        ({"task": "fallback", "candidates": ["bad", "shout"], "input": "b"}, "B"),
        ({"task": "map", "agent": "shout", "input": ["a", "b"]}, ["A", "B"]),
        ({"task": "map", "agents": ["shout", "noop"], "input": ["a", "b"]}, ["A", "b"]),
        (
            {
                "task": "map",
                "each": {"verb": "fallback", "options": {"candidates": ["bad", "shout"]}},
                "input": ["a", "b"],
            },
            ["A", "B"],
        ),
        ({"task": "gather", "agents": ["shout", "noop"], "how": "concat", "input": "a"}, "A\n\na"),
        ({"task": "vote", "voters": ["yes", "yes", "no"], "input": "?"}, "yes"),
        ({"task": "team", "lead": "shout", "input": "a"}, "A"),
        ({"task": "solve", "strategies": ["shout"], "select": "shout", "input": "a"}, "A"),
    ],
)
def test_each_verb(user: Asked, body: dict[str, Any], value: Any) -> None:
    told = user("POST", "/tasks", body, headers={"Prefer": "wait=30"})
    assert told.status_code == 200, told.text
    assert told.headers["preference-applied"] == "wait=30"
    found = told.json()["value"]
    match body["task"]:
        case "map":
            found = found["results"]
        case "gather" | "team" | "solve":
            found = found["value"]
        case "vote":
            found = found["option"] if "option" in found else found["value"]
    assert found == value


def test_one_that_fails_says_why(user: Asked) -> None:
    found = user.ask("refused", "not that")
    assert (found["state"], found["error"]["kind"]) == ("failed", "agent_failed")


def test_whoever_waits_too_shortly_is_told_that_it_is_accepted(user: Asked) -> None:
    body = {"task": "ask", "agent": "slow", "input": {"seconds": 60}}
    told = user("POST", "/tasks", body, headers={"Prefer": "wait=1"})
    assert told.status_code == 202
    user("POST", f"/tasks/{told.json()['id']}/cancel", status=202)
    assert user.end(told.json()["id"])["state"] == "cancelled"


def test_what_is_not_accepted(user: Asked) -> None:
    secret = "sk-0123456789abcdef0123456789abcdef"
    for body, status, kind in [
        ({"task": "ask", "agent": secret, "input": "x", "secret": secret}, 422, "invalid_payload"),
        ({"task": "nothing"}, 422, "invalid_payload"),
        ({**ASK, "input": "x" * 300_000}, 413, "payload_too_large"),
        ({**ASK, "input": "x" * 2_000_000}, 413, "payload_too_large"),
        ({**ASK, "tenant": "umbrella"}, 403, "forbidden"),
        ({"task": "vote", "voters": [{"agent": "yes", "samples": 5000}]}, 422, "invalid_payload"),
        (
            {"task": "map", "each": {"task": []}, "input": ["x"]},
            422,
            "invalid_payload",
        ),
    ]:
        told = user("POST", "/tasks", body)
        assert told.status_code == status, told.text
        assert told.headers["content-type"] == "application/problem+json"
        assert told.json()["kind"] == kind
        assert secret not in told.text
    told = user("POST", "/tasks", content=b"{", headers={"Content-Type": "application/json"})
    assert (told.status_code, told.json()["kind"]) == (400, "invalid_json")


def test_runs_in_pages(user: Asked) -> None:
    made = [user.ask("shout", f"page {n}")["id"] for n in range(3)]
    found: list[str] = []
    path = "/tasks?limit=2&agent=shout"
    after = ""
    while len(found) < 3:
        page = user("GET", f"{path}{after}", status=200)
        found += [run["id"] for run in page["runs"]]
        after = f"&after={page['more']}"
        assert "page" not in json.dumps(page)
    assert found[:3] == made[::-1]
    for wrong in ("after=x", "order=name", "since_s=nan", "failed=true&state=ready", "cursor=x"):
        assert user("GET", f"/tasks?{wrong}").status_code == 422, wrong


def test_runs_by_how_they_are(user: Asked) -> None:
    broken, fine = user.ask("refused", "no")["id"], user.ask("shout", "yes")["id"]

    def found(conditions: str) -> set[str]:
        return {run["id"] for run in user("GET", f"/tasks?{conditions}", status=200)["runs"]}

    failures = found("failed=true")
    assert broken in failures
    assert fine not in failures
    assert fine in found("order=cost&agent=shout&since_s=600")
    assert not {broken, fine} & (found("stuck=true") | found("waiting=true"))


# -- whose it is


def test_a_foreign_run_is_not_there(user: Asked, other: Asked, everywhere: Asked) -> None:
    run_id = user.ask("shout", "mine")["id"]
    routes = [
        ("GET", f"/tasks/{run_id}", None),
        ("GET", f"/tasks/{run_id}/events", None),
        ("DELETE", f"/tasks/{run_id}", None),
        ("POST", f"/tasks/{run_id}/cancel", None),
        ("POST", f"/tasks/{run_id}/approve", {"choice": "a"}),
    ]
    for method, path, body in routes:
        assert other(method, path, body).status_code == 404
    listed = other("GET", "/tasks?limit=500", status=200)["runs"]
    assert run_id not in {run["id"] for run in listed}
    assert everywhere("GET", f"/tasks/{run_id}", status=200)["tenant"] == "acme"


def test_sessions_of_a_tenant(user: Asked, other: Asked) -> None:
    user.ask("gpt", "hello", session="a/b")
    names_of = [s["name"] for s in user("GET", "/sessions", status=200)["items"]]
    assert "a/b" in names_of
    page = user("GET", "/sessions/a/b", status=200)
    assert page["exchanges"][0]["place"] == 0
    assert other("GET", "/sessions/a/b").status_code == 404
    copied = user("POST", "/sessions", {"name": "a/b", "copy_as": "c"}, status=201)
    assert copied["exchanges"] == 1
    assert user("POST", "/sessions", {"name": "a/b", "copy_as": "c"}).status_code == 409
    user("DELETE", "/sessions/c", status=204)
    assert user("DELETE", "/sessions/c").status_code == 404


UNDECIDED: dict[str, Any] = {
    "task": "vote",
    "voters": ["yes", "no"],
    "input": "?",
    "choices": ["yes", "no"],
    "rule": "unanimous",
    "escalate": "person",
}


def test_those_alone_answer_who_are_asked(stack: Stack, http: Any, everywhere: Asked) -> None:
    key = made_key(stack.database_url, Role.USER)
    mine, user = key.split("_")[1], Asked(http, key)
    body = {**UNDECIDED, "escalate": {"kind": "person", "by": [mine, "jwt:boss"]}}
    run_id = user("POST", "/tasks", body, status=202)["id"]

    def wish() -> Any:
        found = user("GET", "/waiting", status=200)["items"]
        return next((w for w in found if w["run_id"] == run_id), None)

    eventually(wish)
    assert wish()["by"] == [mine, "jwt:boss"]
    refused = everywhere("POST", f"/tasks/{run_id}/approve", {"choice": "yes"})
    assert (refused.status_code, refused.json()["kind"]) == (403, "forbidden")
    user("POST", f"/tasks/{run_id}/approve", {"choice": "yes"}, status=200)
    assert user.end(run_id)["value"]["option"] == "yes"


def test_a_wish_is_answered(user: Asked, other: Asked) -> None:
    run_id = user("POST", "/tasks", UNDECIDED, status=202)["id"]

    def wishes(who: Asked) -> list[Any]:
        found = who("GET", "/waiting", status=200)["items"]
        return [w for w in found if w["run_id"] == run_id]

    eventually(lambda: wishes(user))
    assert wishes(other) == []
    assert user("POST", f"/tasks/{run_id}/approve", {"choice": "maybe"}).status_code == 409
    user("POST", f"/tasks/{run_id}/approve", {"choice": "yes"}, status=200)
    assert user.end(run_id)["state"] == "succeeded"


def test_agents_stats_metrics_health(user: Asked, everywhere: Asked) -> None:
    found = {a["name"]: a for a in user("GET", "/agents", status=200)["items"]}
    assert found["shout"]["kind"] == "function"
    told = user("GET", "/stats?since_s=600&by=tenant", status=200)
    assert set(told["steps"]) == {"ready", "running"}
    assert (told["until"] > told["since"], told["rows"]) == (True, [])
    assert user("GET", "/stats?tenant=other").status_code == 403
    assert user("GET", "/stats?since_s=0").status_code == 422
    assert user("GET", "/metrics").status_code == 403
    assert "agents_steps_open{" in everywhere("GET", "/metrics").text
    assert user.http.get("/health").json() == {"ok": True}
    assert isinstance(everywhere("GET", "/dead-letters", status=200)["items"], list)


# -- what is accepted is kept


def test_what_was_accepted_is_there(alone: Asked) -> None:
    """Nobody works, and each run that was accepted is there: read your writes."""
    for n in range(MANY_RUNS):
        run_id = alone("POST", "/tasks", {**ASK, "input": n}, status=202)["id"]
        assert alone("GET", f"/tasks/{run_id}", status=200)["state"] in {"queued", "ready"}


def test_a_cancellation_that_overtakes_its_run(idle: Stack) -> None:
    """The row that a cancellation makes for a run without one is the run's tenant's."""
    key = made_key(idle.database_url, Role.USER, tenant="acme")
    given = settings(idle.redis_url, idle.database_url, api_accepts="broker")
    with in_process(given) as http:
        user = Asked(http, key)
        run_id = user("POST", "/tasks", ASK, status=202)["id"]
        user("DELETE", f"/tasks/{run_id}", status=202)
        idle.worker([*COROUTINES[:-1], "agents.control"])  # takes no runs
        assert user.end(run_id)["state"] == "cancelled"
        assert user("GET", f"/tasks/{run_id}", status=200)["tenant"] == "acme"


def test_a_run_that_nobody_has_begun_is_no_unknown_one(idle: Stack) -> None:
    """To be requeued it is not dead; for whom it is not, it is refused as it is later."""
    given = settings(idle.redis_url, idle.database_url, api_accepts="broker")
    keys = {
        (tenant, agents): made_key(idle.database_url, Role.ADMIN, tenant=tenant, agents=agents)
        for tenant, agents in (("acme", None), ("acme", ("yes",)), ("other", None))
    }
    with in_process(given) as http:
        mine, narrow, other = (Asked(http, key) for key in keys.values())
        run_id = mine("POST", "/tasks", ASK, status=202)["id"]
        idle.worker([*COROUTINES[:-1], "agents.control"])  # takes no runs
        for act, body in (("requeue", None), ("approve", {"choice": "x"})):
            mine("POST", f"/tasks/{run_id}/{act}", body, status=409)
            narrow("POST", f"/tasks/{run_id}/{act}", body, status=403)
            other("POST", f"/tasks/{run_id}/{act}", body, status=404)
            mine("POST", f"/tasks/{new_id()}/{act}", body, status=404)


def test_a_run_that_no_worker_takes_has_failed(idle: Stack) -> None:
    """A worker of other settings refuses what was accepted: there is a result, and no row."""
    key = made_key(idle.database_url, Role.USER, tenant="acme")
    idle.worker(env={"AGENTS_BALLOTS_MAX": "1"})
    given = settings(idle.redis_url, idle.database_url, api_accepts="broker")
    with in_process(given) as http:
        user = Asked(http, key)
        body = {"task": "vote", "voters": ["yes", "no"], "input": "?"}
        told = user("POST", "/tasks", body, headers={"Prefer": "wait=20"}, status=200)
        assert (told["state"], told["error"]["kind"]) == ("failed", "invalid_payload")
        found = user("GET", f"/tasks/{told['id']}", status=200)
        assert (found["state"], found["error"]) == ("failed", told["error"])
        other = Asked(http, made_key(idle.database_url, Role.USER, tenant="umbrella"))
        assert other("GET", f"/tasks/{told['id']}").status_code == 404


def test_a_key_is_one_run(idle: Stack, alone: Asked) -> None:
    key = {"Idempotency-Key": "order-7"}
    found: list[Any] = []

    def ask() -> None:
        found.append(alone("POST", "/tasks", ASK, headers=key))

    threads = [threading.Thread(target=ask) for _ in range(MANY_CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {t.status_code for t in found} == {202}
    (run_id,) = {t.json()["id"] for t in found}
    assert alone("POST", "/tasks", ASK, headers=key).headers["idempotency-replayed"] == "true"
    assert alone("POST", "/tasks", {**ASK, "input": "?"}, headers=key).status_code == 422
    idle.redis.flushdb()
    again = alone("POST", "/tasks", ASK, headers=key, status=202)
    assert again["id"] == run_id
    idle.worker()
    assert alone.end(run_id)["value"] == "HELLO"
    idle.redis.flushdb()  # now its row alone knows
    known = alone("POST", "/tasks", ASK, headers=key)  # 200: its answer was there again at once
    assert (known.status_code in {200, 202}, known.json()["id"]) == (True, run_id)
    assert alone("POST", "/tasks", {**ASK, "input": "?"}, headers=key).status_code == 422
    assert idle.counts() == 1


def test_a_redis_that_forgets_loses_nothing_where_the_journal_accepts(
    redis_url: str, sqlite_journal_url: str, tmp_path: Path
) -> None:
    stack = Stack(redis_url, sqlite_journal_url, tmp_path, {"AGENTS_WAKE_GRACE_S": "0.5"})
    key = made_key(stack.database_url, Role.USER)
    given = settings(redis_url, sqlite_journal_url, api_accepts="journal", wake_grace_s=0.5)
    with in_process(given) as http:
        user = Asked(http, key)
        ids = [user("POST", "/tasks", {**ASK, "input": str(n)}, status=202)["id"] for n in range(9)]
        stack.redis.flushdb()
        stack.worker()
        assert {user.end(i)["state"] for i in ids} == {"succeeded"}
    stack.close()


def test_too_many_that_nobody_begins(idle: Stack) -> None:
    key = made_key(idle.database_url, Role.USER)
    with in_process(settings(idle.redis_url, idle.database_url, api_backlog_max=1)) as http:
        user = Asked(http, key)
        user("POST", "/tasks", ASK, status=202)

        def refused() -> Any:
            told = user("POST", "/tasks", ASK)
            return told if told.status_code == 503 else None

        told = eventually(refused)
        assert (told.json()["kind"], told.headers["retry-after"]) == ("backlog", "5")
        keyed = {"Idempotency-Key": "later"}
        assert user("POST", "/tasks", ASK, headers=keyed).status_code == 503
        assert idle.redis.keys("agents:api:asked:*") == []  # nothing was asked under it


def test_redis_away(own_broker: Any, sqlite_journal_url: str) -> None:
    key = made_key(sqlite_journal_url, Role.USER)
    url = own_broker.url
    given = settings(url, sqlite_journal_url, redis_timeout_s=0.5)
    with (
        in_process(given) as http,
        in_process(given.model_copy(update={"api_accepts": "journal"})) as durable,
    ):
        own_broker.stop()
        told = Asked(http, key)("POST", "/tasks", ASK)
        assert (told.status_code, told.json()["kind"]) == (503, "broker")
        assert told.headers["retry-after"]
        assert http.get("/health").status_code == 503
        user = Asked(durable, key)
        accepted = user("POST", "/tasks", ASK, status=202)
        assert user("GET", f"/tasks/{accepted['id']}", status=200)
        headers = {"Idempotency-Key": "once", "Prefer": "wait=1"}
        first = user("POST", "/tasks", ASK, status=202, headers=headers)
        assert user("POST", "/tasks", ASK, status=202, headers=headers) == first
        other = user("POST", "/tasks", {**ASK, "input": "else"}, headers=headers)
        assert (other.status_code, other.json()["kind"]) == (422, "id_in_use")


# -- a process of its own


def test_events_of_a_process(stack: Stack, tmp_path: Path) -> None:
    key = made_key(stack.database_url, Role.USER)
    env = {name: stack.env[name] for name in ("REDIS_URL", "DATABASE_URL")}
    with served(env, tmp_path) as http:
        user = Asked(http, key)
        body = {"task": "ask", "agent": "streamed", "input": "hi", "stream": True}
        run_id = user("POST", "/tasks", body, status=202)["id"]
        # The journal may tell of the end before what was said stands in Redis.
        whole = eventually(lambda: (told := read_events(user, run_id))[2:] and told)
        assert [e["type"] for e in whole][-1] == "end"
        assert whole[-1]["outcome"]["state"] == "succeeded"
        middle = whole[1]["id"]
        rest = read_events(user, run_id, headers={"Last-Event-ID": middle})
        assert [e["id"] for e in rest] == [e["id"] for e in whole[2:]]
        stack.redis.delete(f"{names.STREAM}{run_id}", f"celery-task-meta-{run_id}")
        (end,) = read_events(user, run_id)
        assert end["outcome"]["value"] == whole[-1]["outcome"]["value"]
        assert user("GET", f"/tasks/{run_id}/events?after=x").status_code == 422
        docs = http.get("/openapi.json").json()
        assert "/tasks/{run_id}/events" in docs["paths"]


def test_what_is_under_way_needs_no_api(idle: Stack, tmp_path: Path) -> None:
    """It accepts runs, freezes, and dies: workers and other clients do not know of it."""
    key = made_key(idle.database_url, Role.USER)
    env = {name: idle.env[name] for name in ("REDIS_URL", "DATABASE_URL")}
    with served(env, tmp_path) as http:
        user = Asked(http, key)
        accepted = [user("POST", "/tasks", ASK, status=202)["id"] for _ in range(20)]
        http.child.send(signal.SIGSTOP)  # type: ignore[attr-defined]
        idle.worker()
        answers = [idle.client.runs.handle(run_id).get(timeout=30) for run_id in accepted]
        assert answers == ["HELLO"] * 20
        assert idle.client.ask("shout", "frozen").get(timeout=30) == "FROZEN"
        http.child.kill()  # type: ignore[attr-defined]
        assert idle.client.ask("shout", "dead").get(timeout=30) == "DEAD"


def read_events(user: Asked, run_id: str, **about: Any) -> list[dict[str, Any]]:
    """The events of a stream to its end."""
    text = user("GET", f"/tasks/{run_id}/events", **about).text
    lines = [line for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_the_callers_span_is_written_down_with_its_run(idle: Stack) -> None:
    """What is no header of the standard is left out; another span is no other run."""
    header = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
    about = {"Idempotency-Key": "one", "traceparent": header}
    key = made_key(idle.database_url, Role.USER)
    with in_process(settings(idle.redis_url, idle.database_url, api_accepts="journal")) as http:
        user = Asked(http, key)
        called = user("POST", "/tasks", ASK, headers=about, status=202)["id"]
        odd = user("POST", "/tasks", ASK, headers={"traceparent": f"{header}-odd"}, status=202)
        about["traceparent"] = header.replace("7-01", "8-01")
        again = user("POST", "/tasks", ASK, headers=about)
    assert again.headers["idempotency-replayed"] == "true"
    callers = Parents(idle.engine)
    assert str(callers.caller_of(called)) == header
    assert callers.caller_of(odd["id"]) is None
