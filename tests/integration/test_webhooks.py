"""Webhooks of real workers to a real receiver, checked as receivers check them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import func, select, update
from standardwebhooks import Webhook as Verifier

from agents.net.signing import as_secret, keys_of
from app.access.permissions import Role
from app.journal.schema.models import Step
from celery_agents import names
from celery_agents.contracts.outcome import State
from deploy.local.servers import LOOPBACK
from tests.integration.harness import COROUTINES, FAST, SOON_S, Location, Stack, celery, eventually
from tests.support.api import Asked, in_process, made_key, served, settings
from tests.support.drawn import costly
from tests.support.receiver import SECRET, Got, Receiver, receiving
from tests.support.service import APP

pytestmark = pytest.mark.databases("postgres")

ENV = {
    **FAST,
    "AGENTS_WEBHOOK_SECRETS": "HOOK_SECRET,OTHER_HOOK",
    "AGENTS_PRIVATE_HOSTS": LOOPBACK,
    "HOOK_SECRET": SECRET,
    "OTHER_HOOK": SECRET[:-4] + "AAAA",
}
NAMED: dict[str, Any] = {"webhook_secrets": ("HOOK_SECRET",), "private_hosts": (LOOPBACK,)}
#: ``MANY_WEBHOOKS=1000``: the measured one, whose receiver is down for a minute.
MANY = int(os.environ.get("MANY_WEBHOOKS", costly(40, part=2)))


@pytest.fixture
def bare(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    """A stack without a worker, on each database."""
    made = Stack(redis_url, database_url, tmp_path, ENV)
    yield made
    made.close()


@pytest.fixture(scope="module")
def stack(location: Location) -> Iterator[Stack]:
    """One with a worker, for tests that harm none; each has a receiver of its own."""
    made = Stack(*location, ENV)
    made.worker(COROUTINES)
    yield made
    made.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def verified(got: Got, secret: str = SECRET) -> Any:
    """The event of a delivery, by the published package of the specification."""
    return Verifier(secret).verify(got.body.decode(), dict(got.headers))


def of_tenant(tenant: str) -> str:
    """The secret that a tenant's receiver has."""
    return as_secret(keys_of(SECRET, tenant, named="HOOK_SECRET")[0])


def delivery(stack: Stack, run_id: str) -> Any:
    """The row of the step that tells of a run's end; None while there is none."""
    query = select(Step.__table__).where(Step.run_id == run_id, Step.task == names.WEBHOOK)
    return stack.read(lambda c: c.execute(query).first())


def hurry(stack: Stack) -> bool:
    """Let what waits for its next try be due; false, for whoever polls."""
    due = update(Step).where(Step.task == names.WEBHOOK, Step.state == State.READY)
    with stack.engine.begin() as connection:
        connection.execute(due.values(ready_at=0.0, wake_at=0.0))
    return False


def _tried(receiver: Receiver, times: int) -> bool:
    return len(receiver.tried) >= times


def _is_dead(stack: Stack, run_id: str) -> bool:
    row = delivery(stack, run_id)
    return row is not None and row.state == State.DEAD


def test_ends_of_all_verbs_are_told(stack: Stack, receiver: Receiver) -> None:
    url, client = receiver.url, stack.client
    whole = {"url": url, "value": True}
    runs = {
        "ask": client.ask("shout", "hello", tenant="acme", webhook=whole),
        "fallback": client.fallback(["bad", "shout"], "b", webhook=url),
        "vote": client.vote(["yes", "yes", "no"], "?", webhook=url),
        "gather": client.gather(["shout", "noop"], "a", how="concat", webhook=url),
        "map": client.map("shout", ["a", "b"], webhook=url),
        "failed": client.ask("refused", "no", webhook=url),
        "unwanted": client.ask("shout", "hello", webhook={"url": url, "on": ["failed"]}),
    }
    wanted = {
        run.id: "run.failed" if name == "failed" else "run.succeeded"
        for name, run in runs.items()
        if name != "unwanted"
    }
    eventually(lambda: receiver.told.keys() == wanted.keys())
    runs["unwanted"].get(timeout=SOON_S)
    assert {i: e["type"] for i, e in receiver.told.items()} == wanted
    assert len(receiver.got) == len(wanted)  # members tell nobody
    for got in receiver.got:
        assert verified(got, of_tenant(got.event["data"]["tenant"])) == got.event
    data = receiver.told[runs["ask"].id]["data"]
    assert (data["value"], data["tenant"], data["agent"]) == ("HELLO", "acme", "shout")
    assert receiver.told[runs["failed"].id]["data"]["error"]["kind"] == "agent_failed"
    assert "value" not in receiver.told[runs["fallback"].id]["data"]


