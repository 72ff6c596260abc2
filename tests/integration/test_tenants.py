"""Whose run it is: from the client's option to every row, and back in its status."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, chain
from sqlalchemy import select

from app.journal.schema.models import Run, Step
from celery_agents import names
from celery_agents.errors import AgentsError, InvalidPayloadError
from tests.integration.harness import SOON_S, Stack, eventually


def tenants(stack: Stack, run_id: str) -> list[str]:
    """Of the run, and of each of its steps."""
    whose = (
        select(Run.tenant).where(Run.id == run_id),
        select(Step.tenant).where(Step.run_id == run_id),
    )
    return stack.read(lambda c: [t for query in whose for t in c.execute(query).scalars()])


def test_every_row_says_whose_it_is(either: Stack) -> None:
    client = either.client
    undone = {"agent": "yes", "compensation": "noop"}
    asked: list[tuple[Any, int]] = [
        (client.ask("noop", 1, tenant="acme"), 1),
        (client.map("noop", [1, 2, 3], tenant="acme"), 4),
        (client.vote(["yes", "no", "yes"], "?", tenant="acme", stop="none"), 4),
        (client.vote([undone], "?", choices=["x", "y"], tenant="acme"), 4),  # it is undone
    ]
    eventually(lambda: all(len(tenants(either, run.id)) == 1 + steps for run, steps in asked))
    for run, _ in asked:
        assert set(tenants(either, run.id)) == {"acme"}
        status = client.runs.status(run.id)
        assert status is not None
        assert status["tenant"] == "acme"
    nobodys = client.ask("noop", 1)
    assert nobodys.get(timeout=SOON_S) == 1
    assert tenants(either, nobodys.id) == ["", ""]


def test_links_of_a_canvas_say_their_own(either: Stack) -> None:
    links = chain(
        either.client.ask.s("noop", tenant="acme"), either.client.ask.s("noop", tenant="other")
    ).delay("x")
    assert links.get(timeout=SOON_S) == "x"
    assert tenants(either, links.parent.id) == ["acme"] * 2
    assert tenants(either, links.id) == ["other"] * 2


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
