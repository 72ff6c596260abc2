"""One worker for an app of somebody else and for the agents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery, chain, chord

from tests.integration.harness import MODULES, SOON_S, Stack, eventually

pytestmark = pytest.mark.databases("sqlite")

WORKER = ["--concurrency", "4", "--without-mingle", "--without-gossip"]


@pytest.fixture(params=["plain", "django", "plain in prefork"])
def embedded(
    request: pytest.FixtureRequest, redis_url: str, sqlite_journal_url: str, tmp_path: Path
) -> Iterator[Stack]:
    made = Stack(redis_url, sqlite_journal_url, tmp_path, MODULES)
    name, _, pool = request.param.partition(" in ")
    args = [*WORKER, "--pool", pool] if pool else WORKER
    made.worker(args, app=f"tests.support.embedded:{name}")
    yield made
    made.close()


def test_one_worker_serves_both(embedded: Stack) -> None:
    client = embedded.client
    shop = Celery("shop-web", broker=embedded.redis_url, backend=embedded.redis_url)
    asked = client.ask("yes", "x")
    assert asked.get(timeout=SOON_S) == "yes"
    assert embedded.state(asked.id) == "succeeded"
    decision = client.vote(["yes", "yes", "yes"], "x").get(timeout=SOON_S)
    assert (decision.option, decision.consensus) == ("yes", 1.0)

    note = shop.signature("shop.note", queue="shop")
    there_and_back = chain(client.ask.s("yes", "x"), note, client.ask.s("noop"))
    assert there_and_back.apply_async().get(timeout=SOON_S) == "noted: yes"

    counted = shop.signature("shop.count", queue="shop")
    members = [client.ask.s("yes", "x"), shop.signature("shop.note", ("y",), queue="shop")]
    assert chord(members, counted, app=shop).apply_async().get(timeout=SOON_S) == 2

    eventually(lambda: not embedded.unacked(), "all is acknowledged")