def test_one_that_is_refused_comes_again_the_same(stack: Stack, receiver: Receiver) -> None:
    receiver.statuses += [500, 302, 404]
    run = stack.client.ask("shout", "hello", webhook={"url": receiver.url, "secret": "OTHER_HOOK"})
    for tries in (1, 2, 3):
        eventually(partial(_tried, receiver, tries))
        eventually(lambda: delivery(stack, run.id).state == State.READY)
        hurry(stack)
    (got,) = eventually(lambda: receiver.got)
    assert verified(got, ENV["OTHER_HOOK"])["data"]["id"] == run.id
    assert {(t.headers["webhook-id"], t.body) for t in receiver.tried} == {
        (delivery(stack, run.id).id, got.body)
    }
    eventually(lambda: delivery(stack, run.id).state == State.SUCCEEDED)


def test_one_that_is_given_up_is_a_dead_letter(stack: Stack, receiver: Receiver) -> None:
    receiver.statuses += [410]
    run = stack.client.ask("shout", "hello", webhook=receiver.url)
    eventually(lambda: _is_dead(stack, run.id))
    row = delivery(stack, run.id)
    letters = {letter["id"]: letter for letter in stack.client.dead_letters.list()}
    letter = letters[row.id]
    assert "410" in letter["reason"]
    stack.client.dead_letters.requeue(row.id)
    (got,) = eventually(lambda: receiver.got)
    assert got.headers["webhook-id"] == row.id


#: What names this machine, and what is told of it.
PRIVATE = dict.fromkeys(["127.0.0.2", "2130706434", "[::ffff:127.0.0.2]", "[::1]"], "private net")
PRIVATE |= {"0177.0.0.3": "is no host"}


def test_private_networks_are_not_reached(stack: Stack, receiver: Receiver) -> None:
    runs = {
        host: stack.client.ask("shout", "x", webhook=f"http://{host}:{receiver.port}/")
        for host in (*PRIVATE, "nobody.invalid")
    }
    for host, why in PRIVATE.items():
        run_id = runs[host].id
        eventually(partial(_is_dead, stack, run_id))
        assert why in delivery(stack, run_id).outcome["error"]["message"]
    unknown = runs["nobody.invalid"].id
    eventually(lambda: (row := delivery(stack, unknown)) and row.error)
    assert delivery(stack, unknown).error["kind"] == "unavailable"  # which may pass
    assert receiver.tried == []


def test_one_that_is_cancelled_is_told_too(bare: Stack, receiver: Receiver) -> None:
    worker = bare.worker(COROUTINES)
    run = bare.client.ask("slow", {"seconds": 60}, webhook=receiver.url)
    eventually(lambda: bare.state(run.id) == "running")
    run.cancel()
    eventually(lambda: receiver.told)
    assert receiver.told[run.id]["type"] == "run.cancelled"
    # One that its workers do not survive.
    worker.kill()
    run = bare.client.ask(
        "killer",
        {"path": str(bare.directory / "k"), "until": 9},
        retry={"max_attempts": 1},
        webhook=receiver.url,
    )
    bare.worker(COROUTINES, ready=False)
    eventually(lambda: bare.state(run.id) == "running")
    eventually(lambda: bare.workers[-1].returncode is not None)
    bare.worker(COROUTINES)
    eventually(lambda: run.id in receiver.told)
    assert receiver.told[run.id]["type"] == "run.dead"


def test_nobody_else_has_something_told(stack: Stack, receiver: Receiver) -> None:
    event = {"type": "run.succeeded", "data": {"id": "somebody's"}}
    with Celery("plain", broker=stack.redis_url, backend=stack.redis_url) as plain:
        sent = plain.send_task(
            names.WEBHOOK, [], {"to": {"url": receiver.url}, "event": event}, queue="agents"
        )
        with pytest.raises(Exception, match="nobody can ask for it"):
            sent.get(timeout=SOON_S)
    assert receiver.tried == []


