"""Whose run it is: from the client's option to every row, and back in its status."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain
from sqlalchemy import select

from app.journal.schema.models import Run, Step
from celery_agents import names
from celery_agents.errors import AgentsError, InvalidPayloadError
from tests.integration.harness import SOON_S, Stack, celery, eventually
from tests.support.ports import free_port
from tests.support.service import APP

pytestmark = pytest.mark.databases("one")


def tenants(stack: Stack, run_id: str) -> list[str]:
    """Of the run, and of each of its steps."""
    whose = (
        select(Run.tenant).where(Run.id == run_id),
        select(Step.tenant).where(Step.run_id == run_id),
    )
    return stack.read(lambda c: [t for query in whose for t in c.execute(query).scalars()])


def test_every_row_says_whose_it_is(common: Stack) -> None:
    client = common.client
    undone = {"agent": "yes", "compensation": "noop"}
    asked: list[tuple[Any, int]] = [
        (client.ask("noop", 1, tenant="acme"), 1),
        (client.map("noop", [1, 2, 3], tenant="acme"), 4),
        (client.vote(["yes", "no", "yes"], "?", tenant="acme", stop="none"), 4),
        (client.vote([undone], "?", choices=["x", "y"], tenant="acme"), 4),  # it is undone
    ]
    eventually(lambda: all(len(tenants(common, run.id)) == 1 + steps for run, steps in asked))
    for run, _ in asked:
        assert set(tenants(common, run.id)) == {"acme"}
        status = client.runs.status(run.id)
        assert status is not None
        assert status["tenant"] == "acme"
    nobodys = client.ask("noop", 1)
    assert nobodys.get(timeout=SOON_S) == 1
    assert tenants(common, nobodys.id) == ["", ""]


def test_links_of_a_canvas_say_their_own(common: Stack) -> None:
    links = chain(
        common.client.ask.s("noop", tenant="acme"), common.client.ask.s("noop", tenant="other")
    ).delay("x")
    assert links.get(timeout=SOON_S) == "x"
    assert tenants(common, links.parent.id) == ["acme"] * 2
    assert tenants(common, links.id) == ["other"] * 2


def test_messages_that_lost_their_way_keep_it(either: Stack) -> None:
    """Recovery makes the row of what stands in the intake alone."""
    for worker in either.workers:
        worker.kill()
    run = either.client.ask("noop", 1, tenant="acme")
    either.drop_messages()
    either.worker()
    assert run.get(timeout=SOON_S) == 1
    assert tenants(either, run.id) == ["acme"] * 2


@pytest.mark.parametrize("tenant", ["x" * 65, "a\nb", 7, ["acme"], "\x1b[31m"])
def test_what_is_no_tenant_is_refused(stack: Stack, tenant: Any) -> None:
    with pytest.raises(InvalidPayloadError, match="tenant"):
        stack.client.ask("noop", 1, tenant=tenant)
    with Celery("plain", broker=stack.redis_url, backend=stack.redis_url) as plain:
        sent = plain.send_task(
            names.ASK, [1], {"agent": "noop"}, queue="agents", headers={names.TENANT: tenant}
        )
        with pytest.raises(AgentsError, match="dead letter"):
            sent.get(timeout=SOON_S)
    assert stack.row(sent.id) is None


class TestWorkers:
    """Real ones, of few slots, with lists of tenants before them."""

    WORKER = ("--concurrency", "4", "--without-mingle", "--without-gossip")
    QUEUES = ("-Q", "agents,agents.control")

    def test_a_light_tenant_is_next(self, fast: Stack, tmp_path: Path) -> None:
        """By weight; and what is queued and held is told, in each way."""
        config = tmp_path / "agents.toml"
        config.write_text("[agents]\n[tenants.heavy]\nweight = 3\n")
        fast.env |= {"AGENTS_CONFIG": str(config), "AGENTS_HEALTH_PORT": str(port := free_port())}
        fast.worker([*self.WORKER, *self.QUEUES])
        fast.client.ask.many("slow", [{"seconds": 1.0}] * 400, tenant="heavy")
        eventually(lambda: any(s.in_flight for s in fast.client.tenants()))
        light = fast.client.ask("noop", 1, tenant="light")
        assert light.get(timeout=SOON_S) == 1
        (state,) = [s for s in fast.client.tenants() if s.name == "heavy"]
        assert (state.queue, state.weight) == ("agents", 3.0)
        assert state.queued > 200  # it went before all of these
        assert state.in_flight >= 1
        assert state.oldest_s is not None
        told = celery("-A", APP, "agents", "tenants", "--json", env=fast.env)
        assert {s["name"] for s in json.loads(told.stdout)} >= {"heavy"}
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics/service") as page:
            text = page.read().decode()
        assert 'agents_tenant_queued{tenant="heavy"}' in text

    def test_what_a_killed_worker_held_is_free_within_its_lease(self, fast: Stack) -> None:
        dies = fast.worker([*self.WORKER, *self.QUEUES])
        fast.client.ask.many("hangs", range(4), tenant="heavy")
        held = "nagents\nheavy"
        eventually(lambda: int(fast.redis.hget(names.HELD, held) or 0) >= 4)
        (dead,) = fast.redis.zrange(names.HOLDERS, 0, -1)
        dies.kill()
        fast.worker([*self.WORKER, *self.QUEUES])
        assert fast.client.ask("noop", 1, tenant="light").get(timeout=SOON_S) == 1
        eventually(lambda: dead not in fast.redis.zrange(names.HOLDERS, 0, -1))
