"""Whose run it is: from the client's option to every row, and back in its status."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain
from sqlalchemy import select

from app.journal.schema.models import Run, Step
from celery_agents import names
from celery_agents.errors import AgentsError, InvalidPayloadError
from tests.integration.harness import FAST, SOON_S, Stack, eventually


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def one(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    url = request.getfixturevalue(f"{request.param}_journal_url")
    made = Stack(redis_url, url, tmp_path, FAST)
    made.worker()
    yield made
    made.close()


def tenants(stack: Stack, run_id: str) -> list[str]:
    """Of the run, and of each of its steps."""
    whose = (
        select(Run.tenant).where(Run.id == run_id),
        select(Step.tenant).where(Step.run_id == run_id),
    )
    return [t for query in whose for t in stack.read(lambda c, q=query: c.execute(q).scalars())]


def test_every_row_says_whose_it_is(one: Stack) -> None:
    client = one.client
    undone = {"agent": "yes", "compensation": "noop"}
    asked: list[tuple[Any, int]] = [
        (client.ask("noop", 1, tenant="acme"), 1),
        (client.map("noop", [1, 2, 3], tenant="acme"), 4),
        (client.vote(["yes", "no", "yes"], "?", tenant="acme", stop="none"), 4),
        (client.vote([undone], "?", choices=["x", "y"], tenant="acme"), 4),  # it is undone
    ]
    for run, steps in asked:
        eventually(lambda run=run, steps=steps: len(tenants(one, run.id)) == 1 + steps)
        assert set(tenants(one, run.id)) == {"acme"}
        status = client.runs.status(run.id)
        assert status is not None
        assert status["tenant"] == "acme"
    nobodys = client.ask("noop", 1)
    assert nobodys.get(timeout=SOON_S) == 1
    assert tenants(one, nobodys.id) == ["", ""]


def test_links_of_a_canvas_say_their_own(one: Stack) -> None:
    links = chain(
        one.client.ask.s("noop", tenant="acme"), one.client.ask.s("noop", tenant="other")
    ).delay("x")
    assert links.get(timeout=SOON_S) == "x"
    assert tenants(one, links.parent.id) == ["acme"] * 2
    assert tenants(one, links.id) == ["other"] * 2


def test_messages_that_lost_their_way_keep_it(one: Stack) -> None:
    """Recovery makes the row of what stands in the intake alone."""
    for worker in one.workers:
        worker.kill()
    run = one.client.ask("noop", 1, tenant="acme")
    one.drop_messages()
    one.worker()
    assert run.get(timeout=SOON_S) == 1
    assert tenants(one, run.id) == ["acme"] * 2


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