def test_by_the_api(bare: Stack, receiver: Receiver) -> None:
    given = settings(bare.redis_url, bare.database_url, **NAMED)
    key = made_key(bare.database_url, Role.USER, tenant="acme")
    ask = {"task": "ask", "agent": "shout", "input": "hello"}
    with in_process(given) as http:
        user = Asked(http, key)
        for webhook, status in [
            ({"url": "http://169.254.169.254/latest"}, 422),
            ("https://user:password@example.com/", 422),
            ("http://example.com:99999/", 422),
            ({"url": receiver.url, "secret": "DATABASE_URL"}, 422),
            (receiver.url, 202),
        ]:
            assert user("POST", "/tasks", {**ask, "webhook": webhook}).status_code == status
        header = {"Agents-Webhook": receiver.url}
        user("POST", "/tasks", ask, headers=header, status=202)
        user("POST", "/tasks", {**ask, "webhook": receiver.url}, headers=header, status=422)
        user("POST", "/tasks", ask, headers={"Agents-Webhook": "nothing"}, status=422)
        bare.worker(COROUTINES)
        eventually(lambda: len(receiver.told) == 2)
        for got in receiver.got:
            verified(got, of_tenant("acme"))
    secret = celery("-A", APP, "agents", "webhook-secret", "--tenant", "acme", env=bare.env)
    assert secret.stdout.strip() == of_tenant("acme")


def test_by_a_command(stack: Stack, receiver: Receiver) -> None:
    asked = celery(
        "-A", APP, "agents", "ask", "shout", "hello", "--webhook", receiver.url, env=stack.env
    )
    assert asked.stdout.strip() == "HELLO"
    eventually(lambda: receiver.told)


@pytest.mark.timeout(1200 if MANY >= 1000 else 120)
def test_none_is_lost_whoever_is_down(bare: Stack, tmp_path: Path) -> None:
    """The receiver is down; then the API, then the worker is killed; all of them come back."""
    receiver, down_s = Receiver(), 60.0 if MANY >= 1000 else 1.0
    bodies = [
        {"task": "ask", "agent": "shout", "input": f"n{n}", "webhook": receiver.url}
        for n in range(MANY)
    ]
    key = made_key(bare.database_url, Role.USER)
    begun = time.monotonic()
    accepted: list[str] = []
    first = bare.worker(COROUTINES)
    with served(bare.env, tmp_path) as http:
        user = Asked(http, key)
        for n, body in enumerate(bodies[: MANY // 2]):
            accepted.append(user("POST", "/tasks", body, status=202)["id"])
            if n == MANY // 4:
                first.kill()
        http.child.kill()  # type: ignore[attr-defined]
    bare.worker(COROUTINES)
    with served(bare.env, tmp_path) as http:
        user = Asked(http, key)
        later = bodies[MANY // 2 :]
        accepted += [user("POST", "/tasks", body, status=202)["id"] for body in later]
    eventually(lambda: delivered(bare, waiting=True) > 0)
    time.sleep(max(0.0, begun + down_s - time.monotonic()))
    try:
        receiver.up()
        if MANY < 1000:
            eventually(lambda: delivered(bare, waiting=True) == 0 or hurry(bare), timeout_s=60)
        bare.workers[-1].kill()  # amid deliveries
        bare.worker(COROUTINES)
        wait_s = 900.0 if MANY >= 1000 else 60.0
        eventually(
            lambda: set(receiver.told) == set(accepted) or (MANY < 1000 and hurry(bare)),
            f"{len(receiver.told)} of {MANY}",
            timeout_s=wait_s,
        )
    finally:
        receiver.down()
    ids: dict[str, set[tuple[str, bytes]]] = {}
    for got in receiver.got:
        verified(got)
        ids.setdefault(got.event["data"]["id"], set()).add((got.headers["webhook-id"], got.body))
    assert all(len(same) == 1 for same in ids.values())
    seconds, more = time.monotonic() - begun, len(receiver.got) - MANY
    print(f"{MANY} webhooks, {len(ids)} delivered, {more} twice, {seconds:.0f} s")


def delivered(stack: Stack, *, waiting: bool) -> int:
    """How many deliveries wait, or are done."""
    query = select(func.count()).where(
        Step.task == names.WEBHOOK,
        Step.state == (State.READY if waiting else State.SUCCEEDED),
    )
    return int(stack.read(lambda c: c.execute(query).scalar_one()))
